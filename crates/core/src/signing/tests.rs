use super::*;
use proptest::prelude::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn key() -> Key {
    Key::parse(SECRET).unwrap()
}

fn other_key() -> Key {
    Key::from_bytes(vec![7; 32]).unwrap()
}

/// Verifies the public vector with another `webhook-signature`.
fn verify_entries(signature: &str) -> Result<(), VerifyError> {
    verify(&[key()], ID, "1614265330", signature, BODY, TIME)
}

#[test]
fn public_vectors_are_reproduced_and_verified() {
    let second = (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        br#"{"email":"test@example.com","username":"test_user"}"#.as_slice(),
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    );
    for (secret, id, time, body, signature) in [(SECRET, ID, TIME, BODY, SIGNATURE), second] {
        let keys = [Key::parse(secret).unwrap()];
        assert_eq!(sign(&keys, id, time, body), signature);
        assert_eq!(verify(&keys, id, &time.to_string(), signature, body, time), Ok(()));
    }
}

#[test]
fn a_key_is_read_with_or_without_its_prefix_and_shown_with_it() {
    let bare = SECRET.strip_prefix(KEY_PREFIX).unwrap();
    assert_eq!(Key::parse(bare).unwrap().shown(), SECRET);
    assert_eq!(key().shown(), SECRET);
}

#[test]
fn what_is_no_key_is_refused() {
    for text in ["", "whsec_", "whsec_AAAA"] {
        assert_eq!(Key::parse(text).unwrap_err(), BadKey::WrongLength, "{text}");
    }
    for text in ["whsec_!", "whsk_!", "whpk_!", " whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        assert_eq!(Key::parse(text).unwrap_err(), BadKey::NotBase64, "{text}");
    }
    for (length, is_key) in [(23, false), (24, true), (64, true), (65, false)] {
        assert_eq!(Key::from_bytes(vec![1; length]).is_ok(), is_key, "{length}");
    }
}

const SECRET_A: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC_A: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const SIGNATURE_A: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

#[test]
fn the_public_asymmetric_vector_is_reproduced_and_verified() {
    let key = Key::parse(SECRET_A).unwrap();
    assert_eq!((key.shown().as_str(), key.scheme()), (SECRET_A, Scheme::V1a));
    assert_eq!(key.public().unwrap().shown(), PUBLIC_A);
    assert_eq!(sign([&key], ID, TIME, BODY), SIGNATURE_A);
    for verifier in [key, Key::parse(PUBLIC_A).unwrap()] {
        assert_eq!(verify(&[verifier], ID, "1614265330", SIGNATURE_A, BODY, TIME), Ok(()));
    }
}

#[test]
fn an_asymmetric_signature_verifies_for_its_message_and_key_only() {
    let public = [Key::parse(PUBLIC_A).unwrap()];
    let no_match = Err(VerifyError::NoMatch);
    assert_eq!(verify(&public, ID, "1614265331", SIGNATURE_A, BODY, TIME), no_match);
    assert_eq!(verify(&public, ID, "1614265330", SIGNATURE_A, b"", TIME), no_match);
    assert_eq!(verify(&[Key::from_seed([7; SEED_BYTES])], ID, "1614265330", SIGNATURE_A, BODY, TIME), no_match);
    for length in 4..SIGNATURE_A.len() {
        assert_eq!(verify(&public, ID, "1614265330", &SIGNATURE_A[..length], BODY, TIME), no_match, "{length}");
    }
    let as_symmetric = SIGNATURE_A.replace("v1a,", "v1,");
    assert_eq!(verify(&public, ID, "1614265330", &as_symmetric, BODY, TIME), no_match);
}

#[test]
fn halves_that_do_not_belong_together_are_no_key() {
    let (one, other) = (Key::from_seed([1; SEED_BYTES]), Key::from_seed([2; SEED_BYTES]));
    let bytes = |key: &Key| STANDARD.decode(&key.shown()[SECRET_KEY_PREFIX.len()..]).unwrap();
    let mixed = [&bytes(&one)[..32], &bytes(&other)[32..]].concat();
    let mixed = format!("{SECRET_KEY_PREFIX}{}", STANDARD.encode(mixed));
    assert_eq!(Key::parse(&mixed).unwrap_err(), BadKey::NotAPair);
    assert_eq!(Key::parse("whsk_AAAA").unwrap_err(), BadKey::WrongLength);
    assert_eq!(Key::parse("whpk_AAAA").unwrap_err(), BadKey::WrongLength);
}

#[test]
fn both_schemes_sign_side_by_side_and_each_receiver_finds_its_own() {
    let asymmetric = Key::from_seed([3; SEED_BYTES]);
    let header = sign([&key(), &asymmetric], ID, TIME, BODY);
    assert!(header.starts_with(SIGNATURE) && header.contains(" v1a,"), "{header}");
    for verifier in [key(), Key::parse(&asymmetric.public().unwrap().shown()).unwrap()] {
        assert_eq!(verify(&[verifier], ID, "1614265330", &header, BODY, TIME), Ok(()));
    }
}

#[test]
fn a_key_does_not_print() {
    assert_eq!(format!("{:?}", Key::parse(SECRET_A).unwrap()), "Key(***)");
    assert_eq!(format!("{:?}", key()), "Key(***)");
}

#[test]
fn during_a_rotation_both_keys_sign_and_either_verifies() {
    let header = sign(&[other_key(), key()], ID, TIME, BODY);
    assert_eq!(header.split(' ').count(), 2);
    assert!(header.ends_with(SIGNATURE));
    for keys in [[key()], [other_key()]] {
        assert_eq!(verify(&keys, ID, "1614265330", &header, BODY, TIME), Ok(()));
    }
    assert_eq!(sign(&[], ID, TIME, BODY), "");
}

#[test]
fn unknown_versions_are_skipped() {
    let entry = SIGNATURE.strip_prefix("v1,").unwrap();
    assert_eq!(verify_entries(&format!("v1a,abc v2,{entry} x {SIGNATURE} v9")), Ok(()));
    for foreign in [format!("v2,{entry}"), format!("v1a,{entry}"), format!("V1,{entry}"), entry.to_owned()] {
        assert_eq!(verify_entries(&foreign), Err(VerifyError::NoMatch), "{foreign}");
    }
}

#[test]
fn an_empty_or_partial_signature_is_refused() {
    assert_eq!(verify_entries(""), Err(VerifyError::BadHeader("webhook-signature")));
    for length in 1..SIGNATURE.len() {
        assert_eq!(verify_entries(&SIGNATURE[..length]), Err(VerifyError::NoMatch), "{length}");
    }
    for changed in [format!("{SIGNATURE}="), format!(" {SIGNATURE}x"), SIGNATURE.to_lowercase()] {
        assert_eq!(verify_entries(&changed), Err(VerifyError::NoMatch), "{changed}");
    }
}

#[test]
fn a_message_is_good_for_five_minutes_either_way() {
    let at = |now| verify(&[key()], ID, "1614265330", SIGNATURE, BODY, now);
    assert_eq!((at(TIME - 300), at(TIME + 300)), (Ok(()), Ok(())));
    assert_eq!(at(TIME + 301), Err(VerifyError::TooOld));
    assert_eq!(at(TIME - 301), Err(VerifyError::TooNew));
    assert_eq!(at(i64::MIN), Err(VerifyError::TooNew));
}

#[test]
fn malformed_headers_are_refused() {
    for timestamp in ["", "+1614265330", "-1", "1614265330.0", " 1614265330", "soon", "99999999999999999999"] {
        let error = verify(&[key()], ID, timestamp, SIGNATURE, BODY, TIME).unwrap_err();
        assert_eq!(error, VerifyError::BadHeader("webhook-timestamp"), "{timestamp}");
    }
    for id in ["", "msg.1"] {
        let error = verify(&[key()], id, "1614265330", SIGNATURE, BODY, TIME).unwrap_err();
        assert_eq!(error, VerifyError::BadHeader("webhook-id"), "{id}");
    }
    assert_eq!(verify(&[], ID, "1614265330", SIGNATURE, BODY, TIME), Err(VerifyError::NoKey));
}

proptest! {
    #[test]
    fn what_was_signed_verifies_and_nothing_else_does(
        bytes in prop::collection::vec(any::<u8>(), KEY_BYTES_MIN..=KEY_BYTES_MAX),
        id in "msg_[0-9a-f]{32}",
        time in 0_i64..10_000_000_000,
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let key = Key::from_bytes(bytes).unwrap();
        prop_assert_eq!(Key::parse(&key.shown()).unwrap().shown(), key.shown());
        let keys = [key];
        let signature = sign(&keys, &id, time, &body);
        let timestamp = time.to_string();
        let check = |id: &str, timestamp: &str, body: &[u8]| verify(&keys, id, timestamp, &signature, body, time);
        prop_assert_eq!(check(&id, &timestamp, &body), Ok(()));

        prop_assert_eq!(check("msg_0", &timestamp, &body), Err(VerifyError::NoMatch));
        prop_assert_eq!(check(&id, &(time + 1).to_string(), &body), Err(VerifyError::NoMatch));
        let longer = [body.as_slice(), b"x"].concat();
        prop_assert_eq!(check(&id, &timestamp, &longer), Err(VerifyError::NoMatch));
        prop_assert_eq!(
            verify(&[other_key()], &id, &timestamp, &signature, &body, time),
            Err(VerifyError::NoMatch)
        );
    }

    #[test]
    fn verifying_garbage_never_panics(id in ".{0,40}", timestamp in ".{0,20}", signature in ".{0,80}", now: i64) {
        prop_assert!(verify(&[other_key()], &id, &timestamp, &signature, b"", now).is_err());
    }
}
