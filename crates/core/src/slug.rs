//! Slugs: the short public names of organisations, sites and links (SPEC 5.1).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest slug we accept, in characters (SPEC 5.1).
pub const SLUG_LEN_MAX: usize = 20;

/// A well-formed slug: `^[osl][a-zA-Z0-9]{3,}$`, at most 20 characters (SPEC 5.1).
///
/// Incoming slugs are opaque keys: being well-formed does not mean that anything has that name.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(Arc<str>);

/// The text is not a slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must match ^[osl][a-zA-Z0-9]{{3,}}$ and have at most {SLUG_LEN_MAX} characters")]
pub struct SlugMalformed;

impl Slug {
    /// The slug's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this names a site (first letter `s`).
    pub fn is_site(&self) -> bool {
        self.0.starts_with('s')
    }

    /// Whether this names an organisation (first letter `o`).
    pub fn is_organisation(&self) -> bool {
        self.0.starts_with('o')
    }
}

impl FromStr for Slug {
    type Err = SlugMalformed;

    fn from_str(text: &str) -> Result<Self, SlugMalformed> {
        let mut bytes = text.bytes();
        let kind_is_known = matches!(bytes.next(), Some(b'o' | b's' | b'l'));
        let length_fits = (4..=SLUG_LEN_MAX).contains(&text.len());
        if kind_is_known && length_fits && bytes.all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self(text.into()))
        } else {
            Err(SlugMalformed)
        }
    }
}

impl TryFrom<String> for Slug {
    type Error = SlugMalformed;

    fn try_from(text: String) -> Result<Self, SlugMalformed> {
        text.parse()
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0.as_ref().to_owned()
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slug({})", self.0)
    }
}

impl std::borrow::Borrow<str> for Slug {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_slugs_are_accepted() {
        for slug in ["s8n6EzC", "o4fKq2", "sUkLWZg", "l123"] {
            assert_eq!(slug.parse::<Slug>().map(|s| s.to_string()), Ok(slug.to_owned()));
        }
    }

    #[test]
    fn malformed_slugs_are_refused() {
        for slug in ["", "s", "sab", "x8n6EzC", "s8n6-zC", "S8n6EzC", "s8n6EzÇ", "s12345678901234567890"] {
            assert_eq!(slug.parse::<Slug>(), Err(SlugMalformed), "{slug}");
        }
    }
}
