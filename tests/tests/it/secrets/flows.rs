//! Every flow of the system that a secret takes part in, those that fail too.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::timestamp::Timestamp;
use slipstream_test_support::builders::{EventBuilder, SITE, event};
use slipstream_test_support::{Issuer, Receiver, Reply};
use slipstream_tests::{Account, Answer, LIMIT, OPERATOR_TOKEN, Service, System};

const STRUCTURED: &str = "application/cloudevents+json";

/// What goes through the system.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    /// Secrets, by what they are.
    pub(crate) secrets: Vec<(&'static str, String)>,
    /// Keys as bytes, of which the Base64 is shown.
    pub(crate) keys: Vec<(&'static str, Vec<u8>)>,
    /// What is in events: kept in streams, and nowhere else.
    pub(crate) data: String,
    /// No secret: stands in SQL and in the bucket.
    pub(crate) landmark: String,
    /// No secret: the id of the endpoint that most of this is about.
    pub(crate) endpoint: String,
}

/// Who plays, and what was answered.
pub(crate) struct Flows {
    canaries: Canaries,
    account: Account,
    receiver: Receiver,
    failing: Receiver,
    issuer: Issuer,
    refusals: Mutex<Vec<(String, Vec<u8>)>>,
}

fn canary(what: &str) -> String {
    format!("canary-{what}-{:032x}", rand::random::<u128>())
}

impl Flows {
    pub(crate) async fn new(system: &System, issuer: Issuer) -> Self {
        let account = system.external().await;
        let (receiver, failing) = (Receiver::start().await, Receiver::start().await);
        failing.script(|_, _| Reply::status(500));
        let mut canaries = Canaries { data: canary("data"), landmark: canary("landmark"), ..Canaries::default() };
        // The account's id is the first part of the key, and no secret.
        let (_, random) = account.key.split_once('_').expect("a key is an id and a random part");
        canaries.secrets.push(("the API key", random.to_owned()));
        canaries.secrets.push(("the header value", canary("header")));
        let roles = json!(["Events.Publish", "Webhooks.Manage"]);
        let token = issuer.token().claim("roles", roles).claim("sites", json!([SITE])).sign();
        let (_, signature) = token.rsplit_once('.').expect("a token has three parts");
        canaries.secrets.push(("the token's signature", signature.to_owned()));
        canaries.secrets.push(("the token", token));
        Self { canaries, account, receiver, failing, issuer, refusals: Mutex::default() }
    }

    pub(crate) const fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// What was answered to whatever was refused, with its headers.
    pub(crate) fn refusals(&self) -> Vec<(String, Vec<u8>)> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn secret(&self, name: &str) -> &str {
        let (_, secret) = self.canaries.secrets.iter().find(|(it, _)| *it == name).expect("it is among the canaries");
        secret
    }

    /// Notes an answer that must be a refusal of this status.
    #[track_caller]
    fn refused(&self, what: &str, answer: &Answer, status: u16) {
        assert_eq!(answer.status, status, "{what}: {answer}");
        let mut bytes = format!("{:?}\n", answer.headers).into_bytes();
        bytes.extend_from_slice(&answer.body);
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push((what.to_owned(), bytes));
    }

    /// A request of the operator: on the registry's listener if `is_registry`, else on the activity log's.
    fn operator(&self, system: &System, method: Method, path: &str, is_registry: bool) -> RequestBuilder {
        let bases = system.bases().operator;
        let base = if is_registry { bases.registry } else { bases.activity_log };
        self.account.http().request(method, format!("http://{base}/admin/v1/{path}"))
    }

    pub(crate) async fn status_of(&self, address: SocketAddr, path: &str) -> u16 {
        self.account.status_of(address, path).await
    }

    /// `/metrics` of four processes.
    pub(crate) async fn metrics(&self, system: &mut System) -> String {
        let mut all = String::new();
        for service in Service::ALL {
            let url = format!("http://{}/metrics", system.operator_address(service));
            let answer = self.account.send(self.account.http().get(url)).await;
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
    pub(crate) async fn play(&mut self, system: &System) {
        self.subscribe(system).await;
        self.publish(system).await;
        self.refuse_publishing().await;
        self.refuse_subscribing().await;
        self.refuse_operators(system).await;
        self.fail_and_replay(system).await;
    }

    async fn subscribe(&mut self, system: &System) {
        let wanted = self.subscription(&self.receiver);
        self.account.put_webhook(wanted.clone()).await.expect(200);
        self.canaries.endpoint = system.operator.endpoint_of(&self.account).await;
        let endpoint = self.canaries.endpoint.clone();
        let before = system.operator.signing_keys(&endpoint).await;
        let rotated = system.operator.rotate_secret(&endpoint, json!({})).await;
        self.account.put_webhook(wanted).await.expect(200);
        let names = ["the new signing key", "the rotated signing key"];
        assert_eq!(rotated.len(), 2);
        assert_eq!(rotated[1].secret, before[0].secret);
        for (name, key) in names.into_iter().zip(rotated) {
            let secret = key.secret.expect("a symmetric key is shown");
            let encoded = secret.strip_prefix("whsec_").expect("it is shown so").to_owned();
            self.canaries.keys.push((name, STANDARD.decode(&encoded).expect("keys are shown in Base64")));
            self.canaries.secrets.push((name, encoded));
        }
        let pair = system.operator.rotate_secret(&endpoint, json!({ "scheme": "v1a" })).await;
        assert_eq!(pair.len(), 3);
    }

    async fn publish(&self, system: &System) {
        let events = [self.event(), self.event(), self.event()];
        self.account.publish(&events[0]).await;
        self.account.try_publish_batch(&events[1..]).await.expect(204);
        let token = self.secret("the token");
        let publishing =
            |event: &EventBuilder| self.account.publishing().header("content-type", STRUCTURED).body(event.bytes());
        self.account.send(publishing(&self.event()).bearer_auth(token)).await.expect(204);
        let url = format!("http://{}/sites/{SITE}/events?access_token={token}", system.bases().ingest);
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

    async fn refuse_publishing(&self) {
        let event = self.event();
        let as_type = |content_type: &'static str, body: Vec<u8>| {
            self.account
                .publishing()
                .header("x-api-key", &self.account.key)
                .header("content-type", content_type)
                .body(body)
        };
        let key = format!("{}x", self.account.key);
        self.refused("a longer key", &self.account.with_key(&key).try_publish(&event).await, 401);
        let short = &self.account.key[..self.account.key.len() - 1];
        self.refused("a shorter key", &self.account.with_key(short).try_publish(&event).await, 401);
        let both = self.account.publishing().header("x-api-key", &self.account.key).header("x-api-key", &key);
        let both = both.header("content-type", STRUCTURED).body(event.bytes());
        let both = self.account.send(both).await;
        self.refused("two keys", &both, both.status.max(400));
        let answer = self.account.send(as_type("text/plain", event.bytes())).await;
        self.refused("a wrong content type", &answer, 415);
        let mut cut = event.bytes();
        cut.truncate(cut.len() - 2);
        self.refused("half an event", &self.account.send(as_type(STRUCTURED, cut)).await, 400);
        let twice = format!("{{\"data\":{0:?},\"data\":{0:?},\"id\":{0:?}}}", self.canaries.data);
        self.refused("a member twice", &self.account.send(as_type(STRUCTURED, twice.into_bytes())).await, 400);
        let nonsense =
            json!({ "specversion": self.canaries.data, "id": [self.canaries.data], "type": "communications.x" });
        let answer = self.account.send(as_type(STRUCTURED, nonsense.to_string().into_bytes())).await;
        self.refused("no event", &answer, 400);
        let foreign = self.account.at_site("sUkLWZg").try_publish(&event).await;
        self.refused("a foreign site", &foreign, foreign.status.max(400));
        let large = self.event().with("data", json!({ "note": self.canaries.data, "more": "x".repeat(1 << 20) }));
        self.refused("too large", &self.account.try_publish(&large).await, 413);
    }

    async fn refuse_subscribing(&self) {
        let secret = self.secret("the header value");
        let with_header = |name: &str, value: &str| json!({ "Uri": self.receiver.url("/x"), "Headers": [{ "Name": name, "Value": value }] });
        let bodies = [
            ("a forbidden header", with_header("Host", secret), 400),
            ("a broken header", with_header("X-Secret", &format!("{secret}\r\n")), 400),
            ("a secret as a name", with_header(&format!("{secret} "), secret), 400),
            ("a long header", with_header("X-Secret", &secret.repeat(200)), 400),
            ("a wrong type", json!({ "Uri": "https://x.example/", "Headers": secret }), 400),
            (
                "a wrong event type",
                json!({ "Uri": "https://x.example/", "EventTypes": [1], "Headers": [{ "Name": "X", "Value": secret }] }),
                400,
            ),
            (
                "a forbidden target",
                json!({ "Uri": format!("https://me:{secret}@10.0.0.1/"), "Headers": [{ "Name": "X", "Value": secret }] }),
                422,
            ),
        ];
        for (what, body, status) in bodies {
            self.refused(what, &self.account.put_webhook(body).await, status);
        }
        let cut = format!("{{\"Uri\":\"https://x.example/\",\"Headers\":[{{\"Name\":\"X\",\"Value\":\"{secret}\" x");
        self.refused("half a body", &self.account.put_webhook_body(cut).await, 400);
        let bad = self.account.with_key(&format!("{}x", self.account.key));
        self.refused("a bad key", &bad.put_webhook(self.subscription(&self.receiver)).await, 401);
    }

    async fn refuse_operators(&self, system: &System) {
        let endpoint = &self.canaries.endpoint;
        let (secret, token) = (format!("endpoints/{endpoint}/secret"), format!("{OPERATOR_TOKEN}x"));
        for (what, is_registry, path) in [("keys", true, secret.as_str()), ("deliveries", false, "deliveries")] {
            let request = self.operator(system, Method::GET, path, is_registry);
            self.refused(what, &self.account.send(request.bearer_auth(&token)).await, 401);
            let request = self.operator(system, Method::GET, path, is_registry);
            self.refused(
                what,
                &self.account.send(request.header("authorization", format!("Basic {token}"))).await,
                401,
            );
        }
        let request = self.operator(system, Method::GET, "deliveries?limit=0", false);
        self.refused("a wrong parameter", &self.account.send(request.bearer_auth(OPERATOR_TOKEN)).await, 400);
        let id = self.secret("the new signing key").replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
        let request = self.operator(system, Method::DELETE, &format!("endpoints/{endpoint}/secrets/{id}"), true);
        let answer = self.account.send(request.bearer_auth(OPERATOR_TOKEN)).await;
        self.refused("a key in place of its id", &answer, 404);
        // Answers with secrets are not kept for repeats.
        let new = json!({ "displayName": "Keyed", "sites": "all", "permissions": ["Events.Publish"] });
        for status in [201, 409] {
            let request = self.operator(system, Method::POST, "accounts", true).bearer_auth(OPERATOR_TOKEN);
            let answer = self.account.send(request.header("idempotency-key", "\"canary-1\"").json(&new)).await;
            answer.expect(status);
        }
    }

    async fn fail_and_replay(&self, system: &System) {
        let other = system.external().await;
        other.put_webhook(self.subscription(&self.failing)).await.expect(200);
        let event = self.event();
        self.account.publish(&event).await;
        let exhausted = system.operator.recorded(1, |it| it.state == DeliveryState::Exhausted).await;
        let failed = exhausted.iter().find(|it| it.state == DeliveryState::Exhausted).expect("it was waited for");
        system.operator.replay_delivery(&failed.id).await.expect(202);
        let subscription = system.operator.endpoint_of(&other).await;
        system.operator.why(&self.account, &event, &subscription).await;
        let wanted = json!({ "state": ["exhausted"], "site": other.site });
        let many = system.operator.replay_many(wanted).await;
        many.expect(202);
        let delivery = format!("deliveries/{}", failed.id);
        for path in ["deliveries", &delivery, "dead-letters", "replays", "audit", "audit?verify=true"] {
            let request = self.operator(system, Method::GET, path, false).bearer_auth(OPERATOR_TOKEN);
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
        self.account.publish(&self.event()).await;
    }

    /// Once more, after everything was started anew.
    pub(crate) async fn play_what_is_left(&self, system: &System) {
        self.account.publish(&self.event()).await;
        let endpoint = &self.canaries.endpoint;
        let keys = system.operator.signing_keys(endpoint).await;
        let old = keys.iter().find(|key| key.until.is_some()).expect("one is in its grace period");
        system.operator.revoke_secret(endpoint, &old.key_id).await.expect(204);
        self.account.put_webhook(self.subscription(&self.receiver)).await.expect(200);
        self.account.get_webhook().await.expect(200);
        system.operator.ended(7).await;
    }
}

fn uuid() -> String {
    format!("{:08x}-0000-4000-8000-{:012x}", rand::random::<u32>(), rand::random::<u32>())
}
