//! How an issuer's keys are fetched and kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use slipstream_service::Context;
use slipstream_service::auth::token::{IssuerConfig, TokenError, Verifier};
use slipstream_service::clock;
use slipstream_test_support::issuer::{DISCOVERY_PATH, SigningKey};
use slipstream_test_support::{Issuer, Reply, eventually};

use super::{World, verifier};

const MINUTE: Duration = Duration::from_mins(1);

impl World {
    /// Whether a good token is taken, when this much time has passed.
    async fn after(&self, passed: Duration, token: &str) -> Result<(), TokenError> {
        self.verifier.verify_at(token, clock::now(), Instant::now() + passed).await.map(drop)
    }
}

#[tokio::test]
async fn keys_are_found_by_discovery_and_fetched_once() {
    let world = World::new().await;
    for key in [world.issuer.rsa(), world.issuer.ec(), world.issuer.rsa()] {
        world.verify(&world.issuer.token().signed_by(key).sign()).await.unwrap();
    }
    assert_eq!((world.issuer.discovery_asked(), world.issuer.keys_asked()), (1, 1));
}

#[tokio::test]
async fn keys_at_a_place_of_their_own_need_no_discovery() {
    let issuer = Issuer::start().await;
    let mut settings = issuer.settings();
    settings["jwks_url"] = issuer.keys_url().into();
    verifier(&[settings]).verify(&issuer.token().sign()).await.unwrap();
    assert_eq!((issuer.discovery_asked(), issuer.keys_asked()), (0, 1));
}

#[tokio::test]
async fn after_a_rotation_the_new_key_is_fetched_and_the_old_one_is_gone() {
    let world = World::new().await;
    let old = world.issuer.token().sign();
    world.verify(&old).await.unwrap();
    world.issuer.rotate();
    assert_eq!(world.after(5 * MINUTE, &old).await, Ok(()), "until somebody asks, the old keys are good");
    assert_eq!(world.after(5 * MINUTE, &world.issuer.token().sign()).await, Ok(()));
    assert_eq!(world.after(5 * MINUTE, &old).await, Err(TokenError::UnknownKey));
    assert_eq!(world.issuer.keys_asked(), 2);
}

#[tokio::test]
async fn unknown_keys_cost_one_fetch_in_five_minutes() {
    let world = World::new().await;
    world.verify(&world.issuer.token().sign()).await.unwrap();
    assert_eq!(world.issuer.keys_asked(), 1, "of a key that was unknown");
    let strange = |number: usize| world.issuer.token().header("kid", format!("strange-{number}")).sign();
    for number in 0..100 {
        assert_eq!(world.after(4 * MINUTE, &strange(number)).await, Err(TokenError::UnknownKey));
    }
    assert_eq!(world.issuer.keys_asked(), 1);
    for number in 0..100 {
        assert_eq!(world.after(6 * MINUTE, &strange(number)).await, Err(TokenError::UnknownKey));
    }
    assert_eq!(world.issuer.keys_asked(), 2);
    world.issuer.rotate();
    let new = world.issuer.token().sign();
    assert_eq!(world.after(10 * MINUTE, &new).await, Err(TokenError::UnknownKey), "asked 4 minutes ago");
    assert_eq!(world.after(12 * MINUTE, &new).await, Ok(()));
    assert_eq!(world.issuer.keys_asked(), 3);
}

#[tokio::test]
async fn those_who_wait_for_keys_wait_for_the_same_fetch() {
    let world = World::new().await;
    let keys = json!({ "keys": [world.issuer.rsa().jwk()] }).to_string();
    world.issuer.answer_keys(Reply::ok().body(keys).delay(Duration::from_millis(200)));
    let token = world.issuer.token().sign();
    let all = join_all((0..50).map(|_| world.verify(&token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!((world.issuer.discovery_asked(), world.issuer.keys_asked()), (1, 1));
}

#[tokio::test]
async fn those_who_wait_for_keys_are_so_many_and_not_more() {
    let world = World::new().await;
    let keys = json!({ "keys": [world.issuer.rsa().jwk()] }).to_string();
    world.issuer.answer_keys(Reply::ok().body(keys).delay(Duration::from_millis(500)));
    let token = world.issuer.token().sign();
    let all = join_all((0..100).map(|_| world.verify(&token))).await;
    let refused = all.iter().filter(|result| **result == Err(TokenError::UnknownKey)).count();
    assert_eq!((refused, all.iter().filter(|result| result.is_ok()).count()), (36, 64));
    assert!(world.verify(&token).await.is_ok(), "and it is known from then on");
    assert_eq!(world.issuer.keys_asked(), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_nobody_waits_for_it_any_more() {
    let world = World::new().await;
    let keys = json!({ "keys": [world.issuer.rsa().jwk()] }).to_string();
    world.issuer.answer_keys(Reply::ok().body(keys).delay(Duration::from_millis(500)));
    let token = world.issuer.token().sign();
    tokio::select! {
        biased;
        _ = world.verify(&token) => panic!("the keys are not there yet"),
        () = eventually(Duration::from_secs(10), async || world.issuer.discovery_asked() == 1) => {}
    }
    assert!(world.verify(&token).await.is_ok());
    assert_eq!(world.issuer.discovery_asked(), 1);
}

#[tokio::test]
async fn while_an_issuer_is_unreachable_known_keys_go_on_and_unknown_ones_are_refused() {
    let world = World::new().await;
    let known = world.issuer.token().sign();
    world.verify(&known).await.unwrap();
    let unknown = world.issuer.token().signed_by(Arc::new(SigningKey::ec("new"))).sign();
    world.issuer.be_unreachable();
    for minutes in [10, 20, 30] {
        assert_eq!(world.after(minutes * MINUTE, &unknown).await, Err(TokenError::UnknownKey));
        assert_eq!(world.after(minutes * MINUTE, &known).await, Ok(()));
    }
    assert_eq!(world.issuer.discovery_asked(), 4, "it was asked in vain each time");
    world.issuer.recover();
    world.issuer.rotate();
    assert_eq!(world.after(40 * MINUTE, &world.issuer.token().sign()).await, Ok(()));
}

#[tokio::test]
async fn an_issuer_that_is_unreachable_from_the_start_is_asked_again() {
    let world = World::new().await;
    world.issuer.be_unreachable();
    let token = world.issuer.token().sign();
    assert_eq!(world.verify(&token).await, Err(TokenError::UnknownKey));
    world.issuer.recover();
    assert_eq!(world.after(4 * MINUTE, &token).await, Err(TokenError::UnknownKey));
    assert_eq!(world.after(6 * MINUTE, &token).await, Ok(()));
}

#[tokio::test]
async fn a_fetch_has_a_deadline() {
    let world = World::new().await;
    world.issuer.answer_keys(Reply::hang());
    let begun = Instant::now();
    assert_eq!(world.verify(&world.issuer.token().sign()).await, Err(TokenError::UnknownKey));
    assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn answers_that_are_no_key_set_change_nothing() {
    let world = World::new().await;
    let known = world.issuer.token().sign();
    world.verify(&known).await.unwrap();
    let unknown = world.issuer.token().signed_by(Arc::new(SigningKey::ec("new"))).sign();
    let good = json!({ "keys": [SigningKey::ec("new").jwk()] });
    let padded = json!({ "keys": good["keys"], "padding": "x".repeat(256 * 1024) }).to_string();
    let many: Vec<Value> = (0..=100).map(|number| SigningKey::ec(&number.to_string()).jwk()).collect();
    let elsewhere = Reply::status(302).header("location", &format!("{}/keys?x", world.issuer.url()));
    let replies = [
        Reply::ok().body(padded),
        Reply::ok().body(json!({ "keys": many }).to_string()),
        Reply::ok().body("{}"),
        Reply::ok().body(json!({ "keys": [] }).to_string()),
        Reply::ok().body(json!({ "keys": [{ "kty": "oct", "kid": "new", "k": "AAAA" }] }).to_string()),
        Reply::ok().body("<html>"),
        Reply::ok(),
        elsewhere.body(good.to_string()),
        Reply::status(500).body(good.to_string()),
        Reply::status(203).body(good.to_string()),
    ];
    for (reply, round) in replies.into_iter().zip(1..) {
        world.issuer.answer_keys(reply);
        assert_eq!(world.after(round * 6 * MINUTE, &unknown).await, Err(TokenError::UnknownKey), "answer {round}");
        assert_eq!(world.after(round * 6 * MINUTE, &known).await, Ok(()), "answer {round}");
        assert_eq!(world.issuer.keys_asked(), 1 + round as usize, "answer {round} was fetched, and followed nowhere");
    }
}

#[tokio::test]
async fn a_discovery_document_speaks_for_its_own_issuer_and_names_a_safe_place() {
    let with = |issuer: &Issuer, name: &str, value: &str| {
        let mut document = issuer.discovery();
        document[name] = value.into();
        document.to_string()
    };
    for (name, value) in [
        ("issuer", "https://other.example"),
        ("issuer", ""),
        ("jwks_uri", ""),
        ("jwks_uri", "/keys"),
        ("jwks_uri", "http://issuer.example/keys"),
        ("jwks_uri", "file:///etc/passwd"),
    ] {
        let world = World::new().await;
        world.issuer.answer_discovery(Reply::ok().body(with(&world.issuer, name, value)));
        let token = world.issuer.token().sign();
        assert_eq!(world.verify(&token).await, Err(TokenError::UnknownKey), "{name}: {value}");
        assert_eq!((world.issuer.discovery_asked(), world.issuer.keys_asked()), (1, 0), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_of_an_issuers_name_is_not_doubled() {
    let issuer = Issuer::start().await;
    let name = format!("{}/", issuer.url());
    let mut document = issuer.discovery();
    document["issuer"] = name.as_str().into();
    issuer.answer_discovery(Reply::ok().body(document.to_string()));
    let mut settings = issuer.settings();
    settings["issuer"] = name.as_str().into();
    verifier(&[settings]).verify(&issuer.token().claim("iss", name).sign()).await.unwrap();
    assert_eq!(issuer.discovery_asked(), 1, "at {DISCOVERY_PATH}");
}

#[tokio::test]
async fn a_started_verifier_has_its_keys_before_the_first_token_and_ends_with_the_process() {
    let (issuer, ctx) = (Issuer::start().await, Context::new());
    let settings: IssuerConfig = serde_json::from_value(issuer.settings()).unwrap();
    let verifier = Verifier::start(&[settings], &ctx).unwrap();
    eventually(Duration::from_secs(10), async || issuer.keys_asked() == 1).await;
    verifier.verify(&issuer.token().sign()).await.unwrap();
    assert_eq!(issuer.keys_asked(), 1, "or, had it not arrived, the token waits for the fetch under way");
    issuer.rotate();
    verifier.verify(&issuer.token().sign()).await.unwrap();
    assert_eq!(issuer.keys_asked(), 2, "what was fetched by itself is not counted against unknown keys");
    ctx.stop.cancel();
    ctx.tasks.close();
    verifier.verify(&issuer.token().sign()).await.expect("requests are still answered after the stop");
    ctx.drained.cancel();
    tokio::time::timeout(Duration::from_secs(10), ctx.tasks.wait()).await.expect("the task ends");
}
