//! How a connection to a target comes about: resolve, judge every address, connect to one of them, TLS (THREATS 3,
//! "At each connect").

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::TokioIo;
use slipstream_core::answer::ErrorCode;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower::Service as _;

use crate::connection::{Chain, Connection, Stream};
use crate::policy::AddressPolicy;
use crate::resolve::Resolve;
use crate::target::{Address, Scheme, Target};

/// Addresses of one name that are tried.
const ADDRESSES_TRIED_MAX: usize = 8;

/// Opens connections, and nothing else in the crate does.
pub(crate) struct Dialer {
    pub(crate) policy: Arc<AddressPolicy>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) resolve_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// How long a shared connection lives at most.
    pub(crate) lifetime: Duration,
}

impl Dialer {
    /// A new connection to the target.
    ///
    /// # Errors
    /// `dns`, `target_not_allowed` (before any packet), `connect`, `tls` or `protocol`, by the step that failed.
    pub(crate) async fn dial(&self, target: &Target) -> Result<Connection, ErrorCode> {
        let addresses = self.addresses(target).await?;
        let checked_at = Instant::now();
        let tcp = self.connect(&addresses).await?;
        let (stream, is_http2) = match target.scheme() {
            Scheme::Http => (Stream::Http(TokioIo::new(tcp)), false),
            Scheme::Https => self.secure(tcp, target).await?,
        };
        let connection = if is_http2 {
            Connection::http2(stream, checked_at, self.lifetime).await
        } else {
            Connection::http1(stream, checked_at).await
        };
        connection.map_err(|error| {
            tracing::debug!(error = %Chain(&error), "the HTTP handshake failed");
            ErrorCode::Protocol
        })
    }

    /// The addresses to try, all of them judged: one that is refused refuses the target.
    pub(crate) async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, ErrorCode> {
        let port = target.port();
        let mut addresses: Vec<_> = match target.address() {
            Address::Literal(ip) => vec![SocketAddr::new(ip, port)],
            Address::Localhost => self.policy.loopback(port).collect(),
            Address::Name => {
                let found = timeout(self.resolve_timeout, self.resolver.resolve(target.host())).await;
                let found = found.unwrap_or_else(|elapsed| Err(elapsed.into())).map_err(|error| {
                    tracing::debug!(%error, "the name did not resolve");
                    ErrorCode::Dns
                })?;
                if found.is_empty() {
                    return Err(ErrorCode::Dns);
                }
                found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
            }
        };
        let is_allowed = addresses.iter().all(|address| self.policy.judge(*address).is_ok());
        if addresses.is_empty() || !is_allowed {
            return Err(ErrorCode::TargetNotAllowed);
        }
        addresses.truncate(ADDRESSES_TRIED_MAX);
        Ok(addresses)
    }

    /// A TCP connection to the first address that takes one. Each gets an equal part of the time left, so that one that
    /// swallows packets does not use up the others' time.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ErrorCode> {
        let deadline = Instant::now() + self.connect_timeout;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / (addresses.len() - tried) as u32;
            let connected = timeout(share, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                // Without it, a request in two writes waits for the peer's delayed acknowledgement.
                Ok(tcp) => return tcp.set_nodelay(true).map(|()| tcp).map_err(|_| ErrorCode::Connect),
                Err(error) => tracing::debug!(%error, "no connection"),
            }
        }
        Err(ErrorCode::Connect)
    }

    /// TLS over a connection, the certificate verified for the target's name; whether the peer chose HTTP/2.
    async fn secure(&self, tcp: TcpStream, target: &Target) -> Result<(Stream, bool), ErrorCode> {
        let name = FixedServerNameResolver::new(target.server_name().clone());
        let mut tcp = Some(TokioIo::new(tcp));
        let transport = tower::service_fn(move |_: Uri| {
            ready(tcp.take().ok_or_else(|| io::Error::other("a connector is used for one connection")))
        });
        let mut connector = HttpsConnector::new(transport, Arc::clone(&self.tls), true, Arc::new(name));
        let stream = connector.call(target.absolute_form().clone()).await.map_err(|error| {
            tracing::debug!(error = %Chain(&*error), "the TLS handshake failed");
            ErrorCode::Tls
        })?;
        let is_http2 = stream.connected().is_negotiated_h2();
        Ok((stream, is_http2))
    }
}

#[cfg(test)]
mod tests;
