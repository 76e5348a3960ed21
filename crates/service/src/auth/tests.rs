use slipstream_core::config::{AccountKind, Record, SitesAllowed};
use slipstream_test_support::builders;
use uuid::Uuid;

use super::*;
use crate::http::App;

const SITE: &str = "s8n6EzC";
const OTHER_SITE: &str = "sUkLWZg";
const ID: u128 = 0x5d0f_7a3e_1c2b_4e6f_9a80_b1c2_d3e4_f506;

fn key(random: &str) -> String {
    format!("{}_{random}", Uuid::from_u128(ID))
}

/// Two sites, and an account that may publish to the first one.
fn snapshot() -> Snapshot {
    let account = Account {
        id: AccountId(Uuid::from_u128(ID)),
        display_name: "Post".into(),
        kind: AccountKind::External,
        sites: SitesAllowed::Only(vec![SITE.parse().unwrap()]),
        permissions: vec![Permission::EventsPublish],
        quota: None,
        primary_key: KeyHash::of(&key("primary")),
        secondary_key: KeyHash::of(&key("secondary")),
        revision: 1,
    };
    Snapshot::from_records([
        Record::Site(builders::site(SITE)),
        Record::Site(builders::site(OTHER_SITE)),
        Record::Account(account),
    ])
}

fn headers(keys: &[&str]) -> HeaderMap {
    keys.iter().map(|key| (http::HeaderName::from_static(API_KEY), key.parse().unwrap())).collect()
}

fn ask(keys: &[&str], slug: &str, permission: Permission, unknown: UnknownSite) -> Result<(), ProblemKind> {
    authorize(&snapshot(), &headers(keys), slug, permission, unknown).map(drop).map_err(|problem| problem.kind)
}

#[test]
fn both_keys_of_an_account_are_good() {
    for random in ["primary", "secondary"] {
        assert!(authenticate(&snapshot(), &headers(&[&key(random)])).is_ok(), "{random}");
    }
    assert!(authenticate(&snapshot(), &headers(&[&key("primary"), &key("primary")])).is_ok(), "the same key twice");
}

#[test]
fn missing_bad_and_contradicting_keys_are_401() {
    let (good, other, wrong) = (key("primary"), key("secondary"), key("tertiary"));
    let stranger = format!("{}_primary", Uuid::from_u128(7));
    let long = key(&"x".repeat(5000));
    let upper = good.to_uppercase();
    for keys in [
        &[][..],
        &[""],
        &["_"],
        &["nonsense"],
        &[good.split('_').next().unwrap()],
        &[&wrong],
        &[&stranger],
        &[&long],
        &[&upper],
        &[&good, &other],
        &[&good, &wrong],
    ] {
        let problem = authenticate(&snapshot(), &headers(keys)).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Unauthorized, "{keys:?}");
    }
}

#[test]
fn the_order_of_refusals_is_that_of_the_specification() {
    use Permission::{EventsPublish, WebhooksManage};
    use UnknownSite::{Forbidden, NotFound};
    let good = key("primary");
    let good = &[good.as_str()][..];
    assert_eq!(ask(good, SITE, EventsPublish, Forbidden), Ok(()));
    assert_eq!(ask(&[], "bad slug", WebhooksManage, Forbidden), Err(ProblemKind::Unauthorized));
    assert_eq!(ask(good, "bad slug", WebhooksManage, Forbidden), Err(ProblemKind::SlugMalformed));
    assert_eq!(ask(good, SITE, WebhooksManage, NotFound), Err(ProblemKind::Forbidden));
    for unknown in ["s000000", "o4fKq2"] {
        assert_eq!(ask(good, unknown, EventsPublish, Forbidden), Err(ProblemKind::Forbidden), "{unknown}");
        assert_eq!(ask(good, unknown, EventsPublish, NotFound), Err(ProblemKind::NotFound), "{unknown}");
    }
    assert_eq!(ask(good, OTHER_SITE, EventsPublish, NotFound), Err(ProblemKind::Forbidden));
}

#[test]
fn publishing_does_not_tell_which_sites_exist() {
    let ask = |slug| {
        let headers = headers(&[&key("primary")]);
        authorize(&snapshot(), &headers, slug, Permission::EventsPublish, UnknownSite::Forbidden).unwrap_err()
    };
    assert_eq!(ask("s000000"), ask(OTHER_SITE));
}

#[tokio::test]
async fn only_the_operators_token_opens_operator_routes() {
    let config = OperatorConfig { token: Secret::new("0123456789abcdef") };
    let admin = operator_only(Router::new().route("/admin/v1/sites", axum::routing::get(async || "sites")), &config);
    let app = App::new(admin, &crate::config::HttpConfig::default());
    let status = async |path: &str, values: &[&str]| {
        let mut request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        for value in values {
            request.headers_mut().append(header::AUTHORIZATION, value.parse().unwrap());
        }
        app.call(request).await.status().as_u16()
    };
    let path = "/admin/v1/sites";
    assert_eq!(status(path, &["Bearer 0123456789abcdef"]).await, 200);
    assert_eq!(status(path, &["bearer  0123456789abcdef"]).await, 200);
    for values in [
        &[][..],
        &["Bearer"],
        &["Bearer "],
        &["Bearer 0123456789abcdeX"],
        &["Bearer 0123456789abcde"],
        &["Basic 0123456789abcdef"],
        &["0123456789abcdef"],
        &["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"],
    ] {
        assert_eq!(status(path, values).await, 401, "{values:?}");
    }
    assert_eq!(status("/admin/v1/nothing", &[]).await, 404);
}
