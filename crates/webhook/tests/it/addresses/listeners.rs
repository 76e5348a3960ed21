//! Somebody who listens on the forbidden addresses on which one can: those of loopback.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{OK, read_request};

/// The allowed stand-in, and some of what is forbidden. Nobody can connect to the first and last address of loopback.
const ADDRESSES: [&str; 6] = [super::ALLOWED, "127.0.0.1", "127.0.0.53", "127.127.255.255", "127.255.255.254", "::1"];

/// Listeners on one port of several addresses, each counting its connections and answering 200.
pub(super) struct Listeners {
    pub(super) port: u16,
    peers: BTreeMap<IpAddr, Arc<Mutex<Vec<SocketAddr>>>>,
    /// End with this.
    tasks: JoinSet<()>,
}

impl Listeners {
    pub(super) async fn start() -> Self {
        loop {
            let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            if let Some(listeners) = Self::on(port).await {
                return listeners;
            }
        }
    }

    /// None if somebody else has the port on one of the addresses.
    async fn on(port: u16) -> Option<Self> {
        let mut listeners = Self { port, peers: BTreeMap::new(), tasks: JoinSet::new() };
        for ip in ADDRESSES.map(|text| text.parse::<IpAddr>().unwrap()) {
            match TcpListener::bind((ip, port)).await {
                Ok(listener) => {
                    let peers = Arc::default();
                    listeners.peers.insert(ip, Arc::clone(&peers));
                    listeners.tasks.spawn(serve(listener, peers));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return None,
                // A machine without IPv6.
                Err(error) => assert!(ip.is_ipv6(), "{ip}: {error}"),
            }
        }
        Some(listeners)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.peers.keys().map(|ip| SocketAddr::new(*ip, self.port))
    }

    /// How many connections each address got. A last one of our own, behind all others in the queue, tells that none is
    /// still to be counted.
    pub(super) async fn connections(&self) -> BTreeMap<IpAddr, usize> {
        let mut counts = BTreeMap::new();
        for (ip, peers) in &self.peers {
            let last = TcpStream::connect((*ip, self.port)).await.unwrap();
            let last = last.local_addr().unwrap();
            let counted = async {
                loop {
                    if let Some(count) = peers.lock().unwrap().iter().position(|peer| *peer == last) {
                        return count;
                    }
                    tokio::task::yield_now().await;
                }
            };
            counts.insert(*ip, tokio::time::timeout(Duration::from_secs(10), counted).await.unwrap());
        }
        counts
    }
}

async fn serve(listener: TcpListener, peers: Arc<Mutex<Vec<SocketAddr>>>) {
    loop {
        let (mut stream, peer) = listener.accept().await.unwrap();
        peers.lock().unwrap().push(peer);
        tokio::spawn(async move {
            while read_request(&mut stream).await.is_some() {
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}
