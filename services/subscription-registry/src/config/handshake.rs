//! Whether and how receivers are asked for their consent (SPEC 3.7).

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;
use slipstream_service::config::duration;
use url::{Host, Url};

/// Our DNS name where none is configured. Not a name that anybody can look up: a receiver that grants to certain
/// senders only needs a real one.
const ORIGIN_DEFAULT: &str = "slipstream.localhost";

/// Characters of a DNS name.
const ORIGIN_LEN_MAX: usize = 253;

/// Bytes of the callback's base URL.
const CALLBACK_URL_LEN_MAX: usize = 1024;

/// The section `handshake`. A change of it counts for a subscription from its next PUT on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HandshakeConfig {
    /// `off`, `optional` (default) or `required`.
    pub policy: HandshakePolicy,
    /// `WebHook-Request-Origin`: our DNS name, which every delivery carries after a grant. Default: the host of
    /// `callback_url`, or `slipstream.localhost` where there is none.
    pub origin: Option<Origin>,
    /// Our own public base URL, `https://…`, below which receivers may grant later: then each question carries
    /// `{callback_url}/webhooks/handshakes/{key}`. Default: none, and a grant can only be part of the answer.
    pub callback_url: Option<CallbackUrl>,
    /// `WebHook-Request-Rate`: the deliveries per minute that we ask for. Default: none is asked for.
    pub rate_per_minute: Option<NonZeroU32>,
    /// How long a receiver may take to answer, from looking up its name to the answer's end. Default 5 s.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

impl Default for HandshakeConfig {
    fn default() -> Self {
        Self {
            policy: HandshakePolicy::default(),
            origin: None,
            callback_url: None,
            rate_per_minute: None,
            timeout: Duration::from_secs(5),
        }
    }
}

impl HandshakeConfig {
    /// The name that is asked with.
    pub fn effective_origin(&self) -> Origin {
        let of_callback = || self.callback_url.as_ref().and_then(CallbackUrl::origin);
        self.origin.clone().or_else(of_callback).unwrap_or_else(|| Origin(ORIGIN_DEFAULT.to_owned()))
    }
}

/// What a receiver's consent decides (SPEC 3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandshakePolicy {
    /// Nobody is asked.
    Off,
    /// Whoever has not agreed gets at most 60 deliveries a minute.
    #[default]
    Optional,
    /// Whoever has not agreed gets none.
    Required,
}

/// Our DNS name, as receivers see it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

/// The text is not a DNS name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a DNS name: letters, digits, hyphens and dots, at most {ORIGIN_LEN_MAX} characters")]
pub struct NotADnsName;

impl Origin {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as the value of a header field.
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a DNS name is visible ASCII")
    }
}

impl TryFrom<String> for Origin {
    type Error = NotADnsName;

    fn try_from(text: String) -> Result<Self, NotADnsName> {
        let is_label = |label: &str| {
            let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len()) && label.bytes().all(is_inner) && !label.starts_with('-')
        };
        let fits = text.len() <= ORIGIN_LEN_MAX && text.split('.').all(is_label);
        if fits { Ok(Self(text)) } else { Err(NotADnsName) }
    }
}

/// Our own public base URL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CallbackUrl(Url);

/// The text cannot be the base of callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an https URL (http on loopback only) without user, query and fragment")]
pub struct BadCallbackUrl;

impl CallbackUrl {
    /// The URL at which the key grants.
    pub(crate) fn with_key(&self, key: &str) -> String {
        format!("{}/webhooks/handshakes/{key}", self.0.as_str().trim_end_matches('/'))
    }

    /// The host, if it is a name.
    fn origin(&self) -> Option<Origin> {
        Origin::try_from(self.0.domain()?.to_owned()).ok()
    }
}

impl TryFrom<String> for CallbackUrl {
    type Error = BadCallbackUrl;

    fn try_from(text: String) -> Result<Self, BadCallbackUrl> {
        let url = Url::parse(&text).map_err(|_| BadCallbackUrl)?;
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let is_scheme_right = url.scheme() == "https" || url.scheme() == "http" && is_loopback;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.as_str().len() <= CALLBACK_URL_LEN_MAX;
        if is_scheme_right && is_bare { Ok(Self(url)) } else { Err(BadCallbackUrl) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(section: serde_json::Value) -> Result<HandshakeConfig, String> {
        serde_json::from_value(section).map_err(|error| error.to_string())
    }

    #[test]
    fn our_name_is_the_configured_one_else_the_callbacks_else_a_placeholder() {
        let origin = |section| read(section).unwrap().effective_origin().as_str().to_owned();
        let callback_url = "https://events.example/base/";
        assert_eq!(origin(json!({})), "slipstream.localhost");
        assert_eq!(origin(json!({"callback_url": callback_url})), "events.example");
        assert_eq!(origin(json!({"callback_url": "http://127.0.0.1:8080"})), "slipstream.localhost");
        assert_eq!(origin(json!({"callback_url": callback_url, "origin": "hooks.example"})), "hooks.example");
    }

    #[test]
    fn a_key_stands_below_the_base_whether_it_ends_in_a_slash_or_not() {
        for (base, url) in [
            ("https://events.example", "https://events.example/webhooks/handshakes/k"),
            ("https://events.example/api/v1/", "https://events.example/api/v1/webhooks/handshakes/k"),
        ] {
            assert_eq!(CallbackUrl::try_from(base.to_owned()).unwrap().with_key("k"), url);
        }
    }

    #[test]
    fn what_receivers_should_not_see_is_refused() {
        for url in [
            "events.example",
            "http://events.example",
            "ftp://events.example",
            "https://me:secret@events.example",
            "https://events.example/?a=b",
            "https://events.example/#a",
            "http://127.0.0.1.example/",
        ] {
            assert!(read(json!({"callback_url": url})).is_err(), "{url}");
        }
        for origin in ["", ".", "a..b", "-a.example", "ä.example", "a b", "a\r\nb", "a_b", &"a".repeat(64)] {
            assert!(read(json!({"origin": origin})).is_err(), "{origin}");
        }
        assert!(read(json!({"rate_per_minute": 0})).is_err());
        assert!(read(json!({"policy": "sometimes"})).is_err());
        assert_eq!(read(json!({})).unwrap(), HandshakeConfig::default());
    }
}
