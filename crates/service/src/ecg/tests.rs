//! How refusals of this surface look, wherever they arise.

use axum::extract::Path;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};
use slipstream_core::config::{Flags, Stamps};
use slipstream_core::ids::EcgCategoryId;
use slipstream_core::problem::FieldError;
use slipstream_core::timestamp::Timestamp;
use slipstream_test_support::install_crypto;
use slipstream_test_support::issuer::Issuer;
use tokio_util::task::TaskTracker;

use super::*;
use crate::access::Routes;
use crate::auth::Guards;
use crate::auth::token::{IssuerConfig, Verifier};
use crate::config::HttpConfig;
use crate::http::App;
use crate::problem::ApiError;

const PARENT: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";
const ID: &str = "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11";

struct World {
    app: App,
    bearer: String,
    /// Has the keys, as long as it is there.
    _issuer: Issuer,
}

impl World {
    async fn new() -> Self {
        install_crypto();
        let issuer = Issuer::start().await;
        let settings: IssuerConfig = serde_json::from_value(issuer.settings()).unwrap();
        let guards = Guards::none().with_ecg(Verifier::new(&[settings], &TaskTracker::new()).unwrap());
        let token = issuer.token().claim("sub", ID).claim("roles", json!(["webhookAdmin"])).sign();
        let routes = Routes::new(&guards)
            .refusing_with(refuse)
            .around(shape())
            .add(Method::GET, "/webhooks/keys/{subscription}", async || Err::<(), _>(ApiError::from(not_found("key"))))
            .add(Method::GET, "/healthcheck", async || (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({}))))
            .add(Method::GET, "/api/webhook-categories/{webhookCategoryId}", category)
            .add(Method::GET, "/api/webhook-categories", async |_: Paging| "a list")
            .add(Method::POST, "/api/webhook-categories", async || {
                let errors = vec![
                    FieldError::at("name", "must not be empty"),
                    FieldError { pointer: "#/events/0/a~1b%20%C3%A9".to_owned(), detail: "must be a UUID".into() },
                    FieldError { pointer: "#".to_owned(), detail: "must be an object".into() },
                ];
                Err::<(), _>(ApiError::from(Problem::with_errors(ProblemKind::BadRequest, errors)))
            })
            .add(Method::GET, "/api/seed-data/versions", async || -> Response { panic!("of a handler") });
        let app = App::new(routes.with_state(()).unwrap().into_parts().0, &HttpConfig::default());
        Self { app, bearer: format!("Bearer {token}"), _issuer: issuer }
    }

    /// Status, content type and body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String, Json) {
        let request = Request::builder().method(method).uri(path).header("traceparent", PARENT);
        let request = request.header("authorization", &self.bearer).body(axum::body::Body::empty()).unwrap();
        let response = self.app.call(request).await;
        let (status, content_type) = (response.status().as_u16(), response.headers()["content-type"].clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        (status, content_type.to_str().unwrap().to_owned(), body)
    }
}

async fn category(Path(id): Path<String>) -> Result<String, ApiError> {
    match path_id::<EcgCategoryId>(&id, "webhookCategoryId")? {
        EcgCategoryId(id) if id.is_nil() => Ok(id.to_string()),
        EcgCategoryId(id) if id.is_max() => Err(ApiError::internal(anyhow::anyhow!("a secret cause"))),
        _ => Err(not_found("webhook category").into()),
    }
}

#[tokio::test]
async fn every_refusal_has_the_shape_of_the_surface() {
    let world = World::new().await;
    let category = |id: Uuid| format!("/api/webhook-categories/{id}");
    assert_eq!(world.ask("GET", &category(Uuid::nil())).await.0, 200);
    for (method, path, status, message, error) in [
        ("GET", category(Uuid::from_u128(1)), 404, json!("there is no such webhook category"), "Not Found"),
        ("GET", "/api/webhook-categories/1".into(), 400, json!("webhookCategoryId must be a UUID"), "Bad Request"),
        ("GET", category(Uuid::max()), 500, json!("something went wrong on our side"), "Internal Server Error"),
        (
            "GET",
            "/api/webhook-categories?take=0".into(),
            400,
            json!("query parameter `take` must be a number from 1 to 100"),
            "Bad Request",
        ),
        (
            "POST",
            "/api/webhook-categories".into(),
            400,
            json!(["name must not be empty", "events.0.a/b é must be a UUID", "the body must be an object"]),
            "Bad Request",
        ),
        // What no handler answers.
        ("GET", "/api/nothing".into(), 404, json!("there is nothing at this path"), "Not Found"),
        ("PUT", "/healthcheck".into(), 405, json!("the path does not have this method"), "Method Not Allowed"),
        (
            "GET",
            "/api/seed-data/versions".into(),
            500,
            json!("something went wrong on our side"),
            "Internal Server Error",
        ),
    ] {
        let (answered, content_type, body) = world.ask(method, &path).await;
        assert_eq!((answered, content_type.as_str()), (status, "application/json"), "{path}: {body}");
        assert_eq!((&body["statusCode"], &body["message"], &body["error"]), (&json!(status), &message, &json!(error)));
        let trace = body["traceId"].as_str().unwrap();
        assert!(trace.starts_with("00-84c1fd4063c38d9f3900d06e56542d48-"), "{path}: {trace}");
        assert_eq!(body.as_object().unwrap().len(), 4, "{body}");
    }
}

#[tokio::test]
async fn what_has_a_shape_of_its_own_keeps_it_and_so_do_other_surfaces() {
    let world = World::new().await;
    assert_eq!(world.ask("GET", "/healthcheck").await, (503, "application/json".to_owned(), json!({})));
    for path in ["/webhooks/keys/1", "/api/v1/webhooks/keys/1", "/api/v1/nothing", "/nothing"] {
        let (status, content_type, body) = world.ask("GET", path).await;
        assert_eq!((status, content_type.as_str(), &body["status"]), (404, "application/problem+json", &json!(404)));
    }
    let here = ["/healthcheck", "/api/webhook-categories", "/api/v1x"].map(is_here);
    let elsewhere = ["/", "/api", "/api/v1", "/api/v1/subscriptions", "/healthchecks", "/x/api/a"].map(is_here);
    assert_eq!((here, elsewhere), ([true; 3], [false; 6]));
}

#[tokio::test]
async fn a_refusal_that_was_asked_for_has_its_status() {
    let trace = PARENT.parse().unwrap();
    let refused = answer(StatusCode::IM_A_TEAPOT, "as you wished", trace);
    assert_eq!(
        (refused.status(), &refused.headers()["cache-control"]),
        (StatusCode::IM_A_TEAPOT, &"no-store".parse().unwrap())
    );
    // And keeps what it says, whoever words it once more.
    let body = finish(refused, trace).await.into_body().collect().await.unwrap().to_bytes();
    let body: Json = serde_json::from_slice(&body).unwrap();
    let expected = json!({ "statusCode": 418, "message": "as you wished", "error": "I'm a teapot", "traceId": PARENT });
    assert_eq!(body, expected);
}

#[test]
fn an_id_in_a_path_is_a_uuid_with_hyphens_in_any_case() {
    let read = |text: &str| path_id::<EcgCategoryId>(text, "id").map(|id| id.to_string());
    assert_eq!(read(&ID.to_uppercase()), Ok(ID.to_owned()));
    for other in ["", "1", &ID.replace('-', ""), &format!("{{{ID}}}"), &format!("urn:uuid:{ID}")] {
        assert_eq!(read(other).unwrap_err().kind, ProblemKind::BadRequest, "{other}");
    }
}

#[test]
fn common_parts_are_named_as_the_surface_names_them() {
    let at = Timestamp::from_millis(1_732_710_448_044);
    let flags = Flags { active: true, active_changed_at: at, archived: false, archived_changed_at: at };
    let stamps = Stamps::new(ID.parse().unwrap(), at);
    let written = json!([ArchiveInfo::from(&flags), ActiveInfo::from(&flags), AuditInfo::from(&stamps), Value::TRUE]);
    let time = "2024-11-27T12:27:28.044Z";
    let expected = json!([
        { "archived": false, "archivedStatusChangedAt": time },
        { "active": true, "activeStatusChangedAt": time },
        { "createdAt": time, "createdBy": ID, "updatedAt": time, "updatedBy": ID },
        { "value": true },
    ]);
    assert_eq!(written, expected);
}
