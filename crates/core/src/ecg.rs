//! What an ECG post says, and its hash (SPEC 6.7, 6.8). Pure: times and secrets are arguments.

mod canonical;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

pub use self::canonical::{NotCanonical, canonical, hashed_text};
use crate::config::PayloadVersion;
use crate::ids::{ActivityId, SubscriptionId};
use crate::signing::{self, Key};
use crate::timestamp::Timestamp;

/// The event type of the post that says that a subscription was activated.
pub const ACTIVATED: &str = "webhook.subscription.activated";
/// Header of a post: the event's code.
pub const EVENT_HEADER: &str = "X-ECG-Event";
/// Header of a post: the activity's id.
pub const ACTIVITY_HEADER: &str = "X-ECG-Activity-Id";
/// Attempts of a post to a development subscription (SPEC 6.5).
pub const DEVELOPMENT_ATTEMPTS_MAX: u32 = 3;

/// The hash of a payload: 64 lower-case hex digits (SPEC 6.7).
///
/// `hashed` is what [`hashed_text`] makes of the payload, `secret` the one that is good at `created_at`.
pub fn hash(secret: &str, created_at: Timestamp, hashed: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(created_at.as_millis().to_string().as_bytes());
    mac.update(hashed.as_bytes());
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whether two hashes are equal: in constant time, hex without case.
pub fn hashes_match(known: &str, given: &str) -> bool {
    known.to_ascii_lowercase().as_bytes().ct_eq(given.to_ascii_lowercase().as_bytes()).into()
}

/// The key that signs deliveries to a subscription with this secret: Base64-decoded if it is written as `whsec_…`, else its
/// bytes (SPEC 4.6).
pub fn signing_key(secret: &str) -> Key {
    let written = secret.starts_with(signing::KEY_PREFIX).then(|| Key::parse(secret).ok()).flatten();
    written.unwrap_or_else(|| Key::from_any_bytes(secret.as_bytes().to_vec()))
}

/// The body of a post: the three members that a receiver can have checked (E49), so that it need not rebuild anything.
pub fn body(payload: &RawValue, hash: &str, created_at: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        payload: &'a RawValue,
        hash: &'a str,
        created_at: i64,
    }
    serde_json::to_vec(&Body { payload, hash, created_at: created_at.as_millis() }).expect("text and numbers serialise")
}

/// What a payload of ours is made of.
#[derive(Debug, Clone, Copy)]
pub struct PayloadParts<'a> {
    /// The root of its tree of activities.
    pub root: ActivityId,
    /// Whose subscription it is for.
    pub organization: Uuid,
    /// Which.
    pub subscription: SubscriptionId,
    /// The event's code.
    pub event_type: &'a str,
    /// When it was made.
    pub at: Timestamp,
    /// `data`, in canonical form.
    pub data: &'a RawValue,
}

/// A payload, in canonical form (SPEC 6.7, "Payload versions").
pub fn payload(version: PayloadVersion, parts: PayloadParts<'_>) -> Box<RawValue> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct V1<'a> {
        event_type: &'a str,
        version: &'static str,
        data: &'a RawValue,
    }
    #[derive(Serialize)]
    struct V2<'a> {
        specversion: &'static str,
        id: ActivityId,
        source: String,
        r#type: &'a str,
        time: Timestamp,
        subject: SubscriptionId,
        datacontenttype: &'static str,
        data: &'a RawValue,
    }
    let PayloadParts { root, organization, subscription, event_type, at, data } = parts;
    let made = match version {
        PayloadVersion::V1 => serde_json::value::to_raw_value(&V1 { event_type, version: "v1", data }),
        PayloadVersion::V2 => serde_json::value::to_raw_value(&V2 {
            specversion: "1.0",
            id: root,
            source: format!("/organizations/{organization}"),
            r#type: event_type,
            time: at,
            subject: subscription,
            datacontenttype: "application/json",
            data,
        }),
    };
    made.expect("text and JSON serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_vectors_hash_as_specified() {
        let hash = |at, json: &str| {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            super::hash("ecg-secret-key", Timestamp::from_millis(at), &hashed_text(raw).unwrap())
        };
        let observation = r#"{ "eventType": "vitals.observations.created", "version":"v1", "data":{"vitals":100}}"#;
        assert_eq!(
            hash(1_660_816_984_086, observation),
            "d0cee4b8858a2f892f64c0f5d0c1521d6a8100f81e27198d363aa88d79228ea6"
        );
        let note =
            r#"{"eventType":"vitals.observations.created","version":"v1","data":{"note":"caf\u00e9 \"ok\"","n":1.50}}"#;
        assert_eq!(hash(1_660_816_984_086, note), "79ada30e8c0fb65a74da198831664f4cc02be9318cfc6e7f5a6a1c9c0432eabc");
        assert_eq!(
            hash(12_345, r#""{vitals:100}""#),
            "b92ed841709ee2abf3cab29aa35f34d2b94341b3eb628bbdf442c0d8378282e3"
        );
    }

    #[test]
    fn hashes_are_compared_without_case_and_whole() {
        assert!(hashes_match("ab12", "AB12"));
        assert!(!hashes_match("ab12", "ab1") && !hashes_match("ab12", "ab13") && !hashes_match("ab12", ""));
    }

    #[test]
    fn payloads_have_their_two_forms() {
        let data: &RawValue = serde_json::from_str(r#"{"n":1.50}"#).unwrap();
        let parts = PayloadParts {
            root: ActivityId(Uuid::nil()),
            organization: Uuid::max(),
            subscription: SubscriptionId(Uuid::nil()),
            event_type: "vitals.created",
            at: Timestamp::from_millis(1_660_816_984_086),
            data,
        };
        let v1 = payload(PayloadVersion::V1, parts);
        assert_eq!(v1.get(), r#"{"eventType":"vitals.created","version":"v1","data":{"n":1.50}}"#);
        let v2 = payload(PayloadVersion::V2, parts);
        assert!(v2.get().contains(r#""time":"2022-08-18T10:03:04.086Z""#), "{v2}");
        assert!(
            v2.get().starts_with(r#"{"specversion":"1.0","id":"0000"#) && v2.get().ends_with(r#""data":{"n":1.50}}"#)
        );
        assert_eq!(canonical(&v2).unwrap().get(), v2.get());
    }

    #[test]
    fn a_secret_signs_by_its_bytes_or_as_it_is_written() {
        let written = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(signing_key(written).shown(), written);
        // Base64 of "ecg-secret-key".
        assert_eq!(signing_key("ecg-secret-key").shown(), "whsec_ZWNnLXNlY3JldC1rZXk=");
    }
}
