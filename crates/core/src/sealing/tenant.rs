//! Whose secrets a data key seals.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::slug::Slug;

/// Who has a data key of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tenant {
    /// Nobody: what belongs to the deployment. Its key is there from the first start on, so that a wrong master key is
    /// always found out.
    System,
    /// A site.
    Site(Slug),
    /// An organization of the ECG surface.
    Organization(Uuid),
}

/// The text names no tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant is `system`, `site/` and a slug, or `organization/` and a UUID")]
pub struct NotATenant;

const SYSTEM: &str = "system";
const SITE: &str = "site/";
const ORGANIZATION: &str = "organization/";

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str(SYSTEM),
            Self::Site(slug) => write!(f, "{SITE}{slug}"),
            Self::Organization(id) => write!(f, "{ORGANIZATION}{id}"),
        }
    }
}

impl FromStr for Tenant {
    type Err = NotATenant;

    fn from_str(text: &str) -> Result<Self, NotATenant> {
        if text == SYSTEM {
            return Ok(Self::System);
        }
        if let Some(id) = text.strip_prefix(ORGANIZATION) {
            // Written in one form only, so that two texts never name one tenant.
            let id = id.parse().ok().filter(|known: &Uuid| known.to_string() == id);
            return id.map(Self::Organization).ok_or(NotATenant);
        }
        let slug = text.strip_prefix(SITE).and_then(|slug| slug.parse().ok());
        slug.map(Self::Site).ok_or(NotATenant)
    }
}

impl serde::Serialize for Tenant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Tenant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
