//! JSON that is patched as it is written: members stay in their order, and numbers have the digits they came with.
//!
//! A payload is hashed by its text (SPEC 6.7), and `serde_json::Value` sorts members and makes floats of numbers; the
//! features of that crate which would not are features of the whole program. So this has the six operations of RFC 6902
//! for a tree of its own. Whatever is JSON can be patched, whatever its numbers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Refused, Size};

/// A value. Its [`Display`](fmt::Display) is compact JSON.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A text, a number, true, false or null: as it is written.
    Scalar(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Node {
    /// Reads JSON, which is as deep as [`JSON_DEPTH_MAX`](slipstream_core::limits::JSON_DEPTH_MAX) at most.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn read(text: &str) -> serde_json::Result<Self> {
        let text = text.trim_ascii();
        Ok(match text.as_bytes().first() {
            Some(b'[') => Self::List(serde_json::from_str::<Parts>(text)?.elements()?),
            Some(b'{') => Self::Object(serde_json::from_str::<Parts>(text)?.members()?),
            _ => Self::Scalar(serde_json::from_str::<&RawValue>(text)?.get().to_owned()),
        })
    }

    /// What is at a pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        tokens(pointer).try_fold(self, |node, token| match node {
            Self::Scalar(_) => None,
            Self::List(list) => list.get(index(&token)?),
            Self::Object(members) => members.iter().find_map(|(name, value)| (*name == token).then_some(value)),
        })
    }

    fn at_mut(&mut self, pointer: &str) -> Option<&mut Self> {
        tokens(pointer).try_fold(self, |node, token| match node {
            Self::Scalar(_) => None,
            Self::List(list) => list.get_mut(index(&token)?),
            Self::Object(members) => members.iter_mut().find_map(|(name, value)| (*name == token).then_some(value)),
        })
    }

    /// Adds `value` at `path`: a new member at the end of its object, one that is there in its place.
    pub(super) fn add(&mut self, path: &str, value: Self) -> Result<(), Refused> {
        let Some((parent, token)) = split(path) else {
            *self = value;
            return Ok(());
        };
        match self.at_mut(parent).ok_or(Refused::NO_PATH)? {
            Self::Scalar(_) => return Err(Refused::NO_PATH),
            Self::List(list) if token == "-" => list.push(value),
            Self::List(list) => {
                let index = index(&token).filter(|index| *index <= list.len()).ok_or(Refused::NO_PATH)?;
                list.insert(index, value);
            }
            Self::Object(members) => match members.iter_mut().find(|(name, _)| *name == token) {
                Some((_, there)) => *there = value,
                None => members.push((token.into_owned(), value)),
            },
        }
        Ok(())
    }

    /// Takes away what is at `path`; none if nothing is.
    pub(super) fn remove(&mut self, path: &str) -> Option<Self> {
        let Some((parent, token)) = split(path) else {
            return Some(std::mem::replace(self, Self::Scalar("null".to_owned())));
        };
        match self.at_mut(parent)? {
            Self::Scalar(_) => None,
            Self::List(list) => {
                let index = index(&token).filter(|index| *index < list.len())?;
                Some(list.remove(index))
            }
            Self::Object(members) => {
                let index = members.iter().position(|(name, _)| *name == token)?;
                Some(members.remove(index).1)
            }
        }
    }

    /// Puts `value` in place of what is at `path`.
    pub(super) fn replace(&mut self, path: &str, value: Self) -> Result<(), Refused> {
        *self.at_mut(path).ok_or(Refused::NO_PATH)? = value;
        Ok(())
    }

    /// Whether two values are the same by RFC 6902, 4.6: texts and names by their characters, numbers by what they are
    /// worth, objects whatever their order.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(one), Self::Scalar(other)) => is_same_scalar(one, other),
            (Self::List(one), Self::List(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
            }
            (Self::Object(one), Self::Object(other)) => {
                let others: HashMap<_, _> = other.iter().map(|(name, value)| (name, value)).collect();
                let has = |(name, value): &(_, Self)| others.get(name).is_some_and(|other| value.is_same(other));
                one.len() == other.len() && one.iter().all(has)
            }
            _ => false,
        }
    }

    /// How large it is, by the measure of [`Size`].
    pub(super) fn size(&self) -> Size {
        match self {
            Self::Scalar(text) => Size::own(text.len()),
            Self::List(list) => Size::outer(list.iter().map(Self::size)),
            Self::Object(members) => {
                Size::outer(members.iter().map(|(name, value)| Size::own(name.len()).and(value.size())))
            }
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(text) => f.write_str(text),
            Self::List(list) => {
                f.write_char('[')?;
                for (index, value) in list.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_char(']')
            }
            Self::Object(members) => {
                f.write_char('{')?;
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    let name = serde_json::to_string(name).map_err(|_| fmt::Error)?;
                    write!(f, "{comma}{name}:{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

/// The parts of a list or an object, as they are written.
enum Parts {
    List(Vec<Box<RawValue>>),
    Object(Vec<(String, Box<RawValue>)>),
}

impl Parts {
    fn elements(self) -> serde_json::Result<Vec<Node>> {
        let Self::List(list) = self else { return Ok(Vec::new()) };
        list.into_iter().map(|value| Node::read(value.get())).collect()
    }

    fn members(self) -> serde_json::Result<Vec<(String, Node)>> {
        let Self::Object(members) = self else { return Ok(Vec::new()) };
        members.into_iter().map(|(name, value)| Ok((name, Node::read(value.get())?))).collect()
    }
}

impl<'de> serde::Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfParts;

        impl<'de> Visitor<'de> for OfParts {
            type Value = Parts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Parts, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = elements.next_element()? {
                    list.push(element);
                }
                Ok(Parts::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parts, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Parts::Object(object))
            }
        }

        deserializer.deserialize_any(OfParts)
    }
}

/// The names and places that a pointer goes through (RFC 6901).
fn tokens(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(token)
}

/// A pointer to something inside: the pointer of what it is in, and what it is called there. None is all of it.
fn split(pointer: &str) -> Option<(&str, Cow<'_, str>)> {
    pointer.rsplit_once('/').map(|(parent, last)| (parent, token(last)))
}

fn token(text: &str) -> Cow<'_, str> {
    if text.contains('~') { text.replace("~1", "/").replace("~0", "~").into() } else { text.into() }
}

/// A place in a list, which is written in one way only.
fn index(token: &str) -> Option<usize> {
    let is_plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    token.parse().ok().filter(|_| is_plain)
}

fn is_same_scalar(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    if one.starts_with('"') && other.starts_with('"') {
        let text = |text| serde_json::from_str::<String>(text).ok();
        return text(one).is_some_and(|one| text(other) == Some(one));
    }
    Worth::of(one).is_some_and(|one| Worth::of(other) == Some(one))
}

/// What a number is worth, exactly: `0.{digits} × 10^exponent`.
#[derive(Debug, PartialEq, Eq)]
struct Worth {
    is_negative: bool,
    /// Neither the first nor the last is a zero; none for zero.
    digits: String,
    exponent: i128,
}

impl Worth {
    /// Of a number; none of anything else, or of one with an exponent that has no place in 64 bits.
    fn of(text: &str) -> Option<Self> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let leading = digits.len() - digits.trim_start_matches('0').len();
        let digits = digits.trim_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits, exponent: 0 });
        }
        let exponent = i128::from(exponent) + whole.len() as i128 - leading as i128;
        Some(Self { is_negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for text in
            [r#"{"z":1.50,"a":[1e999,-0,0.10E+2,"\u00e9\/"],"é":{},"b":[],"z2":null}"#, "[]", "{}", "\"x\"", "1.0"]
        {
            assert_eq!(Node::read(&format!(" {text}\n")).unwrap().to_string(), text);
        }
        assert_eq!(Node::read(r#"{ "a" : [ 1 , { "\u0062" : 2 } ] }"#).unwrap().to_string(), r#"{"a":[1,{"b":2}]}"#);
        for text in ["", "[1,]", "{\"a\"}", "nope", "1 2"] {
            assert!(Node::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_the_same_by_what_they_are_worth() {
        for (one, other) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.001", "1E-3"),
            ("-0", "0.00e7"),
            ("1e999", "10e998"),
            ("9007199254740993", "9007199254740993.0"),
            ("\"é\"", "\"\\u00e9\""),
        ] {
            assert!(is_same_scalar(one, other) && is_same_scalar(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("1e999", "1e998"),
            ("9007199254740993", "9007199254740992"),
            ("1", "\"1\""),
            ("0", "null"),
            ("true", "false"),
            ("\"a\"", "\"b\""),
        ] {
            assert!(!is_same_scalar(one, other) && !is_same_scalar(other, one), "{one} {other}");
        }
    }
}
