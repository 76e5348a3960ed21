//! The visitors behind [`super::parse`] and [`super::parse_batch`].
//!
//! Two kinds of error are kept apart: serde's own, which end the reading because the text is not JSON, and broken rules,
//! which are collected and come out as the value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::draft::{Draft, Payload};
use crate::event::text::Text;
use crate::event::{Event, Value, rules};
use crate::limits::ERRORS_MAX;
use crate::problem::FieldError;

type Outcome<T> = Result<T, Vec<FieldError>>;

/// Reads one event object.
pub(super) struct EventSeed;

impl<'de> DeserializeSeed<'de> for EventSeed {
    type Value = Outcome<Event>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Outcome<Event>, D::Error> {
        deserializer.deserialize_any(EventVisitor)
    }
}

fn not_an_object() -> Vec<FieldError> {
    vec![FieldError { pointer: "#".to_owned(), detail: "must be a JSON object".into() }]
}

fn not_an_array() -> Vec<FieldError> {
    vec![FieldError { pointer: "#".to_owned(), detail: "must be a JSON array of events".into() }]
}

/// Answers every scalar with the one given refusal.
macro_rules! refuse_scalars {
    ($refuse:ident) => {
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Err($refuse()))
        }
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Err($refuse()))
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Err($refuse()))
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Err($refuse()))
        }
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Err($refuse()))
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Err($refuse()))
        }
    };
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Outcome<Event>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    refuse_scalars!(not_an_object);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Outcome<Event>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(not_an_object()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outcome<Event>, A::Error> {
        let mut draft = Draft::default();
        let mut names: Vec<Text<'de>> = Vec::with_capacity(24);
        let mut data: Option<&'de RawValue> = None;
        let mut base64: Option<Cow<'de, str>> = None;
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "data" => data = Some(map.next_value()?),
                "data_base64" => match map.next_value()? {
                    Member::String(text) => base64 = Some(text),
                    Member::Null => {}
                    _ => draft.refuse(&name, rules::NOT_A_STRING),
                },
                _ => match map.next_value()? {
                    Member::String(text) => draft.set(&name, Value::String(text.into_owned())),
                    Member::Boolean(boolean) => draft.set(&name, Value::Boolean(boolean)),
                    Member::Integer(number) => draft.set(&name, Value::Integer(number)),
                    // Null means absent; the name must be one all the same.
                    Member::Null => {
                        if let Err(detail) = rules::check_name(&name) {
                            draft.refuse(&name, detail);
                        }
                    }
                    Member::TooLarge => draft.set_unusable(&name, rules::NOT_AN_INTEGER),
                    Member::NotSimple => draft.set_unusable(&name, rules::NOT_SIMPLE),
                },
            }
            names.push(Text(name));
        }
        draft.refuse_repeated(&mut names);
        if data.is_some() && base64.is_some() {
            draft.refuse("data_base64", "must not be present together with data");
        }
        let payload = match (data, &base64) {
            (Some(raw), _) => Payload::Member(raw),
            (None, Some(text)) => Payload::Base64(text),
            (None, None) => Payload::Absent,
        };
        Ok(draft.finish(payload))
    }
}

/// The value of a member, as far as attributes tell values apart.
enum Member<'de> {
    Null,
    Boolean(bool),
    Integer(i32),
    String(Cow<'de, str>),
    /// A whole number outside 32 bits.
    TooLarge,
    /// A fraction, an exponent, an array or an object.
    NotSimple,
}

impl<'de> Deserialize<'de> for Member<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Member<'de>, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E: Error>(self, boolean: bool) -> Result<Member<'de>, E> {
        Ok(Member::Boolean(boolean))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Member<'de>, E> {
        Ok(i32::try_from(number).map_or(Member::TooLarge, Member::Integer))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Member<'de>, E> {
        Ok(i32::try_from(number).map_or(Member::TooLarge, Member::Integer))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Member<'de>, E> {
        Ok(Member::NotSimple)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Member<'de>, E> {
        Ok(Member::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Member<'de>, E> {
        Ok(Member::String(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Member<'de>, E> {
        Ok(Member::String(Cow::Owned(text)))
    }

    // What is inside is passed over without recursion (`IgnoredAny`), however deep.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Member<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::NotSimple)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::NotSimple)
    }
}

/// Reads an array of events.
pub(super) struct BatchVisitor;

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = Outcome<Vec<Event>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch of events")
    }

    refuse_scalars!(not_an_array);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outcome<Vec<Event>>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err(not_an_array()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Outcome<Vec<Event>>, A::Error> {
        let mut batch = Ok(Vec::new());
        let mut index = 0;
        while let Some(event) = seq.next_element_seed(EventSeed)? {
            match (event, &mut batch) {
                (Ok(event), Ok(events)) => events.push(event),
                (Ok(_), Err(_)) => {}
                (Err(errors), batch) => {
                    let known = batch.as_ref().err().map_or(0, Vec::len);
                    let errors = errors.into_iter().take(ERRORS_MAX - known).map(|error| error.in_batch(index));
                    match batch {
                        Err(known) => known.extend(errors),
                        Ok(_) => *batch = Err(errors.collect()),
                    }
                }
            }
            index += 1;
        }
        // All have the same `specversion`, since only one is accepted.
        Ok(batch)
    }
}
