//! Attribute values in HTTP headers: the percent-encoding of the CloudEvents HTTP binding (SPEC 3.4).

/// Encodes `text` as a header value: space, `"`, `%` and all outside U+0021–U+007E become percent escapes.
pub(super) fn encode(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
            encoded.push(char::from(DIGITS[usize::from(byte & 0xF)]));
        }
    }
    encoded
}

/// Decodes a header value: undoes a quoted string if the value is one, then one round of percent-encoding.
///
/// Bytes above ASCII are taken as UTF-8, because several SDKs send them unencoded.
///
/// # Errors
/// A `%` that two hex digits do not follow, and what is not UTF-8 in the end.
pub(super) fn decode(value: &[u8]) -> Result<String, &'static str> {
    let value = value.trim_ascii();
    let unquoted = unquote(value);
    let value = unquoted.as_deref().unwrap_or(value);
    let digit_at = |at: usize| value.get(at).copied().and_then(hex_digit);
    let mut bytes = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        if byte == b'%' {
            let (high, low) = (digit_at(at + 1), digit_at(at + 2));
            let (Some(high), Some(low)) = (high, low) else { return Err("holds a malformed percent escape") };
            bytes.push(high << 4 | low);
            at += 3;
        } else {
            bytes.push(byte);
            at += 1;
        }
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 after percent-decoding")
}

/// The content of a double-quoted string with its `\` escapes undone; none if the value is no such string.
fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let content = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut unquoted = Vec::with_capacity(content.len());
    let mut bytes = content.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => unquoted.push(*bytes.next()?),
            b'"' => return None,
            _ => unquoted.push(byte),
        }
    }
    Some(unquoted)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_standard_goes_both_ways() {
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(decode(b"Euro%20%E2%82%AC%20%F0%9F%98%80").as_deref(), Ok("Euro € 😀"));
    }

    #[test]
    fn decoding_is_lenient_where_the_standard_says_so() {
        for (value, text) in [
            ("%e2%82%ac", "€"),
            ("%41%62c", "Abc"),
            ("\"a \\\"b\\\\\"", "a \"b\\"),
            ("\"%20\"", " "),
            (" a ", "a"),
            ("€", "€"),
            ("%2541", "%41"),
            ("\"", "\""),
            ("\"a\"b\"", "\"a\"b\""),
            ("\"a\\\"", "\"a\\\""),
            ("", ""),
        ] {
            assert_eq!(decode(value.as_bytes()).as_deref(), Ok(text), "{value}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        for value in [&b"%C0%A0"[..], b"%ff", b"\xff", b"%", b"%4", b"100%", b"%g1", b"%E2%82"] {
            assert!(decode(value).is_err(), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_are_inverse(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(decode(encoded.as_bytes()), Ok(text));
        }

        #[test]
        fn no_bytes_make_it_panic(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&value);
        }
    }
}
