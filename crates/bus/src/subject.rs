//! Every subject there is. No other place builds one (DESIGN 3, 3.1).
//!
//! Tokens are slugs, ids of ours, hashes, or a `type` encoded token by token: callers' text never becomes a subject
//! as it is, since the client lets `*`, `>` and spaces through.

use std::fmt::Write as _;

use async_nats::Subject;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use slipstream_core::config::Surface;
use slipstream_core::ids::{AccountId, DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slug::Slug;

/// The longest encoded type that becomes a subject; a longer one is hashed. The server's limit for a whole control
/// line is 4096 bytes.
const TYPE_BYTES_MAX: usize = 512;

/// `events.{visibility}.{lane}.{site}.{type…}`: an accepted event that is due.
pub fn event(visibility: Visibility, lane: Lane, site: &Slug, event_type: &str) -> Subject {
    let (visibility, lane) = (visibility.as_str(), lane.as_str());
    let mut subject = String::with_capacity(48 + event_type.len());
    let _ = write!(subject, "events.{visibility}.{lane}.{site}.");
    push_type(&mut subject, event_type);
    subject.into()
}

/// `later.{lane}.{site}.{key}`: an accepted event whose intended time is ahead, or a change of one that is held.
pub fn later(lane: Lane, site: &Slug, key: &EventKey) -> Subject {
    format!("later.{}.{site}.{key}", lane.as_str()).into()
}

/// `queue.{service}.{lane}.{type…}`: a WorkQueue event, for the service that published it.
pub fn queue(service: AccountId, lane: Lane, event_type: &str) -> Subject {
    let mut subject = format!("queue.{service}.{}.", lane.as_str());
    push_type(&mut subject, event_type);
    subject.into()
}

/// `deliveries.{lane}.{subscription}.{key}`: a delivery that is due.
pub fn delivery(lane: Lane, subscription: SubscriptionId, key: &EventKey) -> Subject {
    format!("deliveries.{}.{subscription}.{key}", lane.as_str()).into()
}

/// `waiting.{subscription}.{key}.{delivery}`: a delivery that is scheduled. The delivery tells it from its replays, and
/// from a delivery of the same event accepted at another time, so that none takes the place of another.
pub fn waiting(subscription: SubscriptionId, key: &EventKey, delivery: DeliveryId) -> Subject {
    format!("waiting.{subscription}.{key}.{delivery}").into()
}

/// `dead.{site}.{key}`: the bytes of an event with a delivery that failed or was exhausted.
pub fn dead(site: &Slug, key: &EventKey) -> Subject {
    format!("dead.{site}.{key}").into()
}

/// `waiting.{subscription}.>`: all scheduled deliveries of a subscription, to purge them.
pub fn waiting_of(subscription: SubscriptionId) -> String {
    format!("waiting.{subscription}.>")
}

/// `waiting.{subscription}.{key}.>`: a delivery and its replays, as far as they are scheduled, to purge them.
pub fn waiting_of_event(subscription: SubscriptionId, key: &EventKey) -> String {
    format!("waiting.{subscription}.{key}.>")
}

/// `held.{site}.{key}`: an event whose intended time is ahead.
pub fn held(site: &Slug, key: &EventKey) -> Subject {
    format!("held.{site}.{key}").into()
}

/// `lists.{lane}.{at}.{id}`: held events that come due at `at`, in Unix milliseconds.
pub fn due_list(lane: Lane, at: i64, id: u64) -> Subject {
    format!("lists.{}.{at}.{id:016x}", lane.as_str()).into()
}

/// `lists.{lane}.{at}.*`: all of them.
pub fn due_lists(lane: Lane, at: i64) -> String {
    format!("lists.{}.{at}.*", lane.as_str())
}

/// `alarms.{lane}.{at}`, or with a name of its own `alarms.{lane}.{at}.{id}`: what makes the server say that it is time.
pub fn alarm(lane: Lane, at: i64, id: Option<u64>) -> Subject {
    match id {
        None => format!("alarms.{}.{at}", lane.as_str()).into(),
        Some(id) => format!("alarms.{}.{at}.{id:016x}", lane.as_str()).into(),
    }
}

/// `ringing.{lane}.{at}`: it is time.
pub fn ringing(lane: Lane, at: i64) -> Subject {
    format!("ringing.{}.{at}", lane.as_str()).into()
}

/// `routed.{site}`: what became of events.
pub fn routed(site: &Slug) -> Subject {
    format!("routed.{site}").into()
}

/// `outcomes.{surface}.{subscription}`: what became of deliveries.
pub fn outcomes(surface: Surface, subscription: SubscriptionId) -> Subject {
    format!("outcomes.{}.{subscription}", surface.as_str()).into()
}

/// `posts.{subscription}`: an ECG post was made by another service than the one that records it.
pub fn post(subscription: SubscriptionId) -> Subject {
    format!("posts.{subscription}").into()
}

/// `endpoints.{surface}.{subscription}`: an endpoint changed by itself or was removed.
pub fn endpoint(surface: Surface, subscription: SubscriptionId) -> Subject {
    format!("endpoints.{}.{subscription}", surface.as_str()).into()
}

/// `audited.{service}`: what somebody did. `service` is a name of ours.
pub fn audited(service: &'static str) -> Subject {
    format!("audited.{service}").into()
}

/// What the subject of an event says: `events.{visibility}.{lane}.{site}.…`.
pub fn parse_event(subject: &str) -> Option<(Visibility, Lane, Slug)> {
    let mut tokens = subject.split('.');
    if tokens.next() != Some("events") {
        return None;
    }
    Some((Visibility::from_name(tokens.next()?)?, Lane::from_name(tokens.next()?)?, tokens.next()?.parse().ok()?))
}

/// What the subject of an event that is not yet due says: `later.{lane}.{site}.…`.
pub fn parse_later(subject: &str) -> Option<(Lane, Slug)> {
    let mut tokens = subject.strip_prefix("later.")?.split('.');
    Some((Lane::from_name(tokens.next()?)?, tokens.next()?.parse().ok()?))
}

/// What the subject of a held event says: `held.{site}.{key}`.
pub fn parse_held(subject: &str) -> Option<(Slug, EventKey)> {
    let (site, key) = subject.strip_prefix("held.")?.split_once('.')?;
    Some((site.parse().ok()?, key.parse().ok()?))
}

/// What the subject of a list says: `lists.{lane}.{at}.{id}`.
pub(crate) fn parse_due_list(subject: &str) -> Option<(Lane, i64)> {
    let mut tokens = subject.strip_prefix("lists.")?.split('.');
    Some((Lane::from_name(tokens.next()?)?, tokens.next()?.parse().ok()?))
}

/// What a ringing alarm says: `ringing.{lane}.{at}`.
pub fn parse_ringing(subject: &str) -> Option<(Lane, i64)> {
    let (lane, at) = subject.strip_prefix("ringing.")?.split_once('.')?;
    Some((Lane::from_name(lane)?, at.parse().ok()?))
}

/// The lane of an event's own subject, `events.{visibility}.{lane}.…` or `queue.{service}.{lane}.…`.
pub fn lane_of(subject: &str) -> Option<Lane> {
    Lane::from_name(subject.split('.').nth(2)?)
}

/// What the subject of a delivery says: `deliveries.{lane}.{subscription}.{key}`.
pub fn parse_delivery(subject: &str) -> Option<(Lane, SubscriptionId, EventKey)> {
    let mut tokens = subject.strip_prefix("deliveries.")?.split('.');
    Some((Lane::from_name(tokens.next()?)?, tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?))
}

/// The inverse of the encoding of a `type`, for whoever reads a subject; `None` for one that was hashed.
pub fn decode_type(encoded: &str) -> Option<String> {
    if encoded.starts_with(HASHED) {
        return None;
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    for (number, token) in encoded.split('.').enumerate() {
        if number > 0 {
            bytes.push(b'.');
        }
        if token == "%" {
            continue; // an empty token
        }
        let mut rest = token.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            if first == b'%' {
                let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &tail[2..];
            } else {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// First token of a type too long for a subject: `%%.{hash}`. No encoded type begins so.
const HASHED: &str = "%%.";

/// Appends a `type`: each token between dots keeps letters, digits, `-` and `_`, everything else is `%XX`, and an
/// empty token is `%`.
fn push_type(subject: &mut String, event_type: &str) {
    let start = subject.len();
    for (number, token) in event_type.split('.').enumerate() {
        if number > 0 {
            subject.push('.');
        }
        if token.is_empty() {
            subject.push('%');
        }
        for byte in token.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                subject.push(byte as char);
            } else {
                let _ = write!(subject, "%{byte:02X}");
            }
        }
        if subject.len() - start > TYPE_BYTES_MAX {
            subject.truncate(start);
            subject.push_str(HASHED);
            URL_SAFE_NO_PAD.encode_string(Sha256::digest(event_type), subject);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn site() -> Slug {
        "s8n6EzC".parse().unwrap()
    }

    #[test]
    fn subjects_read_as_declared() {
        let key = EventKey::new(&site(), "a", "b");
        let subscription: SubscriptionId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let event = event(Visibility::Public, Lane::High, &site(), "communications.letter.created");
        assert_eq!(event.as_str(), "events.public.high.s8n6EzC.communications.letter.created");
        assert_eq!(parse_event(&event), Some((Visibility::Public, Lane::High, site())));
        let delivery = delivery(Lane::Realtime, subscription, &key);
        assert_eq!(parse_delivery(&delivery), Some((Lane::Realtime, subscription, key)));
        assert_eq!(lane_of(&event), Some(Lane::High));
        assert_eq!(parse_held(&held(&site(), &key)), Some((site(), key)));
        assert_eq!(parse_ringing(&ringing(Lane::Normal, 1_772_443_800_000)), Some((Lane::Normal, 1_772_443_800_000)));
        assert_eq!(parse_later(&later(Lane::Normal, &site(), &key)), Some((Lane::Normal, site())));
    }

    proptest! {
        #[test]
        fn any_type_makes_a_valid_subject_and_comes_back(event_type in "(.|\\PC|[.*> ]){1,80}") {
            let mut encoded = String::new();
            push_type(&mut encoded, &event_type);
            prop_assert!(Subject::validated(encoded.as_str()).is_ok());
            prop_assert!(!encoded.contains(['*', '>']));
            if !encoded.starts_with(HASHED) {
                prop_assert_eq!(decode_type(&encoded), Some(event_type));
            }
        }

        #[test]
        fn a_type_of_any_length_fits(length in 1_usize..70_000) {
            let mut encoded = String::new();
            push_type(&mut encoded, &"é.".repeat(length));
            prop_assert!(encoded.len() <= TYPE_BYTES_MAX + 8);
        }
    }
}
