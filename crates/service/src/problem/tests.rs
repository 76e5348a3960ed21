use std::fmt::Write as _;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::Request;
use axum::routing::{get, post};
use slipstream_core::problem::FieldError;

use super::*;
use crate::config::HttpConfig;
use crate::http::App;

const PARENT: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";

#[derive(serde::Deserialize)]
struct Page {
    #[expect(dead_code, reason = "only its parsing matters here")]
    limit: u32,
}

fn router() -> Router {
    Router::new()
        .route(
            "/kinds/{status}",
            get(async |Path(status): Path<u16>| -> ApiError {
                match status {
                    400 => Problem::with_errors(
                        ProblemKind::InvalidEvent,
                        vec![
                            FieldError::at("id", "must not be empty").in_batch(0),
                            FieldError::at("time", "not an RFC 3339 timestamp").in_batch(1),
                        ],
                    )
                    .into(),
                    401 => Problem::new(ProblemKind::Unauthorized, "the API key is not valid").into(),
                    429 => {
                        let mut problem = Problem::new(ProblemKind::QuotaExceeded, "over quota");
                        problem.retry_after = Some(Duration::from_millis(1200));
                        ApiError::from(problem).with_header(
                            HeaderName::from_static("ratelimit"),
                            HeaderValue::from_static(r#""publish";r=0"#),
                        )
                    }
                    503 => ApiError::unavailable("the bus did not answer in time", anyhow::anyhow!("canary")),
                    _ => anyhow::anyhow!("canary").into(),
                }
            }),
        )
        .route("/panics", get(async || -> String { panic!("canary") }))
        .route("/page", get(async |_: Query<Page>| "page"))
        .route("/post", post(async || "posted"))
        .route("/own", get(async || (StatusCode::CONFLICT, axum::Json("own"))))
}

/// The answer as text: status, headers we promise, body with our part of the trace cut out.
async fn get_text(path: &str) -> String {
    let app = App::new(router(), &HttpConfig::default());
    let request = Request::get(path).header("traceparent", PARENT).body(axum::body::Body::empty()).unwrap();
    let response = app.call(request).await;
    let mut text = format!("{}\n", response.status().as_u16());
    for name in ["content-type", "retry-after", "www-authenticate", "ratelimit", "allow"] {
        if let Some(value) = response.headers().get(name) {
            writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
    }
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let trace_id = body.find("00-84c1fd4063c38d9f3900d06e56542d48-");
    if let Some(at) = trace_id {
        assert!(!body.contains(PARENT), "the span is ours: {body}");
        return text + &body[..at + 36] + "<span>" + &body[at + 52..];
    }
    text + &body
}

#[tokio::test]
async fn an_invalid_event_names_each_member() {
    insta::assert_snapshot!(get_text("/kinds/400").await, @r##"
    400
    content-type: application/problem+json
    {"type":"https://docs.example/problems/invalid-event","title":"Invalid event","status":400,"detail":"2 members are invalid","traceId":"00-84c1fd4063c38d9f3900d06e56542d48-<span>-01","errors":[{"pointer":"#/0/id","detail":"must not be empty"},{"pointer":"#/1/time","detail":"not an RFC 3339 timestamp"}]}
    "##);
}

#[tokio::test]
async fn a_missing_credential_is_asked_for() {
    insta::assert_snapshot!(get_text("/kinds/401").await, @r#"
    401
    content-type: application/problem+json
    www-authenticate: Bearer
    {"type":"about:blank","title":"Unauthorized","status":401,"detail":"the API key is not valid","traceId":"00-84c1fd4063c38d9f3900d06e56542d48-<span>-01"}
    "#);
}

#[tokio::test]
async fn a_quota_problem_says_which_and_when() {
    insta::assert_snapshot!(get_text("/kinds/429").await, @r#"
    429
    content-type: application/problem+json
    retry-after: 2
    ratelimit: "publish";r=0
    {"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded","status":429,"detail":"over quota","traceId":"00-84c1fd4063c38d9f3900d06e56542d48-<span>-01","violated-policies":["publish"]}
    "#);
}

#[tokio::test]
async fn unavailable_says_when_to_come_back_and_hides_the_cause() {
    insta::assert_snapshot!(get_text("/kinds/503").await, @r#"
    503
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the bus did not answer in time","traceId":"00-84c1fd4063c38d9f3900d06e56542d48-<span>-01"}
    "#);
}

#[tokio::test]
async fn errors_without_a_better_answer_and_panics_are_our_fault_and_tell_nothing() {
    let expected = get_text("/kinds/500").await;
    assert!(expected.starts_with("500") && !expected.contains("canary"), "{expected}");
    assert_eq!(get_text("/panics").await, expected);
}

#[tokio::test]
async fn refusals_of_the_framework_are_problems_too() {
    for (path, status, detail) in [
        ("/nowhere", "404", "there is nothing at this path"),
        ("/post", "405", "the path does not have this method"),
        ("/page?limit=x", "400", "Failed to deserialize query string"),
        ("/kinds/x", "400", "Invalid URL"),
    ] {
        let text = get_text(path).await;
        assert!(text.starts_with(status) && text.contains(CONTENT_TYPE) && text.contains(detail), "{path}: {text}");
        assert!(text.contains("traceId"), "{path}: {text}");
    }
    assert!(get_text("/post").await.contains("allow: POST"));
}

#[tokio::test]
async fn an_error_with_a_shape_of_its_own_keeps_it() {
    assert_eq!(get_text("/own").await, "409\ncontent-type: application/json\n\"own\"");
}
