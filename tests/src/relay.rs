//! A cable to a server that can be cut and mended.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::system::port::free_port;

/// Listens on loopback and passes everything on to a server. Cut, it refuses connections, as a dead server does.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    server: String,
    line: Option<Line>,
}

#[derive(Debug)]
struct Line {
    stop: CancellationToken,
    listening: JoinHandle<()>,
}

impl Relay {
    /// A whole cable to `server` (`host:port`).
    pub(crate) async fn to(server: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut relay = Self { address, server: server.to_owned(), line: None };
        relay.mend().await;
        relay
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections and refuses new ones.
    pub(crate) async fn cut(&mut self) {
        if let Some(Line { stop, listening }) = self.line.take() {
            stop.cancel();
            listening.await.expect("the relay does not panic");
        }
    }

    /// Makes it whole again, at the same address.
    pub(crate) async fn mend(&mut self) {
        if self.line.is_some() {
            return;
        }
        let listener = TcpListener::bind(self.address).await.expect("nobody else takes the relay's port");
        let stop = CancellationToken::new();
        let listening = tokio::spawn(listen(listener, self.server.clone(), stop.clone()));
        self.line = Some(Line { stop, listening });
    }
}

async fn listen(listener: TcpListener, server: String, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        // A connection that was given up before it was taken is nobody's loss.
        let Ok((mut near, _)) = accepted else { continue };
        let (server, stop) = (server.clone(), stop.clone());
        tokio::spawn(async move {
            let pass_on = async {
                let mut far = TcpStream::connect(server).await?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            };
            // An error is the end of one of the two; the other notices when we drop it.
            let _ = stop.run_until_cancelled(pass_on).await;
        });
    }
}
