//! URLs of servers that may hold a name and a password.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A URL, or several separated by commas, that may hold a password: prints without its credentials and its query, and is
/// wiped when dropped. Not checked to be one; whoever connects does that.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Zeroizing<String>);

impl SecretUrl {
    /// The URL itself. Every call is a place where it may leak.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(Zeroizing::new(url))
    }
}

impl From<&str> for SecretUrl {
    fn from(url: &str) -> Self {
        url.to_owned().into()
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, url) in self.0.split(',').enumerate() {
            let separator = if at == 0 { "" } else { "," };
            // A password may hold any of these characters unescaped, so what is left of the last `@` goes first.
            let (scheme, rest) = url.trim().split_once("://").unwrap_or(("", url.trim()));
            let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            let slashes = if scheme.is_empty() { "" } else { "://" };
            write!(f, "{separator}{scheme}{slashes}{rest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_name_nor_password_nor_query_prints() {
        for (url, shown) in [
            ("postgres://me:canary@db:5432/x?password=canary", "postgres://db:5432/x"),
            ("postgres://me:can@ary?@db/x", "postgres://db/x"),
            ("nats://me:canary@a:4222, nats://canary@b,c:4222", "nats://a:4222,nats://b,c:4222"),
            ("me:canary@a", "a"),
            ("sqlite:///var/x.db?mode=rwc", "sqlite:///var/x.db"),
            ("", ""),
        ] {
            let url = SecretUrl::from(url);
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
        }
    }
}
