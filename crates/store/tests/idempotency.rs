//! One suite of statements about the keys of requests that may be sent again, run over SQLite and over PostgreSQL.

#[path = "support/backends.rs"]
mod backends;

use std::time::Duration;

use slipstream_core::idempotency::{Answer, Claim, Claimed, Fingerprint, Kept, Keys as _, Scope};
use slipstream_core::timestamp::Timestamp;
use slipstream_store::Store;
use uuid::Uuid;

use self::backends::on_both_backends;

on_both_backends!(
    of_many_at_once_one_is_the_first,
    a_finished_one_is_told_as_it_was_kept,
    one_that_is_given_back_is_free,
    one_that_is_done_again_makes_the_same_thing_until_its_time_is_over,
    a_dead_processs_claim_is_free_after_its_lease_and_its_result_is_not_taken_then,
    a_key_is_free_after_its_time,
    old_keys_are_forgotten_a_little_at_a_time,
);

const LEASE: Duration = Duration::from_mins(1);
const KEPT_FOR: Duration = Duration::from_hours(24);

/// A claim of `token` made `seconds` after the beginning.
fn claim(key: &str, body: &str, token: u128, seconds: u64) -> Claim {
    let now = Timestamp::from_millis(1_772_443_800_000).after(Duration::from_secs(seconds));
    Claim {
        scope: Scope::new("operator", "POST", "/a", &format!("\"{key}\"").parse().unwrap()),
        fingerprint: Fingerprint::of(None, body.as_bytes()),
        token: Uuid::from_u128(token),
        now,
        lease_until: now.after(LEASE),
        expires_at: now.after(KEPT_FOR),
    }
}

/// The first claim, which makes things under the token of the request's very first one.
fn made(token: u128) -> Claimed {
    Claimed::First(Uuid::from_u128(token))
}

/// A repeat of a request that made something under `token`.
fn finished(kept: Kept, token: u128) -> Claimed {
    Claimed::Finished(kept, Some(Uuid::from_u128(token)))
}

fn kept() -> Kept {
    let headers = vec![("location".to_owned(), "/a/1".to_owned()), ("x".to_owned(), "é\"".to_owned())];
    Kept::Answer(Answer { status: 201, headers, body: b"{\"a\":\xff}".to_vec() })
}

async fn of_many_at_once_one_is_the_first(store: Store) {
    let claiming = (1..=20_u128).map(|token| {
        let store = store.clone();
        tokio::spawn(async move { store.claim(&claim("k", "b", token, 0)).await.unwrap() })
    });
    let mut claimed = Vec::new();
    for task in claiming.collect::<Vec<_>>() {
        claimed.push(task.await.unwrap());
    }
    assert_eq!(claimed.iter().filter(|it| matches!(it, Claimed::First(_))).count(), 1);
    assert_eq!(claimed.iter().filter(|it| **it == Claimed::Running).count(), 19);
    assert_eq!(store.claim(&claim("k", "c", 30, 0)).await.unwrap(), Claimed::Reused);
    assert_eq!(store.claim(&claim("l", "c", 30, 0)).await.unwrap(), made(30));
}

async fn a_finished_one_is_told_as_it_was_kept(store: Store) {
    let first = claim("k", "b", 1, 0);
    assert_eq!(store.claim(&first).await.unwrap(), made(1));
    store.finish(&first, &kept()).await.unwrap();
    assert_eq!(store.claim(&claim("k", "b", 2, 90)).await.unwrap(), finished(kept(), 1));
    assert_eq!(store.claim(&claim("k", "c", 2, 90)).await.unwrap(), Claimed::Reused);
    // What is finished is not given back.
    store.release(&first).await.unwrap();
    assert_eq!(store.claim(&claim("k", "b", 3, 91)).await.unwrap(), finished(kept(), 1));

    let secret = claim("s", "b", 4, 0);
    assert_eq!(store.claim(&secret).await.unwrap(), made(4));
    store.finish(&secret, &Kept::Status(201)).await.unwrap();
    assert_eq!(store.claim(&claim("s", "b", 5, 1)).await.unwrap(), finished(Kept::Status(201), 4));
}

async fn one_that_is_given_back_is_free(store: Store) {
    let first = claim("k", "b", 1, 0);
    assert_eq!(store.claim(&first).await.unwrap(), made(1));
    store.release(&claim("k", "b", 2, 0)).await.unwrap();
    assert_eq!(store.claim(&claim("k", "b", 2, 1)).await.unwrap(), Claimed::Running, "it is somebody else's");
    store.release(&first).await.unwrap();
    assert_eq!(store.claim(&claim("k", "c", 3, 1)).await.unwrap(), made(3), "another request makes another thing");
}

async fn one_that_is_done_again_makes_the_same_thing_until_its_time_is_over(store: Store) {
    for token in 1..4 {
        let claim = claim("k", "b", token, token as u64);
        assert_eq!(store.claim(&claim).await.unwrap(), made(1));
        store.release(&claim).await.unwrap();
    }
    let day = KEPT_FOR.as_secs();
    assert_eq!(store.claim(&claim("k", "b", 9, day + 3)).await.unwrap(), made(9));
}

async fn a_dead_processs_claim_is_free_after_its_lease_and_its_result_is_not_taken_then(store: Store) {
    let dead = claim("k", "b", 1, 0);
    assert_eq!(store.claim(&dead).await.unwrap(), made(1));
    assert_eq!(store.claim(&claim("k", "b", 2, 59)).await.unwrap(), Claimed::Running);
    assert_eq!(
        store.claim(&claim("k", "c", 2, 60)).await.unwrap(),
        Claimed::Reused,
        "the lease is of the same request"
    );
    let next = claim("k", "b", 2, 60);
    assert_eq!(store.claim(&next).await.unwrap(), made(1), "whatever the dead one made is found under the same id");
    // It was not dead, only asleep.
    store.finish(&dead, &Kept::Status(500)).await.unwrap();
    store.release(&dead).await.unwrap();
    assert_eq!(store.claim(&claim("k", "b", 3, 61)).await.unwrap(), Claimed::Running);
    store.finish(&next, &kept()).await.unwrap();
    assert_eq!(store.claim(&claim("k", "b", 3, 62)).await.unwrap(), finished(kept(), 1));
}

async fn a_key_is_free_after_its_time(store: Store) {
    let first = claim("k", "b", 1, 0);
    assert_eq!(store.claim(&first).await.unwrap(), made(1));
    store.finish(&first, &kept()).await.unwrap();
    let day = KEPT_FOR.as_secs();
    assert_eq!(store.claim(&claim("k", "c", 2, day - 1)).await.unwrap(), Claimed::Reused);
    assert_eq!(store.claim(&claim("k", "c", 2, day)).await.unwrap(), made(2));
    assert_eq!(
        store.claim(&claim("k", "c", 3, day)).await.unwrap(),
        Claimed::Running,
        "nothing of the old one is left"
    );
}

async fn old_keys_are_forgotten_a_little_at_a_time(store: Store) {
    for token in 0..5_u64 {
        let claim = claim(&format!("k{token}"), "b", token.into(), token);
        assert_eq!(store.claim(&claim).await.unwrap(), made(token.into()));
    }
    let now = claim("k3", "b", 0, 3).expires_at;
    assert_eq!(store.expire(now, 3).await.unwrap(), 3);
    assert_eq!(store.expire(now, 3).await.unwrap(), 1);
    assert_eq!(store.expire(now, 3).await.unwrap(), 0);
    assert_eq!(store.claim(&claim("k4", "b", 9, 4)).await.unwrap(), Claimed::Running);
}
