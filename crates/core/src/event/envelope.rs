//! A quick look at a stored event: only what routing and signing need, borrowed, the rest passed over.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};

use super::text::Text;

/// The identity of an event that was accepted earlier. Borrows from the stored bytes where they hold no escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `id`
    pub id: Cow<'a, str>,
    /// `source`
    pub source: Cow<'a, str>,
    /// `type`
    pub event_type: Cow<'a, str>,
    /// `subject`
    pub subject: Option<Cow<'a, str>>,
}

/// The bytes are not an event in JSON format. Since we wrote them, something else did, or they were damaged.
#[derive(Debug, thiserror::Error)]
#[error("not a stored event")]
pub struct NotAStoredEvent(#[source] serde_json::Error);

impl NotAStoredEvent {
    pub(crate) const fn new(error: serde_json::Error) -> Self {
        Self(error)
    }
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of a stored event. Rules about attributes are not checked again.
    pub fn read(stored: &'a [u8]) -> Result<Self, NotAStoredEvent> {
        let mut deserializer = serde_json::Deserializer::from_slice(stored);
        let envelope = serde::Deserializer::deserialize_map(&mut deserializer, EnvelopeVisitor);
        envelope.and_then(|envelope| deserializer.end().map(|()| envelope)).map_err(NotAStoredEvent)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stored event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let (mut id, mut source, mut event_type, mut subject) = (None, None, None, None);
        while let Some(Text(name)) = map.next_key()? {
            let slot = match &*name {
                "id" => &mut id,
                "source" => &mut source,
                "type" => &mut event_type,
                "subject" => &mut subject,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| text);
        }
        Ok(Envelope {
            id: id.ok_or_else(|| A::Error::missing_field("id"))?,
            source: source.ok_or_else(|| A::Error::missing_field("source"))?,
            event_type: event_type.ok_or_else(|| A::Error::missing_field("type"))?,
            subject,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_without_escapes_are_borrowed() {
        let stored = br#"{"data":{"id":"no"},"id":"1","type":"t\u0021","source":"/s","subject":"x"}"#;
        let envelope = Envelope::read(stored).unwrap();
        assert_eq!((&*envelope.id, &*envelope.source, &*envelope.event_type), ("1", "/s", "t!"));
        assert!(matches!(envelope.id, Cow::Borrowed(_)) && matches!(envelope.subject, Some(Cow::Borrowed("x"))));
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        for stored in [&b""[..], b"[]", b"{}", br#"{"id":"1","type":"t"}"#, br#"{"id":"1","type":"t","source":"s"} x"#]
        {
            assert!(Envelope::read(stored).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(stored in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::read(&stored);
        }
    }
}
