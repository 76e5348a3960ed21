//! CloudEvents 1.0.2, strictly: the model and its codecs (SPEC 3).
//!
//! An [`Event`] is made by one of the codecs and by nothing else that reads bytes: [`json`] for the structured and
//! batched modes, [`http`] for the binary mode, [`sdk`] for programs that hold events of the public Rust SDK. All three
//! feed the same `Draft`, which holds the rules about attributes, so that an event is judged alike whatever
//! way it came.
//!
//! Why not the SDK's own codec: it loses the bytes, the key order and the number precision of `data`, the offset of
//! `time`, and accepts what the standard forbids (DEPENDENCIES 5.1). Here `data` stays the text that was sent.

use std::fmt;

use serde_json::value::RawValue;

mod base64_text;
mod draft;
pub mod envelope;
mod header_value;
pub mod http;
pub mod json;
mod media_type;
mod rules;
mod scan;
pub mod sdk;
mod text;
mod uri;

pub use media_type::is_json as is_json_content_type;

#[cfg(test)]
pub(crate) use json::tests::events;

/// An event whose attributes obey SPEC 3. `specversion` is always `1.0`.
///
/// The fields are public because this is a record; whoever fills one by hand vouches for the rules.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Event {
    /// Identifies the event within `source`; never empty.
    pub id: String,
    /// A URI-reference; never empty.
    pub source: String,
    /// The attribute `type`; never empty.
    pub event_type: String,
    /// A media type (RFC 2046), as written.
    pub datacontenttype: Option<String>,
    /// An absolute URI, as written.
    pub dataschema: Option<String>,
    /// What the event is about within `source`; never empty.
    pub subject: Option<String>,
    /// A checked RFC 3339 timestamp, kept as written: offset and precision belong to the publisher.
    pub time: Option<String>,
    /// The extension attributes, in the order they came. Names are unique.
    pub extensions: Vec<(String, Value)>,
    /// The payload; `Some` with a JSON `null` differs from none.
    pub data: Option<Data>,
}

impl Event {
    /// The value of the extension attribute `name`.
    pub fn extension(&self, name: &str) -> Option<&Value> {
        self.extensions.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// The value of an extension attribute, in one of the three types JSON can tell apart (SPEC 3.1).
///
/// Timestamps, URIs and binary values are strings here, as they are in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Text without control characters and noncharacters.
    String(String),
}

impl Value {
    /// The canonical string of SPEC 3.1, as it stands in a header before encoding.
    pub fn canonical(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Boolean(true) => "true".into(),
            Self::Boolean(false) => "false".into(),
            Self::Integer(number) => number.to_string().into(),
            Self::String(text) => text.as_str().into(),
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Boolean(_) | Self::Integer(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

/// The payload of an event, in the form it has inside a JSON event (SPEC 3.3).
///
/// Does not print its content: payloads can hold health data (SPEC 4.8).
#[derive(Clone)]
pub enum Data {
    /// Any JSON, byte for byte as sent. Goes with a JSON `datacontenttype` or none.
    Json(Box<RawValue>),
    /// Text of another content type.
    Text(String),
    /// Bytes, as valid Base64 text (RFC 4648 section 4).
    Binary(String),
}

impl Data {
    fn content(&self) -> (&'static str, &str) {
        match self {
            Self::Json(raw) => ("Json", raw.get()),
            Self::Text(text) => ("Text", text),
            Self::Binary(base64) => ("Binary", base64),
        }
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.content() == other.content()
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, content) = self.content();
        write!(f, "{kind}({} bytes)", content.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_do_not_print() {
        let event = Event { data: Some(Data::Text("canary".into())), ..Event::default() };
        let printed = format!("{event:?}");
        assert!(printed.contains("Text(6 bytes)") && !printed.contains("canary"), "{printed}");
    }

    #[test]
    fn canonical_strings_are_those_of_the_standard() {
        assert_eq!(Value::from(true).canonical(), "true");
        assert_eq!(Value::from(-7).canonical(), "-7");
        assert_eq!(Value::from("x y").canonical(), "x y");
    }
}
