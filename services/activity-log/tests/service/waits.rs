//! Events that wait, and what those who publish them ask of them.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_bus::{Held, Message, subject};
use slipstream_core::config::Record;
use slipstream_core::contract::{Meta, RoutedEvent};
use slipstream_core::ids::{AccountId, EventKey};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::activity::{HeldFilter, held};
use slipstream_test_support::builders::AccountWithKeys;
use slipstream_test_support::eventually;

use crate::world::{SOON, SOURCE, World, answer, routed_event, site};

pub(crate) const PATH: &str = "/sites/s8n6EzC/events/scheduled";

pub(crate) fn in_ms(millis: u64) -> Timestamp {
    clock::now().after(Duration::from_millis(millis))
}

/// An event that waits until a time.
pub(crate) struct Waits {
    pub(crate) id: String,
    pub(crate) event_type: &'static str,
    pub(crate) visibility: Visibility,
    pub(crate) accepted_at: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) published_by: Option<AccountId>,
}

impl Waits {
    pub(crate) fn until(id: impl Into<String>, at: Timestamp) -> Self {
        let event_type = "communications.letter.created";
        let (visibility, accepted_at) = (Visibility::Public, clock::now());
        Self { id: id.into(), event_type, visibility, accepted_at, at, expires_at: None, published_by: None }
    }

    pub(crate) fn key(&self) -> EventKey {
        key(&self.id)
    }

    pub(crate) fn path(&self) -> String {
        format!("{PATH}/{}", self.key())
    }

    /// Its bytes as it was accepted.
    pub(crate) fn payload(&self) -> String {
        let event = json!({
            "specversion": "1.0", "id": self.id, "source": SOURCE, "type": self.event_type,
            "intendeddeliverytime": self.at.to_string(), "data": {"patient": "secret", "n": 1.50},
        });
        event.to_string()
    }

    /// Makes it wait, as the dispatcher does, and says so.
    pub(crate) async fn hold(&self, world: &World) {
        let account = world.account.account.id;
        let due_subject = match self.visibility {
            Visibility::WorkQueue => subject::queue(account, Lane::High, self.event_type),
            visibility => subject::event(visibility, Lane::High, &site(), self.event_type),
        };
        let meta = Meta {
            intended_at: Some(self.at),
            expires_at: self.expires_at,
            published_by: self.published_by,
            ..Meta::new(site(), self.accepted_at)
        };
        let payload = self.payload().into();
        let held = Held { site: site(), key: self.key(), lane: Lane::High, payload, meta, trace: None, due_subject };
        world.bus.held_events().hold_one(&held, clock::now).await.unwrap();
        self.record(world).await;
    }

    /// Says that it waits.
    pub(crate) async fn record(&self, world: &World) {
        let record = RoutedEvent {
            event_type: self.event_type.into(),
            visibility: self.visibility,
            lane: Lane::High,
            accepted_at: self.accepted_at,
            intended_at: Some(self.at),
            expires_at: self.expires_at,
            published_by: self.published_by,
            routed_at: None,
            matched: Vec::new(),
            skipped: Vec::new(),
            ..routed_event(&self.id, 0)
        };
        world.publish_routed(vec![record]).await;
    }
}

pub(crate) fn key(id: &str) -> EventKey {
    EventKey::new(&site(), SOURCE, id)
}

/// Asks with the key of the world's own account.
pub(crate) async fn ask(world: &World, method: &str, path: &str) -> (StatusCode, Value) {
    ask_as(world, &world.account, method, path).await
}

pub(crate) async fn ask_as(world: &World, account: &AccountWithKeys, method: &str, path: &str) -> (StatusCode, Value) {
    answer(world.to(method, path).header("x-api-key", &account.primary_key)).await
}

pub(crate) async fn patch(world: &World, path: &str, body: &Value) -> (StatusCode, Value) {
    patch_as(world, &world.account, path, body).await
}

pub(crate) async fn patch_as(
    world: &World,
    account: &AccountWithKeys,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let request = world.to("PATCH", path).header("x-api-key", &account.primary_key);
    answer(request.header("content-type", "application/merge-patch+json").body(body.to_string())).await
}

/// The ids of all pages of the list, in order.
pub(crate) async fn listed(world: &World, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = ask(world, "GET", &format!("{PATH}?{query}{cursor}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { return ids };
        cursor = format!("&cursor={next}");
    }
}

/// Waits until so many events are recorded as held.
pub(crate) async fn recorded(world: &World, count: usize) {
    let filter = HeldFilter { site: site(), event_type: None, visible_to: None, from: None, until: None };
    eventually(SOON, async || {
        let found = held(world.store.connection(), &filter, 20_000, None).await.unwrap().items.len();
        if found == count { Ok(()) } else { Err(found) }
    })
    .await;
}

pub(crate) fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

/// The next message about an event that is not due yet.
pub(crate) async fn next_change(changes: &mut slipstream_bus::Consumer) -> Message {
    tokio::time::timeout(SOON, changes.next()).await.expect("the change is published")
}

pub(crate) async fn put_account(world: &World, account: &AccountWithKeys) {
    let bucket = world.bus.config_bucket().await.unwrap();
    bucket.put(&Record::Account(account.account.clone())).await.unwrap();
    let path = format!("{PATH}?limit=1");
    eventually(SOON, async || ask_as(world, account, "GET", &path).await.0 != StatusCode::UNAUTHORIZED).await;
}
