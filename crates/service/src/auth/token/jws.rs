//! The three parts of a signed token (RFC 7515, compact serialisation), taken apart strictly.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::TokenError;
use crate::json;

/// A token taken apart. Nothing in it may be believed before its signature is checked.
pub(super) struct Parts<'a> {
    /// `alg` of the header: what the token says of itself, to be compared with the key's own algorithm.
    pub(super) algorithm: String,
    /// `kid` of the header: which of the issuer's keys it says it is signed with.
    pub(super) key_id: String,
    /// The claims.
    pub(super) payload: Map<String, Value>,
    /// What is signed: the first two parts as they stand in the token.
    pub(super) signed: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
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
    /// When it is not three parts in strict base64url, header and payload are not JSON objects without a member twice,
    /// or the header asks for something that we do not understand.
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
        let (payload, signature) = (object(payload)?, decode(signature)?);
        Ok(Self { algorithm, key_id, payload, signed: signed.as_bytes(), signature })
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
