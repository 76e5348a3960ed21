//! Events made on the command line, with the public SDK's types and checked by our own rules.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use cloudevents::{Data, EventBuilder as _, EventBuilderV10};
use slipstream_core::event::Event;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;

/// What `datacontenttype` an event without one has (SPEC 5.2).
const JSON_TYPE: &str = "application/slipstreamevent+json";

/// An event to be made. What is `None` is left to the receiver's default.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    pub(crate) id: String,
    pub(crate) source: String,
    pub(crate) event_type: String,
    pub(crate) subject: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) visibility: i64,
    pub(crate) priority: Option<i64>,
    pub(crate) intended_delivery_time: Option<Timestamp>,
    pub(crate) expiry_time: Option<Timestamp>,
}

impl NewEvent {
    /// A letter was created: public, with the data of a letter.
    pub(crate) fn letter(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            source: "/slipstream/cli".to_owned(),
            event_type: "communications.letter.created".to_owned(),
            subject: None,
            data: Some(letter_data()),
            visibility: 1,
            priority: None,
            intended_delivery_time: None,
            expiry_time: None,
        }
    }

    /// The event.
    ///
    /// # Errors
    /// When it breaks a rule of CloudEvents, naming the attributes.
    pub(crate) fn build(&self) -> anyhow::Result<Event> {
        let mut builder = EventBuilderV10::new()
            .id(&self.id)
            .source(&self.source)
            .ty(&self.event_type)
            .time(clock::now().to_string())
            .extension("visibility", self.visibility);
        if let Some(subject) = &self.subject {
            builder = builder.subject(subject);
        }
        if let Some(priority) = self.priority {
            builder = builder.extension("priority", priority);
        }
        let times = [("intendeddeliverytime", self.intended_delivery_time), ("expirytime", self.expiry_time)];
        for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?))) {
            builder = builder.extension(name, time.to_string());
        }
        if let Some(data) = &self.data {
            builder = match serde_json::from_str(data) {
                Ok(json) => builder.data(JSON_TYPE, Data::Json(json)),
                Err(_) => builder.data("text/plain", Data::String(data.clone())),
            };
        }
        let event = builder.build().context("this is no CloudEvent")?;
        Event::try_from(&event).map_err(|invalid| {
            let errors = invalid.0.iter().map(|error| format!("{}: {}", error.pointer, error.detail));
            anyhow::anyhow!("this is no CloudEvent: {}", errors.collect::<Vec<_>>().join("; "))
        })
    }
}

/// The data of a letter event, about a letter of its own.
pub(crate) fn letter_data() -> String {
    format!(r#"{{"recordId":"{}","color":false,"express":false,"status":"Created"}}"#, uuid::Uuid::new_v4())
}

/// An instant on the command line: RFC 3339, or from now on, as `+2s`, or back, as `-1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    At(Timestamp),
    After(Duration),
    Before(Duration),
}

impl When {
    /// The instant, seen from `now`.
    pub(crate) fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::After(after) => now.after(after),
            Self::Before(before) => Timestamp::from_millis(
                now.as_millis().saturating_sub_unsigned(u64::try_from(before.as_millis()).unwrap_or(u64::MAX)),
            ),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = |text: &str| humantime::parse_duration(text).map_err(|error| error.to_string());
        match text.as_bytes().first() {
            Some(b'+') => duration(&text[1..]).map(Self::After),
            Some(b'-') => duration(&text[1..]).map(Self::Before),
            _ => text.parse().map(Self::At).map_err(|_| "an RFC 3339 timestamp, or as +2s from now".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_what_was_asked_for() {
        let now = clock::now();
        let event = NewEvent {
            priority: Some(2),
            intended_delivery_time: Some(now),
            data: Some("no JSON".to_owned()),
            ..NewEvent::letter("1")
        };
        let event = event.build().unwrap();
        assert_eq!(event.extension("visibility").unwrap().canonical(), "1");
        assert_eq!(event.extension("priority").unwrap().canonical(), "2");
        assert_eq!(event.extension("intendeddeliverytime").unwrap().canonical(), now.to_string());
        assert_eq!(event.datacontenttype.as_deref(), Some("text/plain"));
        assert_eq!(NewEvent::letter("1").build().unwrap().datacontenttype.as_deref(), Some(JSON_TYPE));
    }

    #[test]
    fn an_event_that_breaks_a_rule_is_refused_by_name() {
        let error = NewEvent { id: String::new(), ..NewEvent::letter("") }.build().unwrap_err();
        assert!(error.to_string().contains("id"), "{error:#}");
    }

    #[test]
    fn an_instant_may_be_relative() {
        let now = Timestamp::from_millis(10_000);
        let seen = |text: &str| text.parse::<When>().unwrap().seen_from(now).as_millis();
        assert_eq!((seen("+2s"), seen("-1s"), seen("1970-01-01T00:00:01Z")), (12_000, 9_000, 1_000));
        assert!("2s".parse::<When>().is_err() && "+x".parse::<When>().is_err() && "".parse::<When>().is_err());
    }
}
