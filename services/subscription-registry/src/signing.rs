//! The keys that sign an endpoint's deliveries: how a new one takes the place of others, and how one is revoked
//! (SPEC 4.6, THREATS 5).
//!
//! A list of keys holds the current ones first, newest in front, then those in grace, that is, replaced but still
//! signing until their time. An endpoint is never without a current key.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use slipstream_core::config::SigningKey;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::sealing::StillSealed;
use slipstream_core::signing::{BadKey, Key, Scheme};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ApiError;

/// Keys of one endpoint: each is a signature in every delivery.
pub(crate) const KEYS_MAX: usize = 8;
/// Characters of the id of a symmetric key: 96 bits of a hash, so that it tells nothing of the key.
const SYMMETRIC_ID_LEN: usize = 16;

/// Why the keys stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SigningError {
    #[error("a signing key cannot be read")]
    Unreadable(#[from] BadKey),
    #[error("a signing key was not opened")]
    Sealed(#[from] StillSealed),
    #[error("an endpoint has at most {KEYS_MAX} keys; wait until one of those in grace has ended, or revoke one")]
    TooMany,
    #[error("there is no such key")]
    Unknown,
    #[error("the only current key cannot be revoked; rotate first")]
    Last,
    #[error("must be v1 or v1a, as the endpoint has keys of both")]
    WhichScheme,
}

impl From<SigningError> for ApiError {
    fn from(error: SigningError) -> Self {
        let kind = match error {
            SigningError::Unreadable(_) | SigningError::Sealed(_) => return Self::internal(error),
            SigningError::WhichScheme => {
                let error = FieldError::at("scheme", error.to_string());
                return Problem::with_errors(ProblemKind::BadRequest, vec![error]).into();
            }
            SigningError::Unknown => ProblemKind::NotFound,
            SigningError::TooMany | SigningError::Last => ProblemKind::Conflict,
        };
        Problem::new(kind, error.to_string()).into()
    }
}

/// What a key is called, without telling the key: the JWK thumbprint of one that has a public half (RFC 7638), else the
/// beginning of a hash of its shown form.
pub(crate) fn key_id(key: &Key) -> String {
    if let Some(public) = key.public() {
        return public.thumbprint();
    }
    let mut id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.shown()));
    id.truncate(SYMMETRIC_ID_LEN);
    id
}

/// Whether a key signs at `now`.
pub(crate) fn is_in_force(key: &SigningKey, now: Timestamp) -> bool {
    key.until.is_none_or(|until| now < until)
}

/// The scheme of the keys that sign at `now`, for whoever rotates without naming one; `v1` if none does. Of two it is not
/// guessed: a leaked key would sign on if the other was meant.
pub(crate) fn scheme_in_force(keys: &[SigningKey], now: Timestamp) -> Result<Scheme, SigningError> {
    let mut found = None;
    for key in keys.iter().filter(|key| is_in_force(key, now)) {
        let scheme = scheme_of(key)?;
        if *found.get_or_insert(scheme) != scheme {
            return Err(SigningError::WhichScheme);
        }
    }
    Ok(found.unwrap_or(Scheme::V1))
}

/// The keys after `new` has become a current key: the others of its scheme sign on for `grace`, or until their own
/// earlier end; those of another scheme stay as they are; those whose time is over go. Without grace none of the others
/// of its scheme is left.
pub(crate) fn rotated(
    keys: Vec<SigningKey>,
    new: SigningKey,
    grace: Duration,
    now: Timestamp,
) -> Result<Vec<SigningKey>, SigningError> {
    let scheme = scheme_of(&new)?;
    let end = now.after(grace);
    let mut rotated = vec![new];
    for mut key in keys {
        if scheme_of(&key)? == scheme {
            key.until = Some(key.until.map_or(end, |until| until.min(end)));
        }
        if is_in_force(&key, now) {
            rotated.push(key);
        }
    }
    // Stable, so that within each kind the newest stays in front.
    rotated.sort_by_key(|key| key.until.is_some());
    if rotated.len() > KEYS_MAX { Err(SigningError::TooMany) } else { Ok(rotated) }
}

/// The keys without the one that is called `id`, and without those whose time is over.
pub(crate) fn revoked(keys: Vec<SigningKey>, id: &str, now: Timestamp) -> Result<Vec<SigningKey>, SigningError> {
    let (mut left, mut is_found) = (Vec::with_capacity(keys.len()), false);
    for key in keys.into_iter().filter(|key| is_in_force(key, now)) {
        if key_id(&parse(&key)?) == id {
            is_found = true;
        } else {
            left.push(key);
        }
    }
    if !is_found {
        return Err(SigningError::Unknown);
    }
    if left.iter().any(|key| key.until.is_none()) { Ok(left) } else { Err(SigningError::Last) }
}

/// The key itself.
pub(crate) fn parse(key: &SigningKey) -> Result<Key, SigningError> {
    Ok(Key::parse(key.secret.expose()?)?)
}

fn scheme_of(key: &SigningKey) -> Result<Scheme, SigningError> {
    Ok(parse(key)?.scheme())
}

#[cfg(test)]
mod tests;
