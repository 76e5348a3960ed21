use super::*;
use crate::keys::signing_key;

const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);
const DAY: Duration = Duration::from_hours(24);

fn until(key: &SigningKey, until: Timestamp) -> SigningKey {
    SigningKey { until: Some(until), ..key.clone() }
}

fn id(key: &SigningKey) -> String {
    key_id(&parse(key).unwrap())
}

#[test]
fn the_key_before_signs_on_for_the_grace_period() {
    let [first, second, third] = [(); 3].map(|()| signing_key(Scheme::V1));
    let keys = rotated(vec![first.clone()], second.clone(), DAY, NOW).unwrap();
    assert_eq!(keys, [second.clone(), until(&first, NOW.after(DAY))]);
    // One that is in grace keeps its own end, unless the new one is earlier.
    let hour = NOW.after(Duration::from_hours(1));
    let again = rotated(keys.clone(), third.clone(), DAY, hour).unwrap();
    let expected = [third.clone(), until(&second, hour.after(DAY)), until(&first, NOW.after(DAY))];
    assert_eq!(again, expected);
    let sooner = rotated(keys, third.clone(), Duration::from_secs(1), NOW).unwrap();
    let second_later = NOW.after(Duration::from_secs(1));
    assert_eq!(sooner, [third, until(&second, second_later), until(&first, second_later)]);
}

#[test]
fn without_grace_no_other_key_of_the_scheme_is_left() {
    let [first, second, third] = [(); 3].map(|()| signing_key(Scheme::V1));
    let other = signing_key(Scheme::V1a);
    let keys = vec![second, other.clone(), until(&first, NOW.after(DAY))];
    assert_eq!(rotated(keys, third.clone(), Duration::ZERO, NOW).unwrap(), [third, other]);
}

#[test]
fn a_key_of_another_scheme_is_added() {
    let (old, new) = (signing_key(Scheme::V1), signing_key(Scheme::V1a));
    let in_grace = until(&signing_key(Scheme::V1), NOW.after(DAY));
    let keys = rotated(vec![old.clone(), in_grace.clone()], new.clone(), Duration::ZERO, NOW).unwrap();
    assert_eq!(keys, [new, old, in_grace]);
}

#[test]
fn the_scheme_that_signs_is_known_unless_there_are_two() {
    let [symmetric, pair] = [Scheme::V1, Scheme::V1a].map(signing_key);
    let scheme = |keys: &[&SigningKey]| scheme_in_force(&keys.iter().map(|&key| key.clone()).collect::<Vec<_>>(), NOW);
    assert_eq!(scheme(&[]), Ok(Scheme::V1));
    assert_eq!(scheme(&[&symmetric]), Ok(Scheme::V1));
    assert_eq!(scheme(&[&pair, &until(&pair, NOW.after(DAY))]), Ok(Scheme::V1a));
    assert_eq!(scheme(&[&pair, &until(&symmetric, NOW)]), Ok(Scheme::V1a), "its time is over");
    assert_eq!(scheme(&[&pair, &symmetric]), Err(SigningError::WhichScheme));
    // One in grace signs, too, and may be the one that leaked.
    assert_eq!(scheme(&[&pair, &until(&symmetric, NOW.after(DAY))]), Err(SigningError::WhichScheme));
}

#[test]
fn keys_whose_time_is_over_go_and_the_rest_is_bounded() {
    let grace = |n: u64| until(&signing_key(Scheme::V1), NOW.after(Duration::from_secs(n)));
    let mut keys = vec![signing_key(Scheme::V1)];
    keys.extend((0..6).map(grace));
    // 1 current, 6 in grace of which one ends just now, 1 new.
    let mut keys = rotated(keys, signing_key(Scheme::V1), DAY, NOW).unwrap();
    assert_eq!(keys.len(), 7);
    keys = rotated(keys, signing_key(Scheme::V1a), DAY, NOW).unwrap();
    assert_eq!(keys.len(), KEYS_MAX);
    assert_eq!(rotated(keys.clone(), signing_key(Scheme::V1), DAY, NOW), Err(SigningError::TooMany));
    let later = NOW.after(Duration::from_secs(1));
    assert_eq!(rotated(keys, signing_key(Scheme::V1), DAY, later).unwrap().len(), KEYS_MAX);
}

#[test]
fn the_last_current_key_stays() {
    let (one, other) = (signing_key(Scheme::V1), signing_key(Scheme::V1a));
    let in_grace = until(&signing_key(Scheme::V1), NOW.after(DAY));
    let ended = until(&signing_key(Scheme::V1), NOW);
    let keys = vec![one.clone(), other.clone(), in_grace.clone(), ended.clone()];
    assert_eq!(revoked(keys.clone(), &id(&one), NOW).unwrap(), [other.clone(), in_grace.clone()]);
    assert_eq!(revoked(keys.clone(), &id(&in_grace), NOW).unwrap(), [one.clone(), other.clone()]);
    assert_eq!(revoked(keys.clone(), &id(&ended), NOW), Err(SigningError::Unknown));
    assert_eq!(revoked(keys, "", NOW), Err(SigningError::Unknown));
    // A key in grace is no current one: without another the endpoint would soon sign with nothing.
    assert_eq!(revoked(vec![one.clone(), in_grace], &id(&one), NOW), Err(SigningError::Last));
}

#[test]
fn ids_tell_keys_apart_and_nothing_of_them() {
    let symmetric = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let id = key_id(&symmetric);
    // base64url(sha256("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")), its first 16 characters.
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    assert_eq!(id, digest[..16]);
    // RFC 8037, appendix A.1 to A.3: the seed, and the thumbprint of its public half.
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let pair = Key::from_seed(seed.try_into().unwrap());
    assert_eq!(key_id(&pair), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}
