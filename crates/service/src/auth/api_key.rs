//! API accounts' keys (SPEC 5.1 `api_key`).

use std::str::FromStr as _;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use slipstream_core::config::{Account, KeyHash};
use slipstream_core::ids::AccountId;
use slipstream_core::problem::Problem;

use super::authorization::unauthorized;
use crate::directory::Snapshot;

/// The header that carries an account's key.
pub const API_KEY: &str = "x-api-key";

/// Bytes of a key. Ours have 36 for the account, one, and the random part.
const KEY_LEN_MAX: usize = 256;

/// The key that `headers` carry, if they carry one.
///
/// # Errors
/// 401 when there are two different ones.
pub(super) fn shown(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Problem> {
    let mut keys = headers.get_all(API_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.any(|other| other != key) {
        return Err(unauthorized("two different API keys were given"));
    }
    Ok(Some(key))
}

/// The account whose key this is.
///
/// # Errors
/// 401 when it is not valid now; the detail tells malformed from unknown in no case.
pub(super) fn account<'a>(snapshot: &'a Snapshot, key: &HeaderValue) -> Result<&'a Arc<Account>, Problem> {
    account_of_key(snapshot, key.as_bytes()).ok_or_else(|| unauthorized("the API key is not valid"))
}

fn account_of_key<'a>(snapshot: &'a Snapshot, key: &[u8]) -> Option<&'a Arc<Account>> {
    if key.len() > KEY_LEN_MAX {
        return None;
    }
    let key = std::str::from_utf8(key).ok()?;
    let (account, _random) = key.split_once('_')?;
    let Some(account) = snapshot.account(AccountId::from_str(account).ok()?) else {
        // As much work as for an account that exists, so that the time does not tell whether it does.
        let hash = KeyHash::of(key);
        let _ = hash.matches(&hash);
        return None;
    };
    account.has_key(key).then_some(account)
}

#[cfg(test)]
mod tests {
    use slipstream_core::config::Record;
    use slipstream_test_support::builders;
    use uuid::Uuid;

    use super::*;

    fn ask(snapshot: &Snapshot, keys: &[&str]) -> Option<AccountId> {
        let name = http::HeaderName::from_static(API_KEY);
        let headers = keys.iter().map(|key| (name.clone(), key.parse().unwrap())).collect();
        let key = shown(&headers).ok().flatten()?;
        account(snapshot, key).ok().map(|account| account.id)
    }

    #[test]
    fn both_keys_of_an_account_are_good() {
        let account = builders::account();
        let snapshot = Snapshot::from_records([Record::Account(account.account.clone())]);
        let (primary, secondary) = (account.primary_key.as_str(), account.secondary_key.as_str());
        for keys in [&[primary][..], &[secondary], &[primary, primary]] {
            assert_eq!(ask(&snapshot, keys), Some(account.account.id), "{keys:?}");
        }
    }

    #[test]
    fn bad_and_contradicting_keys_are_refused() {
        let account = builders::account();
        let snapshot = Snapshot::from_records([Record::Account(account.account.clone())]);
        let (good, other) = (account.primary_key.as_str(), account.secondary_key.as_str());
        let id = account.account.id;
        let wrong = format!("{id}_tertiary");
        let stranger = format!("{}_primary", Uuid::from_u128(7));
        let long = format!("{good}{}", "x".repeat(5000));
        let upper = good.to_uppercase();
        for keys in [
            &[""][..],
            &["_"],
            &["nonsense"],
            &[good.split('_').next().unwrap()],
            &[&wrong],
            &[&stranger],
            &[&long],
            &[&upper],
            &[good, other],
            &[good, &wrong],
        ] {
            assert_eq!(ask(&snapshot, keys), None, "{keys:?}");
        }
    }
}
