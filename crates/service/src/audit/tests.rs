//! What is put on the bus, and what happens when the bus does not take it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use slipstream_bus::{BusConfig, Consumer, ConsumerName};
use slipstream_core::contract::{Action, TargetKind};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_test_support::builders::{self, SITE};
use slipstream_test_support::issuer::Issuer;
use slipstream_test_support::{NatsServer, install_crypto};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::*;
use crate::access::Routes;
use crate::auth::token::{IssuerConfig, Verifier};
use crate::auth::{API_KEY, AtSite, Guards};
use crate::config::{HttpConfig, OperatorConfig, Secret};
use crate::directory::{Directory, Snapshot};
use crate::http::App;
use crate::quota::Quotas;
use slipstream_core::config::Record;

const OPERATOR: &str = "operator-token-for-tests";
const ENDPOINT: &str = "018f2b1e-0000-7000-8000-000000000001";
const SECRET: &str = "whsec_shown";
const PARENT: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";

/// What the handlers did.
#[derive(Debug, Default)]
struct Deeds {
    was_done: AtomicBool,
    /// The handler of `disable` has begun, and waits for the next.
    has_begun: Notify,
    may_end: Notify,
}

struct World {
    nats: NatsServer,
    public: App,
    operator: Arc<App>,
    records: Consumer,
    deeds: Arc<Deeds>,
    key: String,
}

impl World {
    async fn new() -> Self {
        install_crypto();
        let nats = NatsServer::start().await;
        let bus = BusConfig { url: nats.url().into(), ..BusConfig::default() };
        let bus = Bus::connect(&bus).await.expect("the bus answers");
        let records = bus.consume(ConsumerName::Audit).await.expect("there is such a consumer");
        let account = builders::account();
        let kept = [Record::Account(account.account.clone()), Record::Site(builders::site(SITE))];
        let operator = OperatorConfig { token: Secret::new(OPERATOR) };
        let guards =
            Guards::new(Directory::new(Snapshot::from_records(kept)), &Quotas::default()).with_operator(&operator);
        let deeds = Arc::new(Deeds::default());
        let enable = |deeds: &Arc<Deeds>| {
            let deeds = Arc::clone(deeds);
            async move || {
                deeds.was_done.store(true, Ordering::SeqCst);
                StatusCode::NO_CONTENT
            }
        };
        let waiting = Arc::clone(&deeds);
        let disable = async move || {
            waiting.has_begun.notify_one();
            waiting.may_end.notified().await;
            StatusCode::NO_CONTENT
        };
        let (public, operator) = Routes::new(&guards)
            .around(Arc::new(Audit::new(&bus, "tests", &ToTheEnd::default())))
            .add(Method::GET, "/admin/v1/endpoints/{id}/secret", async || SECRET)
            .add(Method::GET, "/admin/v1/endpoints/{id}", async || "not audited")
            .add(Method::POST, "/admin/v1/endpoints/{id}/enable", enable(&deeds))
            .add(Method::POST, "/admin/v1/endpoints/{id}/disable", disable)
            .add(Method::POST, "/admin/v1/endpoints/{id}/rotate-secret", async |note: Note| {
                note.site(&SITE.parse().expect("a slug"));
                Err::<(), ApiError>(Problem::new(ProblemKind::NotFound, "there is no such endpoint").into())
            })
            .add(Method::PUT, "/admin/v1/endpoints/{id}/limits", async || {
                Err::<(), ApiError>(ApiError::internal(anyhow::anyhow!("a bug")))
            })
            .add(Method::POST, "/admin/v1/accounts", async |note: Note| note.target("made\n"))
            .add(Method::PUT, "/sites/{site}/webhooks/features/{feature}", async |_: AtSite| StatusCode::OK)
            .with_state(())
            .expect("every route has an entry")
            .into_parts();
        let http = HttpConfig::default();
        let (public, operator) = (App::new(public, &http), Arc::new(App::new(operator, &http)));
        Self { nats, public, operator, records, deeds, key: account.primary_key }
    }

    fn operators(method: Method, path: &str) -> Request<Body> {
        let request = Request::builder().method(method).uri(path).header("traceparent", PARENT);
        request.header("authorization", format!("Bearer {OPERATOR}")).body(Body::empty()).unwrap()
    }

    async fn ask(&self, method: Method, path: &str) -> (StatusCode, String) {
        let response = self.operator.call(Self::operators(method, path)).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    /// The next record.
    async fn next(&mut self) -> Audited {
        let next = tokio::time::timeout(Duration::from_secs(10), self.records.next());
        let message = next.await.expect("a record comes");
        assert_eq!(message.subject.as_str(), "audited.tests");
        message.ack().await;
        serde_json::from_slice(&message.payload).unwrap()
    }
}

fn endpoint(action: &str) -> String {
    format!("/admin/v1/endpoints/{ENDPOINT}/{action}")
}

#[tokio::test]
async fn a_reading_leaves_one_record_and_a_change_two() {
    let mut world = World::new().await;
    assert_eq!(world.ask(Method::GET, &endpoint("secret")).await, (StatusCode::OK, SECRET.to_owned()));
    let read = world.next().await;
    assert_eq!((read.actor.as_str(), read.action, read.kind), ("operator", Action::SecretRead, TargetKind::Endpoint));
    assert_eq!((read.target.as_deref(), read.outcome, read.status), (Some(ENDPOINT), AuditOutcome::Done, Some(200)));
    assert_eq!((read.trace.as_deref(), read.begun), (Some("84c1fd4063c38d9f3900d06e56542d48"), None));

    // Not audited: the next record is of what comes after.
    let plain = world.ask(Method::GET, &format!("/admin/v1/endpoints/{ENDPOINT}")).await;
    assert_eq!(plain, (StatusCode::OK, "not audited".to_owned()));

    assert_eq!(world.ask(Method::POST, &endpoint("enable")).await.0, StatusCode::NO_CONTENT);
    let (begun, done) = (world.next().await, world.next().await);
    assert_eq!((begun.action, begun.outcome, begun.status), (Action::EndpointEnable, AuditOutcome::Begun, None));
    assert_eq!((done.action, done.outcome, done.status), (Action::EndpointEnable, AuditOutcome::Done, Some(204)));
    assert_eq!((done.begun, begun.begun), (Some(begun.id), None));
    assert_eq!((begun.target.as_deref(), done.target.as_deref()), (Some(ENDPOINT), Some(ENDPOINT)));
}

#[tokio::test]
async fn a_record_tells_how_it_ended_and_what_only_the_handler_knows() {
    let mut world = World::new().await;
    assert_eq!(world.ask(Method::POST, &endpoint("rotate-secret")).await.0, StatusCode::NOT_FOUND);
    let (begun, refused) = (world.next().await, world.next().await);
    assert_eq!((begun.outcome, begun.site), (AuditOutcome::Begun, None));
    assert_eq!((refused.outcome, refused.status), (AuditOutcome::Refused, Some(404)));
    assert_eq!(refused.site.as_ref().map(slipstream_core::slug::Slug::as_str), Some(SITE));

    assert_eq!(world.ask(Method::PUT, &endpoint("limits")).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let (_, failed) = (world.next().await, world.next().await);
    assert_eq!((failed.outcome, failed.status), (AuditOutcome::Failed, Some(500)));

    assert_eq!(world.ask(Method::POST, "/admin/v1/accounts").await.0, StatusCode::OK);
    let (begun, done) = (world.next().await, world.next().await);
    assert_eq!((begun.target.as_deref(), done.target.as_deref()), (None, Some("made\u{fffd}")));
}

#[tokio::test]
async fn an_account_is_named_and_its_site_and_who_is_refused_by_the_guard_does_nothing() {
    let mut world = World::new().await;
    for mount in ["", "/api/v1"] {
        let path = format!("{mount}/sites/{SITE}/webhooks/features/physicalpost");
        let nobody = Request::put(&path).body(Body::empty()).unwrap();
        assert_eq!(world.public.call(nobody).await.status(), StatusCode::UNAUTHORIZED);
        let somebody = Request::put(&path).header(API_KEY, &world.key).body(Body::empty()).unwrap();
        assert_eq!(world.public.call(somebody).await.status(), StatusCode::OK);
        let begun = world.next().await;
        let account = world.key.split_once('_').unwrap().0;
        assert_eq!((begun.actor, begun.action), (format!("account:{account}"), Action::SubscriptionPut));
        assert_eq!(begun.site.as_ref().map(slipstream_core::slug::Slug::as_str), Some(SITE));
        assert_eq!(world.next().await.outcome, AuditOutcome::Done);
    }
}

#[tokio::test]
async fn an_organization_is_named_by_its_slug() {
    let mut world = World::new().await;
    let issuer = Issuer::start().await;
    let settings: IssuerConfig = serde_json::from_value(issuer.settings()).unwrap();
    let guards = Guards::none().with_ecg(Verifier::new(&[settings], &TaskTracker::new()).unwrap());
    let bus = BusConfig { url: world.nats.url().into(), ..BusConfig::default() };
    let audit = Audit::new(&Bus::connect(&bus).await.unwrap(), "tests", &ToTheEnd::default());
    let routes = Routes::new(&guards)
        .refusing_with(crate::ecg::refuse)
        .around(crate::ecg::shape())
        .around(Arc::new(audit))
        .add(
            Method::PUT,
            "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/secrets",
            async || Err::<(), _>(ApiError::from(crate::ecg::not_found("webhook subscription"))),
        )
        .with_state(())
        .expect("every route has an entry");
    let app = App::new(routes.into_parts().0, &HttpConfig::default());
    let caller = "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11";
    let token = issuer.token().claim("sub", caller).claim("roles", serde_json::json!(["webhookAdmin"])).sign();
    let path = format!("/api/organizations/{caller}/webhook-subscriptions/{ENDPOINT}/secrets");
    let request = Request::put(path).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
    let response = app.call(request).await;
    assert_eq!(
        (response.status(), response.headers()["content-type"].as_bytes()),
        (StatusCode::NOT_FOUND, &b"application/json"[..])
    );
    let (begun, refused) = (world.next().await, world.next().await);
    assert_eq!((begun.action, begun.kind), (Action::EcgSecretRotate, TargetKind::Endpoint));
    assert_eq!((begun.outcome, refused.outcome), (AuditOutcome::Begun, AuditOutcome::Refused));
    assert!(begun.actor.ends_with(&format!("/{caller}")), "{}", begun.actor);
    assert_eq!(begun.target.as_deref(), Some(ENDPOINT));
    assert_eq!(begun.site, Some(Slug::of_organization(caller.parse().unwrap())));
}

#[tokio::test]
async fn without_the_bus_nothing_is_shown_and_nothing_done() {
    let mut world = World::new().await;
    world.nats.kill9();
    let (shown, done) = (endpoint("secret"), endpoint("enable"));
    let (read, change) = tokio::join!(world.ask(Method::GET, &shown), world.ask(Method::POST, &done));
    assert_eq!(read.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!read.1.contains(SECRET), "{}", read.1);
    assert_eq!(change.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!world.deeds.was_done.load(Ordering::SeqCst));
}

#[tokio::test]
async fn whoever_goes_away_does_not_stop_what_was_begun_nor_its_record() {
    let mut world = World::new().await;
    let app = Arc::clone(&world.operator);
    let asking = tokio::spawn(async move { app.call(World::operators(Method::POST, &endpoint("disable"))).await });
    world.deeds.has_begun.notified().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    world.deeds.may_end.notify_one();
    let (begun, done) = (world.next().await, world.next().await);
    assert_eq!((begun.outcome, done.outcome, done.begun), (AuditOutcome::Begun, AuditOutcome::Done, Some(begun.id)));
}
