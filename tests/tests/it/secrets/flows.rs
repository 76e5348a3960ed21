//! Every flow of the system that a secret takes part in, those that fail too.

mod consenting;
mod posting;
mod refusing;
mod rotating;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::timestamp::Timestamp;
use slipstream_test_support::builders::{EventBuilder, SITE, event};
use slipstream_test_support::{Issuer, Receiver, Reply};
use slipstream_tests::{Account, Answer, LIMIT, NewAccount, OPERATOR_TOKEN, Operator};

pub(crate) use self::posting::EcgCallers;
use super::places::Secret;

const STRUCTURED: &str = "application/cloudevents+json";

/// What goes through the system.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    /// Secrets, by what they are. Those that the system makes itself are added when it shows them.
    pub(crate) secrets: Vec<Secret>,
    /// What is in events: kept in streams, and nowhere else.
    pub(crate) data: String,
    /// What is in ECG posts: kept in streams and in SQL, and nowhere else.
    pub(crate) posted: String,
    /// No secret: stands in SQL and in the bucket.
    pub(crate) landmark: String,
    /// No secret: the id of the endpoint that most of this is about.
    pub(crate) endpoint: String,
}

/// Who plays, and what was answered.
pub(crate) struct Flows {
    canaries: Canaries,
    operator: Operator,
    account: Account,
    receiver: Receiver,
    failing: Receiver,
    /// Does not agree when it is asked.
    hesitant: Receiver,
    issuer: Issuer,
    ecg: EcgCallers,
    refusals: Mutex<Vec<(String, Vec<u8>)>>,
}

/// A secret of the test's own making.
pub(crate) fn canary(what: &str) -> String {
    format!("canary-{what}-{:032x}", rand::random::<u128>())
}

impl Flows {
    /// Flows through the system of `operator`, which trusts `issuer`.
    pub(crate) async fn new(operator: &Operator, issuer: Issuer, ecg: EcgCallers) -> Self {
        let account = operator.account(NewAccount::default()).await;
        let (receiver, failing, hesitant) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
        failing.script(|_, _| Reply::status(500));
        hesitant.consent_by(|_| Reply::ok());
        let roles = json!(["Events.Publish", "Webhooks.Manage"]);
        let token = issuer.token().claim("roles", roles).claim("sites", json!([SITE])).sign();
        let (_, signature) = token.rsplit_once('.').expect("a token has three parts");
        let signature = signature.to_owned();
        let mut flows = Self {
            canaries: Canaries {
                data: canary("data"),
                posted: canary("posted"),
                landmark: canary("landmark"),
                ..Canaries::default()
            },
            operator: operator.clone(),
            account,
            receiver,
            failing,
            hesitant,
            issuer,
            ecg,
            refusals: Mutex::default(),
        };
        let key = flows.account.key.clone();
        flows.keep_key("the API key", &key);
        flows.keep("the header value", canary("header"));
        flows.keep("the token's signature", signature);
        for (name, token) in [
            ("the ECG admin's token", flows.ecg.admin.token().to_owned()),
            ("the ECG manager's token", flows.ecg.manager.token().to_owned()),
        ] {
            flows.keep(name, token);
        }
        flows.keep("the token", token);
        flows
    }

    pub(crate) const fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// What was answered to whatever was refused, with its headers.
    pub(crate) fn refusals(&self) -> Vec<(String, Vec<u8>)> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One more secret, from now on.
    fn keep(&mut self, name: &'static str, secret: impl Into<Vec<u8>>) {
        self.canaries.secrets.push((name, secret.into()));
    }

    /// One more API key. The account's id is the first part of it, and no secret.
    fn keep_key(&mut self, name: &'static str, key: &str) {
        let (_, random) = key.split_once('_').expect("a key is an id and a random part");
        self.keep(name, random);
    }

    /// One more signing key: as it is shown, and its bytes.
    fn keep_signing_key(&mut self, name: &'static str, shown: &str) {
        let encoded = shown.strip_prefix("whsec_").expect("it is shown so");
        self.keep(name, encoded);
        self.keep(name, STANDARD.decode(encoded).expect("keys are shown in Base64"));
    }

    fn secret(&self, name: &str) -> &str {
        let (_, secret) = self.canaries.secrets.iter().find(|(it, _)| *it == name).expect("it is among the canaries");
        std::str::from_utf8(secret).expect("it is a text")
    }

    /// Notes an answer that must be a refusal of this status.
    #[track_caller]
    fn refused(&self, what: &str, answer: &Answer, status: u16) {
        assert_eq!(answer.status, status, "{what}: {answer}");
        let mut bytes = format!("{:?}\n", answer.headers).into_bytes();
        bytes.extend_from_slice(&answer.body);
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push((what.to_owned(), bytes));
    }

    /// A request of the operator, without its token: on the registry's listener if `is_registry`, else on the activity
    /// log's.
    fn operator(&self, method: Method, path: &str, is_registry: bool) -> RequestBuilder {
        let bases = self.operator.bases().operator;
        let base = if is_registry { bases.registry } else { bases.activity_log };
        self.account.http().request(method, format!("http://{base}/admin/v1/{path}"))
    }

    /// What the operator asks of the registry.
    async fn ask_registry(&self, method: Method, path: &str) -> Answer {
        self.account.send(self.operator(method, path, true).bearer_auth(OPERATOR_TOKEN)).await
    }

    /// Whether the activity log, which needs the database, is ready.
    pub(crate) async fn is_recording(&self) -> bool {
        self.account.status_of(self.operator.bases().operator.activity_log, "/readyz").await == 200
    }

    /// `/metrics` of every process.
    pub(crate) async fn metrics(&self) -> String {
        let bases = self.operator.bases().operator;
        let mut all = String::new();
        for address in BTreeSet::from([bases.ingest, bases.registry, bases.activity_log, bases.dispatcher]) {
            let answer = self.account.send(self.account.http().get(format!("http://{address}/metrics"))).await;
            all.push_str(&String::from_utf8_lossy(&answer.expect(200).body));
        }
        all
    }

    /// An event with data that must not show.
    fn event(&self) -> EventBuilder {
        event().with("data", json!({ "recordId": uuid(), "note": self.canaries.data }))
    }

    fn subscription(&self, receiver: &Receiver) -> Value {
        let headers = json!([{ "Name": "X-Secret", "Value": self.secret("the header value") }]);
        json!({ "Uri": receiver.url(&format!("/{}", self.canaries.landmark)), "Headers": headers })
    }

    /// Everything while all is well.
    pub(crate) async fn play(&mut self) {
        self.subscribe().await;
        self.publish().await;
        self.use_the_token().await;
        self.refuse_publishing().await;
        self.refuse_subscribing().await;
        self.refuse_operators().await;
        self.make_accounts().await;
        self.fail_and_replay().await;
        self.rotate_api_keys().await;
        self.grant_by_callback().await;
        self.post_for_an_organization().await;
    }

    async fn subscribe(&mut self) {
        let wanted = self.subscription(&self.receiver);
        self.account.put_webhook(wanted.clone()).await.expect(200);
        self.canaries.endpoint = self.operator.endpoint_of(&self.account).await;
        let endpoint = self.canaries.endpoint.clone();
        let before = self.operator.signing_keys(&endpoint).await;
        let rotated = self.operator.rotate_secret(&endpoint, json!({})).await;
        self.account.put_webhook(wanted).await.expect(200);
        assert_eq!(rotated.len(), 2);
        assert_eq!(rotated[1].secret, before[0].secret);
        for (name, key) in ["the new signing key", "the rotated signing key"].into_iter().zip(rotated) {
            self.keep_signing_key(name, &key.secret.expect("a symmetric key is shown"));
        }
        // Of a pair, nobody is shown the half that signs.
        let pair = self.operator.rotate_secret(&endpoint, json!({ "scheme": "v1a" })).await;
        assert_eq!(pair.len(), 3);
    }

    async fn publish(&self) {
        let events = [self.event(), self.event(), self.event()];
        self.account.publish(&events[0]).await;
        self.account.try_publish_batch(&events[1..]).await.expect(204);
        let token = self.secret("the token");
        let publishing =
            |event: &EventBuilder| self.account.publishing().header("content-type", STRUCTURED).body(event.bytes());
        self.account.send(publishing(&self.event()).bearer_auth(token)).await.expect(204);
        let url = format!("http://{}/sites/{SITE}/events?access_token={token}", self.operator.bases().ingest);
        let by_query =
            |url: String| self.account.http().post(url).header("content-type", STRUCTURED).body(self.event().bytes());
        self.account.send(by_query(url.clone())).await.expect(204);
        self.refused("a changed token in the query", &self.account.send(by_query(format!("{url}x"))).await, 401);
        let changed = publishing(&self.event()).bearer_auth(format!("{token}x"));
        self.refused("a changed token", &self.account.send(changed).await, 401);
        let old = self.issuer.token().claim("exp", 1_000_000_000).sign();
        let old = publishing(&self.event()).bearer_auth(format!("{token},{old}"));
        self.refused("two tokens in one", &self.account.send(old).await, 401);
        let ahead = Timestamp::from_millis(slipstream_service::clock::now().as_millis() + 3_600_000);
        let held = self.event().with("intendeddeliverytime", ahead.to_string());
        self.account.publish(&held).await;
        self.receiver.wait_for_at(&format!("/{}", self.canaries.landmark), 5, LIMIT).await;
        let first = &self.receiver.received()[0];
        assert_eq!(first.header("x-secret"), self.secret("the header value"), "receivers get what was meant for them");
    }

    /// The token where it is good, and where it is not: every service that takes tokens looks at it by itself.
    async fn use_the_token(&self) {
        let (token, bases) = (self.secret("the token"), self.operator.bases());
        let webhook = format!("http://{}/sites/{SITE}/webhooks/features/physicalpost", bases.registry);
        let scheduled = format!("http://{}/sites/{SITE}/events/scheduled", bases.activity_log);
        let get = |url: &str| self.account.http().get(url);
        self.account.send(get(&scheduled).bearer_auth(token)).await.expect(200);
        self.refused("no webhook of its own", &self.account.send(get(&webhook).bearer_auth(token)).await, 404);
        for url in [webhook, scheduled] {
            let changed = self.account.send(get(&url).bearer_auth(format!("{token}x"))).await;
            self.refused("a changed token", &changed, 401);
            // In the query it is taken for publishing only, and a key nowhere.
            let misplaced = self.account.send(get(&format!("{url}?access_token={token}"))).await;
            self.refused("a token out of place", &misplaced, 401);
            let key = &self.account.key;
            let misplaced = self.account.send(get(&format!("{url}?X-API-KEY={key}&api_key={key}"))).await;
            self.refused("a key out of place", &misplaced, 401);
        }
    }

    async fn fail_and_replay(&mut self) {
        let other = self.operator.account(NewAccount::default()).await;
        self.keep_key("the other's key", &other.key);
        other.put_webhook(self.subscription(&self.failing)).await.expect(200);
        let subscription = self.operator.endpoint_of(&other).await;
        for secret in self.operator.secrets_of(&other).await {
            self.keep_signing_key("the other's signing key", &secret);
        }
        let event = self.event();
        self.account.publish(&event).await;
        let exhausted = self.operator.recorded(1, |it| it.state == DeliveryState::Exhausted).await;
        let failed = exhausted.iter().find(|it| it.state == DeliveryState::Exhausted).expect("it was waited for");
        self.operator.replay_delivery(&failed.id).await.expect(202);
        self.operator.why(&self.account, &event, &subscription).await;
        let wanted = json!({ "state": ["exhausted"], "site": other.site });
        self.operator.replay_many(wanted).await.expect(202);
        let delivery = format!("deliveries/{}", failed.id);
        for path in ["deliveries", &delivery, "dead-letters", "replays", "audit", "audit?verify=true"] {
            let request = self.operator(Method::GET, path, false).bearer_auth(OPERATOR_TOKEN);
            self.account.send(request).await.expect(200);
        }
        other.unsubscribe().await.expect(204);
    }

    /// What needs the database, while there is none.
    pub(crate) async fn play_without_a_database(&self) {
        let answer = self.account.put_webhook(self.subscription(&self.receiver)).await;
        self.refused("a subscription without a database", &answer, 503);
        let answer = self.account.get_webhook().await;
        self.refused("a look without a database", &answer, 503);
        let path = format!("accounts/{}/keys/primary", self.account.id);
        self.refused("a key without a database", &self.ask_registry(Method::PUT, &path).await, 503);
        self.account.publish(&self.event()).await;
    }

    /// Once more, after everything was started anew.
    pub(crate) async fn play_what_is_left(&self) {
        self.account.publish(&self.event()).await;
        let endpoint = &self.canaries.endpoint;
        let keys = self.operator.signing_keys(endpoint).await;
        let shown: Vec<_> = keys.iter().filter_map(|key| key.secret.as_deref()?.strip_prefix("whsec_")).collect();
        assert!(shown.contains(&self.secret("the new signing key")), "what was sealed still opens");
        let old = keys.iter().find(|key| key.until.is_some()).expect("one is in its grace period");
        self.operator.revoke_secret(endpoint, &old.key_id).await.expect(204);
        self.account.put_webhook(self.subscription(&self.receiver)).await.expect(200);
        self.account.get_webhook().await.expect(200);
        self.operator.ended(7).await;
    }
}

fn uuid() -> String {
    format!("{:08x}-0000-4000-8000-{:012x}", rand::random::<u32>(), rand::random::<u32>())
}
