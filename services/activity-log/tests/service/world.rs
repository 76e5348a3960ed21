//! A bus, a database, the service, and somebody who asks.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use slipstream_activity_log::{Config, DeliveryConfig, HealthConfig, RetentionConfig};
use slipstream_bus::{Bus, BusConfig, Outgoing, Publisher, StreamName, subject};
use slipstream_core::config::{Record, Surface};
use slipstream_core::contract::{Attempt, Matched, Outcome, Outcomes, Routed, RoutedEvent, Skipped};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::matching::SkipReason;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::Context;
use slipstream_service::auth::AuthConfig;
use slipstream_service::config::{HttpConfig, OperatorConfig, Secret, SecretsConfig, TelemetryConfig};
use slipstream_service::lifecycle::Listeners;
use slipstream_store::{DatabaseConfig, Store};
use slipstream_test_support::builders::{self, AccountWithKeys};
use slipstream_test_support::secrets::master_key_file;
use slipstream_test_support::{NatsServer, eventually, install_crypto};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) const TOKEN: &str = "operator-token-for-tests";
pub(crate) const SOURCE: &str = "https://post.example/letters";
pub(crate) const NOW: i64 = 1_772_443_800_000;
/// How long anything may take to show; far more than it does.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn at(offset: i64) -> Timestamp {
    Timestamp::from_millis(NOW + offset)
}

pub(crate) fn site() -> Slug {
    "s8n6EzC".parse().unwrap()
}

pub(crate) fn subscription(number: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(number))
}

/// An event that one subscription receives, another does not.
pub(crate) fn routed_event(id: &str, accepted: i64) -> RoutedEvent {
    let key = EventKey::new(&site(), SOURCE, id);
    let delivery = delivery_id(id, accepted);
    RoutedEvent {
        key,
        source: SOURCE.into(),
        id: id.into(),
        event_type: "communications.letter.created".into(),
        subject: None,
        visibility: Visibility::Public,
        lane: Lane::Normal,
        accepted_at: at(accepted),
        intended_at: None,
        expires_at: None,
        published_by: None,
        routed_at: Some(at(accepted + 1)),
        changed_at: None,
        cancelled_at: None,
        sequence: None,
        content_hash: None,
        matched: vec![Matched { delivery, subscription: subscription(1), surface: Surface::Slipstream }],
        skipped: vec![Skipped { subscription: subscription(9), reason: SkipReason::TypeNotSubscribed }],
    }
}

/// The delivery of [`routed_event`].
pub(crate) fn delivery_id(id: &str, accepted: i64) -> DeliveryId {
    DeliveryId::derive(at(accepted), subscription(1), &EventKey::new(&site(), SOURCE, id))
}

/// What became of an attempt of [`routed_event`]'s delivery, 10 ms after acceptance times its number.
pub(crate) fn outcome(id: &str, accepted: i64, state: DeliveryState, number: u32, status: u16) -> Outcome {
    let ended = accepted + 10 * i64::from(number);
    Outcome {
        delivery: delivery_id(id, accepted),
        site: site(),
        key: EventKey::new(&site(), SOURCE, id),
        lane: Lane::Normal,
        accepted_at: at(accepted),
        state,
        reason: None,
        at: at(ended),
        attempt: Some(Attempt {
            number,
            started_at: at(ended - 2),
            duration_us: 1900,
            status: Some(status),
            error: None,
            response: Some("b2s=".into()),
            hash: None,
        }),
        next_attempt_at: (state == DeliveryState::RetryWait).then(|| at(ended + 5000)),
        replay: None,
    }
}

/// The running service.
pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) store: Store,
    pub(crate) ctx: Context,
    pub(crate) bus: Bus,
    /// One of our own services, that may do everything on all sites. There is a site, [`site`].
    pub(crate) account: AccountWithKeys,
    publisher: Publisher,
    client: reqwest::Client,
    database: String,
    public_base: String,
    operator_base: String,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl World {
    /// With the database at `url`.
    pub(crate) async fn start(url: String) -> Self {
        Self::start_on(NatsServer::start().await, url.clone(), url).await
    }

    /// With a bus of one's own; the service sees the database at `url`, the test at `own_url`.
    pub(crate) async fn start_on(nats: NatsServer, url: String, own_url: String) -> Self {
        // The tests' events are of a day long ago.
        let century = Duration::from_hours(100 * 365 * 24);
        let retention = RetentionConfig { records: century, responses: century, ..RetentionConfig::default() };
        Self::start_with(nats, url, own_url, retention).await
    }

    /// With a retention of one's own.
    pub(crate) async fn start_with(nats: NatsServer, url: String, own_url: String, retention: RetentionConfig) -> Self {
        Self::start_configured(nats, url, own_url, |config| config.retention = retention).await
    }

    /// With settings of one's own.
    pub(crate) async fn start_configured(
        nats: NatsServer,
        url: String,
        own_url: String,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        install_crypto();
        let bus = BusConfig { url: nats.url().into(), ..BusConfig::default() };
        let http = HttpConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            operator_listen: ([127, 0, 0, 1], 0).into(),
            drain_min: Duration::ZERO,
            drain_max: Duration::from_secs(10),
            ..HttpConfig::default()
        };
        let mut config = Config {
            http: http.clone(),
            bus: bus.clone(),
            database: DatabaseConfig { url: url.as_str().into(), max_connections: 4 },
            secrets: SecretsConfig { master_key_file: Some(master_key_file()), ..SecretsConfig::default() },
            operator: OperatorConfig { token: Secret::new(TOKEN) },
            auth: AuthConfig::default(),
            retention: RetentionConfig::default(),
            health: HealthConfig::default(),
            delivery: DeliveryConfig::default(),
            telemetry: TelemetryConfig::default(),
        };
        change(&mut config);
        let our_bus = Bus::connect(&bus).await.unwrap();
        let account = builders::account();
        let bucket = our_bus.config_bucket().await.unwrap();
        for record in [Record::Site(builders::site(builders::SITE)), Record::Account(account.account.clone())] {
            bucket.put(&record).await.unwrap();
        }
        let ctx = Context::new();
        let routers = Box::pin(slipstream_activity_log::start(config, &ctx)).await.unwrap();
        let listeners = Listeners::bind(&http).await.unwrap();
        let public_base = format!("http://{}", listeners.public_address().unwrap());
        let operator_base = format!("http://{}", listeners.operator_address());
        let serving = tokio::spawn({
            let ctx = ctx.clone();
            async move { ctx.serve(listeners, routers, &http).await }
        });
        let store = Store::connect(&DatabaseConfig { url: own_url.into(), max_connections: 2 }).await.unwrap();
        let publisher = our_bus.publisher(StreamName::Outcomes);
        let client = reqwest::Client::new();
        Self {
            nats,
            store,
            ctx,
            bus: our_bus,
            account,
            publisher,
            client,
            database: url,
            public_base,
            operator_base,
            serving,
        }
    }

    /// Stops the service, as a signal does, and waits for its end.
    pub(crate) async fn stop(self) -> (NatsServer, String) {
        self.ctx.stop.cancel();
        self.serving.await.unwrap().unwrap();
        (self.nats, self.database)
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.database.starts_with("postgres")
    }

    pub(crate) async fn publish(&self, outgoing: Outgoing) {
        self.publisher.publish(outgoing).await.unwrap();
    }

    pub(crate) async fn publish_routed(&self, events: Vec<RoutedEvent>) {
        let routed = Routed { site: site(), events };
        let payload = serde_json::to_vec(&routed).unwrap().into();
        self.publish(Outgoing::new(subject::routed(&site()), payload)).await;
    }

    pub(crate) async fn publish_outcomes(&self, outcomes: Vec<Outcome>) {
        self.publish_outcomes_to(subscription(1), outcomes).await;
    }

    pub(crate) async fn publish_outcomes_to(&self, subscription: SubscriptionId, outcomes: Vec<Outcome>) {
        let surface = Surface::Slipstream;
        let payload = serde_json::to_vec(&Outcomes { subscription, surface, outcomes }).unwrap().into();
        self.publish(Outgoing::new(subject::outcomes(surface, subscription), payload)).await;
    }

    /// Asks as the operator; `path` is taken as it stands, after `/admin/v1`.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.request(path, Some(TOKEN)).await
    }

    pub(crate) async fn request(&self, path: &str, token: Option<&str>) -> (StatusCode, Value) {
        let mut request = self.client.get(format!("{}/admin/v1{path}", self.operator_base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        answer(request).await
    }

    /// A request to any path, ready to be given a credential and a body.
    pub(crate) fn to(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let base = if path.starts_with("/admin/") { &self.operator_base } else { &self.public_base };
        self.client.request(method.parse().unwrap(), format!("{base}{path}"))
    }

    /// Asks until the answer is 200 and `wanted` holds of it.
    pub(crate) async fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(SOON, async || {
            let (status, body) = self.get(path).await;
            if status == StatusCode::OK && wanted(&body) { Ok(body) } else { Err(format!("{status} {body}")) }
        })
        .await
    }

    /// All ids of a list, page by page.
    pub(crate) async fn pages(&self, path: &str) -> Vec<String> {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let (status, page) = self.get(&format!("{path}{cursor}")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { return ids };
            cursor = format!("&cursor={next}");
        }
    }
}

/// What a request is answered: the status, and the body if it is JSON.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
