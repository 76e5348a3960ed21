//! Whether JSON may be kept as it was written: nothing is made of it, so it costs what its names cost.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use slipstream_core::limits::JSON_DEPTH_MAX;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};

/// Checks that `body` is JSON in UTF-8 without half surrogates, no deeper than [`JSON_DEPTH_MAX`], and has no member
/// twice.
///
/// # Errors
/// 400 with the place, or, if it is not JSON, with the line and the column.
pub(super) fn check(body: &[u8]) -> Result<(), Problem> {
    let mut path = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let checked = Check { path: &mut path }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    checked.map_err(|error| {
        if error.is_data() {
            let pointer = path.iter().fold(String::from("#"), |pointer, token| {
                // `FieldError` knows how to escape one.
                pointer + &FieldError::at(token, "").pointer[1..]
            });
            let text = error.to_string();
            let detail = text.split(" at line ").next().unwrap_or_default().to_owned();
            return Problem::with_errors(ProblemKind::BadRequest, vec![FieldError { pointer, detail: detail.into() }]);
        }
        let detail = format!("the body is not valid JSON: line {}, column {}", error.line(), error.column());
        Problem::new(ProblemKind::BadRequest, detail)
    })
}

/// Goes through any value. An error leaves the path where it arose.
struct Check<'a> {
    path: &'a mut Vec<String>,
}

impl Check<'_> {
    fn inside(&mut self) -> Check<'_> {
        Check { path: self.path }
    }

    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.path.len() < JSON_DEPTH_MAX {
            return Ok(());
        }
        Err(E::custom(format_args!("must not be nested deeper than {JSON_DEPTH_MAX}")))
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        self.check_depth()?;
        let mut index = 0_usize;
        loop {
            self.path.push(index.to_string());
            let element = elements.next_element_seed(self.inside())?;
            self.path.pop();
            if element.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.check_depth()?;
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let is_new = names.insert(name.clone());
            self.path.push(name);
            if !is_new {
                return Err(A::Error::custom("stands twice in its object"));
            }
            members.next_value_seed(self.inside())?;
            self.path.pop();
        }
        Ok(())
    }
}
