//! Reads extension attributes by the type Slipstream gives them, noting each that has another.

use std::borrow::Cow;

use crate::event::{Event, Value};
use crate::problem::FieldError;
use crate::timestamp::Timestamp;

/// The attributes of one event, and what is wrong with them so far.
pub(super) struct Attributes<'a> {
    event: &'a Event,
    pub(super) errors: Vec<FieldError>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(event: &'a Event) -> Self {
        Self { event, errors: Vec::new() }
    }

    pub(super) fn refuse(&mut self, name: &str, detail: impl Into<Cow<'static, str>>) {
        self.errors.push(FieldError::at(name, detail));
    }

    /// The attribute as text; none if absent or of another type, which is noted.
    pub(super) fn text(&mut self, name: &str) -> Option<&'a str> {
        match self.event.extension(name)? {
            Value::String(text) => Some(text),
            Value::Boolean(_) | Value::Integer(_) => {
                self.refuse(name, "must be a string");
                None
            }
        }
    }

    /// The attribute as a number; none if absent or of another type, which is noted.
    pub(super) fn integer(&mut self, name: &str) -> Option<i32> {
        match self.event.extension(name)? {
            Value::Integer(number) => Some(*number),
            Value::Boolean(_) | Value::String(_) => {
                self.refuse(name, "must be an integer");
                None
            }
        }
    }

    /// The attribute as an instant; none if absent or no timestamp, which is noted.
    pub(super) fn time(&mut self, name: &str) -> Option<Timestamp> {
        let instant = self.text(name)?.parse();
        if instant.is_err() {
            self.refuse(name, "not an RFC 3339 timestamp");
        }
        instant.ok()
    }

    /// Notes the attribute if it is there and says something else than `expected`.
    pub(super) fn equal(&mut self, name: &str, expected: &str, detail: &'static str) {
        if self.text(name).is_some_and(|text| text != expected) {
            self.refuse(name, detail);
        }
    }
}
