//! A bus, a database, the service, somebody who makes tokens, and an organization with a subscription to one event.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use slipstream_activity_log::Config;
use slipstream_bus::{
    Bus, BusConfig, ConfigBucket, Consumer, ConsumerName, Message, Outgoing, Publisher, StreamName, subject,
};
use slipstream_core::config::{EcgSecret, EcgSubscription, Record, Surface};
use slipstream_core::contract::{Attempt, Meta, Outcome, Outcomes};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, EcgSecretId, EventKey, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::lifecycle::Listeners;
use slipstream_service::{Context, clock};
use slipstream_store::{DatabaseConfig, Store};
use slipstream_test_support::builders::ecg;
pub(crate) use slipstream_test_support::builders::ecg::{CODE, MADE_AT, SECRET, category, event};
use slipstream_test_support::issuer::AUDIENCE;
use slipstream_test_support::secrets::{ecg_records, master_key_file};
use slipstream_test_support::{Issuer, NatsServer, eventually, install_crypto};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::world::{SOON, TOKEN};

/// Runs each statement in an office of its own, once per backend.
macro_rules! in_offices_on_both_backends {
    ($($statement:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $statement() {
                let (_directory, url) = slipstream_test_support::sqlite::database();
                super::$statement(crate::posting::office::Office::open(url).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $statement() {
                let url = slipstream_test_support::postgres::database().await;
                super::$statement(crate::posting::office::Office::open(url).await).await;
            })*
        }
    };
}
pub(crate) use in_offices_on_both_backends;

/// Runs each statement in an office of its own, on SQLite: what is the same on both.
macro_rules! in_offices {
    ($($statement:ident),* $(,)?) => {
        mod alone {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $statement() {
                let (_directory, url) = slipstream_test_support::sqlite::database();
                super::$statement(crate::posting::office::Office::open(url).await).await;
            })*
        }
    };
}
pub(crate) use in_offices;

pub(crate) const ORGANIZATION: Uuid = Uuid::from_u128(0xa1);
pub(crate) const OTHER_ORGANIZATION: Uuid = Uuid::from_u128(0xa2);
pub(crate) const CALLER: &str = "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11";
pub(crate) const SUBSCRIPTION: SubscriptionId = SubscriptionId(Uuid::from_u128(0x51));
/// When posts are made again: not as by default.
pub(crate) const SCHEDULE_MS: [u64; 3] = [0, 7000, 90_000];
/// How long nothing must happen to be believed.
const QUIET: Duration = Duration::from_millis(700);
pub(crate) fn secret(text: &str, from: Timestamp, to: Option<Timestamp>) -> EcgSecret {
    EcgSecret { id: EcgSecretId(clock::new_uuid()), secret: text.into(), valid_from: from, valid_to: to }
}

/// The subscription to [`event`].
pub(crate) fn subscription() -> EcgSubscription {
    let subscription = ecg::subscription(ORGANIZATION, "https://receiver.example/ecg");
    EcgSubscription { id: SUBSCRIPTION, is_development: false, ..subscription }
}

/// `…/webhook-subscriptions/{SUBSCRIPTION}` and what follows.
pub(crate) fn sub(rest: &str) -> String {
    format!("/api/organizations/{ORGANIZATION}/webhook-subscriptions/{SUBSCRIPTION}{rest}")
}

/// `…/subscriptions/{SUBSCRIPTION}` and what follows.
pub(crate) fn hsh(rest: &str) -> String {
    format!("/api/organizations/{ORGANIZATION}/subscriptions/{SUBSCRIPTION}{rest}")
}

/// A post of [`event`].
pub(crate) fn activity_in() -> Value {
    json!({ "type": 1, "payload": { "vitals": 100 }, "rawMessage": { "from": "device" }, "eventId": event().id })
}

/// The office.
pub(crate) struct Office {
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    _nats: NatsServer,
    bucket: ConfigBucket,
    outcomes: Publisher,
    pub(crate) work: Publisher,
    due: Consumer,
    issuer: Issuer,
    token: String,
    client: reqwest::Client,
    base: String,
    operator_base: String,
    ctx: Context,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Office {
    /// With [`category`], [`event`] and [`subscription`] configured, and a token of a manager of [`ORGANIZATION`].
    pub(crate) async fn open(database: String) -> Self {
        install_crypto();
        let (nats, issuer) = (NatsServer::start().await, Issuer::start().await);
        let config = json!({
            "http": { "listen": "127.0.0.1:0", "operator_listen": "127.0.0.1:0", "drain_min": "0s", "drain_max": "10s" },
            "bus": { "url": nats.url() },
            "database": { "url": database, "max_connections": 4 },
            "secrets": { "master_key_file": master_key_file() },
            "operator": { "token": TOKEN },
            "delivery": { "retry_schedule_ms": SCHEDULE_MS },
            "auth": { "ecg": [{ "name": "ecg", "issuer": issuer.url(), "audiences": [AUDIENCE] }] },
        });
        let config: Config = serde_json::from_value(config).unwrap();
        let bus = Bus::connect(&BusConfig { url: nats.url().into(), ..BusConfig::default() }).await.unwrap();
        let bucket = bus.config_bucket().await.unwrap();
        let (ctx, http) = (Context::new(), config.http.clone());
        let routers = Box::pin(slipstream_activity_log::start(config, &ctx)).await.unwrap();
        let listeners = Listeners::bind(&http).await.unwrap();
        let base = format!("http://{}", listeners.public_address().unwrap());
        let operator_base = format!("http://{}", listeners.operator_address());
        let serving = tokio::spawn({
            let ctx = ctx.clone();
            async move { ctx.serve(listeners, routers, &http).await }
        });
        let store = Store::connect(&DatabaseConfig { url: database.into(), max_connections: 2 }).await.unwrap();
        let due = bus.consume(ConsumerName::Deliver(Lane::Normal)).await.unwrap();
        let (outcomes, work) = (bus.publisher(StreamName::Outcomes), bus.publisher(StreamName::Work));
        let token = issuer.token().claim("sub", CALLER).claim("roles", json!(["webhookManager"]));
        let token = token.claim("organizationIds", json!([ORGANIZATION])).sign();
        let client = reqwest::Client::new();
        let office = Self {
            store,
            bus,
            _nats: nats,
            bucket,
            outcomes,
            work,
            due,
            issuer,
            token,
            client,
            base,
            operator_base,
            ctx,
            serving,
        };
        office.put(&Record::EcgCategory(category())).await;
        office.put(&Record::EcgEvent(event())).await;
        office.subscribe(&subscription()).await;
        office.wait_for_tokens().await;
        office
    }

    /// The issuer's keys are fetched in the background.
    async fn wait_for_tokens(&self) {
        eventually(SOON, async || {
            let (status, body) = self.get(&sub("/activity")).await;
            if status == StatusCode::OK { Ok(()) } else { Err(format!("{status} {body}")) }
        })
        .await;
    }

    pub(crate) async fn put(&self, record: &Record) {
        self.bucket.put(record).await.unwrap();
    }

    /// Writes a subscription, sealed, and the key that it is sealed under.
    pub(crate) async fn subscribe(&self, subscription: &EcgSubscription) {
        for record in &ecg_records(subscription) {
            self.put(record).await;
        }
    }

    /// Changes [`subscription`]; does not wait until the service has heard of it.
    pub(crate) async fn change(&self, revision: i64, change: impl FnOnce(&mut EcgSubscription)) {
        let mut subscription = EcgSubscription { revision, ..subscription() };
        change(&mut subscription);
        self.subscribe(&subscription).await;
    }

    /// A token with other claims.
    pub(crate) fn token_of(&self, role: &str, organization: Uuid) -> String {
        let token = self.issuer.token().claim("sub", CALLER).claim("roles", json!([role]));
        token.claim("organizationIds", json!([organization])).sign()
    }

    /// A request to a path, without a credential.
    pub(crate) fn to(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.to(Method::GET, path).bearer_auth(&self.token).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        read(self.to(Method::POST, path).bearer_auth(&self.token).json(body).send().await.unwrap()).await
    }

    /// The same with an `Idempotency-Key`.
    pub(crate) async fn post_with_key(&self, path: &str, body: &Value, key: &str) -> Response {
        let request = self.to(Method::POST, path).bearer_auth(&self.token).json(body);
        request.header("idempotency-key", format!("\"{key}\"")).send().await.unwrap()
    }

    /// Posts, and it is done.
    #[track_caller]
    pub(crate) fn made(answer: (StatusCode, Value)) -> Value {
        assert_eq!(answer.0, StatusCode::CREATED, "{}", answer.1);
        answer.1
    }

    /// Asks, and is shown.
    #[track_caller]
    pub(crate) fn shown(answer: (StatusCode, Value)) -> Value {
        assert_eq!(answer.0, StatusCode::OK, "{}", answer.1);
        answer.1
    }

    /// Is refused with this status, in the shape of this surface, and these words.
    #[track_caller]
    pub(crate) fn refused(answer: &(StatusCode, Value), status: u16, words: &str) {
        let (answered, body) = answer;
        assert_eq!((answered.as_u16(), &body["statusCode"]), (status, &json!(status)), "{body}");
        assert!(body["message"].to_string().contains(words), "{words}: {body}");
        assert!(body["traceId"].as_str().is_some_and(|id| id.starts_with("00-")), "{body}");
        assert_eq!(body["error"], answered.canonical_reason().unwrap());
    }

    /// Asks until the answer is 200 and `wanted` holds of it.
    pub(crate) async fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(SOON, async || {
            let (status, body) = self.get(path).await;
            if status == StatusCode::OK && wanted(&body) { Ok(body) } else { Err(format!("{status} {body}")) }
        })
        .await
    }

    /// What operators are told.
    pub(crate) async fn as_operator(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let request = self.client.request(method, format!("{}/admin/v1{path}", self.operator_base)).bearer_auth(TOKEN);
        read(request.send().await.unwrap()).await
    }

    /// A history of an activity.
    pub(crate) async fn history(&self, id: &Value, mode: &str) -> Value {
        Self::shown(self.get(&sub(&format!("/activity/{}?mode={mode}", id.as_str().unwrap()))).await)
    }

    /// The next post that is due, acknowledged.
    pub(crate) async fn due(&mut self) -> Message {
        let message = timeout(SOON, self.due.next()).await.expect("nothing came due");
        message.ack().await;
        message
    }

    /// That nothing else comes due for a while.
    pub(crate) async fn nothing_is_due(&mut self) {
        self.nothing_is_due_for(QUIET).await;
    }

    /// The same, for so long.
    pub(crate) async fn nothing_is_due_for(&mut self, quiet: Duration) {
        if let Ok(message) = timeout(quiet, self.due.next()).await {
            panic!("something came due: {} {:?}", message.subject, message.meta);
        }
    }

    /// Tells what came of an attempt of a delivery that was due, as the dispatcher does.
    pub(crate) async fn attempted(&self, of: &Message, number: u32, status: u16, next_attempt_at: Option<Timestamp>) {
        let (_, subscription, key) = subject::parse_delivery(&of.subject).unwrap();
        let meta = of.meta.clone().unwrap();
        let now = clock::now();
        let state = match (status, next_attempt_at) {
            (200..300, _) => DeliveryState::Succeeded,
            (_, Some(_)) => DeliveryState::RetryWait,
            (_, None) => DeliveryState::Exhausted,
        };
        let outcome = Outcome {
            delivery: delivery(subscription, &key, &meta),
            site: meta.site,
            key,
            lane: Lane::Normal,
            accepted_at: meta.accepted_at,
            state,
            reason: None,
            at: now,
            attempt: Some(Attempt {
                number,
                started_at: now,
                duration_us: 1900,
                status: Some(status),
                error: None,
                response: Some("b2s=".into()),
                hash: Some(format!("{number:064}")),
            }),
            next_attempt_at,
            replay: meta.replay,
        };
        let outcomes = Outcomes { subscription, surface: Surface::Ecg, outcomes: vec![outcome] };
        let payload = serde_json::to_vec(&outcomes).unwrap().into();
        self.outcomes.publish(Outgoing::new(subject::outcomes(Surface::Ecg, subscription), payload)).await.unwrap();
    }

    /// Has a delivery wait for attempt `number`, as the dispatcher does.
    pub(crate) async fn waits(&self, of: &Message, number: u32, until: Timestamp) {
        let (_, subscription, key) = subject::parse_delivery(&of.subject).unwrap();
        let meta = Meta { attempt: number, ..of.meta.clone().unwrap() };
        let subject = subject::waiting(subscription, &key, delivery(subscription, &key, &meta));
        let message = Outgoing::new(subject, of.payload.clone()).meta(&meta).at(until, &of.subject, clock::now());
        self.work.publish(message).await.unwrap();
    }

    /// How many deliveries of [`SUBSCRIPTION`] wait.
    pub(crate) async fn waiting(&self) -> u64 {
        self.bus.count_schedules(&subject::waiting_of(SUBSCRIPTION)).await.unwrap()
    }

    pub(crate) async fn close(self) {
        self.ctx.stop.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

fn delivery(subscription: SubscriptionId, key: &EventKey, meta: &Meta) -> DeliveryId {
    match meta.replay {
        None => DeliveryId::derive(meta.accepted_at, subscription, key),
        Some(replay) => DeliveryId::derive_replay(meta.accepted_at, subscription, key, replay),
    }
}

/// The organization, as the engine names it.
pub(crate) fn tenant() -> Slug {
    Slug::of_organization(ORGANIZATION)
}

/// What a request is answered: the status, and the body if it is JSON.
pub(crate) async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
