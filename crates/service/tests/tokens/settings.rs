//! Which settings an issuer may have, and what its tokens permit by them.

use serde::Deserialize;
use serde_json::{Value, json};
use slipstream_core::config::{Permission, Quota, SitesAllowed};
use slipstream_service::auth::token::{IssuerConfig, Rights, Verifier, default_roles};
use slipstream_service::config::load_from;
use tokio_util::task::TaskTracker;

use super::World;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    issuers: Vec<IssuerConfig>,
}

fn from_toml(text: &str) -> Result<Vec<IssuerConfig>, String> {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    load_from::<Settings>(Some(file.path()), []).map(|settings| settings.issuers).map_err(|error| error.to_string())
}

const ENTRA: &str = r#"
    [[issuers]]
    name = "entra"
    issuer = "https://login.microsoftonline.com/72f988bf/v2.0"
    audiences = ["api://slipstream"]
"#;

#[test]
fn settings_are_read_from_a_file_with_their_defaults() {
    let issuers = from_toml(&format!("{ENTRA}\nsites = \"all\"")).unwrap();
    assert_eq!((issuers.len(), &issuers[0].roles), (1, &default_roles()));
    assert!(issuers[0].jwks_url.is_none() && issuers[0].tenants.is_none() && issuers[0].quota.is_none());
}

#[test]
fn roles_keep_their_letters_and_dots() {
    let more = r#"
        sites = { claim = "Sites" }
        tenants = ["72f988bf"]
        jwks_url = "https://login.microsoftonline.com/72f988bf/discovery/v2.0/keys"
        quota = { burst_capacity = 500, tokens_per_second = 50 }
        [issuers.roles]
        "Post.Office Staff" = "Events.Publish"
        "OURS" = "Internal"
    "#;
    let issuers = from_toml(&format!("{ENTRA}{more}")).unwrap();
    let roles: Vec<&str> = issuers[0].roles.keys().map(String::as_str).collect();
    assert_eq!(roles, ["OURS", "Post.Office Staff"]);
    assert_eq!(issuers[0].quota, Some(Quota { burst_capacity: 500, tokens_per_second: 50 }));
}

#[test]
fn one_variable_gives_all_issuers() {
    let value = r#"[{ name = "a", issuer = "https://a.example", audiences = ["x"], sites = { only = ["s8n6EzC"] } }]"#;
    let settings: Settings = load_from(None, [("SLIPSTREAM__ISSUERS".into(), value.into())]).unwrap();
    assert_eq!(settings.issuers[0].name, "a");
}

#[test]
fn settings_that_do_not_fit_are_refused_with_their_place() {
    for (more, told) in [
        ("", "sites"),
        ("sites = \"some\"", "sites"),
        ("sites = { only = [\"no slug\"] }", "sites"),
        ("sites = \"all\"\nshared_key = \"x\"", "shared_key"),
        ("sites = \"all\"\nroles = { a = \"Everything\" }", "neither a permission nor `Internal`"),
        ("sites = \"all\"\njwks_url = \"nonsense\"", "jwks_url"),
    ] {
        let error = from_toml(&format!("{ENTRA}\n{more}")).unwrap_err();
        assert!(error.contains(told) && error.contains("issuers"), "{more}: {error}");
    }
}

/// Why these settings cannot be used; empty if they can.
fn refusal(issuers: &[Value]) -> String {
    let issuers: Vec<IssuerConfig> =
        issuers.iter().map(|issuer| serde_json::from_value(issuer.clone()).unwrap()).collect();
    Verifier::new(&issuers, &TaskTracker::new()).map_or_else(|error| error.to_string(), |_| String::new())
}

fn settings(name: &str, value: impl Into<Value>) -> Value {
    let mut settings = json!({ "name": "a", "issuer": "https://a.example/t", "audiences": ["x"], "sites": "all" });
    settings[name] = value.into();
    settings
}

#[test]
fn settings_that_make_no_sense_refuse_to_start() {
    for (name, value, told) in [
        ("name", json!(""), "`name` must be"),
        ("name", json!("a/b"), "`name` must be"),
        ("name", json!("A"), "`name` must be"),
        ("name", json!("a".repeat(33)), "`name` must be"),
        ("audiences", json!([]), "`audiences` must name"),
        ("audiences", json!([""]), "`audiences` must name"),
        ("tenants", json!([]), "`tenants` must name"),
        ("roles", json!({}), "`roles` must name"),
        ("sites", json!({ "claim": "" }), "`sites.claim` must name"),
        ("issuer", json!(""), "`issuer` is not a URL"),
        ("issuer", json!("a.example"), "`issuer` is not a URL"),
        ("issuer", json!("http://a.example"), "`issuer` must be an https URL"),
        ("issuer", json!("http://localhost.example"), "`issuer` must be an https URL"),
        ("issuer", json!("http://10.0.0.1"), "`issuer` must be an https URL"),
        ("issuer", json!("file:///keys"), "`issuer` must be an https URL"),
        ("issuer", json!("https://a.example?x"), "`issuer` must have no query"),
        ("issuer", json!("https://a.example#x"), "`issuer` must have no fragment"),
        ("issuer", json!("https://me:canary@a.example"), "`issuer` must not hold"),
        ("jwks_url", json!("http://a.example/keys"), "`jwks_url` must be an https URL"),
        ("jwks_url", json!("https://me@a.example/keys"), "`jwks_url` must not hold"),
        ("quota", json!({ "burst_capacity": 0, "tokens_per_second": 1 }), "`quota`"),
    ] {
        let error = refusal(&[settings(name, value.clone())]);
        assert!(error.starts_with("issuer `") && error.contains(told), "{name} {value}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
    for (name, value) in [
        ("issuer", json!("http://127.0.0.1:1")),
        ("issuer", json!("http://[::1]:1/realm")),
        ("issuer", json!("http://localhost/")),
        ("jwks_url", json!("https://elsewhere.example/keys?tenant=x")),
        ("sites", json!({ "only": [] })),
    ] {
        assert_eq!(refusal(&[settings(name, value.clone())]), "", "{name} {value}");
    }
    // With a place of its own for the keys, the issuer's name is a text like any other.
    let mut named = settings("issuer", "accounts.example");
    named["jwks_url"] = "https://accounts.example/keys".into();
    assert_eq!(refusal(&[named]), "");
}

#[test]
fn two_issuers_must_be_told_apart() {
    let (a, same_name) = (settings("name", "a"), settings("issuer", "https://b.example"));
    assert!(refusal(&[a.clone(), same_name]).contains("two of this name"));
    assert!(refusal(&[a.clone(), settings("name", "b")]).contains("`issuer` is that of `a`"));
    let mut b = settings("name", "b");
    b["issuer"] = "https://b.example".into();
    assert_eq!(refusal(&[a, b]), "");
}

/// What a token with these claims permits.
async fn rights(world: &World, claims: &[(&str, Value)]) -> Rights {
    let token = claims.iter().fold(world.issuer.token(), |token, (name, value)| token.claim(name, value.clone()));
    world.verifier.rights(&world.verify(&token.sign()).await.unwrap())
}

#[tokio::test]
async fn roles_and_scopes_give_what_the_settings_say_and_nothing_else() {
    use Permission::{EventsPublish, WebhooksManage};
    let world = World::new().await;
    let nothing = rights(&world, &[("roles", json!(["events.publish", "Admin", ""]))]).await;
    assert_eq!((nothing.permissions, nothing.internal), (vec![], false));
    let roles = rights(&world, &[("roles", json!(["Events.Publish", "Events.Publish", "Internal"]))]).await;
    assert_eq!((roles.permissions, roles.internal), (vec![EventsPublish], true));
    let scopes = rights(&world, &[("scp", json!("openid Webhooks.Manage Events.Publish"))]).await;
    assert_eq!((scopes.permissions, scopes.internal), (vec![WebhooksManage, EventsPublish], false));

    let ours = World::with(|settings| settings["roles"] = json!({ "post": "Events.Publish" })).await;
    let default = rights(&ours, &[("roles", json!(["Webhooks.Manage", "Internal"]))]).await;
    assert_eq!((default.permissions, default.internal), (vec![], false), "the defaults are replaced");
    assert_eq!(rights(&ours, &[("roles", json!("post"))]).await.permissions, vec![EventsPublish]);
}

#[tokio::test]
async fn sites_are_all_or_listed_or_claimed() {
    let only = |slugs: &[&str]| SitesAllowed::Only(slugs.iter().map(|slug| slug.parse().unwrap()).collect());
    let claim = [("sites", json!(["s8n6EzC", "no slug", "sUkLWZg"]))];
    for (sites, allowed) in [
        (json!("all"), SitesAllowed::All),
        (json!({ "only": ["s8n6EzC"] }), only(&["s8n6EzC"])),
        (json!({ "claim": "sites" }), only(&["s8n6EzC", "sUkLWZg"])),
        (json!({ "claim": "others" }), only(&[])),
    ] {
        let world = World::with(|settings| settings["sites"] = sites.clone()).await;
        assert_eq!(rights(&world, &claim).await.sites, allowed, "{sites}");
    }
    let world = World::with(|settings| settings["sites"] = json!({ "claim": "sites" })).await;
    assert_eq!(rights(&world, &[("sites", json!("s8n6EzC"))]).await.sites, only(&["s8n6EzC"]));
    for claim in [json!("*"), json!("all"), json!({ "all": true }), json!(["s8n6EzC", 1])] {
        assert_eq!(rights(&world, &[("sites", claim.clone())]).await.sites, only(&[]), "{claim}");
    }
}

#[tokio::test]
async fn claims_of_an_issuer_that_is_not_ours_permit_nothing() {
    let (world, other) = (World::new().await, World::with(|settings| settings["name"] = "other".into()).await);
    let claims = other.verify(&other.issuer.token().claim("roles", json!(["Events.Publish"])).sign()).await.unwrap();
    let rights = world.verifier.rights(&claims);
    assert_eq!((rights.permissions, rights.sites), (vec![], SitesAllowed::Only(vec![])));
}
