//! `Idempotency-Key`: every row of the table of SPEC 2.3, first at handlers that do as they are told, then at the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use reqwest::Method;
use serde_json::{Value, json};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::access::Routes;
use slipstream_service::auth::Guards;
use slipstream_service::config::{HttpConfig, OperatorConfig, Secret};
use slipstream_service::directory::Snapshot;
use slipstream_service::http::{App, ToTheEnd};
use slipstream_service::idempotency::{Idempotency, forget_old};
use slipstream_service::quota::Quotas;
use slipstream_service::{ApiError, Directory};
use slipstream_store::{ConnectionTrait as _, DatabaseConfig, Store};
use slipstream_test_support::eventually;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, staged_on_both_backends};
use crate::world::{SOON, TOKEN};

/// Runs each statement on a database of its own, once per backend.
macro_rules! on_both_databases {
    ($($statement:ident),* $(,)?) => {
        mod sqlite_alone {
            $(#[tokio::test]
            async fn $statement() {
                let (_directory, url) = slipstream_test_support::sqlite::database();
                super::$statement(super::Shop::open(url).await).await;
            })*
        }
        mod postgres_alone {
            $(#[tokio::test]
            async fn $statement() {
                let url = slipstream_test_support::postgres::database().await;
                super::$statement(super::Shop::open(url).await).await;
            })*
        }
    };
}

on_both_databases!(
    a_repeat_gets_the_answer_of_the_first,
    a_repeat_while_the_first_is_running_is_told_so,
    of_two_at_once_one_is_done,
    another_body_under_the_same_key_is_refused,
    what_is_no_key_is_refused_and_nothing_done,
    a_refusal_is_repeated_and_a_failure_is_not,
    an_answer_with_a_secret_is_not_kept,
    a_key_is_of_one_caller_and_one_path,
    the_first_is_finished_although_its_sender_went_away,
    without_a_key_everything_is_done,
    old_keys_are_forgotten_by_themselves,
    without_a_database_nothing_is_done,
);

staged_on_both_backends!(a_replay_job_is_made_once);

/// Handlers at routes of the service: they count what they do, and wait where they are told to.
struct Shop {
    app: Arc<App>,
    store: Store,
    done: Arc<AtomicUsize>,
    /// What the handler that waits needs to go on.
    turns: Arc<Semaphore>,
}

/// Answers with the number of the deed.
const COUNTING: &str = "/admin/v1/deliveries/replay";
/// The same, after its turn has come.
const WAITING: &str = "/admin/v1/replays/1/pause";
/// Refuses, and its body says how.
const REFUSING: &str = "/admin/v1/replays/1/resume";
/// Shows a secret.
const SHOWING: &str = "/admin/v1/accounts";

impl Shop {
    async fn open(url: String) -> Self {
        let store = Store::connect(&DatabaseConfig { url: url.into(), max_connections: 4 }).await.unwrap();
        store.migrate().await.unwrap();
        let (done, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let count = |done: &Arc<AtomicUsize>| {
            let done = Arc::clone(done);
            move || done.fetch_add(1, Ordering::SeqCst) + 1
        };
        let counting = count(&done);
        let counting = async move |body: Bytes| {
            let location = [(header::LOCATION, format!("/deeds/{}", counting()))];
            (StatusCode::ACCEPTED, location, body)
        };
        let (waiting, turn) = (count(&done), Arc::clone(&turns));
        let waiting = async move || {
            turn.acquire().await.expect("it is never closed").forget();
            format!("deed {}", waiting())
        };
        let refusing = count(&done);
        let refusing = async move |body: String| -> Result<(), ApiError> {
            let number = refusing();
            Err(match body.as_str() {
                "404" => Problem::new(ProblemKind::NotFound, format!("there was no such deed {number}")).into(),
                "503" => ApiError::unavailable("later", anyhow::anyhow!("deed {number}")),
                _ => ApiError::internal(anyhow::anyhow!("deed {number}")),
            })
        };
        let showing = count(&done);
        let showing =
            async move || (StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], format!("secret {}", showing()));
        let guards = Guards::new(Directory::new(Snapshot::from_records([])), &Quotas::default());
        let guards = guards.with_operator(&OperatorConfig { token: Secret::new(TOKEN) });
        let http = HttpConfig::default();
        let (_, operator) = Routes::new(&guards)
            .around(Arc::new(Idempotency::new(store.clone(), &http, &ToTheEnd::default())))
            .add(Method::POST, "/admin/v1/deliveries/replay", counting.clone())
            .add(Method::POST, "/admin/v1/events/replay", counting)
            .add(Method::POST, "/admin/v1/replays/{id}/pause", waiting)
            .add(Method::POST, "/admin/v1/replays/{id}/resume", refusing)
            .add(Method::POST, "/admin/v1/accounts", showing)
            .with_state(())
            .unwrap()
            .into_parts();
        Self { app: Arc::new(App::new(operator, &http)), store, done, turns }
    }

    fn request(path: &str, key: Option<&str>, body: &str) -> Request<Body> {
        let request = Request::post(path).header("authorization", format!("Bearer {TOKEN}"));
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        request.body(Body::from(body.to_owned())).unwrap()
    }

    async fn ask(&self, path: &str, key: Option<&str>, body: &str) -> Answer {
        Answer::read(self.app.call(Self::request(path, key, body)).await).await
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    async fn rows(&self, condition: &str) -> u64 {
        // Changes nothing, and says how many rows there are.
        let sql = format!("UPDATE idempotency_keys SET scope = scope WHERE {condition}");
        self.store.connection().execute_unprepared(&sql).await.unwrap().rows_affected()
    }
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Self { status: parts.status, headers: parts.headers, body: String::from_utf8(body.into()).unwrap() }
    }

    fn is_replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    /// The status and the last segment of the problem's type.
    fn problem(&self) -> (u16, String) {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        let slug = body["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (self.status.as_u16(), slug)
    }
}

async fn a_repeat_gets_the_answer_of_the_first(shop: Shop) {
    let first = shop.ask(COUNTING, Some(r#""k""#), "body").await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert_eq!(first.headers["location"], "/deeds/1");
    assert_eq!((first.body.as_str(), first.is_replayed()), ("body", false));
    for _ in 0..2 {
        let mut repeat = shop.ask(COUNTING, Some(r#""k""#), "body").await;
        assert!(repeat.is_replayed());
        repeat.headers.remove("idempotent-replayed");
        assert_eq!(repeat, first);
    }
    assert_eq!(shop.done(), 1);
}

async fn a_repeat_while_the_first_is_running_is_told_so(shop: Shop) {
    let app = Arc::clone(&shop.app);
    let first = tokio::spawn(async move { app.call(Shop::request(WAITING, Some(r#""k""#), "")).await });
    eventually(SOON, async || match shop.rows("status IS NULL").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    let repeat = shop.ask(WAITING, Some(r#""k""#), "").await;
    assert_eq!(repeat.problem(), (409, "idempotency-in-progress".to_owned()));
    assert_eq!(repeat.headers["retry-after"], "1");
    let other = shop.ask(WAITING, Some(r#""k""#), "other").await;
    assert_eq!(other.problem(), (422, "idempotency-key-reused".to_owned()));
    shop.turns.add_permits(1);
    let first = Answer::read(first.await.unwrap()).await;
    let repeat = shop.ask(WAITING, Some(r#""k""#), "").await;
    assert_eq!((first.body.as_str(), repeat.body.as_str()), ("deed 1", "deed 1"));
    assert!(repeat.is_replayed() && !first.is_replayed());
}

async fn of_two_at_once_one_is_done(shop: Shop) {
    let asking = (0..10).map(|_| {
        let app = Arc::clone(&shop.app);
        tokio::spawn(async move { app.call(Shop::request(COUNTING, Some(r#""k""#), "body")).await })
    });
    let mut accepted = 0;
    for task in asking.collect::<Vec<_>>() {
        let answer = Answer::read(task.await.unwrap()).await;
        match answer.status {
            StatusCode::ACCEPTED => accepted += 1,
            _ => assert_eq!(answer.problem(), (409, "idempotency-in-progress".to_owned())),
        }
    }
    assert!(accepted >= 1);
    assert_eq!(shop.done(), 1);
}

async fn another_body_under_the_same_key_is_refused(shop: Shop) {
    shop.ask(COUNTING, Some(r#""k""#), "body").await;
    let other = shop.ask(COUNTING, Some(r#""k""#), "another body").await;
    assert_eq!(other.problem(), (422, "idempotency-key-reused".to_owned()));
    assert_eq!(shop.done(), 1);
    assert!(shop.ask(COUNTING, Some(r#""k""#), "body").await.is_replayed(), "the first stands");
}

async fn what_is_no_key_is_refused_and_nothing_done(shop: Shop) {
    for key in ["k", "", r#""""#, r#""a"b"#, r#""a", "b""#, "'a'", "1"] {
        let answer = shop.ask(COUNTING, Some(key), "body").await;
        assert_eq!(answer.problem(), (400, "about:blank".to_owned()), "{key}");
        assert!(answer.body.contains("Idempotency-Key"), "{}", answer.body);
    }
    let mut two = Shop::request(COUNTING, Some(r#""a""#), "body");
    two.headers_mut().append("idempotency-key", r#""a""#.parse().unwrap());
    assert_eq!(Answer::read(shop.app.call(two).await).await.status, StatusCode::BAD_REQUEST);
    assert_eq!((shop.done(), shop.rows("1 = 1").await), (0, 0));
}

async fn a_refusal_is_repeated_and_a_failure_is_not(shop: Shop) {
    let first = shop.ask(REFUSING, Some(r#""k""#), "404").await;
    let repeat = shop.ask(REFUSING, Some(r#""k""#), "404").await;
    assert_eq!((first.status, &first.body), (StatusCode::NOT_FOUND, &repeat.body), "its trace too");
    assert!(first.body.contains("deed 1") && repeat.is_replayed());
    assert_eq!(repeat.headers["content-type"], "application/problem+json");
    for (number, body) in [(2, "503"), (4, "500")] {
        let key = format!("\"{body}\"");
        for attempt in 0..2 {
            let answer = shop.ask(REFUSING, Some(&key), body).await;
            assert_eq!(answer.status.as_str(), body);
            assert!(!answer.is_replayed());
            assert_eq!(shop.done(), number + attempt);
        }
    }
    assert_eq!(shop.rows("status IS NULL AND lease_until_ms > 0").await, 0, "nothing is left running");
}

async fn an_answer_with_a_secret_is_not_kept(shop: Shop) {
    let first = shop.ask(SHOWING, Some(r#""k""#), "").await;
    assert_eq!((first.status, first.body.as_str()), (StatusCode::CREATED, "secret 1"));
    let repeat = shop.ask(SHOWING, Some(r#""k""#), "").await;
    assert_eq!(repeat.problem(), (409, "about:blank".to_owned()));
    assert!(repeat.body.contains("201") && !repeat.body.contains("secret 1"), "{}", repeat.body);
    assert_eq!((shop.done(), shop.rows("body IS NOT NULL OR headers IS NOT NULL").await), (1, 0));
}

async fn a_key_is_of_one_caller_and_one_path(shop: Shop) {
    shop.ask(COUNTING, Some(r#""k""#), "body").await;
    let elsewhere = shop.ask("/admin/v1/events/replay", Some(r#""k""#), "body").await;
    assert!(!elsewhere.is_replayed());
    assert_eq!(shop.done(), 2);
    let mut nobody = Shop::request(COUNTING, Some(r#""k""#), "body");
    nobody.headers_mut().remove("authorization");
    assert_eq!(shop.app.call(nobody).await.status(), StatusCode::UNAUTHORIZED, "who asks is found out first");
}

async fn the_first_is_finished_although_its_sender_went_away(shop: Shop) {
    let app = Arc::clone(&shop.app);
    let first = tokio::spawn(async move { app.call(Shop::request(WAITING, Some(r#""k""#), "")).await.into_response() });
    eventually(SOON, async || match shop.rows("status IS NULL").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    shop.turns.add_permits(1);
    let repeat = eventually(SOON, async || {
        let repeat = shop.ask(WAITING, Some(r#""k""#), "").await;
        if repeat.status == StatusCode::OK { Ok(repeat) } else { Err(repeat) }
    })
    .await;
    assert_eq!((repeat.body.as_str(), repeat.is_replayed(), shop.done()), ("deed 1", true, 1));
}

async fn without_a_key_everything_is_done(shop: Shop) {
    for number in 1..=2 {
        let answer = shop.ask(COUNTING, None, "body").await;
        assert_eq!(answer.headers["location"], format!("/deeds/{number}"));
    }
    assert_eq!(shop.rows("1 = 1").await, 0);
}

async fn old_keys_are_forgotten_by_themselves(shop: Shop) {
    shop.ask(COUNTING, Some(r#""old""#), "body").await;
    shop.store.connection().execute_unprepared("UPDATE idempotency_keys SET expires_ms = 1").await.unwrap();
    shop.ask(COUNTING, Some(r#""new""#), "body").await;
    let stop = CancellationToken::new();
    let forgetting = tokio::spawn(forget_old(shop.store.clone(), stop.clone()));
    eventually(SOON, async || match shop.rows("1 = 1").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    stop.cancel();
    forgetting.await.unwrap().unwrap();
    assert!(shop.ask(COUNTING, Some(r#""new""#), "body").await.is_replayed());
    assert!(!shop.ask(COUNTING, Some(r#""old""#), "body").await.is_replayed());
}

async fn without_a_database_nothing_is_done(shop: Shop) {
    shop.store.connection().execute_unprepared("DROP TABLE idempotency_keys").await.unwrap();
    let answer = shop.ask(COUNTING, Some(r#""k""#), "body").await;
    assert_eq!((answer.status, shop.done()), (StatusCode::SERVICE_UNAVAILABLE, 0));
}

/// At the service: two at once, a repeat, and another body.
async fn a_replay_job_is_made_once(stage: Stage) {
    let ask = async |body: Value| {
        let request = stage.request(Method::POST, "/deliveries/replay").header("idempotency-key", r#""job""#);
        let response = request.json(&body).send().await.unwrap();
        let replayed = response.headers().contains_key("idempotent-replayed");
        (response.status(), replayed, response.json::<Value>().await.unwrap())
    };
    let body = json!({ "state": ["failed"] });
    let (one, other) = tokio::join!(ask(body.clone()), ask(body.clone()));
    let made = if one.0 == StatusCode::ACCEPTED { &one } else { &other };
    let id = made.2["id"].as_str().unwrap_or_else(|| panic!("{one:?} {other:?}"));
    let repeat = ask(body).await;
    assert_eq!((repeat.0, repeat.1, repeat.2["id"].as_str()), (StatusCode::ACCEPTED, true, Some(id)));
    assert_eq!(ask(json!({})).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, jobs) = stage.get("/replays").await;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "{jobs}");
    stage.stop().await;
}
