//! The form of JSON that is hashed: compact, in the given order, numbers as they were written (SPEC 6.7).

use std::fmt::Write as _;

use serde_json::value::RawValue;

/// A string of the JSON is no Unicode text: it has half of a surrogate pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a string holds half of a surrogate pair")]
pub struct NotCanonical;

/// The canonical form: no white space, members in the given order, number tokens exactly as received, strings escaped
/// minimally, what is not ASCII raw.
///
/// # Errors
/// When a string is no text.
pub fn canonical(json: &RawValue) -> Result<Box<RawValue>, NotCanonical> {
    let text = compact(json.get())?;
    Ok(RawValue::from_string(text).expect("JSON without its white space is JSON"))
}

/// What is hashed of a payload: of a string its characters, of anything else its canonical form.
///
/// # Errors
/// When a string is no text.
pub fn hashed_text(payload: &RawValue) -> Result<String, NotCanonical> {
    if payload.get().starts_with('"') {
        return serde_json::from_str(payload.get()).map_err(|_| NotCanonical);
    }
    compact(payload.get())
}

fn compact(json: &str) -> Result<String, NotCanonical> {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    // What is outside of strings is ASCII.
    while let Some(at) = rest.find(['"', ' ', '\t', '\n', '\r']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('"') {
            let len = string_len(rest);
            write_string(&mut out, &rest[..len])?;
            rest = &rest[len..];
        } else {
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The length of the string that `json` begins with, quotes included.
fn string_len(json: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

fn write_string(out: &mut String, token: &str) -> Result<(), NotCanonical> {
    if !token.contains('\\') {
        out.push_str(token);
        return Ok(());
    }
    let text: String = serde_json::from_str(token).map_err(|_| NotCanonical)?;
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => write!(out, "\\u{:04x}", u32::from(control)).expect("a string takes text"),
            other => out.push(other),
        }
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(json: &str) -> Result<String, NotCanonical> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        canonical(raw).map(|it| it.get().to_owned())
    }

    #[test]
    fn order_and_numbers_stay_and_the_rest_has_one_form() {
        let given =
            "{ \"b\" : [ 1.50 , -0 , 1E2 ,\n true ] , \"a\\/\\u0041\" : \"\\u00e9 \\u0007\\ud83d\\ude00 \\\" x\" }";
        assert_eq!(of(given).unwrap(), "{\"b\":[1.50,-0,1E2,true],\"a/A\":\"é \\u0007😀 \\\" x\"}");
        assert_eq!(of("\"\\ud800\""), Err(NotCanonical));
        assert_eq!(of("{\"a\":\"\\udc00x\"}"), Err(NotCanonical));
    }

    proptest! {
        /// It is the same JSON, and its own canonical form.
        #[test]
        fn it_is_the_same_value_and_does_not_change_again(texts in prop::collection::vec(".{0,12}", 0..6)) {
            let value = serde_json::json!({"list": texts, "number": 7});
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let once = of(&pretty).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&once).unwrap(), value);
            prop_assert_eq!(of(&once).unwrap(), once);
        }
    }
}
