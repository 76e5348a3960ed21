//! Making keys: the only random numbers of this service, from the operating system's generator.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use slipstream_core::config::{KeyHash, SigningKey};
use slipstream_core::ids::AccountId;
use slipstream_core::sealing::SecretText;
use slipstream_core::signing::{Key, Scheme};
use zeroize::Zeroizing;

/// A new API key: shown once, kept as a hash only. Does not print.
pub(crate) struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// A new key of `account`: its id, `_`, and 256 random bits in base64url (SPEC 5.1).
    pub(crate) fn new(account: AccountId) -> Self {
        Self(Zeroizing::new(format!("{account}_{}", URL_SAFE_NO_PAD.encode(random_bytes()))))
    }

    /// What is kept of it.
    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// The key itself, to be shown to its owner.
    pub(crate) fn into_shown(mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

/// A new key of a handshake's callback: 256 random bits in base64url, shown to the receiver once and kept as a hash only.
/// Does not print.
pub(crate) struct CallbackKey(Zeroizing<String>);

/// Characters of a [`CallbackKey`]: 32 bytes in base64url without padding.
const CALLBACK_KEY_LEN: usize = 43;

impl CallbackKey {
    /// A new key.
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(random_bytes())))
    }

    /// The hash of what somebody gives as a key; none if it is none of ours by its form alone.
    pub(crate) fn hash_of(text: &str) -> Option<KeyHash> {
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (text.len() == CALLBACK_KEY_LEN && text.bytes().all(is_base64url)).then(|| KeyHash::of(text))
    }

    /// What is kept of it.
    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// The key itself, for the receiver.
    pub(crate) fn shown(&self) -> &str {
        &self.0
    }
}

/// A new signing key of 256 random bits (SPEC 4.6).
pub(crate) fn signing_key(scheme: Scheme) -> SigningKey {
    let key = match scheme {
        Scheme::V1 => Key::from_bytes(random_bytes().to_vec()).expect("32 bytes are between 24 and 64"),
        Scheme::V1a => Key::from_seed(random_bytes()),
    };
    SigningKey { secret: key.shown().into(), until: None }
}

/// A new secret of an ECG subscription: 256 random bits in base64url (SPEC 6.5).
pub(crate) fn ecg_secret() -> SecretText {
    SecretText::new(URL_SAFE_NO_PAD.encode(random_bytes()))
}

fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).expect("an operating system without randomness cannot run this service");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_form_and_no_two_are_equal() {
        let account = AccountId(uuid::Uuid::nil());
        let (one, other) = (ApiKey::new(account), ApiKey::new(account));
        assert_ne!(one.hash(), other.hash());
        assert!(one.hash().matches(&KeyHash::of(&one.0)));
        let (id, random) = one.0.split_once('_').unwrap();
        assert_eq!(id, account.to_string());
        // The random part may hold an underscore of its own.
        assert_eq!(one.0.len() - id.len() - 1, 43, "{}", random.len());
        for (scheme, prefix) in [(Scheme::V1, "whsec_"), (Scheme::V1a, "whsk_")] {
            let [one, other] = [signing_key(scheme).secret, signing_key(scheme).secret];
            let shown = one.expose().unwrap();
            assert!(shown.starts_with(prefix) && one != other);
            assert_eq!(Key::parse(shown).unwrap().scheme(), scheme);
        }
    }

    #[test]
    fn secrets_of_ecg_subscriptions_have_43_characters_and_no_two_are_equal() {
        let [one, other] = [ecg_secret(), ecg_secret()];
        assert_ne!(one, other);
        assert_eq!(one.expose().unwrap().len(), 43);
    }

    #[test]
    fn only_what_has_the_form_of_a_callback_key_is_looked_up() {
        let key = CallbackKey::new();
        assert!(CallbackKey::hash_of(key.shown()).is_some_and(|hash| hash.matches(&key.hash())));
        let long = "a".repeat(44);
        for text in ["", &key.shown()[1..], &long, &"é".repeat(43), &format!("{}=", &key.shown()[1..])] {
            assert!(CallbackKey::hash_of(text).is_none(), "{text}");
        }
    }
}
