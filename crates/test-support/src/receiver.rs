//! A webhook receiver that does what a test tells it.
//!
//! It runs on a thread of its own, so that it answers however busy or paused the test's runtime is, keeps every
//! request, and answers by a script: slowly, wrongly, in part, or not at all. No script: 200 at once.
//!
//! It is asked for its consent (`OPTIONS`, SPEC 3.7) and grants it without a limit, unless [`Receiver::consent_by`] says
//! otherwise. Such requests are kept apart: everything else that a receiver tells and does is about deliveries.
//!
//! ```ignore
//! let receiver = Receiver::start().await;
//! receiver.script(|_, nth| if nth == 0 { Reply::status(503) } else { Reply::ok() });
//! // … publish …
//! let received = receiver.wait_for(2, Duration::from_secs(5)).await;
//! assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
//! ```

mod connection;
mod reply;
mod state;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use slipstream_core::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

pub use reply::{Reply, Then};
use state::State;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Its query, without the question mark.
    pub query: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// When the whole of it had arrived, for differences.
    pub at: Instant,
    /// The same by the wall clock, for comparing with an event's own times.
    pub timestamp: Timestamp,
}

impl Received {
    /// The value of a header; empty if it is absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("body is not JSON ({error}): {:?}", String::from_utf8_lossy(&self.body)))
    }
}

/// A running receiver; it stops, cutting every connection, when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
}

impl Receiver {
    /// Starts a receiver on a loopback port of the system's choice.
    pub async fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST).await
    }

    /// Starts a receiver on another address of loopback, such as 127.0.0.2: for tests in which receivers must be
    /// different *hosts*, because bounds per target host do not look at the port.
    ///
    /// # Panics
    ///
    /// If the machine has no such address.
    #[expect(clippy::unused_async, reason = "starting is asynchronous for every fixture, this one may become so")]
    pub async fn start_on(address: impl Into<IpAddr>) -> Self {
        crate::child::install_crypto();
        let address = address.into();
        assert!(address.is_loopback(), "a receiver is for loopback only, and {address} is not");
        // Bound before we return: a connection made at once waits in the queue instead of being refused.
        let listener = std::net::TcpListener::bind((address, 0)).expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a socket can be made nonblocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (state, stop) = (Arc::new(State::default()), CancellationToken::new());
        let serving = connection::serve(listener, Arc::clone(&state), stop.clone());
        std::thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
                runtime.block_on(serving);
            })
            .expect("a thread can be started");
        Self { address, state, stop }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://{address}:{port}{path}`, such as `http://127.0.0.1:40000/hook`; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers every path without a script of its own by `script`.
    ///
    /// `script` gets the request and how many came to the same path before it (0 for the first).
    pub fn script(&self, script: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static) {
        self.state.set_script(None, Arc::new(script));
    }

    /// Answers `path` by `script`; see [`Receiver::script`].
    pub fn script_path(&self, path: &str, script: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static) {
        self.state.set_script(Some(path), Arc::new(script));
    }

    /// Answers `OPTIONS` on every path by `script`, instead of with [`Reply::granted`].
    pub fn consent_by(&self, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        self.state.set_consent(Arc::new(script));
    }

    /// Every `OPTIONS` request so far, in order of arrival. No other method here knows of them, but
    /// [`Receiver::connections`] and [`Receiver::clear`].
    pub fn consents(&self) -> Vec<Arc<Received>> {
        self.state.consents()
    }

    /// Every request so far, in order of arrival.
    pub fn received(&self) -> Vec<Arc<Received>> {
        self.state.received(|_| true)
    }

    /// Every request to `path` so far, in order of arrival.
    pub fn received_at(&self, path: &str) -> Vec<Arc<Received>> {
        self.state.received(|request| request.path == path)
    }

    /// How often `needle` stands in the bodies that came to `path`: for messages in which texts and ids stand as they
    /// are, such as exported traces.
    pub fn count_in_bodies(&self, path: &str, needle: &[u8]) -> usize {
        let bodies = self.received_at(path);
        bodies.iter().map(|it| it.body.windows(needle.len()).filter(|window| *window == needle).count()).sum()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.state.count()
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.state.connections()
    }

    /// Most requests that were being answered at the same moment.
    pub fn in_flight_max(&self) -> usize {
        self.state.in_flight_max()
    }

    /// Forgets the requests so far; scripts stay, and count from 0 again.
    pub fn clear(&self) {
        self.state.clear();
    }

    /// Waits until at least `count` requests have come, and gives all.
    ///
    /// # Panics
    ///
    /// At the caller's line, if `limit` passes first; the message lists what came.
    #[track_caller]
    pub fn wait_for(&self, count: usize, limit: Duration) -> impl Future<Output = Vec<Arc<Received>>> + Send + use<> {
        self.wait(count, limit, None)
    }

    /// Waits until at least `count` requests have come to `path`, and gives all of that path.
    ///
    /// # Panics
    ///
    /// As [`Receiver::wait_for`].
    #[track_caller]
    pub fn wait_for_at(
        &self,
        path: &str,
        count: usize,
        limit: Duration,
    ) -> impl Future<Output = Vec<Arc<Received>>> + Send + use<> {
        self.wait(count, limit, Some(path.to_owned()))
    }

    #[track_caller]
    fn wait(
        &self,
        count: usize,
        limit: Duration,
        path: Option<String>,
    ) -> impl Future<Output = Vec<Arc<Received>>> + Send + use<> {
        let caller = Location::caller();
        let state = Arc::clone(&self.state);
        let deadline = Instant::now() + limit;
        async move {
            // Subscribed before looking, so that an arrival in between is not missed.
            let mut arrivals = state.arrivals();
            loop {
                let count_now = state.count_at(path.as_deref());
                if count_now >= count {
                    return state.received(|request| path.as_ref().is_none_or(|path| request.path == *path));
                }
                let left = deadline.saturating_duration_since(Instant::now());
                assert!(
                    !left.is_zero(),
                    "{caller}: {count_now} of {count} requests{} within {limit:?}; received:\n{}",
                    path.as_ref().map(|path| format!(" to {path}")).unwrap_or_default(),
                    state.summary()
                );
                // The state outlives us, so the sender is there; a timeout leads to the assertion above.
                let _ = tokio::time::timeout(left, arrivals.changed()).await;
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
