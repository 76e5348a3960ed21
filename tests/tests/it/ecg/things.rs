//! What one endpoint is tried on: things of its own, so that no case sees what another has done.

use serde_json::{Value, json};
use slipstream_test_support::eventually;
use slipstream_tests::LIMIT;
use slipstream_tests::api::unique;
use uuid::Uuid;

use super::world::{Signed, World};

/// An event with a subscription that has activities, and things that may be deleted.
#[derive(Debug)]
pub(crate) struct Things {
    pub(crate) category: String,
    pub(crate) category_code: String,
    pub(crate) event: String,
    pub(crate) code: String,
    /// A category without events.
    pub(crate) free_category: String,
    pub(crate) free_category_code: String,
    /// An event without subscriptions.
    pub(crate) free_event: String,
    pub(crate) free_code: String,
    pub(crate) organization: Uuid,
    pub(crate) subscription: String,
    /// Another one of the same organization, inactive.
    pub(crate) other_subscription: String,
    pub(crate) secret: String,
    /// One that somebody else has posted, in vain.
    pub(crate) activity: String,
    /// One of which nobody knows the outcome yet.
    pub(crate) pending: Signed,
    /// The activation that made the subscription active again.
    pub(crate) activation: String,
}

impl Things {
    pub(crate) async fn new(world: &World) -> Self {
        let event = world.event().await;
        let (free_category, free_code) = (world.admin.new_category().await, unique("free"));
        let free_event = world.admin.new_event(&event.category, &free_code).await;
        let code_of = async |category: &str| -> String {
            let shown: Value = world.admin.get(&format!("/api/webhook-categories/{category}")).await.parsed(200);
            shown["code"].as_str().expect("a code is a text").to_owned()
        };
        let (category_code, free_category_code) = (code_of(&event.category).await, code_of(&free_category).await);
        let other = world.subscribe_by(&json!({ "events": [event.id], "isDevelopment": false })).await;
        let subscription = world.subscribe(&event, "/post").await;
        for action in ["deactivate", "activate"] {
            world.manager.act(&format!("{}/{action}", subscription.path)).await.expect(200);
        }
        let activations = format!("{}/activations", subscription.path);
        let activation = eventually(LIMIT, async || {
            let page: Value = world.manager.get(&activations).await.parsed(200);
            page["items"][0]["id"].as_str().map(str::to_owned).ok_or(page)
        })
        .await;
        let (path, payload) = (format!("{}/webhooks-payloads?mode=new", subscription.hashes), payload(&event.code));
        let signed = async || {
            // The activity log may not know yet that the subscription is active again.
            let answer = eventually(LIMIT, async || match world.manager.post(&path, &payload).await {
                answer if answer.status == 409 => Err(answer.to_string()),
                answer => Ok(answer),
            })
            .await;
            Signed::read(&answer.expect(201).body)
        };
        let (activity, pending) = (signed().await.id, signed().await);
        let outcome = json!({ "originalActivityId": activity, "success": false, "httpStatusCode": 500, "error": "HTTP 500",
            "rawResponse": { "reason": "busy" } });
        world.manager.post(&format!("{}/activity/{activity}/outcomes", subscription.path), &outcome).await.expect(201);
        Self {
            category: event.category,
            category_code,
            event: event.id,
            code: event.code,
            free_category,
            free_category_code,
            free_event,
            free_code,
            organization: world.organization,
            subscription: subscription.id,
            other_subscription: other.id,
            secret: subscription.secret,
            activity,
            pending,
            activation,
        }
    }
}

/// A good body of E48.
pub(crate) fn payload(code: &str) -> Value {
    json!({ "eventType": code, "version": "v1", "data": { "vitals": 100 } })
}
