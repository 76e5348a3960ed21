//! One segment out of a request's path.

use std::borrow::Cow;

/// Where `{name}` stands in a route's path: how many slashes before it.
pub(super) fn position(route: &str, name: &str) -> Option<usize> {
    route.split('/').position(|segment| segment.strip_prefix('{').and_then(|it| it.strip_suffix('}')) == Some(name))
}

/// The segment at `position` of a path, decoded. What cannot be decoded comes back as it is: the sign of a broken
/// escape, `%`, makes it malformed for whoever reads it.
pub(super) fn at(path: &str, position: usize) -> Cow<'_, str> {
    decoded(path.split('/').nth(position).unwrap_or_default())
}

/// A segment without its escapes, or as it is if they are broken.
pub(crate) fn decoded(segment: &str) -> Cow<'_, str> {
    if segment.contains('%') { bytes_of(segment).map_or(Cow::Borrowed(segment), Cow::Owned) } else { segment.into() }
}

fn bytes_of(segment: &str) -> Option<String> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let mut bytes = segment.bytes();
    let mut plain = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => (digit(bytes.next())? << 4 | digit(bytes.next())?) as u8,
            other => other,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_found_by_its_name_in_the_route() {
        assert_eq!(position("/sites/{site}/events", "site"), Some(2));
        assert_eq!(position("/api/v1/sites/{site}/events", "site"), Some(4));
        assert_eq!(position("/admin/v1/sites/{slug}", "site"), None);
        assert_eq!(at("/sites/s8n6EzC/events", 2), "s8n6EzC");
        assert_eq!(at("/sites", 2), "");
    }

    #[test]
    fn escapes_are_decoded_or_left_to_be_refused() {
        assert_eq!(at("/sites/s8n6%45zC/events", 2), "s8n6EzC");
        assert_eq!(at("/%2F%C3%A4", 1), "/ä");
        for broken in ["/a%", "/a%4", "/a%xx", "/a%+5", "/%ff"] {
            assert_eq!(at(broken, 1), &broken[1..], "{broken}");
        }
    }
}
