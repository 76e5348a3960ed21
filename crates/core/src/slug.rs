//! Slugs: the short public names of organisations, sites and links (SPEC 5.1).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

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

    /// The slug of an organization of the ECG surface, which has an id only: `o` and 19 characters of a hash of it. What the
    /// engine names the tenant by, for an organization as for a site.
    pub fn of_organization(id: Uuid) -> Self {
        const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let hash = Sha256::digest(id.as_bytes());
        let mut rest = u128::from_be_bytes(*hash.first_chunk().expect("32 bytes begin with 16"));
        let mut text = String::with_capacity(SLUG_LEN_MAX);
        text.push('o');
        for _ in 1..SLUG_LEN_MAX {
            text.push(char::from(DIGITS[(rest % 62) as usize]));
            rest /= 62;
        }
        Self(text.into())
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
    fn an_organization_has_one_slug_for_ever() {
        let [one, other] = [7, 8].map(|id| Slug::of_organization(Uuid::from_u128(id)));
        assert_eq!(one, Slug::of_organization(Uuid::from_u128(7)));
        assert!(one != other && one.is_organisation() && one.as_str().len() == SLUG_LEN_MAX);
        assert_eq!(one.as_str().parse(), Ok(one.clone()));
        assert_eq!(one.as_str(), "oUbVkNnU5g57I369ELzO");
    }

    #[test]
    fn malformed_slugs_are_refused() {
        for slug in ["", "s", "sab", "x8n6EzC", "s8n6-zC", "S8n6EzC", "s8n6EzÇ", "s12345678901234567890"] {
            assert_eq!(slug.parse::<Slug>(), Err(SlugMalformed), "{slug}");
        }
    }
}
