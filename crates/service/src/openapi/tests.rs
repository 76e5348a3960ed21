//! What is added to operations, at the documents that every process has and one operation of each kind.

use http::Method;
use serde_json::Value;
use slipstream_core::timestamp::Timestamp;

use super::*;
use crate::access::{Access, TABLE};

/// Stands for the operations of services: each kind of access, and a POST.
mod operations {
    #![expect(dead_code, reason = "documents take what stands above them; nobody calls them")]

    #[utoipa::path(get, path = "/sites/{site}/events/scheduled", params(super::Paging), responses((status = 200)))]
    pub(super) fn at_a_site() {}

    #[utoipa::path(post, path = "/admin/v1/deliveries/{id}/replay", responses((status = 202), super::NotFound))]
    pub(super) fn repeatable() {}

    #[utoipa::path(get, path = "/admin/v1/events/{site}/{source}/{id}", responses((status = 200)))]
    pub(super) fn wildcard() {}

    #[utoipa::path(get, path = "/admin/v1/nothing", responses((status = 200)))]
    pub(super) fn nothing() {}

    #[utoipa::path(
        get,
        path = "/api/webhook-categories",
        params(crate::ecg::PagingParameters),
        responses((status = 200, body = crate::ecg::ListOf<crate::ecg::AuditInfo>)),
    )]
    pub(super) fn categories() {}

    #[utoipa::path(
        post,
        path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/archive",
        responses((status = 200, body = crate::ecg::Value), super::NotFound),
    )]
    pub(super) fn archive() {}

    #[utoipa::path(
        get,
        path = "/healthcheck",
        responses((status = 200), (status = 503, body = crate::ecg::Value, description = "Not well")),
    )]
    pub(super) fn health() {}
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(operations::categories, operations::archive, operations::health))]
struct OfEcg;

#[derive(utoipa::OpenApi)]
#[openapi(paths(operations::at_a_site))]
struct AtASite;

#[derive(utoipa::OpenApi)]
#[openapi(paths(operations::repeatable, operations::wildcard))]
struct ForOperators;

#[derive(utoipa::OpenApi)]
#[openapi(paths(operations::nothing))]
struct Nothing;

fn finished() -> (Value, Value) {
    use utoipa::OpenApi as _;
    let documents = Documents::of_every_process().slipstream(AtASite::openapi()).operator(ForOperators::openapi());
    let Written { slipstream, operator, .. } = documents.finish().unwrap();
    (serde_json::from_str(&slipstream).unwrap(), serde_json::from_str(&operator).unwrap())
}

fn statuses(operation: &Value) -> Vec<&str> {
    operation["responses"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn refusals_follow_from_the_access_table() {
    let (slipstream, operator) = finished();
    let at_a_site = &slipstream["paths"]["/sites/{site}/events/scheduled"]["get"];
    assert_eq!(statuses(at_a_site), ["200", "400", "401", "403", "429", "431", "500", "503"]);
    assert_eq!(at_a_site["security"], serde_json::json!([{"apiKey": []}, {"bearerToken": []}]));
    let headers = |status: &str| at_a_site["responses"][status]["headers"].clone();
    assert!(headers("401").get("WWW-Authenticate").is_some(), "{}", headers("401"));
    assert!(headers("429").get("Retry-After").is_some() && headers("200").get("RateLimit").is_some());

    let wildcard = &operator["paths"]["/admin/v1/events/{site}/{source}/{id}"]["get"];
    assert_eq!(statuses(wildcard), ["200", "400", "401", "431", "500", "503"]);
    assert_eq!(wildcard["security"], serde_json::json!([{"operatorToken": []}]));

    let public = &slipstream["paths"]["/openapi.json"]["get"];
    assert_eq!((statuses(public), public.get("security")), (vec!["200", "400", "431", "500", "503"], None));
}

#[test]
fn a_post_that_may_be_repeated_takes_a_key() {
    let (_, operator) = finished();
    let post = &operator["paths"]["/admin/v1/deliveries/{id}/replay"]["post"];
    let expected = ["202", "400", "401", "404", "408", "409", "413", "415", "422", "431", "500", "503"];
    assert_eq!(statuses(post), expected);
    assert_eq!(post["parameters"][0]["name"], "idempotency-key");
    assert!(post["responses"]["202"]["headers"].get("Idempotent-Replayed").is_some());
}

#[test]
fn every_refusal_is_a_problem_document() {
    let (slipstream, operator) = finished();
    for document in [slipstream, operator] {
        assert_eq!(document["openapi"], "3.1.0");
        assert!(document["components"]["schemas"]["Problem"]["properties"]["traceId"].is_object());
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let content = response["content"].as_object();
                    let is_problem = content.is_some_and(|it| it.contains_key("application/problem+json"));
                    let is_readiness = path == "/readyz" && status == "503";
                    assert_eq!(is_problem, status.as_str() >= "400" && !is_readiness, "{path} {status}");
                    assert_ne!(response["description"], "", "{path} {status}");
                }
            }
        }
    }
}

#[test]
fn an_operation_without_an_entry_is_refused() {
    use utoipa::OpenApi as _;
    let undescribed = Documents::default().operator(Nothing::openapi()).finish().unwrap_err();
    assert_eq!(undescribed, Undescribed::NoEntry { method: Method::GET, path: "/admin/v1/nothing".to_owned() });
    // Nor does a document have what the other listener serves, or what another surface has.
    assert!(Documents::default().slipstream(ForOperators::openapi()).finish().is_err());
    assert!(Documents::default().slipstream(OfEcg::openapi()).finish().is_err());
    assert!(Documents::default().ecg(AtASite::openapi()).finish().is_err());
}

#[test]
fn a_wildcard_is_documented_by_names() {
    let entry = TABLE.iter().find(|entry| entry.path.contains("{*")).unwrap();
    assert_eq!(entry.access, Access::Operator);
    assert!(
        documented(entry, "/admin/v1/events/{site}/{source}/{id}") && !documented(entry, "/admin/v1/events/replay")
    );
}

#[test]
fn times_are_told_as_they_are_read() {
    let json = serde_json::to_value(<Timestamp as utoipa::PartialSchema>::schema()).unwrap();
    assert_eq!((&json["type"], &json["format"]), (&"string".into(), &"date-time".into()));
}

#[test]
fn citations_of_what_strangers_do_not_have_are_left_out() {
    assert_eq!(without_citations("It (SPEC 3.7; DESIGN 4) is (really) so (THREATS 1)."), "It is (really) so.");
}

#[test]
fn operations_of_the_ecg_surface_have_its_refusals() {
    use utoipa::OpenApi as _;
    let written = Documents::of_every_process().ecg(OfEcg::openapi()).finish().unwrap();
    let [ecg, public, slipstream] =
        [&written.ecg, &written.public, &written.slipstream].map(|json| serde_json::from_str::<Value>(json).unwrap());
    let archive = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/archive";
    let archive = &ecg["paths"][archive]["post"];
    let expected = ["200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "431", "500", "503"];
    assert_eq!(statuses(archive), expected);
    assert_eq!(archive["security"], serde_json::json!([{ "ecgToken": [] }]));
    for (status, response) in archive["responses"].as_object().unwrap() {
        let is_refusal = response["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/EcgError";
        assert_eq!(is_refusal, status != "200", "{status}: {response}");
        assert_eq!(response["content"].as_object().unwrap().len(), 1, "{status}: {response}");
    }
    let error = &ecg["components"]["schemas"]["EcgError"]["properties"];
    assert!(["statusCode", "message", "error", "traceId"].iter().all(|name| error[name].is_object()), "{error}");
    let health = &ecg["paths"]["/healthcheck"]["get"];
    assert_eq!((statuses(health), health.get("security")), (vec!["200", "400", "431", "500", "503"], None));
    assert_eq!(health["responses"]["503"]["description"], "Not well");

    // The public listener serves all, and says that this surface is at the root only.
    let count = |document: &Value| document["paths"].as_object().unwrap().len();
    assert_eq!(count(&public), count(&ecg) + count(&slipstream));
    assert_eq!(public["paths"]["/healthcheck"]["servers"][0]["url"], "/");
    let schemes: Vec<_> = public["components"]["securitySchemes"].as_object().unwrap().keys().collect();
    assert_eq!(schemes, ["apiKey", "bearerToken", "ecgToken", "tokenInQuery"]);
    assert_eq!(public["components"]["schemas"]["EcgError"], ecg["components"]["schemas"]["EcgError"]);
}

#[test]
fn one_name_for_two_schemas_is_refused() {
    use utoipa::OpenApi as _;
    let mut other = AtASite::openapi();
    let schema = utoipa::openapi::ObjectBuilder::new().build();
    other.components.get_or_insert_default().schemas.insert("AuditInfo".to_owned(), schema.into());
    let refused = Documents::default().slipstream(other).ecg(OfEcg::openapi()).finish().unwrap_err();
    assert_eq!(refused, Undescribed::Ambiguous("AuditInfo".to_owned()));
}
