//! The event that is published: a letter of exactly 1 KiB whose id tells phase and number.

use std::ops::Range;

/// Size of the structured-mode body, in bytes.
pub(crate) const EVENT_BYTES: usize = 1024;

/// What every id starts with. Nothing else in an event or a delivery's head holds it, so the receiver looks for it
/// and need not parse JSON.
const MARK: &[u8] = b"slb-";

/// Which event of which phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    /// The phase of the run.
    pub(crate) phase: u16,
    /// The event within the phase, from 0.
    pub(crate) number: u32,
}

impl EventId {
    /// Length as text: the mark, and both parts in hexadecimal.
    const LENGTH: usize = MARK.len() + 4 + 8;

    /// Writes the id over the one that stands in `place`.
    fn write(self, place: &mut [u8]) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut value = (u64::from(self.phase) << 32) | u64::from(self.number);
        for digit in place[MARK.len()..].iter_mut().rev() {
            *digit = HEX[(value & 15) as usize];
            value >>= 4;
        }
    }

    /// Finds the id in a delivery's body. `hint` is where the last one stood, usually right again; it is updated.
    pub(crate) fn find(body: &[u8], hint: &mut usize) -> Option<Self> {
        if !body.get(*hint..)?.starts_with(MARK) {
            *hint = body.windows(MARK.len()).position(|bytes| bytes == MARK)?;
        }
        let digits = body.get(*hint + MARK.len()..*hint + Self::LENGTH)?;
        let mut value: u64 = 0;
        for digit in digits {
            value = (value << 4) | u64::from(char::from(*digit).to_digit(16)?);
        }
        Some(Self { phase: (value >> 32) as u16, number: value as u32 })
    }
}

/// A whole publish request in which only the id changes.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    id: Range<usize>,
}

impl Request {
    /// The request that posts a letter to `path` with `api_key`; `host` is only named in the header.
    pub(crate) fn new(host: &str, path: &str, api_key: &str) -> Self {
        let body = body();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nX-API-KEY: {api_key}\r\n\
             Content-Type: application/cloudevents+json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let bytes = [head.as_bytes(), body.as_bytes()].concat();
        let offset = body.find("slb-").expect("the body has an id");
        let start = head.len() + offset;
        Self { bytes, id: start..start + EventId::LENGTH }
    }

    /// The bytes to send for the event `id`.
    pub(crate) fn with_id(&mut self, id: EventId) -> &[u8] {
        id.write(&mut self.bytes[self.id.clone()]);
        &self.bytes
    }
}

/// A `communications.letter.created`, public, filled up to [`EVENT_BYTES`].
fn body() -> String {
    let start = concat!(
        r#"{"specversion":"1.0","id":"slb-000000000000","source":"https://post.example/letters","#,
        r#""type":"communications.letter.created","subject":"c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70","#,
        r#""time":"2026-03-02T09:30:00Z","visibility":1,"priority":0,"#,
        r#""data":{"recordId":"c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70","color":false,"express":false,"#,
        r#""status":"Created","provider":"bench","note":""#
    );
    let end = r#""}}"#;
    let padding = "Lorem ipsum dolor sit amet. ".repeat(EVENT_BYTES / 28 + 1);
    format!("{start}{}{end}", &padding[..EVENT_BYTES - start.len() - end.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_is_one_kibibyte_of_json() {
        assert_eq!(body().len(), EVENT_BYTES);
        let event: serde_json::Value = serde_json::from_str(&body()).unwrap();
        assert_eq!(event["type"], "communications.letter.created");
        assert_eq!(event["visibility"], 1);
    }

    #[test]
    fn an_id_that_was_written_is_found_again() {
        let mut request = Request::new("127.0.0.1:1", "/sites/s8n6EzC/events", "key");
        let mut hint = 0;
        for id in [EventId { phase: 0, number: 0 }, EventId { phase: 0xabcd, number: u32::MAX }] {
            let bytes = request.with_id(id).to_vec();
            assert_eq!(EventId::find(&bytes, &mut hint), Some(id));
            assert_eq!(EventId::find(&bytes[7..], &mut hint), Some(id), "a wrong hint only costs a search");
        }
        assert_eq!(EventId::find(b"{\"id\":\"another\"}", &mut hint), None);
        assert_eq!(EventId::find(b"slb-12", &mut 0), None);
    }
}
