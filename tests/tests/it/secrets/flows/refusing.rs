//! Requests that hold secrets and are refused: what is wrong with them is told, and the secrets are not.

use reqwest::Method;
use serde_json::json;
use slipstream_tests::OPERATOR_TOKEN;

use super::{Flows, STRUCTURED};

impl Flows {
    pub(super) async fn refuse_publishing(&self) {
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
        let pair = self.account.publishing().header("content-type", STRUCTURED).body(event.bytes());
        let pair = pair.header("authorization", format!("ODFHIR {}/{}", self.account.key, self.secret("the token")));
        self.refused("secrets as a pair of keys", &self.account.send(pair).await, 401);
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

    pub(super) async fn refuse_subscribing(&self) {
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

    pub(super) async fn refuse_operators(&self) {
        let endpoint = &self.canaries.endpoint;
        let (secret, token) = (format!("endpoints/{endpoint}/secret"), format!("{OPERATOR_TOKEN}x"));
        for (what, is_registry, path) in [("keys", true, secret.as_str()), ("deliveries", false, "deliveries")] {
            let request = self.operator(Method::GET, path, is_registry);
            self.refused(what, &self.account.send(request.bearer_auth(&token)).await, 401);
            let request = self.operator(Method::GET, path, is_registry);
            let basic = request.header("authorization", format!("Basic {token}"));
            self.refused(what, &self.account.send(basic).await, 401);
        }
        let request = self.operator(Method::GET, "deliveries?limit=0", false);
        self.refused("a wrong parameter", &self.account.send(request.bearer_auth(OPERATOR_TOKEN)).await, 400);
        let id = self.secret("the new signing key").replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
        let answer = self.ask_registry(Method::DELETE, &format!("endpoints/{endpoint}/secrets/{id}")).await;
        self.refused("a key in place of its id", &answer, 404);
    }
}
