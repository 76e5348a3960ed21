//! How new subscriptions sign (SPEC 4.6).

use serde::Deserialize;
use slipstream_core::signing::Scheme;

/// The section `signing`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningConfig {
    /// The schemes of which a new subscription gets a key each: `["v1"]` (default), `["v1a"]`, or both. Those that exist
    /// keep what they have; an operator adds a key of another scheme by rotating.
    pub schemes: Schemes,
}

/// One scheme or several, none of them twice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Schemes(Vec<Scheme>);

/// The list is empty, or holds a name that is no scheme, or one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must name `v1`, `v1a` or both, each once")]
pub struct BadSchemes;

impl Schemes {
    /// The schemes, in the order of their signatures.
    pub fn as_slice(&self) -> &[Scheme] {
        &self.0
    }
}

impl Default for Schemes {
    fn default() -> Self {
        Self(vec![Scheme::V1])
    }
}

impl TryFrom<Vec<String>> for Schemes {
    type Error = BadSchemes;

    fn try_from(names: Vec<String>) -> Result<Self, BadSchemes> {
        let mut schemes = Vec::with_capacity(names.len());
        for name in names {
            let scheme = Scheme::from_name(&name).filter(|scheme| !schemes.contains(scheme));
            schemes.push(scheme.ok_or(BadSchemes)?);
        }
        if schemes.is_empty() { Err(BadSchemes) } else { Ok(Self(schemes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_schemes_once_each() {
        let schemes = |names: &[&str]| Schemes::try_from(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(schemes(&["v1a", "v1"]), Ok(Schemes(vec![Scheme::V1a, Scheme::V1])));
        for bad in [&[][..], &["v2"], &["v1", "v1"], &[""]] {
            assert_eq!(schemes(bad), Err(BadSchemes), "{bad:?}");
        }
    }
}
