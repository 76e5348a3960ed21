//! What serde_json does not check about `data`: nesting and repeated member names (THREATS 7).
//!
//! The text is known to be JSON when it comes here, so only quotes and brackets matter. No recursion: open objects and
//! arrays stand on a list that the depth limit bounds.

use std::borrow::Cow;

use super::rules::Detail;
use crate::limits::JSON_DEPTH_MAX;

/// Objects of up to this many members are compared pair by pair, larger ones are sorted: 16 · 15 / 2 = 120 comparisons,
/// most of them of lengths only, cost less than the sort. Events have about that many attributes.
const PAIRWISE_MAX: usize = 16;

/// Refuses `data` that is nested too deep, the event's own object counted as 1, or repeats a name within one object.
///
/// `json` must be valid JSON; on other text the answer means nothing, but nothing panics either. Costs one pass and, for
/// large objects, a sort: there is no input that takes quadratic time.
pub(super) fn check(json: &str) -> Result<(), Detail> {
    let bytes = json.as_bytes();
    // Where the names of each open object begin in `names`; none for an array.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut names: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut name_is_next = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at + 1);
                if name_is_next {
                    names.push(decoded(bytes.get(at + 1..end).unwrap_or_default()));
                    name_is_next = false;
                }
                at = end;
            }
            b'{' | b'[' => {
                name_is_next = byte == b'{';
                open.push(name_is_next.then_some(names.len()));
                if open.len() + 1 > JSON_DEPTH_MAX {
                    return Err(format!("is nested deeper than {JSON_DEPTH_MAX} levels").into());
                }
            }
            b'}' | b']' => {
                name_is_next = false;
                if let Some(Some(start)) = open.pop() {
                    if first_repeated(&mut names[start..]).is_some() {
                        return Err("holds an object in which a member name occurs twice".into());
                    }
                    names.truncate(start);
                }
            }
            b',' => name_is_next = matches!(open.last(), Some(Some(_))),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// A name that occurs more than once. May reorder the names.
pub(super) fn first_repeated<T: Ord>(names: &mut [T]) -> Option<&T> {
    if names.len() <= PAIRWISE_MAX {
        return (1..names.len()).find(|&at| names[..at].contains(&names[at])).map(|at| &names[at]);
    }
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| &pair[0])
}

/// The index of the quote that ends the string whose first byte is at `at`, or the end of the text.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A string's content with its escapes undone, so that `"a"` and `"\u0061"` are the same name. Lone surrogates, which
/// JSON allows and UTF-8 does not, become the three bytes they would have: only equality matters here.
fn decoded(content: &[u8]) -> Cow<'_, [u8]> {
    if !content.contains(&b'\\') {
        return Cow::Borrowed(content);
    }
    let mut name = Vec::with_capacity(content.len());
    let mut at = 0;
    while let Some(&byte) = content.get(at) {
        at += 1;
        if byte != b'\\' {
            name.push(byte);
            continue;
        }
        let escape = content.get(at).copied().unwrap_or_default();
        at += 1;
        match escape {
            b'b' => name.push(8),
            b'f' => name.push(12),
            b'n' => name.push(b'\n'),
            b'r' => name.push(b'\r'),
            b't' => name.push(b'\t'),
            b'u' => {
                let mut code = code_unit(content, at);
                at += 4;
                let low = if content.get(at..at + 2) == Some(b"\\u") { code_unit(content, at + 2) } else { 0 };
                if (0xD800..0xDC00).contains(&code) && (0xDC00..0xE000).contains(&low) {
                    code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    at += 6;
                }
                push_code(&mut name, code);
            }
            other => name.push(other),
        }
    }
    Cow::Owned(name)
}

fn code_unit(content: &[u8], at: usize) -> u32 {
    let digits = content.get(at..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

fn push_code(name: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(character) => name.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => name.extend([0xE0 | (code >> 12) as u8, 0x80 | (code >> 6 & 0x3F) as u8, 0x80 | (code & 0x3F) as u8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn repeated_names_are_found_at_any_depth_and_under_any_escape() {
        let wide = (0..100).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",");
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"[[{"x":{"b":[],"c":1,"b":{}}}]]"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"/":1,"\/":2}"#,
            r#"{"😀":1,"\ud83d\uDE00":2}"#,
            r#"{"\ud83d":1,"\uD83D":2}"#,
            r#"{"":1,"":2}"#,
            r#"{"a\n":1,"a\u000a":2}"#,
            r#"{"a":[{"b":1}],"a":1}"#,
            &format!("{{{wide},\"k50\":0}}"),
        ] {
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), "{text}");
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn equal_names_in_different_objects_are_no_repetition() {
        let wide = (0..100).map(|n| format!("\"k{n}\":{{\"a\":1}}")).collect::<Vec<_>>().join(",");
        for text in [
            r#"{"a":{"a":{"a":1}}}"#,
            r#"[{"a":1},{"a":2}]"#,
            r#"{"a":"a","b":"a"}"#,
            r#"["a","a"]"#,
            r#""a""#,
            "1",
            r#"{"a":["a","a"],"b":"{\"a\":1,\"a\":2}"}"#,
            r#"{"A":1,"a":2}"#,
            "{}",
            r#"{"\\":1,"\"":2}"#,
            &format!("{{{wide},\"a\":0}}"),
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn nesting_is_counted_from_the_events_own_object() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(&nested(JSON_DEPTH_MAX - 1)), Ok(()));
        assert!(check(&nested(JSON_DEPTH_MAX)).is_err());
        assert!(check(&nested(500_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"(\PC|[\[\]{}",:\\u]){0,60}"#) {
            let _ = check(&text);
        }

        #[test]
        fn it_agrees_with_a_map(names in prop::collection::vec("[ab\"é\\\\]{0,2}", 0..12)) {
            let object = names.iter().map(|name| format!("{}:1", json!(name))).collect::<Vec<_>>().join(",");
            let distinct: std::collections::HashSet<_> = names.iter().collect();
            prop_assert_eq!(check(&format!("{{{object}}}")).is_ok(), distinct.len() == names.len());
        }
    }
}
