//! The servers that a URL names, and the credentials in it.
//!
//! The client takes no credentials from URLs, and would say its servers in logs: so they are taken apart here.

use slipstream_core::sealing::SecretUrl;
use zeroize::Zeroizing;

/// What a URL says.
pub(crate) struct Servers {
    /// Each without credentials.
    pub(crate) addresses: Vec<String>,
    /// Those of the first server that has some; one set is for all servers.
    pub(crate) credentials: Option<Credentials>,
}

/// How a client shows who it is. Does not print.
pub(crate) enum Credentials {
    /// `nats://token@host`
    Token(Zeroizing<String>),
    /// `nats://user:password@host`
    Password { user: String, password: Zeroizing<String> },
}

impl Servers {
    /// Takes `nats://user:password@host:port` apart, several of them separated by commas.
    pub(crate) fn of(url: &SecretUrl) -> Self {
        let mut servers = Self { addresses: Vec::new(), credentials: None };
        for server in url.expose().split(',').map(str::trim) {
            let (scheme, rest) = server.split_once("://").map_or(("", server), |(scheme, rest)| (scheme, rest));
            // A password may hold an `@` of its own.
            let (userinfo, host) =
                rest.rsplit_once('@').map_or((None, rest), |(userinfo, host)| (Some(userinfo), host));
            let slashes = if scheme.is_empty() { "" } else { "://" };
            servers.addresses.push(format!("{scheme}{slashes}{host}"));
            if let (Some(userinfo), None) = (userinfo, &servers.credentials) {
                servers.credentials = Some(Credentials::of(userinfo));
            }
        }
        servers
    }
}

impl Credentials {
    fn of(userinfo: &str) -> Self {
        match userinfo.split_once(':') {
            Some((user, password)) => Self::Password { user: decoded(user).to_string(), password: decoded(password) },
            None => Self::Token(decoded(userinfo)),
        }
    }
}

/// `text` without percent escapes. One that is none, or decodes to no text, stays as it is.
fn decoded(text: &str) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *byte == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    Zeroizing::new(std::str::from_utf8(&bytes).unwrap_or(text).to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> (Vec<String>, Option<(String, String)>) {
        let Servers { addresses, credentials } = Servers::of(&url.into());
        let credentials = credentials.map(|credentials| match credentials {
            Credentials::Token(token) => (String::new(), token.to_string()),
            Credentials::Password { user, password } => (user, password.to_string()),
        });
        (addresses, credentials)
    }

    #[test]
    fn credentials_are_taken_out_of_urls() {
        let some = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (url, addresses, credentials) in [
            ("nats://a:4222", vec!["nats://a:4222"], None),
            ("nats://me:s3cr3t@a:4222, nats://b", vec!["nats://a:4222", "nats://b"], some("me", "s3cr3t")),
            ("nats://a,tls://t0ken@b:1", vec!["nats://a", "tls://b:1"], some("", "t0ken")),
            ("me:p%40ss%2Fw%zz@a", vec!["a"], some("me", "p@ss/w%zz")),
            ("nats://me:p@ss:w@a:1", vec!["nats://a:1"], some("me", "p@ss:w")),
            ("nats://me:%ff@a", vec!["nats://a"], some("me", "%ff")),
        ] {
            let addresses: Vec<_> = addresses.into_iter().map(str::to_owned).collect();
            assert_eq!(of(url), (addresses, credentials), "{url}");
        }
    }
}
