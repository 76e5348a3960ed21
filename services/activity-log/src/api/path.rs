//! The path of an event: `/admin/v1/events/{site}/{source…}/{id}`.
//!
//! A `source` is a URI-reference and may hold slashes, so it takes everything between the site and the last slash,
//! as it stands or percent-encoded. The last segment is the `id`; a slash within it has to be encoded.

use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;

/// What every such path begins with.
pub(super) const PREFIX: &str = "/admin/v1/events/";

/// Which event a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventPath {
    pub(super) site: Slug,
    pub(super) source: String,
    pub(super) id: String,
}

impl EventPath {
    /// Reads a raw path, as it came.
    ///
    /// # Errors
    /// 400 saying what is wrong with it.
    pub(super) fn parse(path: &str) -> Result<Self, Problem> {
        let parts = path.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
        let parts = parts.and_then(|(site, rest)| rest.rsplit_once('/').map(|(source, id)| (site, source, id)));
        let Some((site, source, id)) = parts else {
            return Err(bad("the path must be /admin/v1/events/{site}/{source}/{id}"));
        };
        let site = decode(site)?
            .parse()
            .map_err(|error| Problem::new(ProblemKind::SlugMalformed, format!("the site in the path {error}")))?;
        let (source, id) = (decode(source)?, decode(id)?);
        if source.is_empty() || id.is_empty() {
            return Err(bad("neither the source nor the id in the path may be empty"));
        }
        Ok(Self { site, source, id })
    }
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}

/// One round of percent-decoding.
fn decode(text: &str) -> Result<String, Problem> {
    let malformed = || bad("the path holds a percent sign that encodes nothing; write it as %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return Err(malformed()) };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(malformed()) };
        bytes.push((high * 16 + low) as u8);
        rest = tail;
    }
    let text = String::from_utf8(bytes).map_err(|_| bad("the path is not UTF-8 once decoded"))?;
    if text.contains('\0') { Err(bad("the path must not contain NUL")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Option<(String, String)> {
        EventPath::parse(&format!("{PREFIX}s8n6EzC/{path}")).ok().map(|path| (path.source, path.id))
    }

    #[test]
    fn a_source_may_be_encoded_or_not() {
        let expected = Some(("https://post.example/letters".to_owned(), "A/1 é".to_owned()));
        assert_eq!(parts("https%3A%2F%2Fpost.example%2Fletters/A%2F1%20%C3%A9"), expected);
        assert_eq!(parts("https://post.example/letters/A%2f1%20%c3%a9"), expected);
    }

    #[test]
    fn relative_sources_keep_their_slashes() {
        assert_eq!(parts("/a/b/1"), Some(("/a/b".to_owned(), "1".to_owned())));
        assert_eq!(parts("%23fragment/1"), Some(("#fragment".to_owned(), "1".to_owned())));
        assert_eq!(parts("1-555-123-4567/1+1"), Some(("1-555-123-4567".to_owned(), "1+1".to_owned())));
        assert_eq!(parts("a%2525/1"), Some(("a%25".to_owned(), "1".to_owned())));
    }

    #[test]
    fn what_names_no_event_is_refused() {
        for path in ["", "1", "/1", "a/", "a%/1", "a%4/1", "a%zz/1", "%C0%A0/1", "a%00/1"] {
            assert_eq!(parts(path), None, "{path}");
        }
        assert!(EventPath::parse("/admin/v1/events/x/a/1").is_err());
    }
}
