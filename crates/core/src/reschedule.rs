//! Changing the times of an event that waits, in its stored form (issue 3, "Scheduled events").
//!
//! The rest of the event stays byte for byte as it was accepted: members are copied, not written anew, so numbers keep
//! their text and `data` its form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::envelope::NotAStoredEvent;
use crate::timestamp::Timestamp;

/// The new times of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// `intendeddeliverytime`
    pub intended_at: Timestamp,
    /// `expirytime`; none takes the attribute away.
    pub expires_at: Option<Timestamp>,
}

/// The stored form of an event with new times.
///
/// # Errors
/// When `stored` is not an event in JSON format.
pub fn reschedule(stored: &[u8], times: Times) -> Result<Vec<u8>, NotAStoredEvent> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Members<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);

    let Members(members) = serde_json::from_slice(stored).map_err(NotAStoredEvent::new)?;
    let mut written = Vec::with_capacity(stored.len() + 64);
    let mut separator = b'{';
    let mut member = |name: &str, value: &str| {
        written.push(separator);
        separator = b',';
        serde_json::to_writer(&mut written, name).expect("a text serialises, and memory takes all of it");
        written.push(b':');
        written.extend_from_slice(value.as_bytes());
    };
    for (name, value) in &members {
        if !matches!(&**name, "intendeddeliverytime" | "expirytime") {
            member(name, value.get());
        }
    }
    member("intendeddeliverytime", &format!("\"{}\"", times.intended_at));
    if let Some(expires_at) = times.expires_at {
        member("expirytime", &format!("\"{expires_at}\""));
    }
    written.push(b'}');
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_times_change() {
        let stored = br#"{"specversion":"1.0","id":"a\"b","source":"/s","type":"t","intendeddeliverytime":"2026-03-02T09:30:00Z","expirytime":"2026-03-03T09:30:00Z","data":{"n":1.50,"b":[1, 2]}}"#;
        let at = Timestamp::from_millis(1_772_443_800_500);
        let changed = reschedule(stored, Times { intended_at: at, expires_at: None }).unwrap();
        assert_eq!(
            String::from_utf8(changed).unwrap(),
            r#"{"data":{"n":1.50,"b":[1, 2]},"id":"a\"b","source":"/s","specversion":"1.0","type":"t","intendeddeliverytime":"2026-03-02T09:30:00.500Z"}"#
        );
        let both = reschedule(stored, Times { intended_at: at, expires_at: Some(at) }).unwrap();
        assert!(String::from_utf8(both).unwrap().ends_with(r#""expirytime":"2026-03-02T09:30:00.500Z"}"#));
        assert!(reschedule(b"[]", Times { intended_at: at, expires_at: None }).is_err());
    }
}
