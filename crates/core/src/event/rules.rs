//! What the value of an attribute must be (SPEC 3.1, 3.2, 3.6): one table, used by every codec.

use std::borrow::Cow;

use super::{Value, media_type, uri};
use crate::limits::ATTRIBUTE_NAME_LEN_MAX;
use crate::timestamp::Timestamp;

/// What is wrong with a value, written for the caller.
pub(super) type Detail = Cow<'static, str>;

pub(super) const REQUIRED: &str = "is required";
pub(super) const EMPTY: &str = "must not be empty";
pub(super) const NOT_A_STRING: &str = "must be a string";
pub(super) const NOT_AN_INTEGER: &str = "must be an integer between -2147483648 and 2147483647";
pub(super) const NOT_A_BOOLEAN: &str = "must be true or false";
pub(super) const NOT_SIMPLE: &str = "must be a boolean, a 32-bit integer or a string";

/// The type of an attribute, with the bounds its definition sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, not empty.
    NonEmpty,
    /// Text, kept whatever it says.
    Text,
    /// An RFC 3339 timestamp.
    Time,
    /// A URI-reference, not empty.
    UriReference,
    /// A URI with a scheme.
    Uri,
    /// An RFC 2046 media type.
    MediaType,
    /// An integer, at least this.
    AtLeast(i32),
    /// A boolean that must be true.
    True,
}

/// The kind of an extension that SPEC 3.6 defines; none for all others. Slipstream's own (SPEC 5.2) are judged by
/// [`crate::slipstream`].
///
/// A malformed `traceparent` is text like any other: it is kept, and only not used for tracing (SPEC 3.6).
pub(super) fn extension_kind(name: &str) -> Option<Kind> {
    Some(match name {
        "traceparent" | "tracestate" => Kind::Text,
        "expirytime" | "recordedtime" | "deprecationfrom" | "deprecationsunset" => Kind::Time,
        "dataref" => Kind::UriReference,
        "deprecationmigration" => Kind::Uri,
        "partitionkey" | "sequence" | "correlationid" | "causationid" | "severitytext" => Kind::NonEmpty,
        "sampledrate" => Kind::AtLeast(1),
        "severitynumber" => Kind::AtLeast(0),
        "deprecated" => Kind::True,
        _ => return None,
    })
}

/// Judges a text against `kind`.
pub(super) fn check_text(kind: Kind, text: &str) -> Result<(), Detail> {
    let detail = match kind {
        Kind::AtLeast(_) => NOT_AN_INTEGER,
        Kind::True => NOT_A_BOOLEAN,
        Kind::Text => return check_characters(text),
        _ if text.is_empty() => EMPTY,
        Kind::NonEmpty => return check_characters(text),
        Kind::Time if text.parse::<Timestamp>().is_err() => "not an RFC 3339 timestamp",
        Kind::UriReference if !uri::is_uri_reference(text) => "must be a URI-reference (RFC 3986)",
        Kind::Uri if !uri::is_absolute_uri(text) => "must be an absolute URI (RFC 3986)",
        Kind::MediaType if !media_type::is_valid(text) => "must be a media type such as application/json (RFC 2046)",
        Kind::Time | Kind::UriReference | Kind::Uri | Kind::MediaType => return Ok(()),
    };
    Err(detail.into())
}

/// Judges the value of the extension `name`.
pub(super) fn check_extension(name: &str, value: &Value) -> Result<(), Detail> {
    match (extension_kind(name), value) {
        (None, Value::String(text)) => check_characters(text),
        (Some(kind), Value::String(text)) => check_text(kind, text),
        (Some(Kind::AtLeast(least)), Value::Integer(number)) if number < &least => {
            Err(format!("must be at least {least}").into())
        }
        (Some(Kind::True), Value::Boolean(false)) => Err("must be true".into()),
        (None, _) | (Some(Kind::AtLeast(_)), Value::Integer(_)) | (Some(Kind::True), Value::Boolean(_)) => Ok(()),
        (Some(Kind::AtLeast(_)), Value::Boolean(_)) => Err(NOT_AN_INTEGER.into()),
        (Some(Kind::True), Value::Integer(_)) => Err(NOT_A_BOOLEAN.into()),
        (Some(_), _) => Err(NOT_A_STRING.into()),
    }
}

/// The typed value of a canonical string, as a header of the binary mode holds it, for the types known to us: those of
/// SPEC 3.6 and the integers of SPEC 5.2. What the type does not allow stays a string and is refused by whoever judges
/// the attribute; unknown extensions are strings (SPEC 3.4).
pub(super) fn typed(name: &str, text: String) -> Value {
    let is_integer = matches!(name, "priority" | "visibility" | "billingpax")
        || matches!(extension_kind(name), Some(Kind::AtLeast(_)));
    let is_boolean = extension_kind(name) == Some(Kind::True);
    match (text.as_str(), text.parse()) {
        (text, Ok(number)) if is_integer && !text.starts_with('+') => Value::Integer(number),
        ("true", _) if is_boolean => Value::Boolean(true),
        ("false", _) if is_boolean => Value::Boolean(false),
        _ => Value::String(text),
    }
}

/// Judges the name of an extension: `[a-z0-9]+`, not `data`, at most 64 characters (SPEC 3.2).
pub(super) fn check_name(name: &str) -> Result<(), Detail> {
    let is_lower_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || !name.bytes().all(is_lower_or_digit) {
        Err("the name of an attribute consists of the characters a-z and 0-9".into())
    } else if name.len() > ATTRIBUTE_NAME_LEN_MAX {
        Err(format!("the name of an attribute has at most {ATTRIBUTE_NAME_LEN_MAX} characters").into())
    } else if name == "data" {
        Err("an attribute must not be named data".into())
    } else {
        Ok(())
    }
}

/// Refuses control characters and noncharacters (SPEC 3.1). Lone surrogates cannot occur in a `str`.
fn check_characters(text: &str) -> Result<(), Detail> {
    // Nearly all values are plain ASCII; only others are looked at character by character.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    let is_forbidden = |character: char| {
        let code = u32::from(character);
        character.is_control() || matches!(code, 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
    };
    if text.contains(is_forbidden) { Err("must not hold control characters or noncharacters".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_noncharacters_are_refused() {
        for text in ["a\0", "\n", "\t", "\u{1f}", "\u{7f}", "\u{85}", "\u{9f}", "\u{fdd0}", "\u{ffff}", "\u{1fffe}"] {
            assert!(check_characters(text).is_err(), "{text:?}");
        }
        for text in ["", "Euro € 😀", "\u{a0}", "\u{fffd}", "\u{200b}"] {
            assert!(check_characters(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn names_hold_lower_case_letters_and_digits() {
        let longest = "a".repeat(ATTRIBUTE_NAME_LEN_MAX);
        for name in ["a", "0", "billingorganisationslug", &longest] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(ATTRIBUTE_NAME_LEN_MAX + 1);
        for name in ["", "MyExtension", "my.extension", "my_extension", "é", "data", &too_long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn documented_extensions_have_their_types() {
        let accepted = [
            ("traceparent", Value::from("nonsense")),
            ("expirytime", "2026-03-02T09:30:00Z".into()),
            ("dataref", "/some/dataref".into()),
            ("sampledrate", 1.into()),
            ("severitynumber", 0.into()),
            ("deprecated", true.into()),
            ("sequence", "0001".into()),
            ("severitytext", "WARN".into()),
            ("authid", "".into()),
            ("anything", false.into()),
        ];
        for (name, value) in accepted {
            assert_eq!(check_extension(name, &value), Ok(()), "{name}");
        }
        let refused = [
            ("traceparent", Value::from(1)),
            ("expirytime", "tomorrow".into()),
            ("recordedtime", 5.into()),
            ("dataref", "".into()),
            ("dataref", "a b".into()),
            ("sampledrate", 0.into()),
            ("sampledrate", "1".into()),
            ("severitynumber", (-1).into()),
            ("deprecated", false.into()),
            ("deprecated", "true".into()),
            ("deprecationmigration", "/relative".into()),
            ("partitionkey", "".into()),
            ("correlationid", true.into()),
        ];
        for (name, value) in refused {
            assert!(check_extension(name, &value).is_err(), "{name} {value:?}");
        }
    }

    #[test]
    fn headers_are_typed_when_the_type_is_known() {
        assert_eq!(typed("priority", "2".into()), Value::Integer(2));
        assert_eq!(typed("priority", "+2".into()), Value::from("+2"));
        assert_eq!(typed("deprecated", "true".into()), Value::Boolean(true));
        assert_eq!(typed("unknown", "2".into()), Value::from("2"));
    }
}
