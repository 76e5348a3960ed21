//! The guard at small routers: what it refuses, in which order, and in whose words.

use std::collections::HashSet;

use axum::Json;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use slipstream_core::config::{KeyHash, OpenDentalKey, Quota, Record};
use slipstream_core::ids::OpenDentalKeyId;
use slipstream_test_support::builders::{self, AccountWithKeys, SITE};
use slipstream_test_support::install_crypto;
use slipstream_test_support::issuer::Issuer;
use tokio_util::task::TaskTracker;

use super::*;
use crate::auth::token::{IssuerConfig, Verifier};
use crate::auth::{Actor, AtOrganization, AtSite, AuthConfig, Caller, Guards, Principal};
use crate::config::{HttpConfig, OperatorConfig, Secret};
use crate::directory::{Directory, Snapshot};
use crate::http::App;
use crate::lifecycle::Context;
use crate::quota::Quotas;

const OTHER_SITE: &str = "sUkLWZg";
const OPERATOR: &str = "0123456789abcdef";

const ORGANIZATION: &str = "/ecg/organizations/{organizationId}/subscriptions/{id}";

/// Rows of surfaces that have none in [`TABLE`] yet, and short ones of the ECG surface.
static LATER: &[Entry] = &[
    later(Method::GET, "/ecg/managed", Access::Ecg(EcgRole::Manager, EcgTenant::None)),
    later(Method::GET, "/ecg/all", Access::Ecg(EcgRole::Admin, EcgTenant::None)),
    later(Method::GET, ORGANIZATION, Access::Ecg(EcgRole::Manager, EcgTenant::InPath)),
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
        let guards = Guards::new(directory, &Quotas::default())
            .with_tokens(verifier)
            .with_operator(&OperatorConfig { token: Secret::new(OPERATOR) });
        let (public, operator) = Routes::new(&guards)
            .add(Method::POST, "/sites/{site}/events", who)
            .add(Method::OPTIONS, "/sites/{site}/events", who)
            .add(Method::PUT, "/sites/{site}/webhooks/features/{feature}", who)
            .add(Method::GET, "/webhooks/keys/{subscription}", async || "public")
            .add(Method::GET, "/admin/v1/accounts", whoever)
            .with_state(())
            .unwrap()
            .into_parts();
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
    let expected = [
        "/webhooks/handshakes/{key}",
        "/webhooks/keys/{subscription}",
        "/openapi.json",
        "/healthcheck",
        "/api/webhook-processors/success-response",
        "/api/webhook-processors/failed-response",
    ];
    assert_eq!(public, expected);
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

/// SPEC 6.2, said a second time.
#[test]
fn all_routes_of_the_ecg_surface_are_there_and_none_is_open_by_mistake() {
    let ecg: Vec<_> = TABLE.iter().filter(|entry| crate::ecg::is_here(entry.path)).collect();
    let count = |method| ecg.iter().filter(|entry| entry.method == method).count();
    let methods = [Method::GET, Method::POST, Method::DELETE, Method::PATCH, Method::PUT].map(count);
    assert_eq!((methods, ecg.len()), ([19, 24, 5, 4, 1], 53));
    for entry in ecg {
        let is_of_organization = entry.path.starts_with("/api/organizations/{organizationId}/");
        let is_open = entry.path == "/healthcheck" || entry.path.starts_with("/api/webhook-processors/");
        // Of categories and events, which belong to nobody, reading is for all and changing for admins.
        let role = if is_of_organization || entry.method == Method::GET { EcgRole::Manager } else { EcgRole::Admin };
        let tenant = if is_of_organization { EcgTenant::InPath } else { EcgTenant::None };
        let expected = if is_open { Access::Public } else { Access::Ecg(role, tenant) };
        assert_eq!(entry.access, expected, "{} {}", entry.method, entry.path);
        assert_eq!(entry.mounts, [""], "{}", entry.path);
    }
    let elsewhere = |entry: &&Entry| matches!(entry.access, Access::Ecg(..)) && !crate::ecg::is_here(entry.path);
    assert_eq!(TABLE.iter().find(elsewhere), None);
}

#[test]
fn a_route_without_an_entry_is_refused_and_named() {
    let guards = Guards::new(Directory::new(Snapshot::default()), &Quotas::default());
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
    let (none, accounts) = (Guards::none(), Guards::new(Directory::new(Snapshot::default()), &Quotas::default()));
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
fn open_dental_shape(error: ApiError, _: TraceContext) -> Response {
    (error.status(), Json(json!(error.problem().detail))).into_response()
}

#[tokio::test]
async fn ecg_tokens_need_the_role_and_are_refused_in_the_surfaces_words() {
    install_crypto();
    let issuer = Issuer::start().await;
    let settings: IssuerConfig = serde_json::from_value(issuer.settings()).unwrap();
    let guards = Guards::none().with_ecg(Verifier::new(&[settings], &TaskTracker::new()).unwrap());
    let routes = Routes::of_table(LATER, &guards).refusing_with(crate::ecg::refuse);
    let routes = routes.add(Method::GET, "/ecg/managed", whoever).add(Method::GET, "/ecg/all", whoever);
    let app = App::new(routes.with_state(()).unwrap().into_parts().0, &HttpConfig::default());
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
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    let body: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!((refused.status, &body["statusCode"], &body["error"]), (401, &json!(401), &json!("Unauthorized")));
    assert!(body["traceId"].as_str().unwrap().contains("84c1fd4063c38d9f3900d06e56542d48"), "{body}");
    let mixed = [("authorization", format!("Bearer {admin}")), ("x-api-key", "any".to_owned())];
    let mixed = mixed.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(ask(&app, "GET", "/ecg/all", &mixed).await.status, 401);
}

#[tokio::test]
async fn an_ecg_token_acts_for_its_own_organizations_only() {
    install_crypto();
    let issuer = Issuer::start().await;
    let mut settings = issuer.settings();
    settings.as_object_mut().unwrap().retain(|name, _| ["name", "issuer", "audiences", "jwks_url"].contains(&&**name));
    let config: AuthConfig = serde_json::from_value(json!({ "ecg": [settings] })).unwrap();
    let context = Context::new();
    let guards = config.start(Directory::new(Snapshot::default()), &context).unwrap();
    let handler = async |at: AtOrganization, caller: Caller| {
        assert_eq!((at.caller, at.role), (caller.id, caller.role));
        assert!(caller.may_at(at.organization));
        format!("{} {} {}", at.organization, at.principal.actor(), at.caller)
    };
    let routes =
        Routes::of_table(LATER, &guards).refusing_with(crate::ecg::refuse).add(Method::GET, ORGANIZATION, handler);
    let app = App::new(routes.with_state(()).unwrap().into_parts().0, &HttpConfig::default());
    let (ours, other) = ("784600d0-5b0f-4d0e-9c8c-0a8f8f3d7c11", "11111111-5b0f-4d0e-9c8c-0a8f8f3d7c11");
    let token = |role: &str| {
        let token = issuer.token().claim("sub", "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11").claim("roles", json!([role]));
        format!("Bearer {}", token.claim("organizationIds", json!([ours])).sign())
    };
    let get = async |role: &str, organization: &str| {
        let path = format!("/ecg/organizations/{organization}/subscriptions/1");
        ask(&app, "GET", &path, &[("authorization", &token(role))]).await
    };
    let answer = get("webhookManager", &ours.to_uppercase()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with(&format!("{ours} token:")), "{}", answer.body);
    assert!(answer.body.ends_with(" 321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11"), "{}", answer.body);
    assert_eq!(get("webhookManager", &ours.replace('-', "%2D")).await.status, 200);
    for (role, organization, status) in [
        ("webhookManager", other, 403),
        ("webhookManager", "1", 400),
        ("webhookManager", &ours.replace('-', ""), 400),
        ("webhookAdmin", other, 200),
        ("webhookAdmin", "%ff", 400),
        // The role first: who may do nothing learns nothing of what is well-formed.
        ("somebody", ours, 403),
        ("somebody", "1", 403),
    ] {
        assert_eq!(get(role, organization).await.status, status, "{role} {organization}");
    }
    let unasked = ask(&app, "GET", &format!("/ecg/organizations/{other}/subscriptions/1"), &[]).await;
    assert_eq!((unasked.status, &unasked.headers["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
    context.drained.cancel();
}

#[test]
fn one_name_does_not_stand_for_two_issuers() {
    let start = |ecg: &str| {
        let tokens = json!([{"name": "a", "issuer": "https://a.example", "audiences": ["x"], "sites": "all"}]);
        let ecg = json!([{"name": "a", "issuer": ecg, "audiences": ["x"]}]);
        let config: AuthConfig = serde_json::from_value(json!({ "issuers": tokens, "ecg": ecg })).unwrap();
        config.check_names().map_err(|error| error.to_string())
    };
    assert_eq!(start("https://a.example"), Ok(()));
    assert!(start("https://b.example").unwrap_err().starts_with("issuer `a`:"));
    // What the surface does not ask for cannot be set.
    let sites = json!({"ecg": [{"name": "a", "issuer": "https://a.example", "audiences": ["x"], "sites": "all"}]});
    assert!(serde_json::from_value::<AuthConfig>(sites).is_err());
}

#[tokio::test]
async fn what_the_guard_refuses_costs_a_token_too() {
    let all = builders::account().quota(3, 1);
    let powerless = builders::account().quota(3, 1).permissions(&[]);
    let accounts = [&all, &powerless].map(|it| Record::Account(it.account.clone()));
    let site = Record::Site(builders::site(SITE));
    let directory = Directory::new(Snapshot::from_records(accounts.into_iter().chain([site])));
    let guards = Guards::new(directory, &Quotas::default());
    let routes = Routes::new(&guards).add(Method::POST, "/sites/{site}/events", who).add(
        Method::PUT,
        "/sites/{site}/webhooks/features/{feature}",
        who,
    );
    let app = App::new(routes.with_state(()).unwrap().into_parts().0, &HttpConfig::default());
    let [publish, subscribe] = ["events", "webhooks/features/physicalpost"];
    let statuses = async |method, site, path, key: &str, policy: &str| {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let answer = ask(&app, method, &format!("/sites/{site}/{path}"), &[("x-api-key", key)]).await;
            assert_eq!(answer.headers["ratelimit-policy"], format!("\"{policy}\";q=3;w=3"), "{}", answer.body);
            assert!(answer.headers["ratelimit"].to_str().unwrap().starts_with(&format!("\"{policy}\";r=")));
            if answer.status == 429 {
                assert!(answer.body.contains(&format!("\"violated-policies\":[\"{policy}\"]")), "{}", answer.body);
                assert!(answer.headers.contains_key("retry-after"));
            }
            statuses.push(answer.status);
        }
        statuses
    };
    let (all, powerless) = (all.primary_key.as_str(), powerless.primary_key.as_str());
    // Without the permission; no such site; and what is let through.
    assert_eq!(statuses("POST", SITE, publish, powerless, "publish").await, [403, 403, 403, 429]);
    assert_eq!(statuses("PUT", SITE, subscribe, powerless, "requests").await, [403, 403, 403, 429]);
    assert_eq!(statuses("PUT", "s000000", subscribe, all, "requests").await, [404, 404, 404, 429]);
    assert_eq!(statuses("POST", SITE, publish, all, "publish").await, [200, 200, 200, 429]);
    // Whoever is nobody has nothing to pay with, and learns nothing of anybody's quota.
    let answer = ask(&app, "POST", &format!("/sites/{SITE}/{publish}"), &[("x-api-key", "nonsense")]).await;
    assert_eq!((answer.status, answer.headers.contains_key("ratelimit")), (401, false));
}

#[tokio::test]
async fn while_it_cannot_be_known_whether_a_credential_was_revoked_it_opens_nothing() {
    let account = builders::account();
    let records = [Record::Account(account.account.clone()), Record::Site(builders::site(SITE))];
    let directory = Directory::new(Snapshot::from_records(records));
    let operator = OperatorConfig { token: Secret::new(OPERATOR) };
    let guards = Guards::new(directory.clone(), &Quotas::default()).with_operator(&operator);
    let routes = Routes::new(&guards)
        .add(Method::POST, "/sites/{site}/events", who)
        .add(Method::GET, "/webhooks/keys/{subscription}", async || "public")
        .add(Method::GET, "/admin/v1/accounts", whoever);
    let (public, operator) = routes.with_state(()).unwrap().into_parts();
    let [app, operator] = [public, operator].map(|router| App::new(router, &HttpConfig::default()));
    let path = format!("/sites/{SITE}/events");
    let publish = async |headers: &[(&str, &str)]| ask(&app, "POST", &path, headers).await;
    let key = [("x-api-key", account.primary_key.as_str())];
    let bearer = format!("Bearer {OPERATOR}");
    assert_eq!(publish(&key).await.status, 200);
    directory.set_stale(true);
    for headers in [&key[..], &[("authorization", "Bearer a.b.c")]] {
        let answer = publish(headers).await;
        assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true), "{}", answer.body);
    }
    assert_eq!(publish(&[]).await.status, 401, "who shows none needs one in any case");
    assert_eq!(ask(&app, "GET", "/webhooks/keys/1", &[]).await.status, 200);
    assert_eq!(ask(&operator, "GET", "/admin/v1/accounts", &[("authorization", &bearer)]).await.status, 200);
    directory.set_stale(false);
    assert_eq!(publish(&key).await.status, 200);
}

#[tokio::test]
async fn whoever_has_no_quota_gets_the_deployments() {
    let quota = |size| Quota { burst_capacity: size, tokens_per_second: 1 };
    let (mut own, none) = (builders::account(), builders::account());
    own.account.quota = Some(quota(7));
    let records = [&own, &none].map(|it| Record::Account(it.account.clone()));
    let site = Record::Site(builders::site(SITE));
    let directory = Directory::new(Snapshot::from_records(records.into_iter().chain([site])));
    let config = json!({ "quota": { "burst_capacity": 3, "tokens_per_second": 1 } });
    let config: AuthConfig = serde_json::from_value(config).unwrap();
    install_crypto();
    let operator = OperatorConfig { token: Secret::new(OPERATOR) };
    let guards = config.start(directory, &Context::new()).unwrap().with_operator(&operator);
    let burst = async |principal: Principal| principal.quota().map_or(0, |quota| quota.burst_capacity).to_string();
    let routes = Routes::new(&guards).add(Method::POST, "/sites/{site}/events", burst);
    let routes = routes.add(Method::GET, "/admin/v1/accounts", burst).with_state(()).unwrap();
    let (public, operator) = routes.into_parts();
    let [app, operator] = [public, operator].map(|router| App::new(router, &HttpConfig::default()));
    let path = format!("/sites/{SITE}/events");
    for (account, size) in [(&own, "7"), (&none, "3")] {
        assert_eq!(ask(&app, "POST", &path, &[("x-api-key", &account.primary_key)]).await.body, size);
    }
    let bearer = format!("Bearer {OPERATOR}");
    assert_eq!(ask(&operator, "GET", "/admin/v1/accounts", &[("authorization", &bearer)]).await.body, "0");
    for zero in
        [json!({ "burst_capacity": 0, "tokens_per_second": 1 }), json!({ "burst_capacity": 1, "tokens_per_second": 0 })]
    {
        assert!(serde_json::from_value::<AuthConfig>(json!({ "quota": zero })).is_err());
    }
}

#[tokio::test]
async fn open_dental_keys_need_the_permission_and_are_refused_in_the_surfaces_words() {
    let key = OpenDentalKey {
        id: OpenDentalKeyId(uuid::Uuid::nil()),
        developer: KeyHash::of("dev"),
        customer: KeyHash::of("cust"),
        practice: "mill-lane".into(),
        permissions: vec![OpenDentalPermission::Subscriptions],
        revision: 1,
    };
    let directory = Directory::new(Snapshot::from_records([Record::OpenDentalKey(key)]));
    let guards = Guards::new(directory.clone(), &Quotas::default());
    let routes = Routes::of_table(LATER, &guards).refusing_with(open_dental_shape);
    let routes = routes.add(Method::GET, "/od/subscriptions", whoever).add(Method::GET, "/od/rows", whoever);
    let app = App::new(routes.with_state(()).unwrap().into_parts().0, &HttpConfig::default());
    let get = async |path, value: &'static str| ask(&app, "GET", path, &[("authorization", value)]).await;
    let answer = get("/od/subscriptions", "ODFHIR dev/cust").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("practice:mill-lane/"), "{}", answer.body);
    assert_eq!(get("/od/rows", "ODFHIR dev/cust").await.status, 403);
    let refused = get("/od/subscriptions", "ODFHIR dev/other").await;
    assert_eq!((refused.status, refused.body.as_str()), (401, "\"the keys are not valid\""));
    assert_eq!(refused.headers["www-authenticate"], "ODFHIR");
    // Whatever shape the surface has.
    let routes = Routes::of_table(LATER, &guards).add(Method::GET, "/od/subscriptions", whoever);
    let plain = App::new(routes.with_state(()).unwrap().into_parts().0, &HttpConfig::default());
    let refused = ask(&plain, "GET", "/od/subscriptions", &[]).await;
    assert_eq!((refused.status, &refused.headers["www-authenticate"]), (401, &"ODFHIR".parse().unwrap()));
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    directory.replace(Snapshot::default());
    assert_eq!(get("/od/subscriptions", "ODFHIR dev/cust").await.status, 401);
}

#[tokio::test]
async fn a_handler_that_wants_what_its_entry_does_not_give_fails_on_our_side() {
    let guards = Guards::none();
    let routes = Routes::new(&guards).add(Method::GET, "/webhooks/keys/{subscription}", whoever);
    let app = App::new(routes.with_state(()).unwrap().into_parts().0, &HttpConfig::default());
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
