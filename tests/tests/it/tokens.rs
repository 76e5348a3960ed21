//! Tokens of an issuer, at the APIs (SPEC 5.1 `azure_auth`; THREATS 6).

use std::sync::Arc;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use slipstream_test_support::builders::{EventBuilder, SITE, event};
use slipstream_test_support::issuer::{SigningKey, TokenBuilder};
use slipstream_test_support::{Issuer, Receiver};
use slipstream_tests::{Account, Answer, LIMIT, Settings, Shape, System};

slipstream_tests::journeys![
    a_token_that_is_not_good_is_401_and_leaves_nothing,
    a_token_permits_what_its_roles_and_its_sites_say,
    keys_may_change_and_their_issuer_may_fall_silent,
];

/// Another site, of which nobody here knows.
const OTHER_SITE: &str = "sgbHJdm";

/// An issuer, a system that trusts it, and where to ask.
struct World {
    issuer: Issuer,
    system: System,
    /// Knows the paths. Its key is used only where a test says so.
    account: Account,
}

impl World {
    async fn new(shape: Shape) -> Self {
        let issuer = Issuer::start().await;
        let settings = Settings { issuer: Some(issuer.url()), ..Settings::default() };
        let system = System::with(shape, settings).await;
        let account = system.external().await;
        Self { issuer, system, account }
    }

    /// A token that may do everything at [`SITE`].
    fn token(&self) -> TokenBuilder {
        let roles = json!(["Events.Publish", "Webhooks.Manage"]);
        self.issuer.token().claim("roles", roles).claim("sites", json!([SITE]))
    }

    fn publishing(&self, event: &EventBuilder) -> RequestBuilder {
        self.account.publishing().header("content-type", "application/cloudevents+json").body(event.bytes())
    }

    /// As [`World::publishing`], with the token in the query: nothing in one needs to be escaped there.
    fn publishing_with(&self, token: &str, event: &EventBuilder) -> RequestBuilder {
        let url = format!("http://{}/sites/{SITE}/events?access_token={token}", self.system.bases().ingest);
        let request = self.account.http().post(url).header("content-type", "application/cloudevents+json");
        request.body(event.bytes())
    }

    async fn publish(&self, token: &str, event: &EventBuilder) -> Answer {
        self.account.send(self.publishing(event).bearer_auth(token)).await
    }

    fn webhook(&self, method: Method) -> RequestBuilder {
        self.webhook_with("", method)
    }

    fn webhook_with(&self, query: &str, method: Method) -> RequestBuilder {
        let path = format!("sites/{SITE}/webhooks/features/physicalpost{query}");
        self.account.http().request(method, format!("http://{}/{path}", self.system.bases().registry))
    }
}

/// Checks that it is refused as SPEC 5.1 says, without a word of the token.
fn assert_unauthorized(what: &str, answer: &Answer, token: &str) {
    assert_eq!(answer.status, 401, "{what}: {answer}");
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}: {:?}", answer.headers);
    assert_eq!((answer.problem().as_str(), answer.header("cache-control")), ("blank", "no-store"), "{what}: {answer}");
    let text = format!("{answer}{:?}", answer.headers);
    let told = token.split('.').any(|part| part.len() > 8 && text.contains(part));
    assert!(!told, "{what}: the answer holds a part of the token: {text}");
}

async fn a_token_that_is_not_good_is_401_and_leaves_nothing(shape: Shape) {
    let world = World::new(shape).await;
    let receiver = Receiver::start().await;
    world.account.subscribe(receiver.url("/")).await;
    let (good, rsa, ec) = (|| world.token(), world.issuer.rsa(), world.issuer.ec());
    for (what, token) in [
        ("another key under the id of the right one", good().signed_by(Arc::new(SigningKey::rsa(rsa.id(), 2)))),
        ("no algorithm", good().header("alg", "none").without_signature()),
        ("the public key as a secret", good().signed_by_secret(&rsa.public_bytes())),
        ("the public key's text as a secret", good().signed_by_secret(rsa.jwk().to_string().as_bytes())),
        ("the key of another algorithm", good().signed_by(ec).header("kid", rsa.id())),
        ("an unknown key", good().signed_by(Arc::new(SigningKey::ec("unknown")))),
        ("no key", good().without_header("kid")),
        ("no signature", good().without_signature()),
        ("demands", good().header("crit", json!(["exp"]))),
        ("expired", good().claim("exp", 1_000_000_000)),
        ("`exp` as a text", good().claim("exp", "4102444800")),
        ("no `exp`", good().without("exp")),
        ("not valid yet", good().claim("nbf", 4_102_444_800_i64)),
        ("another audience", good().claim("aud", "api://other")),
        ("no audience", good().without("aud")),
        ("another issuer", good().claim("iss", "https://login.example")),
        ("no issuer", good().without("iss")),
        ("a claim twice", good().claims_text(r#"{"exp":4102444800,"exp":1}"#)),
    ] {
        let token = token.sign();
        assert_unauthorized(what, &world.publish(&token, &event()).await, &token);
        let answer = world.account.send(world.webhook(Method::GET).bearer_auth(&token)).await;
        assert_unauthorized(what, &answer, &token);
        let in_query = world.publishing_with(&token, &event());
        assert_unauthorized(what, &world.account.send(in_query).await, &token);
    }
    let token = good().sign();
    for header in ["Bearer".to_owned(), "Bearer nonsense".to_owned(), format!("Basic {token}"), token.clone()] {
        let answer = world.account.send(world.publishing(&event()).header("authorization", &header)).await;
        assert_unauthorized(&header, &answer, &token);
    }
    // What is published afterwards has arrived: so would any of the others be.
    world.publish(&token, &event().with("data", "good")).await.expect(204);
    let received = receiver.wait_for(1, LIMIT).await;
    assert_eq!((received[0].json()["data"].as_str(), receiver.count()), (Some("good"), 1));
    assert_eq!(world.system.operator.ended(1).await.len(), 1);
}

async fn a_token_permits_what_its_roles_and_its_sites_say(shape: Shape) {
    let world = World::new(shape).await;
    let with_roles = |roles: &[&str]| world.token().claim("roles", json!(roles)).sign();
    let (publishes, manages) = (with_roles(&["Events.Publish"]), with_roles(&["Webhooks.Manage"]));

    world.publish(&publishes, &event()).await.expect(204);
    world.publish(&manages, &event()).await.expect(403);
    world.publish(&with_roles(&["events.publish", "Internal"]), &event()).await.expect(403);
    let delegated = world.token().without("roles").claim("scp", "openid Events.Publish").sign();
    world.publish(&delegated, &event()).await.expect(204);
    for sites in [json!([OTHER_SITE]), json!([]), json!("all"), json!(null)] {
        let elsewhere = world.token().claim("sites", sites.clone()).sign();
        world.publish(&elsewhere, &event()).await.expect(403);
    }
    // Sites that are not there are no more forthcoming than those that are.
    let elsewhere = world.token().claim("sites", json!([SITE, OTHER_SITE])).sign();
    let request = world.account.at_site(OTHER_SITE).publishing().header("content-type", "application/cloudevents+json");
    world.account.send(request.bearer_auth(elsewhere).body(event().bytes())).await.expect(403);

    let receiver = Receiver::start().await;
    let put = |token: &str| world.webhook(Method::PUT).bearer_auth(token).json(&json!({ "Uri": receiver.url("/") }));
    world.account.send(put(&publishes)).await.expect(403);
    world.account.send(put(&manages)).await.expect(200);
    world.account.send(world.webhook(Method::GET).bearer_auth(&manages)).await.expect(200);

    // Who is not one of our own publishes nothing internal.
    let internal = event().with("visibility", 2);
    let refused = world.publish(&publishes, &internal).await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, "visibility-not-allowed"), "{refused}");
    world.publish(&with_roles(&["Events.Publish", "Internal"]), &internal).await.expect(204);

    // In the query on S1 only (RFC 6750, 2.3), and not beside another credential.
    let published = world.account.send(world.publishing_with(&publishes, &event())).await;
    assert_eq!(published.expect(204).header("cache-control"), "private");
    let read = world.account.send(world.webhook_with(&format!("?access_token={manages}"), Method::GET)).await;
    assert_unauthorized("a token in the query of S5", &read, &manages);
    let two = world.publishing_with(&manages, &event()).bearer_auth(&publishes);
    assert_unauthorized("two tokens", &world.account.send(two).await, &publishes);
    let both = world.publishing(&event()).bearer_auth(&publishes).header("x-api-key", &world.account.key);
    assert_unauthorized("a token and a key", &world.account.send(both).await, &publishes);
    let bad_beside_good = world.publishing(&event()).bearer_auth("x.y.z").header("x-api-key", &world.account.key);
    assert_unauthorized("a bad token and a key", &world.account.send(bad_beside_good).await, &publishes);
}

async fn keys_may_change_and_their_issuer_may_fall_silent(shape: Shape) {
    let world = World::new(shape).await;
    let old = world.token().sign();
    world.publish(&old, &event()).await.expect(204);
    world.issuer.rotate();
    let new = world.token().sign();
    world.publish(&new, &event()).await.expect(204);
    assert_unauthorized("the old key", &world.publish(&old, &event()).await, &old);

    world.issuer.be_unreachable();
    world.publish(&new, &event()).await.expect(204);
    let unknown = world.token().signed_by(Arc::new(SigningKey::ec("unknown"))).sign();
    let asked = world.issuer.discovery_asked();
    for _ in 0..20 {
        assert_unauthorized("an unknown key", &world.publish(&unknown, &event()).await, &unknown);
    }
    assert_eq!(world.issuer.discovery_asked(), asked, "the rotation was less than five minutes ago");
    world.publish(&new, &event()).await.expect(204);
}
