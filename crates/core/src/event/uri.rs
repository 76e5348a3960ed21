//! The grammar of RFC 3986, as far as it can be judged without resolving anything.
//!
//! `url::Url` is the wrong judge: it rewrites what it reads, knows no relative references, and accepts more than the
//! RFC does.

/// Whether `text` is a URI-reference (RFC 3986 section 4.1). The empty text is one.
pub(super) fn is_uri_reference(text: &str) -> bool {
    let (scheme, rest) = split_scheme(text);
    match scheme {
        Some(scheme) if !is_scheme(scheme) => false,
        _ => is_after_scheme(rest),
    }
}

/// Whether `text` is a URI: a reference with a scheme. A fragment is allowed, since schemas are named with one.
pub(super) fn is_absolute_uri(text: &str) -> bool {
    matches!(split_scheme(text), (Some(scheme), rest) if is_scheme(scheme) && !rest.is_empty() && is_after_scheme(rest))
}

/// What stands before the first colon, if that colon belongs to a scheme: a colon after `/`, `?` or `#` does not, and
/// the first segment of a relative path may hold none.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    match text.find([':', '/', '?', '#']) {
        Some(at) if text.as_bytes()[at] == b':' => (Some(&text[..at]), &text[at + 1..]),
        _ => (None, text),
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn is_after_scheme(rest: &str) -> bool {
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match hierarchy.strip_prefix("//") {
        None => hierarchy,
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            if !is_authority(&rest[..end]) {
                return false;
            }
            &rest[end..]
        }
    };
    consists_of(path, |byte| is_pchar(byte) || byte == b'/')
        && consists_of(query, |byte| is_pchar(byte) || matches!(byte, b'/' | b'?'))
        && consists_of(fragment, |byte| is_pchar(byte) || matches!(byte, b'/' | b'?'))
}

fn is_authority(authority: &str) -> bool {
    let (user, rest) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host_is_valid, port) = if let Some(literal) = rest.strip_prefix('[') {
        let Some((address, after)) = literal.split_once(']') else { return false };
        let is_address = !address.is_empty() && consists_of(address, |byte| is_reg_name(byte) || byte == b':');
        match after.strip_prefix(':') {
            None if !after.is_empty() => return false,
            port => (is_address, port.unwrap_or("")),
        }
    } else {
        let (host, port) = rest.split_once(':').unwrap_or((rest, ""));
        (consists_of(host, is_reg_name), port)
    };
    host_is_valid
        && consists_of(user, |byte| is_reg_name(byte) || byte == b':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

const fn is_reg_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || is_sub_delimiter(byte)
}

const fn is_sub_delimiter(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

const fn is_pchar(byte: u8) -> bool {
    is_reg_name(byte) || matches!(byte, b':' | b'@')
}

/// Whether each byte is one that `allowed` knows or part of a percent escape.
fn consists_of(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            match bytes.get(at + 1..at + 3) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => at += 3,
                _ => return false,
            }
        } else if allowed(byte) {
            at += 1;
        } else {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_of_the_standard_are_accepted() {
        for text in [
            "https://github.com/cloudevents",
            "mailto:cncf-wg-serverless@lists.cncf.io",
            "urn:uuid:6e8bc430-9c3a-11d9",
            "/cloudevents/spec/pull/123",
            "/sensors/tn-1234567/alerts",
            "1-555-123-4567",
            "#fragment",
            "/a/b",
            "?q=1?/",
            "//host:8080/x",
            "https://user:pw@[2001:db8::1]:443/a%20b?c#d",
            "a/b:c",
            ".",
            "http://",
        ] {
            assert!(is_uri_reference(text), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "a b",
            "a%2",
            "a%zz",
            "é",
            "1:2",
            ":x",
            "a#b#c",
            "http://[::1",
            "http://[]/",
            "http://[::1]x/",
            "a[b]",
            "http://h:80x/",
            "<a>",
            "a\\b",
            "{x}",
            "a^b",
            "a|b",
            "\"",
            "http://a@b@c/",
        ] {
            assert!(!is_uri_reference(text), "{text}");
        }
    }

    #[test]
    fn only_uris_with_a_scheme_are_absolute() {
        for text in ["http://schema.example/a.json", "urn:a:b", "https://schema.example/a#/defs/B"] {
            assert!(is_absolute_uri(text), "{text}");
        }
        for text in ["", "/a", "a", "//host/a", "#a", "1a:b", "http:"] {
            assert!(!is_absolute_uri(text), "{text}");
        }
    }
}
