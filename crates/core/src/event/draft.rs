//! An event in the making: collects attributes one by one, and everything that is wrong with them.

use serde_json::value::RawValue;

use super::rules::{self, Kind};
use super::{Data, Event, Value, base64_text, media_type, scan};
use crate::limits::{ATTRIBUTE_NAME_LEN_MAX, ERRORS_MAX};
use crate::problem::FieldError;
use crate::timestamp::Timestamp;

/// The payload as a codec found it, before it is known which content type it goes with.
pub(super) enum Payload<'a> {
    /// The member `data` of a JSON event.
    Member(&'a RawValue),
    /// Base64 text, not checked yet.
    Base64(&'a str),
    /// The payload in its final form.
    Ready(Data),
    /// No payload.
    Absent,
}

/// The rules of SPEC 3.2 and 3.6 over a growing set of attributes.
#[derive(Default)]
pub(super) struct Draft {
    has_specversion: bool,
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    extensions: Vec<(String, Value)>,
    errors: Vec<FieldError>,
}

impl Draft {
    /// Notes an error at the member `name`.
    pub(super) fn refuse(&mut self, name: &str, detail: impl Into<rules::Detail>) {
        if self.errors.len() >= ERRORS_MAX {
            return;
        }
        if name.len() > ATTRIBUTE_NAME_LEN_MAX {
            // A pointer of any length would be the sender's to choose.
            let shown: String = name.chars().take(ATTRIBUTE_NAME_LEN_MAX).collect();
            self.errors.push(FieldError::at(&format!("{shown}…"), detail));
        } else {
            self.errors.push(FieldError::at(name, detail));
        }
    }

    /// Takes the attribute `name`. A value that breaks a rule is noted as an error, and the attribute counts as present.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        let (slot, kind) = match name {
            "specversion" => {
                self.has_specversion = true;
                if value.as_str() != Some("1.0") {
                    self.refuse(name, "must be \"1.0\"");
                }
                return;
            }
            "id" => (&mut self.id, Kind::NonEmpty),
            "source" => (&mut self.source, Kind::UriReference),
            "type" => (&mut self.event_type, Kind::NonEmpty),
            "datacontenttype" => (&mut self.datacontenttype, Kind::MediaType),
            "dataschema" => (&mut self.dataschema, Kind::Uri),
            "subject" => (&mut self.subject, Kind::NonEmpty),
            "time" => (&mut self.time, Kind::Time),
            _ => return self.set_extension(name, value),
        };
        let verdict = match value {
            Value::String(text) => {
                let verdict = rules::check_text(kind, &text);
                *slot = Some(text);
                verdict
            }
            Value::Boolean(_) | Value::Integer(_) => {
                *slot = Some(String::new());
                Err(rules::NOT_A_STRING.into())
            }
        };
        if let Err(detail) = verdict {
            self.refuse(name, detail);
        }
    }

    fn set_extension(&mut self, name: &str, value: Value) {
        match rules::check_name(name).and_then(|()| rules::check_extension(name, &value)) {
            Ok(()) => {
                if self.extensions.capacity() == 0 {
                    self.extensions.reserve(8);
                }
                self.extensions.push((name.to_owned(), value));
            }
            Err(detail) => self.refuse(name, detail),
        }
    }

    /// Notes an attribute that is there but cannot be kept, so that it is not reported as missing too.
    pub(super) fn set_unusable(&mut self, name: &str, detail: &'static str) {
        match name {
            // Any value of a wrong type will do: the refusal is the same.
            "specversion" | "id" | "source" | "type" | "datacontenttype" | "dataschema" | "subject" | "time" => {
                self.set(name, Value::Boolean(false));
            }
            _ => match rules::check_name(name) {
                Ok(()) => self.refuse(name, detail),
                Err(name_detail) => self.refuse(name, name_detail),
            },
        }
    }

    /// Notes an attribute whose header cannot be decoded; the attribute counts as present.
    pub(super) fn set_undecodable(&mut self, name: &str, detail: &'static str) {
        match name {
            "specversion" => self.has_specversion = true,
            "id" => self.id = Some(String::new()),
            "source" => self.source = Some(String::new()),
            "type" => self.event_type = Some(String::new()),
            _ => {}
        }
        self.refuse(name, detail);
    }

    /// Notes each name that occurs more than once.
    pub(super) fn refuse_repeated<T: Ord + AsRef<str>>(&mut self, names: &mut [T]) {
        if scan::first_repeated(names).is_some() {
            names.sort_unstable();
            for group in names.chunk_by(|one, next| one == next).filter(|group| group.len() > 1) {
                self.refuse(group[0].as_ref(), "occurs more than once");
            }
        }
    }

    /// The declared content type so far.
    pub(super) fn datacontenttype(&self) -> Option<&str> {
        self.datacontenttype.as_deref()
    }

    /// The event, or all that is wrong with it (at most [`ERRORS_MAX`] entries).
    pub(super) fn finish(mut self, payload: Payload<'_>) -> Result<Event, Vec<FieldError>> {
        let required = [
            ("specversion", self.has_specversion),
            ("id", self.id.is_some()),
            ("source", self.source.is_some()),
            ("type", self.event_type.is_some()),
        ];
        for (name, is_present) in required {
            if !is_present {
                self.refuse(name, rules::REQUIRED);
            }
        }
        self.check_deprecation();
        let data = self.data(payload);
        match (self.id, self.source, self.event_type) {
            (Some(id), Some(source), Some(event_type)) if self.errors.is_empty() => Ok(Event {
                id,
                source,
                event_type,
                datacontenttype: self.datacontenttype,
                dataschema: self.dataschema,
                subject: self.subject,
                time: self.time,
                extensions: self.extensions,
                data,
            }),
            _ => Err(self.errors),
        }
    }

    /// `deprecationsunset` must not lie before `deprecationfrom` (SPEC 3.6).
    fn check_deprecation(&mut self) {
        let instant = |wanted: &str| {
            let (_, value) = self.extensions.iter().find(|(name, _)| name == wanted)?;
            value.as_str()?.parse::<Timestamp>().ok()
        };
        if let (Some(from), Some(sunset)) = (instant("deprecationfrom"), instant("deprecationsunset"))
            && sunset < from
        {
            self.refuse("deprecationsunset", "must not be before deprecationfrom");
        }
    }

    fn data(&mut self, payload: Payload<'_>) -> Option<Data> {
        match payload {
            Payload::Absent => None,
            Payload::Ready(data) => Some(data),
            Payload::Base64(text) if base64_text::is_valid(text) => Some(Data::Binary(text.to_owned())),
            Payload::Base64(_) => {
                self.refuse("data_base64", "must be Base64 (RFC 4648 section 4)");
                None
            }
            Payload::Member(raw) if self.datacontenttype().is_none_or(media_type::is_json) => {
                match scan::check(raw.get()) {
                    Ok(()) => Some(Data::Json(raw.to_owned())),
                    Err(detail) => {
                        self.refuse("data", detail);
                        None
                    }
                }
            }
            Payload::Member(raw) => {
                let text = serde_json::from_str(raw.get());
                if text.is_err() {
                    let detail = if raw.get().starts_with('"') {
                        "must not hold a lone surrogate"
                    } else {
                        "must be a string, because datacontenttype is not JSON"
                    };
                    self.refuse("data", detail);
                }
                text.ok().map(Data::Text)
            }
        }
    }
}
