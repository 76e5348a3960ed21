//! How a name becomes addresses. Each connect asks anew and judges every answer; nothing here is trusted.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// A look-up under way.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks up names. The real one is [`SystemResolver`]; tests supply answers.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// All IPv4 and IPv6 addresses of `name`, a lower-case name without a final dot. The caller sets the time limit.
    ///
    /// # Errors
    /// When the name does not resolve.
    fn resolve(&self, name: &str) -> Lookup;
}

/// Look-ups at the same time. Each holds a thread for as long as the system's resolver takes, which may be much longer
/// than the caller waits; above this they queue within the caller's time limit.
const LOOKUPS_MAX: usize = 128;

/// The system's resolver.
///
/// The name is asked for with its final dot, so that no search domain applies. A hosts file may answer nonetheless: its
/// addresses are judged like any other.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    slots: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Lookup {
        let slots = Arc::clone(&self.slots);
        let name = format!("{name}.");
        Box::pin(async move {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                let addresses =
                    (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|found| found.ip()).collect());
                drop(slot); // only now: the caller may have gone, the thread was busy all the same
                addresses
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}
