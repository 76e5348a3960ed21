//! To and from the public Rust SDK's [`cloudevents::Event`], which our Rust publishers and tests hand in and out.
//!
//! The SDK holds less than we do: `data` as a `serde_json::Value` (key order and number precision are lost), `time` in
//! UTC, `dataschema` as a normalised URL. So this is for programs that hold such events, never for bytes that arrive.

use cloudevents::event::{AttributesReader as _, AttributesWriter as _, ExtensionValue, SpecVersion};
use cloudevents::{Data as SdkData, EventBuilder as _, EventBuilderV10};
use serde_json::value::RawValue;

use super::draft::{Draft, Payload};
use super::{Data, Event, Value, base64_text, media_type, rules, scan};
use crate::problem::FieldError;

/// The SDK's event breaks rules the SDK does not check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} members are invalid", .0.len())]
pub struct InvalidSdkEvent(pub Vec<FieldError>);

/// Our event holds what the SDK cannot express.
#[derive(Debug, thiserror::Error)]
pub enum NotExpressible {
    /// The SDK's builder refused an attribute.
    #[error("the SDK refuses an attribute")]
    Attribute(#[source] cloudevents::event::EventBuilderError),
    /// `dataschema` is a valid URI but no URL.
    #[error("dataschema is not a URL")]
    Dataschema(#[source] url::ParseError),
    /// `data` holds a number too large for the SDK, or nests too deep for it.
    #[error("data cannot be read into a JSON value")]
    Json(#[source] serde_json::Error),
    /// `data` was declared Base64 by hand and is not.
    #[error("data is not Base64")]
    Base64,
}

/// Names the SDK lets one give to an extension, although they are taken.
const NOT_EXTENSIONS: [&str; 8] =
    ["specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time"];

impl TryFrom<&cloudevents::Event> for Event {
    type Error = InvalidSdkEvent;

    fn try_from(sdk: &cloudevents::Event) -> Result<Self, InvalidSdkEvent> {
        let mut draft = Draft::default();
        let specversion = if sdk.specversion() == SpecVersion::V10 { "1.0" } else { "0.3" };
        draft.set("specversion", specversion.into());
        draft.set("id", sdk.id().into());
        draft.set("source", sdk.source().as_str().into());
        draft.set("type", sdk.ty().into());
        let time = sdk.time().map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
        let optional = [
            ("datacontenttype", sdk.datacontenttype()),
            ("dataschema", sdk.dataschema().map(url::Url::as_str)),
            ("subject", sdk.subject()),
            ("time", time.as_deref()),
        ];
        for (name, value) in optional {
            if let Some(text) = value {
                draft.set(name, text.into());
            }
        }
        // The SDK keeps extensions in a hash map; sorted, equal events give equal events.
        let mut extensions: Vec<_> = sdk.iter_extensions().collect();
        extensions.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in extensions {
            if NOT_EXTENSIONS.contains(&name) {
                draft.refuse(name, "occurs more than once");
                continue;
            }
            match value {
                ExtensionValue::String(text) => draft.set(name, text.as_str().into()),
                ExtensionValue::Boolean(boolean) => draft.set(name, Value::Boolean(*boolean)),
                ExtensionValue::Integer(number) => match i32::try_from(*number) {
                    Ok(number) => draft.set(name, Value::Integer(number)),
                    Err(_) => draft.set_unusable(name, rules::NOT_AN_INTEGER),
                },
            }
        }
        let payload = match sdk.data().map(|data| from_sdk_data(sdk.datacontenttype(), data)) {
            None => Payload::Absent,
            Some(Ok(data)) => Payload::Ready(data),
            Some(Err(detail)) => {
                draft.refuse("data", detail);
                Payload::Absent
            }
        };
        draft.finish(payload).map_err(InvalidSdkEvent)
    }
}

impl TryFrom<cloudevents::Event> for Event {
    type Error = InvalidSdkEvent;

    fn try_from(sdk: cloudevents::Event) -> Result<Self, InvalidSdkEvent> {
        Self::try_from(&sdk)
    }
}

fn from_sdk_data(content_type: Option<&str>, data: &SdkData) -> Result<Data, rules::Detail> {
    let is_json = content_type.is_none_or(media_type::is_json);
    let raw = match data {
        SdkData::Json(value) if is_json => serde_json::value::to_raw_value(value),
        SdkData::Json(value) => return Ok(Data::Text(value.to_string())),
        // The SDK writes such a text as a JSON string; so do we.
        SdkData::String(text) if is_json => serde_json::value::to_raw_value(text),
        SdkData::String(text) => return Ok(Data::Text(text.clone())),
        // Events the SDK read in binary mode hold their JSON as bytes.
        SdkData::Binary(bytes) => match serde_json::from_slice::<Box<RawValue>>(bytes) {
            Ok(raw) if content_type.is_some_and(media_type::is_json) => Ok(raw),
            _ => return Ok(Data::Binary(base64_text::encode(bytes))),
        },
    };
    let raw = raw.map_err(|error| format!("is not valid JSON: {error}"))?;
    scan::check(raw.get())?;
    Ok(Data::Json(raw))
}

impl TryFrom<&Event> for cloudevents::Event {
    type Error = NotExpressible;

    fn try_from(event: &Event) -> Result<Self, NotExpressible> {
        let mut builder = EventBuilderV10::new().id(&event.id).source(&event.source).ty(&event.event_type);
        if let Some(subject) = &event.subject {
            builder = builder.subject(subject);
        }
        if let Some(time) = &event.time {
            builder = builder.time(time.as_str());
        }
        for (name, value) in &event.extensions {
            let value = match value {
                Value::Boolean(boolean) => ExtensionValue::Boolean(*boolean),
                Value::Integer(number) => ExtensionValue::Integer(i64::from(*number)),
                Value::String(text) => ExtensionValue::String(text.clone()),
            };
            builder = builder.extension(name, value);
        }
        let mut sdk = builder.build().map_err(NotExpressible::Attribute)?;
        let dataschema = event.dataschema.as_deref().map(str::parse::<url::Url>).transpose();
        sdk.set_dataschema(dataschema.map_err(NotExpressible::Dataschema)?);
        sdk.set_datacontenttype(event.datacontenttype.clone());
        if let Some(data) = &event.data {
            sdk.set_data_unchecked(match data {
                Data::Json(raw) => SdkData::Json(serde_json::from_str(raw.get()).map_err(NotExpressible::Json)?),
                Data::Text(text) => SdkData::String(text.clone()),
                Data::Binary(base64) => SdkData::Binary(base64_text::decode(base64).ok_or(NotExpressible::Base64)?),
            });
        }
        Ok(sdk)
    }
}

impl TryFrom<Event> for cloudevents::Event {
    type Error = NotExpressible;

    fn try_from(event: Event) -> Result<Self, NotExpressible> {
        Self::try_from(&event)
    }
}

#[cfg(test)]
mod tests;
