//! What an operator allows and refuses beside the fixed table of [`crate::address`] (SPEC 2.8, THREATS 3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::address::{embedded_v4, forbidden};

const LOOPBACK_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
const LOOPBACK_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));

/// Which addresses and ports may be called. The default allows what is global and nothing else.
///
/// Set by operators only, never by a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddressPolicy {
    /// Networks that are called although the fixed table refuses them, each with its port. Also permits `http` there.
    pub allow: Vec<Allow>,
    /// Networks that are refused in addition: our own listeners, pods, services, bus and database, and the platform
    /// addresses of clouds that lie in public ranges. Stronger than `allow`.
    pub refuse: Vec<IpNet>,
    /// Names that are refused in addition: the platform's own public host names, so that it is not made to call itself.
    pub refuse_hosts: Vec<String>,
    /// Ports that are called although [`REFUSED_PORTS`] names them.
    pub allow_ports: Vec<u16>,
    /// Whether `http` is permitted for every target. Not for production.
    pub allow_http: bool,
    /// Whether ECG subscriptions for development may have no more than others (THREATS 3). For production.
    pub refuse_development: bool,
}

/// Ports of services that take harm from, or answer to, an HTTP request (THREATS 3, check 5).
pub const REFUSED_PORTS: [u16; 33] = [
    22, 23, 25, 53, 110, 111, 135, 139, 143, 389, 445, 465, 587, 636, 993, 995, 1433, 2049, 2375, 2376, 2379, 2380,
    3306, 3389, 4222, 5432, 6222, 6379, 8222, 9200, 10250, 11211, 27017,
];

/// The address may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address is not allowed")]
pub struct AddressRefused;

impl AddressPolicy {
    /// The policy of the embedded mode and of tests: loopback is allowed on every port, beside what is global.
    pub fn with_loopback() -> Self {
        let allow = [LOOPBACK_V4, LOOPBACK_V6].map(|net| Allow { net, port: None }).to_vec();
        Self { allow, ..Self::default() }
    }

    /// The policy for an ECG subscription (SPEC 6.5): one for development may have `http` and what the allow list names, all
    /// others neither. What operators refuse is refused either way.
    #[must_use]
    pub fn for_ecg(&self, is_development: bool) -> Self {
        let is_lenient = is_development && !self.refuse_development;
        let allow = if is_lenient { self.allow.clone() } else { Vec::new() };
        Self { allow, allow_http: is_lenient, ..self.clone() }
    }

    /// Judges one address, after unwrapping an IPv4 address embedded in it.
    ///
    /// # Errors
    /// When an operator refuses it, or when the fixed table does and no allow entry names it.
    pub fn judge(&self, address: SocketAddr) -> Result<(), AddressRefused> {
        let ip = address.ip();
        let embedded = match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => embedded_v4(ip).map(IpAddr::V4),
        };
        let is_refused = |ip: &IpAddr| self.refuse.iter().any(|net| net.contains(ip));
        if is_refused(&ip) || embedded.as_ref().is_some_and(is_refused) {
            return Err(AddressRefused);
        }
        if self.names(address) || !forbidden(ip) { Ok(()) } else { Err(AddressRefused) }
    }

    /// Whether an allow entry names exactly this address and port. Wrapped forms are not unwrapped: an entry matches
    /// no more than it says.
    pub fn names(&self, address: SocketAddr) -> bool {
        self.allow.iter().any(|allow| allow.matches(address))
    }

    /// Whether the port may be called.
    pub(crate) fn permits_port(&self, port: u16) -> bool {
        port != 0 && (!REFUSED_PORTS.contains(&port) || self.allow_ports.contains(&port))
    }

    /// Whether the operator refuses the name; `host` is lower case and without a final dot.
    pub(crate) fn refuses_host(&self, host: &str) -> bool {
        self.refuse_hosts.iter().any(|refused| refused.trim_end_matches('.').eq_ignore_ascii_case(host))
    }
}

/// An entry of the allow list: a network and a port, as `10.20.0.0/16:8443` or `[fd00::/64]:8443`.
///
/// The port may be `*` for a network inside loopback only: `127.0.0.0/8:*`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Allow {
    net: IpNet,
    /// `None` is every port.
    port: Option<u16>,
}

/// The text is not an entry of the allow list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAllow {
    /// Not of the form.
    #[error("an allow entry is `<network>/<prefix length>:<port>`")]
    Malformed,
    /// The prefix length is zero.
    #[error("an allow entry may not allow every address: its prefix length is 0")]
    Everything,
    /// The address has bits beyond the prefix, so the entry would match more than it seems to name.
    #[error("the address of an allow entry has bits beyond its prefix length")]
    HostBits,
    /// `*` outside loopback.
    #[error("an allow entry may have the port `*` only for a loopback network")]
    EveryPort,
}

impl Allow {
    /// An entry from its parts; `None` is every port.
    ///
    /// # Errors
    /// As [`BadAllow`] says.
    pub fn new(net: IpNet, port: Option<u16>) -> Result<Self, BadAllow> {
        if net.prefix_len() == 0 {
            return Err(BadAllow::Everything);
        }
        if net.addr() != net.network() {
            return Err(BadAllow::HostBits);
        }
        match port {
            Some(0) => Err(BadAllow::Malformed),
            None if !(LOOPBACK_V4.contains(&net) || LOOPBACK_V6.contains(&net)) => Err(BadAllow::EveryPort),
            _ => Ok(Self { net, port }),
        }
    }

    fn matches(self, address: SocketAddr) -> bool {
        self.net.contains(&address.ip()) && self.port.is_none_or(|port| port == address.port())
    }
}

impl FromStr for Allow {
    type Err = BadAllow;

    fn from_str(text: &str) -> Result<Self, BadAllow> {
        let (net, port) = text.rsplit_once(':').ok_or(BadAllow::Malformed)?;
        let net = net.strip_prefix('[').and_then(|net| net.strip_suffix(']')).unwrap_or(net);
        let net = net.parse().map_err(|_| BadAllow::Malformed)?;
        let port = match port {
            "*" => None,
            port => Some(port.parse().map_err(|_| BadAllow::Malformed)?),
        };
        Self::new(net, port)
    }
}

impl TryFrom<String> for Allow {
    type Error = BadAllow;

    fn try_from(text: String) -> Result<Self, BadAllow> {
        text.parse()
    }
}

impl From<Allow> for String {
    fn from(allow: Allow) -> Self {
        allow.to_string()
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.net {
            IpNet::V4(net) => write!(f, "{net}:")?,
            IpNet::V6(net) => write!(f, "[{net}]:")?,
        }
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

impl fmt::Debug for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Allow({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

    fn policy(allow: &[&str], refuse: &[&str]) -> AddressPolicy {
        AddressPolicy {
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            refuse: refuse.iter().map(|text| text.parse().unwrap()).collect(),
            ..AddressPolicy::default()
        }
    }

    fn allows(policy: &AddressPolicy, address: &str) -> bool {
        policy.judge(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn an_allow_entry_matches_no_more_than_it_names() {
        let policy = policy(&["10.20.0.0/16:8443", "[fd00::/64]:443"], &[]);
        for address in ["10.20.0.1:8443", "10.20.255.255:8443", "[fd00::1]:443", "8.8.8.8:443"] {
            assert!(allows(&policy, address), "{address}");
        }
        for address in [
            "10.20.0.1:443",
            "10.21.0.1:8443",
            "10.19.255.255:8443",
            "[fd00::1]:8443",
            "[fd00:0:0:1::1]:443",
            "[::ffff:10.20.0.1]:8443",
            "[64:ff9b::10.20.0.1]:8443",
            "[2606:4700::5efe:10.20.0.1]:8443",
        ] {
            assert!(!allows(&policy, address), "{address}");
        }
    }

    #[test]
    fn the_default_allows_nothing_on_the_table() {
        let policy = AddressPolicy::default();
        assert!(allows(&policy, "1.1.1.1:443"));
        assert!(!allows(&policy, "127.0.0.1:443") && !allows(&policy, "[::1]:443"));
        let loopback = AddressPolicy::with_loopback();
        assert!(allows(&loopback, "127.0.0.1:443") && allows(&loopback, "[::1]:1") && !allows(&loopback, "10.0.0.1:1"));
    }

    #[test]
    fn an_operators_refusal_is_stronger_than_an_allow_entry_and_sees_through_wrapping() {
        let policy = policy(&["127.0.0.0/8:*"], &["127.0.0.2/32", "168.63.129.16/32"]);
        assert!(allows(&policy, "127.0.0.1:80"));
        for address in ["127.0.0.2:80", "168.63.129.16:443", "[2606:4700::5efe:168.63.129.16]:443"] {
            assert!(!allows(&policy, address), "{address}");
        }
    }

    #[test]
    fn only_an_ecg_subscription_for_development_may_have_http_and_what_the_allow_list_names() {
        let operators = policy(&["10.20.0.0/16:8443", "127.0.0.0/8:*"], &["192.0.2.0/24", "8.8.4.4/32"]);
        let judge = |url: &str| [true, false].map(|it| Target::parse(url, &operators.for_ecg(it)).is_ok());
        for (url, expected) in [
            ("https://receiver.example/", [true, true]),
            ("http://receiver.example/", [true, false]),
            ("http://8.8.8.8/", [true, false]),
            ("https://10.20.0.1:8443/", [true, false]),
            ("http://10.20.0.1:8443/", [true, false]),
            ("http://127.0.0.1:9000/", [true, false]),
            ("http://localhost:9000/", [true, false]),
            ("https://10.21.0.1:8443/", [false, false]),
            ("https://8.8.4.4/", [false, false]),
            ("http://receiver.example:22/", [false, false]),
            ("ftp://receiver.example/", [false, false]),
        ] {
            assert_eq!(judge(url), expected, "{url}");
        }
        // Whatever is permitted for the other surfaces does not count here.
        let open = AddressPolicy { allow_http: true, ..AddressPolicy::with_loopback() };
        assert!(Target::parse("http://receiver.example/", &open.for_ecg(false)).is_err());
        let in_production = AddressPolicy { refuse_development: true, ..operators };
        for url in ["http://receiver.example/", "https://10.20.0.1:8443/"] {
            assert!(Target::parse(url, &in_production.for_ecg(true)).is_err(), "{url}");
        }
    }

    #[test]
    fn a_malformed_or_too_wide_entry_is_an_error() {
        for (text, error) in [
            ("0.0.0.0/0:443", BadAllow::Everything),
            ("::/0:443", BadAllow::Everything),
            ("10.1.2.3/8:443", BadAllow::HostBits),
            ("10.0.0.0/8:*", BadAllow::EveryPort),
            ("126.0.0.0/7:*", BadAllow::EveryPort),
            ("::/1:*", BadAllow::EveryPort),
            ("127.0.0.0/8:0", BadAllow::Malformed),
            ("127.0.0.0/8", BadAllow::Malformed),
            ("127.0.0.1:80", BadAllow::Malformed),
            ("localhost:80", BadAllow::Malformed),
            ("", BadAllow::Malformed),
            ("127.0.0.0/8:65536", BadAllow::Malformed),
        ] {
            assert_eq!(text.parse::<Allow>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_policy_is_read_from_configuration_and_printed_as_it_was_written() {
        let text = r#"{"allow":["127.0.0.0/8:*","[::1/128]:8080"],"refuse":["192.0.2.0/24"],"refuse_hosts":[],"allow_ports":[5432],"allow_http":false,"refuse_development":false}"#;
        let policy: AddressPolicy = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&policy).unwrap(), text);
        assert!(policy.permits_port(5432) && !policy.permits_port(22) && !policy.permits_port(0));
        assert!(serde_json::from_str::<AddressPolicy>(r#"{"allow":["0.0.0.0/0:443"]}"#).is_err());
        assert!(serde_json::from_str::<AddressPolicy>(r#"{"alow":[]}"#).is_err());
    }
}
