//! The JSON format: single events and batches (SPEC 3.3).
//!
//! One pass of serde_json's tokenizer over the bytes, never by way of `serde_json::Value`: attributes are borrowed
//! strings until they are kept, and `data` stays the text that was sent. Of `data` one more pass is made for what
//! serde_json does not check (`scan.rs`).

use serde::de::{DeserializeSeed as _, Deserializer as _};

use super::{Data, Event, Value};
use crate::problem::FieldError;

mod read;

/// Reads one event.
///
/// # Errors
/// Everything that is wrong, by JSON pointer (SPEC 2.2), at most [`crate::limits::ERRORS_MAX`] entries. Text that is not
/// JSON at all is reported at `#`, with line and column.
pub fn parse(json: &[u8]) -> Result<Event, Vec<FieldError>> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let event = read::EventSeed.deserialize(&mut deserializer).map_err(|error| malformed(&error))?;
    deserializer.end().map_err(|error| malformed(&error))?;
    event
}

/// Reads a batch, which may be empty.
///
/// # Errors
/// As [`parse`], over all events; each pointer begins with the event's index. One bad event refuses the batch.
pub fn parse_batch(json: &[u8]) -> Result<Vec<Event>, Vec<FieldError>> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let batch = deserializer.deserialize_any(read::BatchVisitor).map_err(|error| malformed(&error))?;
    deserializer.end().map_err(|error| malformed(&error))?;
    batch
}

/// Appends the event in JSON format to `out`.
pub fn write(event: &Event, out: &mut Vec<u8>) {
    out.reserve(size_hint(event));
    out.extend_from_slice(br#"{"specversion":"1.0""#);
    let known = [
        ("id", Some(&event.id)),
        ("source", Some(&event.source)),
        ("type", Some(&event.event_type)),
        ("subject", event.subject.as_ref()),
        ("time", event.time.as_ref()),
        ("datacontenttype", event.datacontenttype.as_ref()),
        ("dataschema", event.dataschema.as_ref()),
    ];
    for (name, value) in known {
        if let Some(text) = value {
            write_name(name, out);
            write_string(text, out);
        }
    }
    for (name, value) in &event.extensions {
        write_name(name, out);
        match value {
            Value::String(text) => write_string(text, out),
            Value::Boolean(_) | Value::Integer(_) => out.extend_from_slice(value.canonical().as_bytes()),
        }
    }
    match &event.data {
        None => {}
        Some(Data::Json(raw)) => {
            write_name("data", out);
            out.extend_from_slice(raw.get().as_bytes());
        }
        Some(Data::Text(text)) => {
            write_name("data", out);
            write_string(text, out);
        }
        Some(Data::Binary(base64)) => {
            write_name("data_base64", out);
            write_string(base64, out);
        }
    }
    out.push(b'}');
}

/// About how many bytes [`write`] will append: exact but for names of extensions that need escapes.
fn size_hint(event: &Event) -> usize {
    // 8 bytes of punctuation and up to 15 of name for each of the seven known attributes, and room for escapes.
    let known = 256 + event.id.len() + event.source.len() + event.event_type.len();
    let optional = [&event.datacontenttype, &event.dataschema, &event.subject, &event.time];
    let optional: usize = optional.into_iter().flatten().map(String::len).sum();
    let extensions: usize =
        event.extensions.iter().map(|(name, value)| name.len() + value.as_str().map_or(11, str::len) + 6).sum();
    known + optional + extensions + event.data.as_ref().map_or(0, |data| data.content().1.len())
}

/// Names are `[a-z0-9_]+`, so that they need no escapes.
fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing a string to memory cannot fail");
}

/// The answer to text that is not JSON. serde_json's message quotes no input.
fn malformed(error: &serde_json::Error) -> Vec<FieldError> {
    vec![FieldError { pointer: "#".to_owned(), detail: format!("is not valid JSON: {error}").into() }]
}

#[cfg(test)]
pub(crate) mod tests;
