use futures::{StreamExt as _, stream};
use slipstream_test_support::builders;

use super::*;
use crate::auth::{Granted, Principal};

const SECOND: Duration = Duration::from_secs(1);

fn pieces(pieces: &[&'static str]) -> Body {
    Body::from_stream(stream::iter(pieces.to_vec()).map(Ok::<_, std::io::Error>))
}

/// The head of a request of `principal` with these fields.
fn parts(headers: &[(&'static str, &str)], principal: Option<Principal>) -> Parts {
    let mut request = http::Request::new(());
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let granted = principal.map(Granted::new);
    if let Some(granted) = granted {
        request.extensions_mut().insert(granted);
    }
    request.into_parts().0
}

async fn kind(headers: &[(&'static str, &str)], body: Body, limit: usize) -> Result<Bytes, u16> {
    read_body(&parts(headers, None), body, limit, SECOND).await.map_err(|problem| problem.kind.status())
}

#[tokio::test]
async fn bodies_up_to_the_limit_are_read_whole_however_they_come() {
    assert_eq!(kind(&[], Body::empty(), 4).await, Ok(Bytes::new()));
    assert_eq!(kind(&[], Body::from("1234"), 4).await.unwrap(), "1234");
    assert_eq!(kind(&[], pieces(&["1234"]), 4).await.unwrap(), "1234");
    assert_eq!(kind(&[], pieces(&["1", "", "23", "4"]), 4).await.unwrap(), "1234");
    assert_eq!(kind(&[], Body::from("12345"), 4).await, Err(413));
    assert_eq!(kind(&[], pieces(&["123", "45"]), 4).await, Err(413));
    assert_eq!(kind(&[("content-encoding", "Identity")], Body::from("1"), 4).await.unwrap(), "1");
    assert_eq!(kind(&[("content-encoding", "gzip")], Body::from("1"), 4).await, Err(415));
}

#[tokio::test]
async fn a_body_in_one_piece_is_not_copied() {
    let bytes = Bytes::from("12345678".repeat(100));
    let read = kind(&[], Body::from(bytes.clone()), 1000).await.unwrap();
    assert_eq!(read.as_ptr(), bytes.as_ptr());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_senders_fault() {
    let body = Body::from_stream(stream::iter([Ok("12"), Err(std::io::Error::other("cut"))]));
    assert_eq!(kind(&[], body, 4).await, Err(400));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_times_out() {
    let body = Body::from_stream(stream::iter([Ok::<_, std::io::Error>("12")]).chain(stream::pending()));
    assert_eq!(kind(&[], body, 4).await, Err(408));
    assert_eq!(BUDGET.used(), 0);
}

#[tokio::test]
async fn bodies_together_stay_within_the_budget_until_they_are_dropped() {
    let small = Budget::new(10, 10, 10);
    let read = async |text: &'static str| {
        let read = read_within(&HeaderMap::new(), Body::from(text), 100, SECOND, small.share(None)).await;
        read.map_err(|problem| problem.kind.status())
    };
    let first = read("12345678").await.unwrap();
    let slice = first.slice(2..3);
    drop(first);
    assert_eq!(read("123").await, Err(503), "a slice keeps the whole body in memory");
    let second = read("12").await.unwrap();
    drop(slice);
    assert_eq!(read("12345678").await.unwrap(), "12345678");
    drop(second);
    assert_eq!(small.used(), 0);
}

/// With the budget of the process, as the accept loop has it.
#[tokio::test]
async fn one_caller_cannot_hold_what_others_need() {
    const LARGE: usize = 1024 * 1024;
    let account = Principal::of_account(builders::account().account.into());
    let read = async |principal: Option<&Principal>| {
        let body = Body::from(vec![0; LARGE]);
        read_body(&parts(&[], principal.cloned()), body, LARGE, SECOND).await
    };
    let mut held = Vec::new();
    let refusal = loop {
        match read(Some(&account)).await {
            Ok(body) => held.push(body),
            Err(problem) => break problem,
        }
    };
    assert_eq!((held.len(), refusal.kind), (BODIES_BYTES_MAX_OF_ONE / LARGE, ProblemKind::Unavailable));
    assert!(refusal.retry_after.is_some());
    let other = Principal::of_account(builders::account().account.into());
    for caller in [Some(&other), Some(&Principal::operator()), None] {
        assert!(read(caller).await.is_ok(), "{caller:?}");
    }
    held.pop();
    assert!(read(Some(&account)).await.is_ok(), "what is given back may be used again");
}
