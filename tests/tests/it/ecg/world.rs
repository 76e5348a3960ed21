//! A system with the ECG surface, and who uses it.

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use slipstream_test_support::{Issuer, Receiver, eventually};
use slipstream_tests::api::unique;
use slipstream_tests::{Ecg, LIMIT, Settings, Shape, System};
use uuid::Uuid;

/// The roles of tokens.
pub(crate) const ADMIN: &str = "webhookAdmin";
pub(crate) const MANAGER: &str = "webhookManager";

pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) system: System,
    pub(crate) receiver: Receiver,
    /// May do everything.
    pub(crate) admin: Ecg,
    /// Manages [`World::organization`].
    pub(crate) manager: Ecg,
    pub(crate) organization: Uuid,
}

/// An event that can be posted.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) category: String,
    pub(crate) id: String,
    pub(crate) code: String,
}

/// A subscription of [`World::organization`].
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    /// `/api/organizations/…/webhook-subscriptions/…`
    pub(crate) path: String,
    /// `/api/organizations/…/subscriptions/…`
    pub(crate) hashes: String,
    /// As it was when it was made.
    pub(crate) secret: String,
}

/// A payload with its hash: what E48 answers, and what is posted. As text, because the order of members counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Signed {
    /// Of the activity; in answers only.
    #[serde(default)]
    pub(crate) id: String,
    pub(crate) payload: Box<RawValue>,
    pub(crate) hash: String,
    pub(crate) created_at: i64,
}

impl Signed {
    #[track_caller]
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
    }

    /// The body that is posted.
    pub(crate) fn body(&self) -> String {
        self.body_made_at(self.created_at)
    }

    /// The same as if it had been made at another time.
    pub(crate) fn body_made_at(&self, created_at: i64) -> String {
        format!(r#"{{"payload":{},"hash":"{}","createdAt":{created_at}}}"#, self.payload, self.hash)
    }
}

impl World {
    pub(crate) async fn new(shape: Shape) -> Self {
        Self::with(shape, Settings::default()).await
    }

    /// With a retry schedule: the delays before attempts 1, 2, 3 …, in milliseconds.
    pub(crate) async fn retrying(shape: Shape, retry_schedule_ms: &[u64]) -> Self {
        Self::with(shape, Settings { retry_schedule_ms: retry_schedule_ms.to_vec(), ..Settings::default() }).await
    }

    pub(crate) async fn with(shape: Shape, settings: Settings) -> Self {
        let (issuer, receiver, organization) = (Issuer::start().await, Receiver::start().await, Uuid::new_v4());
        let system = System::with(shape, Settings { ecg_issuer: Some(issuer.url()), ..settings }).await;
        let caller = |role| Ecg::of(&issuer, system.bases(), &[role], &[organization]);
        let (admin, manager) = (caller(ADMIN), caller(MANAGER));
        Self { issuer, system, receiver, admin, manager, organization }
    }

    /// A new event in a category of its own.
    pub(crate) async fn event(&self) -> Event {
        self.event_called(&unique("vitals.observations.created")).await
    }

    pub(crate) async fn event_called(&self, code: &str) -> Event {
        let category = self.admin.new_category().await;
        let id = self.admin.new_event(&category, code).await;
        Event { category, id, code: code.to_owned() }
    }

    /// A subscription for `event` that posts to the receiver's path.
    pub(crate) async fn subscribe(&self, event: &Event, path: &str) -> Subscription {
        let url = self.receiver.url(path);
        self.subscribe_by(&json!({ "postUri": url, "events": [event.id], "isDevelopment": true })).await
    }

    pub(crate) async fn subscribe_by(&self, body: &Value) -> Subscription {
        let made = self.manager.new_subscription(self.organization, body).await;
        let text = |name: &str| made[name].as_str().expect("it is a text").to_owned();
        let id = text("id");
        let organization = format!("/api/organizations/{}", self.organization);
        Subscription {
            path: format!("{organization}/webhook-subscriptions/{id}"),
            hashes: format!("{organization}/subscriptions/{id}"),
            secret: text("secretKey"),
            id,
        }
    }

    /// E41 by the platform, now.
    pub(crate) async fn post(&self, subscription: &Subscription, event: &Event) -> Value {
        let path = format!("{}/activity", subscription.path);
        self.manager.post(&path, &activity(event)).await.parsed(201)
    }

    /// E48, as the first post.
    pub(crate) async fn sign(&self, subscription: &Subscription, event: &Event) -> Signed {
        let path = format!("{}/webhooks-payloads?mode=new", subscription.hashes);
        let answer = self.manager.post(&path, &super::things::payload(&event.code)).await;
        Signed::read(&answer.expect(201).body)
    }

    /// E49: whether the hash in a posted body is good.
    pub(crate) async fn is_good(&self, subscription: &Subscription, body: impl Into<Vec<u8>>) -> bool {
        let path = format!("{}/validate-hash", subscription.hashes);
        let request = self.manager.request(Method::POST, &path).header("content-type", "application/json");
        let answer: Value = self.manager.send(request.body(body.into())).await.parsed(200);
        answer["value"].as_bool().unwrap_or_else(|| panic!("neither true nor false: {answer}"))
    }

    /// An activity, as E42 shows it among the newest.
    pub(crate) async fn activity(&self, subscription: &Subscription, id: &Value) -> Value {
        let page: Value = self.manager.get(&format!("{}/activity?take=100", subscription.path)).await.parsed(200);
        let items = page["items"].as_array().expect("a page has items");
        items.iter().find(|it| it["id"] == *id).unwrap_or_else(|| panic!("{id} is not in {page}")).clone()
    }

    /// Waits until an activity is as wanted.
    pub(crate) async fn activity_when(
        &self,
        subscription: &Subscription,
        id: &Value,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(LIMIT, async || {
            let activity = self.activity(subscription, id).await;
            if is_wanted(&activity) { Ok(activity) } else { Err(activity) }
        })
        .await
    }

    /// E45.
    pub(crate) async fn tree(&self, subscription: &Subscription, id: &Value, mode: &str) -> Value {
        let id = id.as_str().expect("an id is a text");
        self.manager.get(&format!("{}/activity/{id}?mode={mode}", subscription.path)).await.parsed(200)
    }

    /// Waits until the descendants of an activity, as E45 lists them flatly, are as wanted; gives them, itself first.
    pub(crate) async fn family_when(
        &self,
        subscription: &Subscription,
        root: &Value,
        is_wanted: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        eventually(LIMIT, async || {
            let root = self.tree(subscription, root, "flat").await;
            let mut family = vec![root.clone()];
            family.extend(root["childPostHistory"].as_array().expect("it is a list").iter().cloned());
            if is_wanted(&family) { Ok(family) } else { Err(family) }
        })
        .await
    }
}

/// The body of E41: the platform is to post it now.
pub(crate) fn activity(event: &Event) -> Value {
    json!({
        "type": 1,
        "eventId": event.id,
        "payload": { "eventType": event.code, "version": "v1", "data": { "vitals": 100, "note": "café \"ok\" 🦷" } },
        "rawMessage": { "device": "bp-7731" },
    })
}

/// The same of a member that is a text.
pub(crate) fn texts<'a>(objects: &'a [Value], member: &str) -> Vec<&'a str> {
    each(objects, member).into_iter().map(|it| it.as_str().expect("it is a text")).collect()
}

/// What one member is in each of several objects.
pub(crate) fn each<'a>(objects: &'a [Value], member: &str) -> Vec<&'a Value> {
    objects.iter().map(|it| &it[member]).collect()
}
