//! The HTTP binding: which mode a request is in, and the binary mode (SPEC 3.4).
//!
//! Knows nothing of any HTTP library: headers come in and go out as names and values.

use serde_json::value::RawValue;

use super::draft::{Draft, Payload};
use super::{Data, Event, Value, base64_text, header_value, media_type, rules, scan};
use crate::problem::FieldError;

/// How a request carries its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One event: attributes in headers, data in the body.
    Binary,
    /// One event: all in the body, in JSON format.
    Structured,
    /// Any number of events: all in the body, in JSON batch format.
    Batched,
}

/// A CloudEvents content type in a format or charset we do not read: answer 415.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the content type must be application/cloudevents+json or application/cloudevents-batch+json in UTF-8, \
     or that of the data together with ce- headers"
)]
pub struct UnsupportedMediaType;

/// Why a request in binary mode is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// None of the four required `ce-` headers is there: answer 415.
    #[error("not a CloudEvent: no ce- headers and no CloudEvents content type")]
    NotACloudEvent,
    /// Some rule is broken: answer 400. Attributes are named as in JSON (`#/id`), the body is `#/data`.
    #[error("{} attributes are invalid", .0.len())]
    Invalid(Vec<FieldError>),
}

/// The mode of a request, from its `Content-Type`.
///
/// `application/cloudevent+json`, singular, is taken as structured: the API spells its own deliveries so (D-01).
pub fn mode(content_type: Option<&str>) -> Result<Mode, UnsupportedMediaType> {
    let Some(content_type) = content_type else { return Ok(Mode::Binary) };
    let essence = media_type::essence(content_type).to_ascii_lowercase();
    let mode = match essence.as_str() {
        "application/cloudevents+json" | "application/cloudevent+json" => Mode::Structured,
        "application/cloudevents-batch+json" => Mode::Batched,
        other if other.starts_with("application/cloudevents") => return Err(UnsupportedMediaType),
        other if other.starts_with("application/cloudevent+") => return Err(UnsupportedMediaType),
        _ => return Ok(Mode::Binary),
    };
    if media_type::charset_is_utf8(content_type) { Ok(mode) } else { Err(UnsupportedMediaType) }
}

/// Reads the event of a request in binary mode. `headers` are all of the request's or only the `ce-` ones, names in any
/// case.
///
/// Data of a JSON content type must be JSON. Without a content type the body is JSON data if it parses as such, else
/// binary. An empty body is no data, whatever its content type.
pub fn parse_binary<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Event, BinaryError> {
    let mut draft = Draft::default();
    let mut names = Vec::new();
    let mut is_cloud_event = false;
    for (header, value) in headers {
        let Some(name) = attribute_name(header) else { continue };
        is_cloud_event |= matches!(name.as_str(), "specversion" | "id" | "source" | "type");
        match header_value::decode(value) {
            Ok(_) if name == "datacontenttype" => {
                draft.refuse(&name, "must be the Content-Type header, not a ce- header");
            }
            Ok(text) => draft.set(&name, rules::typed(&name, text)),
            Err(detail) => draft.set_undecodable(&name, detail),
        }
        names.push(name);
    }
    if !is_cloud_event {
        return Err(BinaryError::NotACloudEvent);
    }
    draft.refuse_repeated(&mut names);
    let content_type = content_type.map(str::trim).filter(|text| !text.is_empty());
    if let Some(content_type) = content_type {
        draft.set("datacontenttype", Value::from(content_type));
    }
    let payload = match binary_data(content_type, body) {
        Ok(Some(data)) => Payload::Ready(data),
        Ok(None) => Payload::Absent,
        Err(detail) => {
            draft.refuse("data", detail);
            Payload::Absent
        }
    };
    draft.finish(payload).map_err(BinaryError::Invalid)
}

/// The attribute a header holds: what follows `ce-`, in lower case.
fn attribute_name(header: &str) -> Option<String> {
    let (prefix, name) = header.split_at_checked(3)?;
    prefix.eq_ignore_ascii_case("ce-").then(|| name.to_ascii_lowercase())
}

fn binary_data(content_type: Option<&str>, body: &[u8]) -> Result<Option<Data>, rules::Detail> {
    if body.is_empty() {
        return Ok(None);
    }
    let as_json = || serde_json::from_slice::<Box<RawValue>>(body);
    let data = match content_type {
        Some(content_type) if media_type::is_json(content_type) => {
            let raw = as_json().map_err(|error| format!("is not valid JSON: {error}"))?;
            scan::check(raw.get())?;
            Data::Json(raw)
        }
        None => match as_json() {
            Ok(raw) => {
                scan::check(raw.get())?;
                Data::Json(raw)
            }
            Err(_) => Data::Binary(base64_text::encode(body)),
        },
        // In another charset the bytes mean another text than they would in UTF-8, unless they are ASCII.
        Some(content_type) if media_type::is_text(content_type) => match std::str::from_utf8(body) {
            Ok(text) if text.is_ascii() || media_type::charset_is_utf8(content_type) => Data::Text(text.to_owned()),
            _ => Data::Binary(base64_text::encode(body)),
        },
        Some(_) => Data::Binary(base64_text::encode(body)),
    };
    Ok(Some(data))
}

/// The event as a message in binary mode: header names (lower case) and values, and the body.
///
/// An event in JSON without `datacontenttype` gets `application/json`, the type its format implied (SPEC 3.3).
pub fn write_binary(event: &Event) -> (Vec<(String, String)>, Vec<u8>) {
    let mut headers = vec![("ce-specversion".to_owned(), "1.0".to_owned())];
    let known = [
        ("ce-id", Some(&event.id)),
        ("ce-source", Some(&event.source)),
        ("ce-type", Some(&event.event_type)),
        ("ce-subject", event.subject.as_ref()),
        ("ce-time", event.time.as_ref()),
        ("ce-dataschema", event.dataschema.as_ref()),
    ];
    for (name, value) in known {
        if let Some(text) = value {
            headers.push((name.to_owned(), header_value::encode(text)));
        }
    }
    for (name, value) in &event.extensions {
        headers.push((format!("ce-{name}"), header_value::encode(&value.canonical())));
    }
    let implied = matches!(event.data, Some(Data::Json(_))).then_some("application/json");
    if let Some(content_type) = event.datacontenttype.as_deref().or(implied) {
        headers.push(("content-type".to_owned(), content_type.to_owned()));
    }
    let body = match &event.data {
        None => Vec::new(),
        Some(Data::Json(raw)) => raw.get().as_bytes().to_vec(),
        Some(Data::Text(text)) => text.as_bytes().to_vec(),
        Some(Data::Binary(base64)) => base64_text::decode(base64).unwrap_or_default(),
    };
    (headers, body)
}

/// Encodes `text` as the value of a `ce-` header (SPEC 3.4). The result is visible ASCII.
pub fn encode_header_value(text: &str) -> String {
    header_value::encode(text)
}

#[cfg(test)]
mod tests;
