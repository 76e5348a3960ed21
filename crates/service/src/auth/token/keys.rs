//! An issuer's public keys (RFC 7517), each with the one algorithm that it is for.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

use super::TokenError;
use crate::json;

/// Keys in a set; one with more is refused as a whole. Entra ID has about a dozen.
pub(super) const KEYS_MAX: usize = 100;
/// Bits of an RSA modulus: fewer are too few today, more cost too much to check (and ring checks no more).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of a coordinate of P-256.
const COORDINATE_LEN: usize = 32;
/// Characters of a key's id in a log line.
const KEY_ID_SHOWN_MAX: usize = 64;

/// A public key. Its algorithm is the key's own and no token's (THREATS 6): what makes "HS256 with the public key as
/// the secret" and its kin impossible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// RS256: modulus and exponent.
    Rs256 { n: Vec<u8>, e: Vec<u8> },
    /// ES256: the point, uncompressed.
    Es256(Vec<u8>),
}

impl Key {
    /// What `alg` must be in the header of a token that is signed with this key.
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256 { .. } => "RS256",
            Self::Es256(_) => "ES256",
        }
    }

    /// Checks that `signature` is this key's for `signed`, in a token that says it is signed by `algorithm`.
    ///
    /// # Errors
    /// When the algorithm is not the key's, or the signature is not right.
    pub(super) fn verify(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        if algorithm != self.algorithm() {
            return Err(TokenError::Algorithm);
        }
        match self {
            Self::Rs256 { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
            // JWS has the two numbers side by side at a fixed length (RFC 7518, 3.4), and not in ASN.1.
            Self::Es256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
        }
        .map_err(|_| TokenError::Signature)
    }

    /// Reads a key of a set.
    ///
    /// # Errors
    /// Why it is of no use here: it is for something else, of another kind, or too weak.
    fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if jwk.contains_key("use") && text("use") != Some("sig") {
            return Err("its use is not signatures");
        }
        let verifies = |operations: &Value| {
            operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"))
        };
        if !jwk.get("key_ops").is_none_or(verifies) {
            return Err("its operations do not include verifying");
        }
        let bytes = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let key = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => {
                let number = |name| bytes(name).map(without_leading_zeros).ok_or("its numbers cannot be read");
                let (n, e) = (number("n")?, number("e")?);
                let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) {
                    return Err("its modulus is not of 2048 to 8192 bits");
                }
                Self::Rs256 { n, e }
            }
            (Some("EC"), Some("P-256")) => {
                let coordinate =
                    |name| bytes(name).filter(|it| it.len() == COORDINATE_LEN).ok_or("its point cannot be read");
                // 4: the point is not compressed (SEC 1, 2.3.3).
                Self::Es256([vec![4], coordinate("x")?, coordinate("y")?].concat())
            }
            _ => return Err("it is neither of RSA nor of the curve P-256"),
        };
        // Entra ID's keys name no algorithm; where one is named, it must be the one that we would use.
        if jwk.contains_key("alg") && text("alg") != Some(key.algorithm()) {
            return Err("it is for another algorithm than RS256 or ES256");
        }
        Ok(key)
    }
}

fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

/// The keys of an issuer, by `kid`.
#[derive(Debug, Default)]
pub(super) struct KeySet(HashMap<String, Arc<Key>>);

/// What an issuer gave as its keys is not a set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    /// Not JSON, a member twice, or not an object with a list of objects as `keys`.
    #[error("not a JSON Web Key Set")]
    Malformed,
    /// More keys than we keep.
    #[error("a key set with more than {KEYS_MAX} keys")]
    TooMany,
}

impl KeySet {
    /// Reads the key set of `issuer` (its name, for the log). Keys of no use here are left out with a warning.
    ///
    /// Two keys under one `kid` are both left out: which of them is meant would be a guess.
    ///
    /// # Errors
    /// When it is not a key set, or has too many.
    pub(super) fn read(issuer: &str, body: &[u8]) -> Result<Self, KeySetError> {
        let set: Map<String, Value> = json::read(body).map_err(|_| KeySetError::Malformed)?;
        let Some(Value::Array(jwks)) = set.get("keys") else { return Err(KeySetError::Malformed) };
        if jwks.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let mut keys: HashMap<String, Option<Key>> = HashMap::new();
        for jwk in jwks {
            let jwk = jwk.as_object().ok_or(KeySetError::Malformed)?;
            let key_id = jwk.get("kid").and_then(Value::as_str);
            let reason = match (key_id, Key::read(jwk)) {
                (_, Err(problem)) => problem,
                (None, _) => "it has no id",
                (Some(key_id), Ok(key)) => match keys.get_mut(key_id) {
                    None => {
                        keys.insert(key_id.to_owned(), Some(key));
                        continue;
                    }
                    Some(other) => {
                        *other = None;
                        "there are several of its id, and none of them is used"
                    }
                },
            };
            let key_id: Option<String> = key_id.map(|text| text.chars().take(KEY_ID_SHOWN_MAX).collect());
            tracing::warn!(issuer.name = issuer, key.id = ?key_id, reason, "an issuer's key is ignored");
        }
        Ok(Self(keys.into_iter().filter_map(|(key_id, key)| Some((key_id, Arc::new(key?)))).collect()))
    }

    /// The key of this id.
    pub(super) fn get(&self, key_id: &str) -> Option<Arc<Key>> {
        self.0.get(key_id).map(Arc::clone)
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests;
