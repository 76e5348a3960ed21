//! What a token must be.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::auth::token::{TOKEN_LEN_MAX, TokenError};
use slipstream_test_support::Issuer;
use slipstream_test_support::issuer::{SigningKey, TokenBuilder};

use super::{World, verifier};

#[tokio::test]
async fn good_tokens_of_both_algorithms_tell_who_holds_them() {
    let world = World::new().await;
    for key in [world.issuer.rsa(), world.issuer.ec()] {
        let token = world.issuer.token().signed_by(key).claim("sub", "4711").claim("tid", "contoso");
        let token = token.claim("roles", json!(["Events.Publish"])).claim("scp", "one two").claim("more", json!({}));
        let claims = world.verify(&token.sign()).await.unwrap();
        assert_eq!((claims.issuer_name.as_str(), claims.subject.as_str()), ("test", "4711"));
        assert_eq!(claims.tenant.as_deref(), Some("contoso"));
        assert_eq!((claims.roles, claims.scopes), (vec!["Events.Publish".into()], vec!["one".into(), "two".into()]));
        assert_eq!(&claims.all, token.claims());
    }
}

#[tokio::test]
async fn audience_roles_and_scopes_may_be_texts_or_lists() {
    let world = World::new().await;
    let token = world.issuer.token().claim("aud", json!(["other", "slipstream"]));
    let claims = world.verify(&token.claim("roles", "one").claim("scope", json!(["a", "b c"])).sign()).await.unwrap();
    assert_eq!((claims.roles, claims.scopes), (vec!["one".into()], vec!["a".into(), "b".into(), "c".into()]));
}

async fn refusal(world: &World, token: &TokenBuilder) -> TokenError {
    world.verify(&token.sign()).await.expect_err("the token is bad")
}

#[tokio::test]
async fn a_signature_must_be_of_the_key_that_is_named_by_that_keys_algorithm() {
    let world = World::new().await;
    let (rsa, ec) = (world.issuer.rsa(), world.issuer.ec());
    let good = || world.issuer.token();
    for (token, error) in [
        // Another key under the same id.
        (good().signed_by(Arc::new(SigningKey::rsa(rsa.id(), 2))), TokenError::Signature),
        (good().signed_by(Arc::new(SigningKey::ec(ec.id()))), TokenError::Signature),
        (good().without_signature(), TokenError::Signature),
        // No algorithm, in every spelling.
        (good().header("alg", "none").without_signature(), TokenError::Algorithm),
        (good().header("alg", "nOnE").without_signature(), TokenError::Algorithm),
        (good().header("alg", "none").without_header("kid").without_signature(), TokenError::Algorithm),
        (good().header("alg", ""), TokenError::Algorithm),
        // The public key, which everybody has, as a secret.
        (good().signed_by_secret(&rsa.public_bytes()), TokenError::Algorithm),
        (good().signed_by_secret(rsa.jwk().to_string().as_bytes()), TokenError::Algorithm),
        (good().signed_by_secret(&rsa.public_bytes()).header("alg", "RS256"), TokenError::Signature),
        (good().signed_by_secret(&ec.public_bytes()).header("kid", ec.id()), TokenError::Algorithm),
        // The key of one algorithm under the name of the other.
        (good().signed_by(Arc::clone(&ec)).header("kid", rsa.id()), TokenError::Algorithm),
        (good().signed_by(Arc::clone(&ec)).header("kid", rsa.id()).header("alg", "RS256"), TokenError::Signature),
        (good().header("kid", ec.id()), TokenError::Algorithm),
        (good().header("kid", ec.id()).header("alg", "ES256"), TokenError::Signature),
        (good().header("alg", "RS384"), TokenError::Algorithm),
        (good().header("alg", "PS256"), TokenError::Algorithm),
        // No key, or one that is not there.
        (good().without_header("kid"), TokenError::UnknownKey),
        (good().header("kid", "rsa-9"), TokenError::UnknownKey),
        (good().header("kid", 1), TokenError::Malformed),
        (good().without_header("alg"), TokenError::Malformed),
        (good().header("alg", json!(["RS256"])), TokenError::Malformed),
        // What the token demands and what it is for.
        (good().header("crit", json!(["exp"])).header("exp", 1), TokenError::Critical),
        (good().header("crit", json!([])), TokenError::Critical),
        (good().header("typ", "logout+jwt"), TokenError::Kind),
        (good().header("typ", 1), TokenError::Kind),
    ] {
        assert_eq!(refusal(&world, &token).await, error, "{token:?}");
    }
    for kind in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert!(world.verify(&good().header("typ", kind).sign()).await.is_ok(), "{kind}");
    }
    assert!(world.verify(&good().without_header("typ").sign()).await.is_ok());
}

#[tokio::test]
async fn keys_that_a_token_brings_along_are_ignored() {
    let (world, stranger) = (World::new().await, Issuer::start().await);
    let key = Arc::new(SigningKey::rsa("mine", 2));
    stranger.publish(&[key.jwk()]);
    let token = world.issuer.token().header("jwk", key.jwk()).header("jku", stranger.keys_url());
    let token = token.header("x5u", stranger.keys_url()).header("x5c", json!(["MIIB"]));
    assert!(world.verify(&token.sign()).await.is_ok(), "they do no harm beside a good signature");
    let forged = token.signed_by(Arc::clone(&key));
    assert_eq!(refusal(&world, &forged).await, TokenError::UnknownKey);
    assert_eq!(refusal(&world, &forged.header("kid", world.issuer.rsa().id())).await, TokenError::Signature);
    assert_eq!(stranger.keys_asked(), 0);
}

#[tokio::test]
async fn claims_are_required_and_have_their_types() {
    let world = World::new().await;
    let good = || world.issuer.token();
    for name in ["exp", "iss", "aud", "sub"] {
        assert_eq!(refusal(&world, &good().without(name)).await, TokenError::Claim(name), "without {name}");
        assert_eq!(refusal(&world, &good().claim(name, json!(null))).await, TokenError::Claim(name), "{name} is null");
        assert_eq!(refusal(&world, &good().claim(name, json!({}))).await, TokenError::Claim(name), "{name} is {{}}");
    }
    for (name, value) in [
        ("exp", json!("4102444800")),
        ("exp", json!([4_102_444_800_i64])),
        ("exp", json!(true)),
        ("exp", json!(-1)),
        ("nbf", json!("0")),
        ("nbf", json!(null)),
        ("iss", json!([world.issuer.url()])),
        ("aud", json!(["slipstream", 1])),
        ("aud", json!({ "slipstream": true })),
        ("sub", json!(5)),
        ("sub", json!("")),
        ("sub", json!("line\nbreak")),
        ("sub", json!("umlaut ä")),
        ("sub", json!("x".repeat(256))),
        ("tid", json!(1)),
        ("roles", json!({ "Events.Publish": true })),
        ("roles", json!(["Events.Publish", 1])),
        ("scp", json!(1)),
        ("scope", json!(null)),
    ] {
        let token = good().claim(name, value.clone());
        assert_eq!(refusal(&world, &token).await, TokenError::Claim(name), "{name}: {value}");
    }
    for (name, value, error) in [
        ("aud", json!("other"), TokenError::Audience),
        ("aud", json!([]), TokenError::Audience),
        ("aud", json!("Slipstream"), TokenError::Audience),
        ("aud", json!("slipstream "), TokenError::Audience),
        ("iss", json!("https://issuer.example"), TokenError::UnknownIssuer),
        ("iss", json!(format!("{}/", world.issuer.url())), TokenError::UnknownIssuer),
        ("iss", json!(""), TokenError::UnknownIssuer),
        ("exp", json!(1_000_000_000), TokenError::Expired),
        ("exp", json!(0), TokenError::Expired),
        ("nbf", json!(4_102_444_800_i64), TokenError::NotYetValid),
        ("nbf", json!(1e300), TokenError::NotYetValid),
    ] {
        let token = good().claim(name, value.clone());
        assert_eq!(refusal(&world, &token).await, error, "{name}: {value}");
    }
    for (name, value) in
        [("exp", json!(1e300)), ("exp", json!(4_102_444_800.5)), ("nbf", json!(0)), ("tid", json!("x"))]
    {
        assert!(world.verify(&good().claim(name, value.clone()).sign()).await.is_ok(), "{name}: {value}");
    }
}

#[tokio::test]
async fn times_have_a_leeway_of_a_minute_and_no_more() {
    let world = World::new().await;
    let token = world.issuer.token().claim("nbf", 1_000_000).claim("exp", 2_000_000).sign();
    let at = async |millis: i64| {
        let now = Timestamp::from_millis(millis);
        world.verifier.verify_at(&token, now, Instant::now()).await.map(|claims| claims.subject)
    };
    assert_eq!(at(999_939_999).await, Err(TokenError::NotYetValid));
    assert!(at(999_940_000).await.is_ok(), "60 s before `nbf`");
    assert!(at(2_000_059_999).await.is_ok(), "just within 60 s of `exp`");
    assert_eq!(at(2_000_060_000).await, Err(TokenError::Expired), "a token is not good at its `exp`");
}

#[tokio::test]
async fn only_the_allowed_tenants_are_let_in() {
    let world = World::with(|settings| settings["tenants"] = json!(["one", "two"])).await;
    let good = || world.issuer.token();
    assert!(world.verify(&good().claim("tid", "two").sign()).await.is_ok());
    assert_eq!(refusal(&world, &good()).await, TokenError::Tenant);
    for tenant in ["three", "ONE", "", "one two"] {
        assert_eq!(refusal(&world, &good().claim("tid", tenant)).await, TokenError::Tenant, "{tenant}");
    }
}

#[tokio::test]
async fn what_is_not_a_token_is_refused() {
    let world = World::new().await;
    let good = world.issuer.token();
    let text = good.sign();
    let parts: Vec<&str> = text.split('.').collect();
    let twice = |name: &str, members: &str, of: &str| format!(r#"{{"{name}":{members},{}"#, &of[1..]);
    let claims = Value::Object(good.claims().clone()).to_string();
    let key_id = world.issuer.rsa().id().to_owned();
    for token in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "nonsense".to_owned(),
        parts[..2].join("."),
        format!("{text}."),
        format!("{text}.{}", parts[2]),
        format!(".{text}"),
        format!("{text}="),
        format!("{} .{}.{}", parts[0], parts[1], parts[2]),
        format!("{text}\n"),
        // Bits that base64 leaves unused: the same signature would have several texts.
        format!("{}.{}.{}", parts[0], parts[1], with_unused_bits(parts[2])),
        good.clone().claims_text("[]").sign(),
        good.clone().claims_text("null").sign(),
        good.clone().claims_text("\u{feff}{}").sign(),
        good.clone().claims_text(format!("{claims} {claims}")).sign(),
        good.clone().claims_text(twice("exp", "1", &claims)).sign(),
        good.clone().claims_text(twice("aud", "\"other\"", &claims)).sign(),
        good.clone().claims_text(format!(r#"{{"a":{}1{},{}"#, "[".repeat(100), "]".repeat(100), &claims[1..])).sign(),
        good.clone().header_text(format!(r#"{{"alg":"none","alg":"RS256","kid":"{key_id}"}}"#)).sign(),
        good.clone().header_text(format!(r#"{{"alg":"RS256","kid":"{key_id}","kid":"x"}}"#)).sign(),
        good.clone().header_text("[]").sign(),
    ] {
        assert_eq!(world.verify(&token).await, Err(TokenError::Malformed), "{token}");
    }
    assert!(world.verify(&text).await.is_ok(), "what they were made of is good");
}

/// `part` with one of the bits set that no byte of it uses: 256 bytes of a signature leave four in the last letter.
fn with_unused_bits(part: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.iter().position(|letter| *letter == last.as_bytes()[0]).unwrap();
    assert_eq!(value % 16, 0, "the unused bits are zero");
    format!("{start}{}", ALPHABET[value + 1] as char)
}

#[tokio::test]
async fn a_token_has_a_length_that_it_may_reach() {
    let world = World::new().await;
    let of_length = |padding: usize| world.issuer.token().claim("x", "x".repeat(padding)).sign();
    let base = of_length(0).len();
    // Four letters for three bytes.
    let fitting = of_length((TOKEN_LEN_MAX - base) / 4 * 3 - 3);
    assert!(fitting.len() > TOKEN_LEN_MAX - 8 && fitting.len() <= TOKEN_LEN_MAX, "{}", fitting.len());
    assert!(world.verify(&fitting).await.is_ok());
    assert_eq!(world.verify(&of_length(TOKEN_LEN_MAX / 4 * 3)).await, Err(TokenError::TooLong));
    assert_eq!(world.verify(&"x".repeat(1 << 20)).await, Err(TokenError::TooLong));
}

#[tokio::test]
async fn without_issuers_no_token_is_good() {
    let issuer = Issuer::start().await;
    assert_eq!(verifier(&[]).verify(&issuer.token().sign()).await, Err(TokenError::UnknownIssuer));
}

#[tokio::test]
async fn the_keys_of_one_issuer_sign_for_no_other() {
    let (one, other) = (Issuer::start().await, Issuer::start().await);
    other.rotate();
    let mut settings = [one.settings(), other.settings()];
    settings[1]["name"] = "other".into();
    let verifier = verifier(&settings);
    assert_eq!(verifier.verify(&one.token().sign()).await.unwrap().issuer_name, "test");
    assert_eq!(verifier.verify(&other.token().sign()).await.unwrap().issuer_name, "other");
    let forged = other.token().claim("iss", one.url());
    assert_eq!(verifier.verify(&forged.sign()).await, Err(TokenError::UnknownKey));
    let forged = forged.header("kid", one.rsa().id());
    assert_eq!(verifier.verify(&forged.sign()).await, Err(TokenError::Signature));
}

#[tokio::test]
async fn neither_errors_nor_claims_print_what_a_token_holds() {
    let world = World::new().await;
    let token = world.issuer.token().claim("email", "canary-of-a-token");
    let claims = world.verify(&token.sign()).await.unwrap();
    assert!(!format!("{claims:?} {:?}", world.verifier).contains("canary"), "{claims:?}");
    let bad = token.claim("aud", "canary-audience").claim("exp", "canary-time").header("kid", "canary-key");
    let error = refusal(&world, &bad).await;
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}
