//! What of an answer is kept. Keys and repeats are tested with real databases, in the workspace's `tests`.

use http::header;

use super::answer::{kept, replayed};
use super::*;

fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

async fn bytes(response: Response) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().into()
}

#[tokio::test]
async fn an_answer_comes_back_as_it_went_out() {
    let headers = [("location", "/a/1"), ("x-two", "1"), ("x-two", "2"), ("ratelimit", "r"), ("content-length", "3")];
    let (out, Kept::Answer(answer)) = kept(response(201, &headers, "abc"), ANSWER_BYTES_MAX).await else {
        panic!("it is kept")
    };
    assert_eq!(bytes(out).await, b"abc");
    let again = replayed(answer);
    assert_eq!(again.status(), StatusCode::CREATED);
    let mut names: Vec<_> = again.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    names.sort_unstable();
    assert_eq!(names, [r#"idempotent-replayed: "true""#, r#"location: "/a/1""#, r#"x-two: "1""#, r#"x-two: "2""#]);
    assert_eq!(bytes(again).await, b"abc");
}

#[tokio::test]
async fn secrets_and_long_answers_are_not_kept_and_refusals_are() {
    let no_store = [(header::CACHE_CONTROL.as_str(), "private, no-store")];
    let (out, kept_of_secret) = kept(response(201, &no_store, "key"), ANSWER_BYTES_MAX).await;
    assert_eq!((bytes(out).await, kept_of_secret), (b"key".to_vec(), Kept::Status(201)));
    let long = vec![b'a'; 64 * 1024 + 1];
    let (out, kept_of_long) = kept(response(200, &[], long.clone()), ANSWER_BYTES_MAX).await;
    assert_eq!((bytes(out).await, kept_of_long), (long.clone(), Kept::Status(200)));
    let (_, kept_of_ecg) = kept(response(200, &[], long.clone()), ECG_ANSWER_BYTES_MAX).await;
    assert!(matches!(kept_of_ecg, Kept::Answer(answer) if answer.body == long));
    let (_, kept_of_refusal) = kept(response(409, &no_store, "{}"), ANSWER_BYTES_MAX).await;
    assert!(matches!(kept_of_refusal, Kept::Answer(_)));
}

#[test]
fn what_shows_a_secret_again_are_routes_that_take_keys() {
    for path in SHOWS_AGAIN {
        let entry = Entry::find(&Method::POST, path).unwrap_or_else(|| panic!("{path} is a route"));
        assert!(takes_key(entry) && entry.path == path, "{path}");
    }
}

#[test]
fn a_key_that_is_none_is_refused_and_two_are_none() {
    let headers = |values: &[&'static [u8]]| -> HeaderMap {
        let value = |value| http::HeaderValue::from_bytes(value).unwrap();
        values.iter().map(|it| (http::HeaderName::from_static(IDEMPOTENCY_KEY), value(it))).collect()
    };
    assert_eq!(key(&headers(&[])), Ok(None));
    assert_eq!(key(&headers(&[b"\"a\""])).unwrap().unwrap().as_str(), "a");
    for values in [&[&b"a"[..]][..], &[b""], &[b"\"a\xff\""], &[b"\"a\"", b"\"a\""]] {
        assert_eq!(key(&headers(values)).unwrap_err().kind, ProblemKind::BadRequest);
    }
}

#[test]
fn only_what_was_done_or_refused_for_good_is_final() {
    for (status, expected) in
        [(200, true), (202, true), (404, true), (422, true), (408, false), (429, false), (503, false)]
    {
        assert_eq!(is_final(StatusCode::from_u16(status).unwrap()), expected, "{status}");
    }
}
