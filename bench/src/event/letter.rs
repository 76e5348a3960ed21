//! A letter of exactly 1 KiB, and a request that posts one. Only id and time change, in place.

use std::fmt::Write as _;
use std::ops::Range;

use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;

use super::{EventId, MARK};

/// Size of an event as JSON, in bytes.
pub(crate) const EVENT_BYTES: usize = 1024;

/// Length of a [`Timestamp`] as text, in any year of four digits.
const TIME_LENGTH: usize = "2026-03-02T09:30:00.000Z".len();

/// What differs between letters beside id and time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LetterKind {
    /// Its priority.
    pub(crate) lane: Lane,
    /// Whether it has an `intendeddeliverytime`.
    pub(crate) is_scheduled: bool,
    /// `communications.letter.status_updated` in place of `….created`.
    pub(crate) is_update: bool,
}

impl LetterKind {
    /// Its `type`.
    pub(crate) const fn event_type(self) -> &'static str {
        if self.is_update { "communications.letter.status_updated" } else { "communications.letter.created" }
    }
}

/// A public letter as JSON.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    bytes: Vec<u8>,
    id: Range<usize>,
    due: Option<Range<usize>>,
}

impl Default for Letter {
    fn default() -> Self {
        Self::new(LetterKind::default())
    }
}

impl Letter {
    /// The letter, filled up to [`EVENT_BYTES`].
    pub(crate) fn new(kind: LetterKind) -> Self {
        let (event_type, priority) = (kind.event_type(), kind.lane.priority());
        let mut start = format!(
            concat!(
                r#"{{"specversion":"1.0","id":"slb-000000000000","source":"https://post.example/letters","#,
                r#""type":"{}","subject":"c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70","#,
                r#""time":"2026-03-02T09:30:00Z","visibility":1,"priority":{},"#,
            ),
            event_type, priority
        );
        let due = kind.is_scheduled.then(|| {
            start.push_str(r#""intendeddeliverytime":""#);
            let from = start.len();
            let _ = write!(start, "{}\",", Timestamp::default()); // a String takes all
            from..from + TIME_LENGTH
        });
        start.push_str(concat!(
            r#""data":{"recordId":"c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70","color":false,"express":false,"#,
            r#""status":"Created","provider":"bench","note":""#
        ));
        let end = r#""}}"#;
        let padding = "Lorem ipsum dolor sit amet. ".repeat(EVENT_BYTES / 28 + 1);
        let bytes = format!("{start}{}{end}", &padding[..EVENT_BYTES - start.len() - end.len()]).into_bytes();
        let from = bytes.windows(MARK.len()).position(|bytes| bytes == MARK).expect("the letter has an id");
        Self { bytes, id: from..from + EventId::LENGTH, due }
    }

    /// The letter with this id.
    pub(crate) fn with_id(&mut self, id: EventId) -> &[u8] {
        id.write(&mut self.bytes[self.id.clone()]);
        &self.bytes
    }

    /// The letter with this id and, if its kind has one, this `intendeddeliverytime`.
    pub(crate) fn due_at(&mut self, id: EventId, due: Timestamp) -> &[u8] {
        if let Some(place) = self.due.clone() {
            self.bytes[place].copy_from_slice(due.to_string().as_bytes());
        }
        self.with_id(id)
    }
}

/// A whole publish request in which only the id changes.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    id: Range<usize>,
}

impl Request {
    /// The request that posts `letter` to `path` with `api_key`; `host` is only named in the header.
    pub(crate) fn new(host: &str, path: &str, api_key: &str, letter: Letter) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nX-API-KEY: {api_key}\r\n\
             Content-Type: application/cloudevents+json\r\nContent-Length: {EVENT_BYTES}\r\n\r\n",
        );
        let id = head.len() + letter.id.start..head.len() + letter.id.end;
        let mut bytes = head.into_bytes();
        bytes.extend(letter.bytes);
        Self { bytes, id }
    }

    /// The bytes to send for the event `id`.
    pub(crate) fn with_id(&mut self, id: EventId) -> &[u8] {
        id.write(&mut self.bytes[self.id.clone()]);
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_one_kibibyte_of_json() {
        for lane in Lane::ALL {
            for (is_scheduled, is_update) in [(false, false), (true, false), (true, true)] {
                let kind = LetterKind { lane, is_scheduled, is_update };
                let mut letter = Letter::new(kind);
                let due = Timestamp::from_millis(1_772_443_800_123);
                let bytes = letter.due_at(EventId { phase: 7, number: 1 }, due);
                assert_eq!(bytes.len(), EVENT_BYTES);
                let event: serde_json::Value = serde_json::from_slice(bytes).unwrap();
                assert_eq!(event["type"], kind.event_type());
                assert_eq!(
                    (event["visibility"].clone(), event["priority"].clone()),
                    (1.into(), lane.priority().into())
                );
                assert_eq!(event["id"], "slb-000700000001");
                let intended = is_scheduled.then(|| due.to_string());
                assert_eq!(event["intendeddeliverytime"].as_str(), intended.as_deref());
            }
        }
    }
}
