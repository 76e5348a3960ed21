//! One type per identity, so that no two ids can be swapped by mistake.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// The length of an [`EventKey`] in characters.
pub const EVENT_KEY_LEN: usize = 22;

/// Which event: the first 22 characters of base64url(sha256(site, source, id)) (DESIGN 3.1, SPEC 4.7).
///
/// Equal for every repeat of an event. Safe as a subject token and a message id, whatever the publisher wrote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey([u8; EVENT_KEY_LEN]);

/// The text is not an event key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event key ({EVENT_KEY_LEN} characters of base64url)")]
pub struct NotAnEventKey;

impl EventKey {
    /// The key of the event that `source` and `id` identify within `site`.
    pub fn new(site: &Slug, source: &str, id: &str) -> Self {
        let mut hash = Sha256::new();
        // Each part is preceded by its length, so that no two triples have the same bytes.
        for part in [site.as_str(), source, id] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut text = [0; 43]; // 32 bytes in base64 without padding
        URL_SAFE_NO_PAD.encode_slice(hash.finalize(), &mut text).expect("32 bytes encode to 43 characters");
        let mut key = [0; EVENT_KEY_LEN];
        key.copy_from_slice(&text[..EVENT_KEY_LEN]);
        Self(key)
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a key holds base64url characters only")
    }
}

impl FromStr for EventKey {
    type Err = NotAnEventKey;

    fn from_str(text: &str) -> Result<Self, NotAnEventKey> {
        let key: [u8; EVENT_KEY_LEN] = text.as_bytes().try_into().map_err(|_| NotAnEventKey)?;
        let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if key.iter().all(is_base64url) { Ok(Self(key)) } else { Err(NotAnEventKey) }
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventKey({})", self.as_str())
    }
}

impl Serialize for EventKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Declares an id that is a UUID, printed in lower case with hyphens (SPEC 2.1).
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// An API account: who publishes and subscribes.
    AccountId
}

impl AccountId {
    /// The account that the holder of an issuer's tokens acts as: the same one whatever token shows it, for ever.
    ///
    /// Derived, so that nobody has to have been here before. The form is a UUIDv8 (RFC 9562): 122 bits of a hash of both.
    pub fn of_token(issuer: &str, subject: &str) -> Self {
        let mut hash = Sha256::new();
        // Each part is preceded by its length, so that no two pairs have the same bytes.
        for part in ["account-of-token", issuer, subject] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        let bytes = *hash.first_chunk().expect("32 bytes begin with 16");
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

uuid_id! {
    /// A subscription: who wants which events at which endpoint.
    SubscriptionId
}
uuid_id! {
    /// A delivery: one event to one subscription.
    DeliveryId
}

uuid_id! {
    /// A replay: one request, or one bulk job, to deliver again.
    ReplayId
}

uuid_id! {
    /// A pair of keys of Open Dental.
    OpenDentalKeyId
}

uuid_id! {
    /// A record of the audit.
    AuditId
}

uuid_id! {
    /// A category of ECG events.
    EcgCategoryId
}

uuid_id! {
    /// An ECG event: a kind of event that can be subscribed to.
    EcgEventId
}

uuid_id! {
    /// A sample payload of an ECG event.
    EcgSampleId
}

uuid_id! {
    /// A secret of an ECG subscription.
    EcgSecretId
}

uuid_id! {
    /// An ECG activity: one post, or one that somebody else makes. Of a post that we make: one attempt of a delivery.
    ActivityId
}

impl ActivityId {
    /// The activity that attempt `number` (from 1) of `delivery` is. The first has the delivery's own id.
    pub fn of_attempt(delivery: DeliveryId, number: u32) -> Self {
        if number <= 1 {
            return Self(delivery.0);
        }
        let mut hash = Sha256::new();
        hash.update(b"activity-of-attempt");
        hash.update(delivery.0.as_bytes());
        hash.update(number.to_be_bytes());
        let hash = hash.finalize();
        Self(uuid::Builder::from_custom_bytes(*hash.first_chunk().expect("32 bytes begin with 16")).into_uuid())
    }
}

/// What an event's forwarded form hashes to: FNV-1a, 64 bits. Tells a repeat from another event under the same
/// identity; no protection against anybody who wants it to be equal.
pub fn content_hash(body: &[u8]) -> i64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    body.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)).cast_signed()
}

/// What the `id` attribute of an event hashes to: FNV-1a, 32 bits. A narrow column to find it by.
pub fn id_hash(id: &str) -> i32 {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    id.bytes().fold(OFFSET, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME)).cast_signed()
}

impl DeliveryId {
    /// The id of the delivery of event `key`, accepted at `accepted_at`, to `subscription`.
    ///
    /// Derived, not drawn: routing an event twice makes the same delivery and so the same webhook id, whatever
    /// crashed in between (N6). The form is a UUIDv7 (RFC 9562): 48 bits of time, then hash in place of chance.
    pub fn derive(accepted_at: Timestamp, subscription: SubscriptionId, key: &EventKey) -> Self {
        Self::from_parts(accepted_at, subscription, key, None)
    }

    /// The id of a replay of that delivery. Derived too, so that replaying twice under one id makes one delivery.
    ///
    /// Its `webhook-id` is that of the delivery it repeats: receivers recognise what they have seen (SPEC 4.1).
    pub fn derive_replay(
        accepted_at: Timestamp,
        subscription: SubscriptionId,
        key: &EventKey,
        replay: ReplayId,
    ) -> Self {
        Self::from_parts(accepted_at, subscription, key, Some(replay))
    }

    fn from_parts(
        accepted_at: Timestamp,
        subscription: SubscriptionId,
        key: &EventKey,
        replay: Option<ReplayId>,
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(subscription.0.as_bytes());
        hash.update(key.0);
        if let Some(replay) = replay {
            hash.update(replay.0.as_bytes());
        }
        let hash = hash.finalize();
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&accepted_at.as_millis().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&hash[..10]);
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(Uuid::from_bytes(bytes))
    }

    /// When the delivered thing was accepted: the time in the id, in whole milliseconds.
    pub fn accepted_at(self) -> Timestamp {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0.as_bytes()[..6]);
        Timestamp::from_millis(i64::from_be_bytes(millis))
    }

    /// The `webhook-id` of this delivery: `msg_` and 32 hex digits, constant over attempts (SPEC 4.6). Of an event's own
    /// delivery; a replay's is that of the delivery it repeats.
    pub fn webhook_id(self) -> String {
        format!("msg_{}", self.0.simple())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Slug {
        "s8n6EzC".parse().unwrap()
    }

    #[test]
    fn the_account_of_a_holder_of_tokens_is_told_by_issuer_and_subject() {
        let account = AccountId::of_token("entra", "post");
        assert_eq!(account, AccountId::of_token("entra", "post"));
        assert_eq!(account.0.get_version_num(), 8);
        for (issuer, subject) in [("entra", "pos"), ("entrap", "ost"), ("other", "post"), ("", "entrapost")] {
            assert_ne!(account, AccountId::of_token(issuer, subject), "{issuer} {subject}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(EventKey::new(&site(), "ab", "c"), EventKey::new(&site(), "a", "bc"));
    }

    #[test]
    fn hashes_never_change() {
        // The published test vectors of FNV-1a: what stands in an index must be found by the next release.
        assert_eq!((id_hash("").cast_unsigned(), id_hash("foobar").cast_unsigned()), (0x811c_9dc5, 0xbf9c_f968));
        assert_eq!(content_hash(b"foobar").cast_unsigned(), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn keys_survive_text() {
        let key = EventKey::new(&site(), "https://post.example/letters", "1");
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("short".parse::<EventKey>(), Err(NotAnEventKey));
        assert_eq!("a.b*c>d e f g h i j k l".parse::<EventKey>(), Err(NotAnEventKey));
    }

    #[test]
    fn the_same_event_and_subscription_make_the_same_delivery() {
        let key = EventKey::new(&site(), "https://post.example/letters", "1");
        let (at, subscription) = (Timestamp::from_millis(1_772_443_800_500), SubscriptionId(Uuid::nil()));
        let delivery = DeliveryId::derive(at, subscription, &key);
        assert_eq!(delivery, DeliveryId::derive(at, subscription, &key));
        assert_ne!(delivery, DeliveryId::derive(at, SubscriptionId(Uuid::max()), &key));
        let replay = |number| DeliveryId::derive_replay(at, subscription, &key, ReplayId(Uuid::from_u128(number)));
        assert!(replay(1) == replay(1) && replay(1) != replay(2) && replay(1) != delivery);
        assert_eq!(delivery.0.get_version_num(), 7);
        let webhook_id = delivery.webhook_id();
        assert!(webhook_id.len() == 36 && webhook_id.starts_with("msg_") && !webhook_id.contains('.'));
    }
}
