//! The three parts of a signed token (RFC 7515, compact serialisation), taken apart strictly.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::TokenError;
use crate::json;

/// A token taken apart, as far as it takes to find its key. Nothing in it may be believed before its signature is checked.
///
/// It is small, and what it points to is the token itself: many of these may wait for a key, and their senders may be
/// anybody (THREATS 7). Payload and signature are read when the key is there.
pub(super) struct Parts<'a> {
    /// `alg` of the header: what the token says of itself, to be compared with the key's own algorithm.
    pub(super) algorithm: String,
    /// `kid` of the header: which of the issuer's keys it says it is signed with.
    pub(super) key_id: String,
    /// What is signed: the first two parts as they stand in the token.
    pub(super) signed: &'a [u8],
    payload: &'a str,
    signature: &'a str,
}

/// The one claim that is read before the signature is checked: it says whose key to check it with.
#[derive(Deserialize)]
struct Issuer<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'a> Parts<'a> {
    /// Takes `token` apart.
    ///
    /// Of the header only `alg`, `kid`, `typ` and `crit` are read: keys and places of keys that a token brings along
    /// (`jwk`, `jku`, `x5c`, `x5u`) are an attacker's to choose (THREATS 6).
    ///
    /// # Errors
    /// When it is not three parts, the header is not a JSON object without a member twice in strict base64url, or it asks
    /// for something that we do not understand.
    pub(super) fn read(token: &'a str) -> Result<Self, TokenError> {
        let malformed = TokenError::Malformed;
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(malformed)?;
        if payload.contains('.') {
            // Five parts are an encrypted token.
            return Err(malformed);
        }
        let mut header = object(header)?;
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(kind)) if is_access_token(kind) => {}
            Some(_) => return Err(TokenError::Kind),
        }
        let Some(Value::String(algorithm)) = header.remove("alg") else { return Err(malformed) };
        let key_id = match header.remove("kid") {
            Some(Value::String(key_id)) => key_id,
            Some(_) => return Err(malformed),
            // `alg: none` has no key either, and is told by its own name.
            None if algorithm.eq_ignore_ascii_case("none") => return Err(TokenError::Algorithm),
            None => return Err(TokenError::UnknownKey),
        };
        Ok(Self { algorithm, key_id, signed: signed.as_bytes(), payload, signature })
    }

    /// What `find` makes of the issuer that the payload names.
    ///
    /// # Errors
    /// When payload or signature are not well-formed, as far as it is seen without making a tree of the payload, or the
    /// payload names no issuer.
    pub(super) fn with_issuer<T>(&self, find: impl FnOnce(&str) -> T) -> Result<T, TokenError> {
        // A token that is malformed must not cost a fetch of keys.
        self.signature()?;
        let payload = decode(self.payload)?;
        match serde_json::from_slice::<Issuer<'_>>(&payload) {
            Ok(Issuer { iss }) => Ok(find(&iss)),
            Err(_) => object(self.payload).and(Err(TokenError::Claim("iss"))),
        }
    }

    /// The signature.
    ///
    /// # Errors
    /// When it is not strict base64url.
    pub(super) fn signature(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.signature)
    }

    /// The claims. To be asked for when the signature is good: a tree of them takes many times the token's bytes.
    ///
    /// # Errors
    /// When they are not a JSON object without a member twice.
    pub(super) fn payload(&self) -> Result<Map<String, Value>, TokenError> {
        object(self.payload)
    }
}

/// Whether `typ` is that of a token for access, by the old name or that of RFC 9068. Others (`logout+jwt`, `dpop+jwt`)
/// may have the right issuer and audience and are meant for something else (RFC 8725, 3.11).
fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    match json::read(&decode(part)?) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(TokenError::Malformed),
    }
}
