//! The asymmetric scheme `v1a`: Ed25519 (RFC 8032), so that a receiver needs no secret.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::BadKey;

/// What a shown secret key begins with.
pub const SECRET_KEY_PREFIX: &str = "whsk_";
/// What a shown public key begins with.
pub const PUBLIC_KEY_PREFIX: &str = "whpk_";
/// Bytes of a seed.
pub const SEED_BYTES: usize = 32;
/// Bytes of a public key.
const PUBLIC_BYTES: usize = 32;

/// A secret key and its public half.
#[derive(Clone)]
pub(super) struct KeyPair {
    seed: Zeroizing<[u8; SEED_BYTES]>,
    pair: Arc<Ed25519KeyPair>,
}

impl KeyPair {
    pub(super) fn from_seed(seed: [u8; SEED_BYTES]) -> Self {
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).expect("any 32 bytes are a seed");
        Self { seed, pair: Arc::new(pair) }
    }

    /// From seed and public key, one after the other.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, BadKey> {
        let (seed, public) = bytes.split_at_checked(SEED_BYTES).ok_or(BadKey::WrongLength)?;
        if public.len() != PUBLIC_BYTES {
            return Err(BadKey::WrongLength);
        }
        let pair = Self::from_seed(seed.try_into().expect("it was split off with this length"));
        if pair.pair.public_key().as_ref() == public { Ok(pair) } else { Err(BadKey::NotAPair) }
    }

    pub(super) fn shown(&self) -> String {
        let bytes = Zeroizing::new([self.seed.as_slice(), self.pair.public_key().as_ref()].concat());
        format!("{SECRET_KEY_PREFIX}{}", STANDARD.encode(bytes.as_slice()))
    }

    pub(super) fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("a public key has 32 bytes"))
    }

    pub(super) fn sign(&self, webhook_id: &str, timestamp: &str, body: &[u8]) -> [u8; 64] {
        let signature = self.pair.sign(&content(webhook_id, timestamp, body));
        signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// What is signed. Ed25519 reads its message twice, so it has to lie in one piece.
fn content(webhook_id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [webhook_id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

/// The half of a `v1a` key that receivers verify with. No secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PUBLIC_BYTES]);

impl PublicKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, BadKey> {
        bytes.try_into().map(Self).map_err(|_| BadKey::WrongLength)
    }

    /// `whpk_` and Base64.
    pub fn shown(&self) -> String {
        format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(self.0))
    }

    /// The member `x` of a JSON Web Key (RFC 8037, section 2).
    pub fn jwk_x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The key's JWK thumbprint (RFC 7638), to name it by.
    pub fn thumbprint(&self) -> String {
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.jwk_x());
        URL_SAFE_NO_PAD.encode(Sha256::digest(members))
    }

    pub(super) fn verifies(&self, webhook_id: &str, timestamp: &str, body: &[u8], given: &str) -> bool {
        let Ok(signature) = STANDARD.decode(given) else { return false };
        UnparsedPublicKey::new(&ED25519, self.0).verify(&content(webhook_id, timestamp, body), &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037, appendix A.2 and A.3.
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let key = PublicKey::from_bytes(&x).unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
