//! A bus that keeps events, a database, the service, and an operator who acts.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use slipstream_activity_log::{Config, RetentionConfig};
use slipstream_bus::{Bus, BusConfig, Consumer, ConsumerName, Message, Outgoing, Publisher, StreamName, subject};
use slipstream_core::config::{Subscription, Surface};
use slipstream_core::contract::{Meta, Outcome, Outcomes, Routed, RoutedEvent};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_service::Context;
use slipstream_service::lifecycle::Listeners;
use slipstream_test_support::{NatsServer, builders, eventually, install_crypto};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::world::{SOON, SOURCE, TOKEN, outcome, routed_event, site, subscription};

/// Runs each statement on a stage of its own, once per backend.
macro_rules! staged_on_both_backends {
    ($($statement:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $statement() {
                let (_directory, url) = slipstream_test_support::sqlite::database();
                super::$statement(crate::stage::Stage::start(url).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $statement() {
                let url = slipstream_test_support::postgres::database().await;
                super::$statement(crate::stage::Stage::start(url).await).await;
            })*
        }
    };
}
pub(crate) use staged_on_both_backends;

/// How long nothing must happen to be believed.
const QUIET: Duration = Duration::from_millis(700);

/// One running instance of the service.
pub(crate) struct Instance {
    pub(crate) ctx: Context,
    base: String,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Instance {
    pub(crate) async fn start(nats: &str, database: &str) -> Self {
        install_crypto();
        let config = json!({
            "http": { "listen": "127.0.0.1:0", "operator_listen": "127.0.0.1:0", "drain_min": "0s", "drain_max": "10s" },
            "bus": { "url": nats },
            "database": { "url": database, "max_connections": 4 },
            "secrets": { "master_key_file": slipstream_test_support::secrets::master_key_file() },
            "operator": { "token": TOKEN },
        });
        let mut config: Config = serde_json::from_value(config).unwrap();
        // The tests' events are of a day long ago.
        let century = Duration::from_hours(100 * 365 * 24);
        config.retention = RetentionConfig { records: century, responses: century, ..RetentionConfig::default() };
        let (ctx, http) = (Context::new(), config.http.clone());
        let routers = Box::pin(slipstream_activity_log::start(config, &ctx)).await.unwrap();
        let listeners = Listeners::bind(&http).await.unwrap();
        let base = format!("http://{}", listeners.operator_address());
        let serving = tokio::spawn({
            let ctx = ctx.clone();
            async move { ctx.serve(listeners, routers, &http).await }
        });
        Self { ctx, base, serving }
    }

    /// Stops it as a signal does, and waits for its end.
    pub(crate) async fn stop(self) {
        self.ctx.stop.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

/// The stage.
pub(crate) struct Stage {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) work: Publisher,
    pub(crate) instance: Instance,
    pub(crate) database: String,
    events: Publisher,
    outcomes: Publisher,
    due: Consumer,
    client: reqwest::Client,
}

impl Stage {
    pub(crate) async fn start(database: String) -> Self {
        let nats = NatsServer::start().await;
        let instance = Instance::start(&nats.url(), &database).await;
        Self::around(nats, instance, database).await
    }

    /// Around an instance that is there already.
    pub(crate) async fn around(nats: NatsServer, instance: Instance, database: String) -> Self {
        let bus = Bus::connect(&BusConfig { url: nats.url().into(), ..BusConfig::default() }).await.unwrap();
        let publisher = |stream| bus.publisher(stream);
        let (events, work) = (publisher(StreamName::Events), publisher(StreamName::Work));
        let outcomes = publisher(StreamName::Outcomes);
        let due = bus.consume(ConsumerName::Deliver(Lane::Normal)).await.unwrap();
        Self { nats, bus, work, instance, database, events, outcomes, due, client: reqwest::Client::new() }
    }

    /// Configures a subscription of [`site`] to all letters, and waits until the service knows it.
    pub(crate) async fn subscribe(&self, id: SubscriptionId, change: impl FnOnce(&mut Subscription)) {
        let account = AccountId(Uuid::from_u128(1));
        let mut subscription = builders::subscription(site().as_str(), account, "https://receiver.example/post");
        subscription.id = id;
        change(&mut subscription);
        let revision = subscription.revision;
        let bucket = self.bus.config_bucket().await.unwrap();
        bucket.put(&slipstream_test_support::secrets::records(&subscription)[1]).await.unwrap();
        // The service has a watch of its own; what it answers shows what it has seen.
        let path = format!("/explain?site={}&source=none&id=none&subscription={id}", site());
        eventually(SOON, async || (revision > 1 || self.get(&path).await.0 == StatusCode::OK).then_some(())).await;
    }

    /// Accepts the event of [`routed_event`], so that the bus keeps it; where it lies is in the record, which `change`
    /// may change first.
    pub(crate) async fn accept(&self, id: &str, accepted: i64, change: impl FnOnce(&mut RoutedEvent)) -> RoutedEvent {
        let mut event = routed_event(id, accepted);
        change(&mut event);
        let meta = Meta { expires_at: event.expires_at, ..Meta::new(site(), event.accepted_at) };
        let subject = subject::event(event.visibility, event.lane, &site(), &event.event_type);
        let message = Outgoing::new(subject, body(&event).into()).id(event.key.as_str()).meta(&meta);
        event.sequence = Some(self.events.publish(message).await.unwrap().sequence);
        event
    }

    /// Has events recorded.
    pub(crate) async fn routed(&self, events: Vec<RoutedEvent>) {
        let last = events.last().unwrap().clone();
        let payload = serde_json::to_vec(&Routed { site: site(), events }).unwrap().into();
        self.outcomes.publish(Outgoing::new(subject::routed(&site()), payload)).await.unwrap();
        let path = format!("/explain?site={}&source={SOURCE}&id={}&subscription={}", site(), last.id, subscription(1));
        self.get_until(&path, |told| told["checks"][0]["outcome"] == "passed").await;
    }

    /// Has what became of deliveries recorded.
    pub(crate) async fn outcomes(&self, outcomes: Vec<Outcome>) {
        self.outcomes_of(subscription(1), outcomes).await;
    }

    pub(crate) async fn outcomes_of(&self, subscription: SubscriptionId, outcomes: Vec<Outcome>) {
        self.outcomes_on(Surface::Slipstream, subscription, outcomes).await;
    }

    /// The same of a subscription of another surface.
    pub(crate) async fn outcomes_on(&self, surface: Surface, subscription: SubscriptionId, outcomes: Vec<Outcome>) {
        let last = outcomes.last().unwrap().clone();
        let payload = serde_json::to_vec(&Outcomes { subscription, surface, outcomes }).unwrap().into();
        self.outcomes.publish(Outgoing::new(subject::outcomes(surface, subscription), payload)).await.unwrap();
        self.get_until(&format!("/deliveries/{}", last.delivery), |it| it["state"] == last.state.as_str()).await;
    }

    /// Says what became of a delivery, and does not wait until it is recorded.
    pub(crate) async fn decided(&self, outcome: Outcome) {
        let (subscription, surface) = (subscription(1), Surface::Slipstream);
        let payload = serde_json::to_vec(&Outcomes { subscription, surface, outcomes: vec![outcome] }).unwrap().into();
        self.outcomes.publish(Outgoing::new(subject::outcomes(surface, subscription), payload)).await.unwrap();
    }

    /// Accepts, routes and ends `count` deliveries, one per millisecond from `first` on, named by their number.
    pub(crate) async fn ended(&self, first: i64, count: i64, state: DeliveryState) -> Vec<RoutedEvent> {
        let mut events = Vec::new();
        for number in first..first + count {
            events.push(self.accept(&number.to_string(), number, |_| {}).await);
        }
        self.routed(events.clone()).await;
        let end = |event: &RoutedEvent| outcome(&event.id, event.id.parse().unwrap(), state, 1, 500);
        self.outcomes(events.iter().map(end).collect()).await;
        events
    }

    /// The next `count` deliveries that came due, acknowledged.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Message> {
        let mut taken = Vec::with_capacity(count);
        for _ in 0..count {
            let message = timeout(SOON, self.due.next()).await;
            let message = message.unwrap_or_else(|_| panic!("only {} of {count} came due", taken.len()));
            message.ack().await;
            taken.push(message);
        }
        taken
    }

    /// What else comes due, until nothing does for a while.
    pub(crate) async fn take_rest(&mut self) -> Vec<Message> {
        let mut taken = Vec::new();
        while let Ok(message) = timeout(QUIET, self.due.next()).await {
            message.ack().await;
            taken.push(message);
        }
        taken
    }

    /// Asks or acts as the operator; `path` is taken as it stands, after `/admin/v1`.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.send_as(method, path, body, Some(TOKEN)).await
    }

    pub(crate) async fn send_as(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        token: Option<&str>,
    ) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}/admin/v1{path}", self.instance.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// A request of the operator, ready to be given a body.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}/admin/v1{path}", self.instance.base)).bearer_auth(TOKEN)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.send(Method::POST, path, body).await
    }

    /// Acts, and is refused with this status and words.
    #[track_caller]
    pub(crate) fn refused(answer: &(StatusCode, Value), status: u16, words: &str) {
        let detail = answer.1["detail"].as_str().unwrap_or_default();
        assert_eq!(answer.0, status, "{}", answer.1);
        assert!(detail.contains(words), "{detail}");
    }

    /// Asks until the answer is 200 and `wanted` holds of it.
    pub(crate) async fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(SOON, async || {
            let (status, body) = self.get(path).await;
            if status == StatusCode::OK && wanted(&body) { Ok(body) } else { Err(format!("{status} {body}")) }
        })
        .await
    }

    pub(crate) async fn stop(self) {
        self.instance.stop().await;
    }
}

/// What the bus keeps of an event: some bytes that must not change on their way.
pub(crate) fn body(event: &RoutedEvent) -> Vec<u8> {
    let RoutedEvent { id, event_type, .. } = event;
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"{SOURCE}","type":"{event_type}","data":{{"n":1.50}} }}"#)
        .into()
}
