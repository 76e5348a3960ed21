//! The two sockets of a process: one for everybody, one for operators (THREATS 6).

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::access::Routers;
use crate::config::HttpConfig;

/// Bound, and not yet served: what connects waits.
#[derive(Debug)]
pub struct Listeners {
    /// None where there is nothing for everybody.
    pub(super) public: Option<TcpListener>,
    pub(super) operator: TcpListener,
}

impl Listeners {
    /// Binds both addresses.
    ///
    /// # Errors
    /// When one is taken or not ours, naming it.
    pub async fn bind(config: &HttpConfig) -> anyhow::Result<Self> {
        let public = Some(bind(config.listen, "http.listen").await?);
        Ok(Self { public, operator: bind(config.operator_listen, "http.operator_listen").await? })
    }

    /// Binds what `routers` need: a service without public routes has no public socket.
    ///
    /// # Errors
    /// As [`Listeners::bind`].
    pub async fn bind_for(routers: &Routers, config: &HttpConfig) -> anyhow::Result<Self> {
        if routers.has_public() {
            return Self::bind(config).await;
        }
        Ok(Self { public: None, operator: bind(config.operator_listen, "http.operator_listen").await? })
    }

    /// Where everybody connects, if anybody may.
    pub fn public_address(&self) -> Option<SocketAddr> {
        self.public.as_ref().map(address)
    }

    /// Where operators connect.
    pub fn operator_address(&self) -> SocketAddr {
        address(&self.operator)
    }
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} ({setting})"))
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound socket has an address")
}
