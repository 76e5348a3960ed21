//! The ECG surface: secrets that it makes, takes, shows and hashes with, and what is posted.

use serde_json::{Value, json};
use slipstream_test_support::eventually;
use slipstream_tests::api::unique;
use slipstream_tests::{Ecg, LIMIT};
use uuid::Uuid;

use super::{Flows, canary};

/// Who uses the ECG surface.
pub(crate) struct EcgCallers {
    /// May do everything.
    pub(crate) admin: Ecg,
    /// Manages the organization.
    pub(crate) manager: Ecg,
    /// Whose subscriptions there are.
    pub(crate) organization: Uuid,
}

impl Flows {
    /// A subscription of an organization, its secrets one after the other, and posts that are taken and not taken.
    pub(super) async fn post_for_an_organization(&mut self) {
        let EcgCallers { admin, manager, organization } = &self.ecg;
        let (admin, manager, organization) = (admin.clone(), manager.clone(), *organization);
        let event = admin.new_event(&admin.new_category().await, &unique("canary.posted")).await;
        let wanted = |uri: String| json!({ "postUri": uri, "events": [event], "isDevelopment": true });
        let made = manager.new_subscription(organization, &wanted(self.receiver.url("/ecg"))).await;
        self.keep("the ECG secret", text(&made, "secretKey"));
        let of_organization = format!("/api/organizations/{organization}");
        let path = format!("{of_organization}/webhook-subscriptions/{}", text(&made, "id"));
        let hashes = format!("{of_organization}/subscriptions/{}", text(&made, "id"));

        manager.put(&format!("{path}/secrets")).await.expect(200);
        let next: Value = manager.get(&format!("{path}/secrets")).await.parsed(200);
        self.keep("the next ECG secret", text(&next, "secretKey"));
        let (own, histories) = (canary("ecg"), format!("{path}/webhook-secret-histories"));
        self.keep("the ECG secret of one's own", own.clone());
        manager.post(&histories, &json!({ "secretKey": own })).await.expect(201);
        let again = manager.post(&histories, &json!({ "secretKey": own })).await;
        self.refused("the same ECG secret again", &again, 409);
        let bad = manager.post(&histories, &json!({ "secretKey": format!("{own}\u{e9}") })).await;
        self.refused("an ECG secret that is none", &bad, 400);
        manager.get(&format!("{histories}?include=subscription")).await.expect(200);
        manager.get(&path).await.expect(200);

        let posted = json!({
            "type": 1,
            "eventId": event,
            "payload": { "note": self.canaries.posted },
            "rawMessage": { "note": self.canaries.posted },
        });
        let activity = format!("{path}/activity");
        manager.post(&activity, &posted).await.expect(201);
        self.receiver.wait_for_at("/ecg", 1, LIMIT).await;
        let malformed = json!({ "type": 7, "payload": { "note": self.canaries.posted } });
        self.refused("a post that is none", &manager.post(&activity, &malformed).await, 400);
        let payload = json!({ "payload": { "note": self.canaries.posted }, "hash": "nonsense", "createdAt": 1 });
        self.refused("no hash", &manager.post(&format!("{hashes}/validate-hash"), &payload).await, 400);

        let failing = manager.new_subscription(organization, &wanted(self.failing.url("/ecg"))).await;
        self.keep("the failing one's ECG secret", text(&failing, "secretKey"));
        let failing = format!("{of_organization}/webhook-subscriptions/{}/activity", text(&failing, "id"));
        let failed: Value = manager.post(&failing, &posted).await.parsed(201);
        let failed = format!("{failing}/{}", text(&failed, "id"));
        let has_failed = async || {
            let tree: Value = manager.get(&format!("{failed}?mode=nested")).await.parsed(200);
            if tree["success"] == false { Ok(()) } else { Err(tree) }
        };
        eventually(LIMIT, has_failed).await;
        manager.act(&format!("{failed}/retry")).await.expect(201);
        manager.get(&format!("{failing}?include=subscription,event")).await.expect(200);

        let stranger = format!("/api/organizations/{}/webhook-subscriptions", Uuid::new_v4());
        self.refused("another's organization", &manager.get(&stranger).await, 403);
        let changed = manager.with_token(format!("{}x", manager.token()));
        self.refused("a changed ECG token", &changed.get(&path).await, 401);
        manager.delete(&path).await.expect(200);
        self.refused("a deleted subscription's secret", &manager.get(&format!("{path}/secrets")).await, 404);
    }
}

/// A member that is a text.
fn text(object: &Value, member: &str) -> String {
    object[member].as_str().unwrap_or_else(|| panic!("{member} is a text: {object}")).to_owned()
}
