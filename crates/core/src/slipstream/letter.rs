//! The `data` of letter events, as a schema in code (SPEC 5.5).
//!
//! Only internal accounts are held to it: they are the ones whose events we vouch for to receivers.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::attributes::Attributes;
use crate::event::Data;
use crate::feature::FeatureRef;
use crate::problem::FieldError;
use crate::timestamp::Timestamp;

/// Characters of the free texts `statusDetail` and `failureReason`.
const DETAIL_LEN_MAX: usize = 500;

const STATUSES: &[&str] = &[
    "Unknown",
    "Created",
    "Pending",
    "TransientFailure",
    "InvalidAddress",
    "Failed",
    "Printing",
    "InTransit",
    "Completed",
    "Cancelled",
];

const FAILURE_CODES: &[&str] =
    &["invalid_address", "invalid_document", "provider_rejected", "provider_unavailable", "quota", "unknown"];

/// Whether the type is one of the letter events.
pub(super) fn is_letter(event_type: &str) -> bool {
    FeatureRef::by_name("physicalpost").is_some_and(|feature| feature.event_types.contains(&event_type))
}

/// What a member of the letter's data must be.
enum Member {
    Uuid,
    Boolean,
    Text,
    ShortText,
    OneOf(&'static [&'static str]),
    Instant,
    Date,
    Positive,
}

/// The table of SPEC 5.5, and whether the member may be null: the vendor's own three may not, ours may.
fn member(name: &str) -> Option<(Member, bool)> {
    let (member, may_be_null) = match name {
        "recordId" => (Member::Uuid, false),
        "color" | "express" => (Member::Boolean, false),
        "doubleSided" | "retryable" => (Member::Boolean, true),
        "pmsSpecificId" | "letterId" | "provider" | "trackingNumber" | "carrier" => (Member::Text, true),
        "statusDetail" | "failureReason" => (Member::ShortText, true),
        "status" | "previousStatus" => (Member::OneOf(STATUSES), true),
        "failureCode" => (Member::OneOf(FAILURE_CODES), true),
        "occurredAt" | "scheduledSendDate" => (Member::Instant, true),
        "expectedDeliveryDate" => (Member::Date, true),
        "pageCount" => (Member::Positive, true),
        _ => return None,
    };
    Some((member, may_be_null))
}

impl Member {
    /// What is wrong with a value, which is valid JSON.
    fn check(&self, json: &str) -> Result<(), Cow<'static, str>> {
        let text = || serde_json::from_str::<Cow<'_, str>>(json).ok();
        let (holds, detail): (bool, Cow<'static, str>) = match self {
            Self::Uuid => (text().is_some_and(|text| is_uuid(&text)), "must be a UUID".into()),
            Self::Boolean => (matches!(json, "true" | "false"), "must be true or false".into()),
            Self::Text => (text().is_some(), "must be a string".into()),
            Self::ShortText => (
                text().is_some_and(|text| text.chars().count() <= DETAIL_LEN_MAX),
                format!("must be a string of at most {DETAIL_LEN_MAX} characters").into(),
            ),
            Self::OneOf(known) => (
                text().is_some_and(|text| known.contains(&&*text)),
                format!("must be one of {}", known.join(", ")).into(),
            ),
            Self::Instant => {
                (text().is_some_and(|text| text.parse::<Timestamp>().is_ok()), "not an RFC 3339 timestamp".into())
            }
            Self::Date => (text().is_some_and(|text| is_date(&text)), "must be a date such as 2026-03-02".into()),
            Self::Positive => {
                (serde_json::from_str::<u64>(json).is_ok_and(|n| n >= 1), "must be an integer of at least 1".into())
            }
        };
        if holds { Ok(()) } else { Err(detail) }
    }
}

/// The form with hyphens only; the parser knows others too.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && format!("{text}T00:00:00Z").parse::<Timestamp>().is_ok()
}

/// Notes everything that is wrong with a letter event's data. No data is as good as null.
pub(super) fn check(data: Option<&Data>, read: &mut Attributes<'_>) {
    let raw = match data {
        None => return,
        Some(Data::Json(raw)) => raw,
        Some(Data::Text(_) | Data::Binary(_)) => return read.refuse("data", "must be a JSON object or null"),
    };
    if raw.get() == "null" {
        return;
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    if deserializer.deserialize_map(LetterVisitor { read }).is_err() {
        read.refuse("data", "must be a JSON object or null");
    }
}

/// Reads the members and notes what is wrong with them; fails if the data is no object.
struct LetterVisitor<'a, 'b> {
    read: &'a mut Attributes<'b>,
}

impl<'de> Visitor<'de> for LetterVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_record_id = false;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let value: &RawValue = map.next_value()?;
            has_record_id |= name == "recordId";
            let Some((member, may_be_null)) = member(&name) else { continue };
            if may_be_null && value.get() == "null" {
                continue;
            }
            if let Err(detail) = member.check(value.get()) {
                // Names of the table need no escapes in a pointer.
                self.read.errors.push(FieldError { pointer: format!("#/data/{name}"), detail });
            }
        }
        if !has_record_id {
            self.read.errors.push(FieldError { pointer: "#/data/recordId".to_owned(), detail: "is required".into() });
        }
        Ok(())
    }
}
