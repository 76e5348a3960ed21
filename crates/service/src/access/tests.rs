//! The guard at small routers: what it refuses, in which order, and in whose words.

use std::collections::HashSet;

use axum::Json;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use slipstream_core::config::{KeyHash, Record};
use slipstream_test_support::builders::{self, AccountWithKeys, SITE};
use slipstream_test_support::install_crypto;
use slipstream_test_support::issuer::Issuer;
use tokio_util::task::TaskTracker;

use super::*;
use crate::auth::token::{IssuerConfig, Verifier};
use crate::auth::{Actor, AtSite, Guards, KeyPair, KeyPairs, Principal};
use crate::config::{HttpConfig, OperatorConfig, Secret};
use crate::directory::{Directory, Snapshot};
use crate::http::App;

const OTHER_SITE: &str = "sUkLWZg";
const OPERATOR: &str = "0123456789abcdef";

/// Rows of surfaces that have none in [`TABLE`] yet.
static LATER: &[Entry] = &[
    later(Method::GET, "/ecg/managed", Access::Ecg(EcgRole::Manager)),
    later(Method::GET, "/ecg/all", Access::Ecg(EcgRole::Admin)),
    later(Method::GET, "/od/subscriptions", Access::OpenDental(OpenDentalPermission::Subscriptions)),
    later(Method::GET, "/od/rows", Access::OpenDental(OpenDentalPermission::Rows)),
];

const fn later(method: Method, path: &'static str, access: Access) -> Entry {
    Entry { method, path, mounts: &[""], access, token_in_query: false }
}

/// Says who calls, and for which site.
async fn who(at: AtSite) -> Json<Value> {
    Json(json!({ "actor": at.principal.actor().to_string(), "site": at.site.slug.as_str() }))
}

async fn whoever(principal: Principal) -> String {
    principal.actor().to_string()
}

struct World {
    app: App,
    operator: App,
    account: AccountWithKeys,
    restricted: AccountWithKeys,
    powerless: AccountWithKeys,
    issuer: Issuer,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl World {
    async fn new() -> Self {
        install_crypto();
        let account = builders::account();
        let restricted = builders::account().only_sites(&[SITE]);
        let powerless = builders::account().permissions(&[]);
        let accounts = [&account, &restricted, &powerless].map(|it| Record::Account(it.account.clone()));
        let sites = [SITE, OTHER_SITE].map(|slug| Record::Site(builders::site(slug)));
        let directory = Directory::new(Snapshot::from_records(accounts.into_iter().chain(sites)));
        let issuer = Issuer::start().await;
        let settings: IssuerConfig = serde_json::from_value(issuer.settings()).unwrap();
        let verifier = Verifier::new(&[settings], &TaskTracker::new()).unwrap();
        let guards = Guards::new(directory)
            .with_tokens(verifier)
            .with_operator(&OperatorConfig { token: Secret::new(OPERATOR) });
        let Routers { public, operator } = Routes::new(&guards)
            .add(Method::POST, "/sites/{site}/events", who)
            .add(Method::OPTIONS, "/sites/{site}/events", who)
            .add(Method::PUT, "/sites/{site}/webhooks/features/{feature}", who)
            .add(Method::GET, "/webhooks/keys/{subscription}", async || "public")
            .add(Method::GET, "/admin/v1/accounts", whoever)
            .with_state(())
            .unwrap();
        let [app, operator] = [public, operator].map(|router| App::new(router, &HttpConfig::default()));
        Self { app, operator, account, restricted, powerless, issuer }
    }

    async fn publish(&self, site: &str, headers: &[(&str, &str)]) -> Answer {
        ask(&self.app, "POST", &format!("/sites/{site}/events"), headers).await
    }

    async fn subscribe(&self, site: &str, headers: &[(&str, &str)]) -> Answer {
        ask(&self.app, "PUT", &format!("/sites/{site}/webhooks/features/physicalpost"), headers).await
    }

    fn token(&self) -> String {
        self.issuer.token().claim("sub", "post").claim("roles", json!(["Events.Publish"])).sign()
    }
}

async fn ask(app: &App, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path).body(axum::body::Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let (parts, body) = app.call(request).await.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

impl Answer {
    fn kind(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        let kind = body["type"].as_str().unwrap();
        kind.rsplit(['/', ':']).next().unwrap().to_owned()
    }
}

#[test]
fn every_route_has_one_entry_and_those_of_a_site_name_it() {
    let mut seen = HashSet::new();
    for entry in TABLE {
        for path in entry.paths() {
            assert!(
                seen.insert((entry.is_for_operators(), entry.method.clone(), path.clone())),
                "{} {path} stands there twice",
                entry.method
            );
            assert!(path.starts_with('/') && !path.ends_with('/'), "{path}");
        }
        let is_of_site = matches!(entry.access, Access::Slipstream(..));
        assert_eq!(is_of_site, entry.path.starts_with("/sites/{site}/"), "{}", entry.path);
        assert_eq!(entry.access == Access::Operator, entry.path.starts_with("/admin/v1/"), "{}", entry.path);
        assert!(!entry.token_in_query || (entry.method == Method::POST && entry.path == "/sites/{site}/events"));
    }
}

/// Said a second time, since the walk over a running system believes the table.
#[test]
fn the_table_gives_nothing_away() {
    let mut public: Vec<_> = TABLE.iter().filter(|it| it.access == Access::Public).map(|it| it.path).collect();
    public.dedup();
    assert_eq!(public, ["/webhooks/handshakes/{key}", "/webhooks/keys/{subscription}", "/openapi.json"]);
    for entry in TABLE {
        if let Access::Slipstream(permission, unknown) = entry.access {
            let of_webhooks = entry.path.starts_with("/sites/{site}/webhooks/");
            let (needed, answer) = if of_webhooks {
                (Permission::WebhooksManage, UnknownSite::NotFound)
            } else {
                (Permission::EventsPublish, UnknownSite::Forbidden)
            };
            assert_eq!((permission, unknown), (needed, answer), "{} {}", entry.method, entry.path);
        }
    }
}

#[test]
fn a_route_without_an_entry_is_refused_and_named() {
    let guards = Guards::new(Directory::new(Snapshot::default()));
    let build = |method: Method, path| Routes::new(&guards).add(method, path, async || "in").with_state(()).err();
    assert_eq!(build(Method::GET, "/webhooks/keys/{subscription}"), None);
    let error = build(Method::GET, "/sites/{site}/secrets").unwrap();
    assert_eq!(error.to_string(), "the route GET /sites/{site}/secrets has no entry in the access table");
    // Another method of a path that has one.
    assert!(matches!(build(Method::DELETE, "/webhooks/keys/{subscription}"), Some(RouteError::NoEntry { .. })));
}

#[test]
fn a_route_whose_credentials_nobody_can_check_is_refused() {
    let build = |guards: &Guards, path| Routes::new(guards).add(Method::GET, path, async || "in").with_state(()).err();
    let (none, accounts) = (Guards::none(), Guards::new(Directory::new(Snapshot::default())));
    let scheduled = "/sites/{site}/events/scheduled";
    assert!(matches!(build(&none, scheduled), Some(RouteError::NoScheme { .. })));
    assert_eq!(build(&accounts, scheduled), None);
    assert!(matches!(build(&accounts, "/admin/v1/accounts"), Some(RouteError::NoScheme { .. })));
}

#[tokio::test]
async fn the_handler_learns_who_calls_and_for_which_site() {
    let world = World::new().await;
    let key = world.account.primary_key.as_str();
    for path in [SITE, "s8n6%45zC"] {
        let answer = world.publish(path, &[("x-api-key", key)]).await;
        let expected = json!({ "actor": format!("account:{}", world.account.account.id), "site": SITE });
        assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), expected);
    }
    let again = ask(&world.app, "POST", &format!("/api/v1/sites/{SITE}/events"), &[("x-api-key", key)]).await;
    assert_eq!(again.status, 200);
    let bearer = format!("Bearer {}", world.token());
    let answer = world.publish(SITE, &[("authorization", &bearer)]).await;
    assert!(answer.body.contains("/post\""), "{}", answer.body);
    assert_eq!(ask(&world.app, "GET", "/webhooks/keys/1", &[]).await.body, "public");
}

#[tokio::test]
async fn refusals_come_in_one_order() {
    let world = World::new().await;
    let as_of = |account: &AccountWithKeys| account.primary_key.clone();
    let (all, one, none) = (as_of(&world.account), as_of(&world.restricted), as_of(&world.powerless));
    let unknown = "s000000";
    for (key, site, publishing, subscribing) in [
        ("", "bad slug", 401, 401),
        ("nonsense", SITE, 401, 401),
        (&none, "s-bad", 403, 403),
        (&none, SITE, 403, 403),
        (&all, "s-bad", 400, 400),
        (&all, "s%", 400, 400),
        (&all, unknown, 403, 404),
        (&one, unknown, 403, 404),
        (&one, OTHER_SITE, 403, 403),
        (&one, SITE, 200, 200),
        (&all, OTHER_SITE, 200, 200),
    ] {
        let site = site.replace(' ', "%20");
        let headers = if key.is_empty() { vec![] } else { vec![("x-api-key", key)] };
        let answers = [world.publish(&site, &headers).await, world.subscribe(&site, &headers).await];
        assert_eq!(answers.each_ref().map(|answer| answer.status), [publishing, subscribing], "{site}");
        for answer in answers {
            assert_eq!(answer.headers.contains_key("www-authenticate"), answer.status == 401);
            if answer.status == 400 {
                assert_eq!(answer.kind(), "slug-malformed");
            }
        }
    }
}

#[tokio::test]
async fn publishing_does_not_tell_which_sites_exist() {
    let world = World::new().await;
    let key = world.restricted.primary_key.as_str();
    let detail = async |site| {
        let answer = world.publish(site, &[("x-api-key", key)]).await;
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status, body["detail"].clone(), body["type"].clone())
    };
    assert_eq!(detail("s000000").await, detail(OTHER_SITE).await);
}

#[tokio::test]
async fn every_credential_that_is_shown_must_be_valid_and_of_one_caller() {
    let world = World::new().await;
    let key = world.account.primary_key.as_str();
    let other_key = world.account.secondary_key.as_str();
    let (good, bad) = (format!("Bearer {}", world.token()), "Bearer a.b.c".to_owned());
    let another = format!("Bearer {}", world.token().replace('.', "x."));
    let status = async |headers: &[(&str, &str)]| world.publish(SITE, headers).await.status;
    assert_eq!(status(&[("authorization", &good)]).await, 200);
    assert_eq!(status(&[("authorization", &good.replace("Bearer", "bEARER"))]).await, 200);
    assert_eq!(status(&[("authorization", &good), ("authorization", &good)]).await, 200);
    assert_eq!(status(&[("x-api-key", key), ("x-api-key", key)]).await, 200);
    for headers in [
        &[("x-api-key", key), ("x-api-key", other_key)][..],
        &[("x-api-key", key), ("authorization", good.as_str())],
        &[("x-api-key", key), ("authorization", bad.as_str())],
        &[("x-api-key", key), ("authorization", "Basic Zm9v")],
        &[("authorization", good.as_str()), ("authorization", another.as_str())],
        &[("authorization", bad.as_str())],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "")],
        &[("cookie", "x-api-key=1")],
    ] {
        let answer = world.publish(SITE, headers).await;
        assert_eq!((answer.status, &answer.headers["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
        assert!(!answer.body.contains(&key[37..]) && !answer.body.contains(&good[20..]), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_token_in_the_query_is_taken_where_events_are_published_and_nowhere_else() {
    let world = World::new().await;
    let token = world.token();
    let path = format!("/sites/{SITE}/events?access_token={token}");
    let answer = ask(&world.app, "POST", &path, &[]).await;
    assert_eq!((answer.status, &answer.headers["cache-control"]), (200, &"private".parse().unwrap()));
    let bearer = format!("Bearer {token}");
    assert_eq!(ask(&world.app, "POST", &path, &[("authorization", &bearer)]).await.status, 200);
    let key = world.account.primary_key.as_str();
    for (method, path, headers) in [
        ("OPTIONS", path.clone(), vec![]),
        ("PUT", format!("/sites/{SITE}/webhooks/features/physicalpost?access_token={token}"), vec![]),
        ("POST", format!("{path}x"), vec![]),
        ("POST", format!("{path}&access_token=a.b.c"), vec![]),
        ("POST", format!("/sites/{SITE}/events?access_token="), vec![]),
        ("POST", path.clone(), vec![("x-api-key", key)]),
        ("POST", path.clone(), vec![("authorization", "Bearer a.b.c")]),
    ] {
        let answer = ask(&world.app, method, &path, &headers).await;
        assert_eq!(answer.status, 401, "{method} {headers:?}");
        assert!(!answer.body.contains(&token), "{}", answer.body);
    }
    // What is private is not kept either when it is refused.
    let powerless = world.issuer.token().claim("roles", json!([])).sign();
    let answer = ask(&world.app, "POST", &format!("/sites/{SITE}/events?access_token={powerless}"), &[]).await;
    assert_eq!((answer.status, &answer.headers["cache-control"]), (403, &"no-store".parse().unwrap()));
}

#[tokio::test]
async fn only_the_operators_token_opens_operator_routes() {
    let world = World::new().await;
    let path = "/admin/v1/accounts";
    let key = world.account.primary_key.as_str();
    let good = format!("Bearer {OPERATOR}");
    let token = format!("Bearer {}", world.token());
    for value in [good.clone(), format!("bearer  {OPERATOR}")] {
        let answer = ask(&world.operator, "GET", path, &[("authorization", &value)]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "operator"));
    }
    for headers in [
        &[][..],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer 0123456789abcdeX")],
        &[("authorization", "Bearer 0123456789abcde")],
        &[("authorization", "Basic 0123456789abcdef")],
        &[("authorization", "0123456789abcdef")],
        &[("authorization", good.as_str()), ("authorization", "Bearer other")],
        &[("authorization", token.as_str())],
        &[("x-api-key", key)],
        &[("authorization", good.as_str()), ("x-api-key", key)],
    ] {
        assert_eq!(ask(&world.operator, "GET", path, headers).await.status, 401, "{headers:?}");
    }
    // Each listener knows its own routes only.
    let good = [("authorization", good.as_str())];
    assert_eq!(ask(&world.app, "GET", path, &good).await.status, 404);
    assert_eq!(ask(&world.operator, "POST", &format!("/sites/{SITE}/events"), &[("x-api-key", key)]).await.status, 404);
}

/// As the surfaces will word it; the trace is the request's.
#[expect(clippy::needless_pass_by_value, reason = "a `Refuse` takes it so")]
fn ecg_shape(error: ApiError, trace: TraceContext) -> Response {
    let status = error.status();
    let error = status.canonical_reason();
    let body = json!({ "statusCode": status.as_u16(), "message": [], "error": error, "traceId": trace.to_string() });
    (status, Json(body)).into_response()
}

#[expect(clippy::needless_pass_by_value, reason = "a `Refuse` takes it so")]
fn open_dental_shape(error: ApiError, _: TraceContext) -> Response {
    (error.status(), Json(json!(error.problem().detail))).into_response()
}

#[tokio::test]
async fn ecg_tokens_need_the_role_and_are_refused_in_the_surfaces_words() {
    install_crypto();
    let issuer = Issuer::start().await;
    let settings: IssuerConfig = serde_json::from_value(issuer.settings()).unwrap();
    let guards = Guards::none().with_ecg(Verifier::new(&[settings], &TaskTracker::new()).unwrap());
    let routes = Routes::of_table(LATER, &guards).refusing_with(ecg_shape);
    let routes = routes.add(Method::GET, "/ecg/managed", whoever).add(Method::GET, "/ecg/all", whoever);
    let app = App::new(routes.with_state(()).unwrap().public, &HttpConfig::default());
    let subject = "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11";
    let token = |roles: Value| issuer.token().claim("sub", subject).claim("roles", roles).sign();
    let status =
        async |path, token: &str| ask(&app, "GET", path, &[("authorization", &format!("Bearer {token}"))]).await.status;
    let manager = token(json!(["webhookManager"]));
    assert_eq!([status("/ecg/managed", &manager).await, status("/ecg/all", &manager).await], [200, 403]);
    let admin = token(json!(["webhookAdmin"]));
    assert_eq!([status("/ecg/managed", &admin).await, status("/ecg/all", &admin).await], [200, 200]);
    assert_eq!(status("/ecg/managed", &token(json!([]))).await, 403);
    assert_eq!(status("/ecg/managed", &issuer.token().claim("sub", "no uuid").sign()).await, 401);

    let refused =
        ask(&app, "GET", "/ecg/all", &[("traceparent", "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01")]);
    let refused = refused.await;
    let body: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!((refused.status, &body["statusCode"], &body["error"]), (401, &json!(401), &json!("Unauthorized")));
    assert!(body["traceId"].as_str().unwrap().contains("84c1fd4063c38d9f3900d06e56542d48"), "{body}");
    let mixed = [("authorization", format!("Bearer {admin}")), ("x-api-key", "any".to_owned())];
    let mixed = mixed.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(ask(&app, "GET", "/ecg/all", &mixed).await.status, 401);
}

#[tokio::test]
async fn open_dental_keys_need_the_permission_and_are_refused_in_the_surfaces_words() {
    let pairs = KeyPairs::default();
    let permissions = vec![OpenDentalPermission::Subscriptions];
    pairs.replace([KeyPair::new(KeyHash::of("dev"), KeyHash::of("cust"), "mill-lane".into(), permissions)]);
    let guards = Guards::none().with_open_dental(pairs.clone());
    let routes = Routes::of_table(LATER, &guards).refusing_with(open_dental_shape);
    let routes = routes.add(Method::GET, "/od/subscriptions", whoever).add(Method::GET, "/od/rows", whoever);
    let app = App::new(routes.with_state(()).unwrap().public, &HttpConfig::default());
    let get = async |path, value: &'static str| ask(&app, "GET", path, &[("authorization", value)]).await;
    let answer = get("/od/subscriptions", "ODFHIR dev/cust").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("practice:mill-lane/"), "{}", answer.body);
    assert_eq!(get("/od/rows", "ODFHIR dev/cust").await.status, 403);
    let refused = get("/od/subscriptions", "ODFHIR dev/other").await;
    assert_eq!((refused.status, refused.body.as_str()), (401, "\"the keys are not valid\""));
    pairs.replace([]);
    assert_eq!(get("/od/subscriptions", "ODFHIR dev/cust").await.status, 401);
}

#[tokio::test]
async fn a_handler_that_wants_what_its_entry_does_not_give_fails_on_our_side() {
    let guards = Guards::none();
    let routes = Routes::new(&guards).add(Method::GET, "/webhooks/keys/{subscription}", whoever);
    let app = App::new(routes.with_state(()).unwrap().public, &HttpConfig::default());
    assert_eq!(ask(&app, "GET", "/webhooks/keys/1", &[]).await.status, StatusCode::INTERNAL_SERVER_ERROR.as_u16());
}

#[test]
fn actors_print_so_that_two_that_print_alike_are_the_same() {
    let account = builders::account().account;
    let id = account.id;
    let principal = Principal::of_account(account.into());
    assert_eq!((principal.actor().to_string(), principal.account_id()), (format!("account:{id}"), id));
    assert_eq!(Principal::operator().actor(), Actor::Operator);
    assert_eq!(Actor::Operator.to_string(), "operator");
}
