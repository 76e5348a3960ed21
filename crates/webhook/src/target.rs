//! Which URLs may be targets: checks 1–7 of THREATS 3, in their order, done once per URL.
//!
//! The text is judged before parsing, because the parser silently deletes or rewrites some characters; everything
//! after that judges the parsed URL, because the parser turns many spellings into an ordinary address or name
//! (DEPENDENCIES 5.2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;
use http::uri::{PathAndQuery, Uri};
use rustls::pki_types::ServerName;
use slipstream_core::limits::TARGET_URL_BYTES_MAX;
use url::{Host, Position, Url};

use crate::policy::AddressPolicy;

mod invisible;

/// A URL that may be called as far as its text tells, prepared so that no attempt parses anything again.
///
/// Its address, given or resolved, is judged at each connect nonetheless. Prints without its query, which may hold a
/// secret.
#[derive(Clone)]
pub struct Target(Arc<Parts>);

struct Parts {
    scheme: Scheme,
    host: Arc<str>,
    host_key: Arc<str>,
    address: Address,
    port: u16,
    /// Path and query, for HTTP/1.1.
    origin_form: Uri,
    /// With scheme and authority, for HTTP/2.
    absolute_form: Uri,
    host_header: HeaderValue,
    server_name: ServerName<'static>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Where the addresses of a target come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    /// The URL names it. Resolver hooks never see these, so the check is ours.
    Literal(IpAddr),
    /// The name is looked up at each connect.
    Name,
    /// `localhost`, where the policy allows loopback: never looked up (RFC 6761), so a hosts file has no say.
    Localhost,
}

/// Why a URL may not be a target, written for the caller. Says nothing of other targets or of our network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetRefused {
    /// Longer than [`TARGET_URL_BYTES_MAX`].
    #[error("the URL is longer than {TARGET_URL_BYTES_MAX} bytes")]
    TooLong,
    /// Holds a control, white-space, invisible or direction-changing character.
    #[error("the URL contains white space or a control, invisible or direction-changing character")]
    BadCharacter,
    /// Not an absolute URL.
    #[error("not an absolute URL")]
    NotAUrl,
    /// Neither `https` nor a permitted `http`.
    #[error("the URL's scheme must be https")]
    Scheme,
    /// Holds a user name or password.
    #[error("the URL must not contain user information")]
    UserInfo,
    /// Holds a fragment.
    #[error("the URL must not contain a fragment")]
    Fragment,
    /// Holds no host.
    #[error("the URL must name a host")]
    NoHost,
    /// Port 0, or a port of a service that is no webhook receiver.
    #[error("the URL's port is not allowed")]
    Port,
    /// The host is an address that may not be called.
    #[error("the URL's address is not allowed")]
    Address,
    /// The host is no DNS name.
    #[error("the URL's host is not a valid DNS name")]
    BadName,
    /// The host is a local name, or one of the platform's own.
    #[error("the URL's host must be a public DNS name")]
    Name,
}

/// Suffixes of names that are never public. `localhost` itself and single labels are refused as well.
const LOCAL_SUFFIXES: [&str; 7] =
    [".localhost", ".local", ".internal", ".svc", ".cluster.local", ".home.arpa", ".localdomain"];

impl Target {
    /// Judges and prepares a URL.
    ///
    /// # Errors
    /// The first check that fails. Nothing is looked up: a name that resolves to a refused address is found at connect.
    pub fn parse(text: &str, policy: &AddressPolicy) -> Result<Self, TargetRefused> {
        if text.len() > TARGET_URL_BYTES_MAX {
            return Err(TargetRefused::TooLong);
        }
        if text.chars().any(invisible::is_refused) {
            return Err(TargetRefused::BadCharacter);
        }
        let url = Url::parse(text).map_err(|_| TargetRefused::NotAUrl)?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" if permits_http(&url, policy) => Scheme::Http,
            _ => return Err(TargetRefused::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetRefused::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(TargetRefused::Fragment);
        }
        let host = url.host().ok_or(TargetRefused::NoHost)?;
        let port = url.port_or_known_default().expect("http and https have a default port");
        if !policy.permits_port(port) {
            return Err(TargetRefused::Port);
        }
        let (address, name) = judge_host(&host, port, policy)?;
        Ok(Self(Arc::new(prepare(&url, scheme, address, &name, port)?)))
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// The host: a lower-case name without a final dot, or an address. The key under which this client keeps connections
    /// and counts requests in flight and consent requests.
    pub fn host(&self) -> &Arc<str> {
        &self.0.host
    }

    /// `<host>:<port>`, in lower case, an IPv6 address in brackets: the same for every spelling of one place, and so a
    /// key for what is told apart by port. Says nothing of scheme, path or query.
    ///
    /// Finer than what this client bounds: that counts by [`Target::host`] alone, so that nobody multiplies it by naming
    /// many ports.
    pub fn host_key(&self) -> &Arc<str> {
        &self.0.host_key
    }

    pub(crate) fn address(&self) -> Address {
        self.0.address
    }

    /// The port, given or by default.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub(crate) fn origin_form(&self) -> &Uri {
        &self.0.origin_form
    }

    pub(crate) fn absolute_form(&self) -> &Uri {
        &self.0.absolute_form
    }

    pub(crate) fn host_header(&self) -> &HeaderValue {
        &self.0.host_header
    }

    pub(crate) fn server_name(&self) -> &ServerName<'static> {
        &self.0.server_name
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = &self.0.absolute_form;
        let query = if uri.query().is_some() { "?***" } else { "" };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}{}{query}", uri.scheme_str().unwrap_or_default(), uri.path())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// Whether `http` will do: where the operator permits it at all, or names the very address and port.
fn permits_http(url: &Url, policy: &AddressPolicy) -> bool {
    let Some(port) = url.port_or_known_default() else { return false };
    policy.allow_http
        || match url.host() {
            Some(Host::Ipv4(ip)) => policy.names(SocketAddr::new(ip.into(), port)),
            Some(Host::Ipv6(ip)) => policy.names(SocketAddr::new(ip.into(), port)),
            Some(Host::Domain(name)) => is_localhost(name) && policy.names_loopback(port),
            None => false,
        }
}

/// Checks 6 and 7: judges an address now, a name by what it says. Returns the host's text.
fn judge_host(host: &Host<&str>, port: u16, policy: &AddressPolicy) -> Result<(Address, String), TargetRefused> {
    let ip = match host {
        Host::Ipv4(ip) => IpAddr::V4(*ip),
        Host::Ipv6(ip) => IpAddr::V6(*ip),
        Host::Domain(name) => return judge_name(name, port, policy),
    };
    policy.judge(SocketAddr::new(ip, port)).map_err(|_| TargetRefused::Address)?;
    Ok((Address::Literal(ip), ip.to_string()))
}

fn judge_name(name: &str, port: u16, policy: &AddressPolicy) -> Result<(Address, String), TargetRefused> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.ends_with('.') {
        return Err(TargetRefused::BadName); // two final dots, of which the checks below would see one
    }
    if policy.refuses_host(name) {
        return Err(TargetRefused::Name);
    }
    if is_localhost(name) && policy.names_loopback(port) {
        return Ok((Address::Localhost, name.to_owned()));
    }
    let is_local = !name.contains('.') || LOCAL_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if is_local { Err(TargetRefused::Name) } else { Ok((Address::Name, name.to_owned())) }
}

fn is_localhost(name: &str) -> bool {
    matches!(name, "localhost" | "localhost.")
}

fn prepare(url: &Url, scheme: Scheme, address: Address, host: &str, port: u16) -> Result<Parts, TargetRefused> {
    // Refuses what the URL parser lets through as a name and DNS does not: empty or long labels, `*`, `$`, `!` …
    let server_name = ServerName::try_from(host.to_owned()).map_err(|_| TargetRefused::BadName)?;
    let path = PathAndQuery::try_from(&url[Position::BeforePath..Position::AfterQuery]);
    let absolute_form = Uri::try_from(&url[..Position::AfterQuery]);
    let host_header = HeaderValue::try_from(&url[Position::BeforeHost..Position::AfterPort]);
    let (Ok(path), Ok(absolute_form), Ok(host_header)) = (path, absolute_form, host_header) else {
        return Err(TargetRefused::NotAUrl);
    };
    let origin_form = Uri::from(path);
    let host_key = match address {
        Address::Literal(ip) => SocketAddr::new(ip, port).to_string(),
        Address::Name | Address::Localhost => format!("{host}:{port}"),
    };
    let (host, host_key) = (host.into(), host_key.into());
    Ok(Parts { scheme, host, host_key, address, port, origin_form, absolute_form, host_header, server_name })
}

impl AddressPolicy {
    /// The loopback addresses that an allow entry names on this port, IPv4 first: what `localhost` stands for.
    pub(crate) fn loopback(&self, port: u16) -> impl Iterator<Item = SocketAddr> {
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .map(|ip| SocketAddr::new(ip, port))
            .into_iter()
            .filter(|address| self.names(*address) && self.judge(*address).is_ok())
    }

    fn names_loopback(&self, port: u16) -> bool {
        self.loopback(port).next().is_some()
    }
}

#[cfg(test)]
mod tests;
