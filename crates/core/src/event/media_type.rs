//! Media types: the grammar of RFC 2046 and the two questions we ask of one, "is it JSON" and "which charset".

/// Whether `text` is `type/subtype` with any parameters `; name=value` (RFC 2046).
pub(super) fn is_valid(text: &str) -> bool {
    let mut rest = text;
    if !(take_token(&mut rest) && take(&mut rest, '/') && take_token(&mut rest)) {
        return false;
    }
    loop {
        rest = rest.trim_start_matches(' ');
        if rest.is_empty() {
            return true;
        }
        if take_parameter(&mut rest).is_none() {
            return false;
        }
    }
}

/// Whether data of this content type is JSON: `*/json` or `*/*+json`, without case, whatever the parameters (SPEC 3.3).
pub fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    let Some((_, subtype)) = essence.split_once('/') else { return false };
    let ends_in = |suffix: &str| {
        subtype
            .len()
            .checked_sub(suffix.len())
            .and_then(|at| subtype.get(at..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
    };
    subtype.eq_ignore_ascii_case("json") || ends_in("+json")
}

/// Whether the content type is of the family `text/*`.
pub(super) fn is_text(content_type: &str) -> bool {
    essence(content_type).get(..5).is_some_and(|family| family.eq_ignore_ascii_case("text/"))
}

/// Type and subtype, without parameters and the white space around.
pub(super) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim_matches([' ', '\t'])
}

/// Whether the parameter `charset` is absent, `utf-8` or `us-ascii` (SPEC 2.1). Malformed parameters are passed over.
pub(super) fn charset_is_utf8(content_type: &str) -> bool {
    let mut rest = content_type.find(';').map_or("", |at| &content_type[at..]);
    while !rest.is_empty() {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some((name, value)) = take_parameter(&mut rest) else {
            // On to the next semicolon, and at least one character further.
            let next = rest.char_indices().skip(1).find(|(_, character)| *character == ';');
            rest = next.map_or("", |(at, _)| &rest[at..]);
            continue;
        };
        let value = value.trim_matches('"');
        let is_utf8 = value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("us-ascii");
        if name.eq_ignore_ascii_case("charset") && !is_utf8 {
            return false;
        }
    }
    true
}

/// Takes `; name=value` from the front; the value keeps its quotes.
fn take_parameter<'a>(rest: &mut &'a str) -> Option<(&'a str, &'a str)> {
    let mut ahead = *rest;
    if !take(&mut ahead, ';') {
        return None;
    }
    ahead = ahead.trim_start_matches([' ', '\t']);
    let name_on = ahead;
    if !take_token(&mut ahead) {
        return None;
    }
    let name = &name_on[..name_on.len() - ahead.len()];
    if !take(&mut ahead, '=') {
        return None;
    }
    let value_on = ahead;
    if !(take_quoted(&mut ahead) || take_token(&mut ahead)) {
        return None;
    }
    *rest = ahead;
    Some((name, &value_on[..value_on.len() - ahead.len()]))
}

fn take(rest: &mut &str, wanted: char) -> bool {
    rest.strip_prefix(wanted).is_some_and(|after| {
        *rest = after;
        true
    })
}

fn take_token(rest: &mut &str) -> bool {
    let length = rest.bytes().take_while(|&byte| is_token(byte)).count();
    *rest = &rest[length..];
    length > 0
}

/// Takes a quoted string of visible ASCII and spaces; the value ends up in an HTTP header.
fn take_quoted(rest: &mut &str) -> bool {
    let bytes = rest.as_bytes();
    if bytes.first() != Some(&b'"') {
        return false;
    }
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                *rest = &rest[at + 1..];
                return true;
            }
            b'\\' if matches!(bytes.get(at + 1), Some(b' '..=b'~')) => at += 2,
            b' '..=b'~' if byte != b'\\' => at += 1,
            _ => return false,
        }
    }
    false
}

/// A token's characters in RFC 2045 section 5.1: ASCII without space, controls and the "tspecials".
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'\\' | b'"' | b'/' | b'[' | b']' | b'?' | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_takes_parameters_and_quotes() {
        for text in [
            "text/plain",
            "application/slipstreamevent+json",
            "text/plain;charset=utf-8",
            "Text/XML ; a=\"b;\\\"c\" ;d=e",
            "application/vnd.api+json; version=1",
        ] {
            assert!(is_valid(text), "{text}");
        }
        for text in [
            "",
            "xyz",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "a/b;",
            "a/b;c",
            "a/b;c=",
            "a/b;c=\"d",
            "a/b c=d",
            "é/b",
            "a/b;c=\"é\"",
            "a/b\r\nX: y",
            "a/b;c=\"\\",
        ] {
            assert!(!is_valid(text), "{text}");
        }
    }

    #[test]
    fn json_is_known_by_subtype_or_suffix_in_any_case() {
        for text in ["application/json", "text/JSON; charset=utf-8", "image/svg+Json", "*/json", "a/+json"] {
            assert!(is_json(text), "{text}");
        }
        for text in ["text/plain", "json", "application/jsonx", "application/json+xml", "", "a/é+jsö"] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn charsets_are_found_wherever_they_stand() {
        for text in ["a/b", "a/b; charset=UTF-8", "a/b;x=y;charset=\"us-ascii\"", "a/b;x=\"charset=latin1\"", "a/b;;;"]
        {
            assert!(charset_is_utf8(text), "{text}");
        }
        for text in ["a/b;charset=iso-8859-1", "a/b; x=y; CharSet=\"utf-16\"", "a/b;broken;é;charset=latin1"] {
            assert!(!charset_is_utf8(text), "{text}");
        }
    }
}
