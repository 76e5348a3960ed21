//! Open connections that wait for their next request, and the bound on requests per host.
//!
//! Kept by the host's name as the URL has it, so a connection is never used for another name because the address or
//! the certificate would fit. Everything here is bounded: connections per host and in total by number, hosts by being
//! forgotten when nothing is kept for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::target::{Scheme, Target};

/// Requests in flight to one host, over all tenants, so that we are no amplifier (THREATS 3).
pub(crate) const IN_FLIGHT_PER_HOST_MAX: usize = 64;
/// How long a connection is given new requests after its address was judged (THREATS 3).
pub(crate) const REUSE_MAX: Duration = Duration::from_mins(1);
/// How long a connection waits for its next request. Common servers close after 5 s to 75 s without one; a request that
/// crosses such a close on the wire is a failed attempt, and the shorter the wait the rarer that is.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Connections that wait, over all hosts.
const IDLE_TOTAL_MAX: usize = 1024;
/// How often connections that waited too long are closed.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Pool {
    hosts: Mutex<HashMap<Arc<str>, Arc<Host>>>,
    waiting: Arc<AtomicUsize>,
    waiting_per_host_max: usize,
}

/// What is kept for one host.
pub(crate) struct Host {
    /// One permit per request in flight.
    pub(crate) slots: Semaphore,
    waiting: Mutex<Vec<Waiting>>,
}

/// A connection that waits. At most one per origin if it is shared, any number otherwise.
struct Waiting {
    origin: Origin,
    connection: Connection,
    since: Instant,
    _counted: Counted,
}

type Origin = (Scheme, u16);

fn origin(target: &Target) -> Origin {
    (target.scheme(), target.port())
}

/// One in the count of all connections that wait.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Option<Self> {
        let counted = Self(Arc::clone(count));
        // Above the limit the new one is dropped again, which counts back.
        (count.fetch_add(1, Ordering::Relaxed) < IDLE_TOTAL_MAX).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiting {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.connection.checked_at) < REUSE_MAX && now.duration_since(self.since) < IDLE_MAX
    }
}

/// A panic while the lock was held leaves a list of connections, which is fine to go on with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// An empty pool, swept by a task that ends with it.
    pub(crate) fn new(waiting_per_host_max: usize) -> Arc<Self> {
        let pool =
            Arc::new(Self { hosts: Mutex::default(), waiting: Arc::new(AtomicUsize::new(0)), waiting_per_host_max });
        let weak = Arc::downgrade(&pool);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP_EVERY);
            loop {
                ticks.tick().await;
                let Some(pool) = weak.upgrade() else { return };
                pool.sweep(Instant::now());
            }
        });
        pool
    }

    /// What is kept for the target's host.
    pub(crate) fn host(&self, target: &Target) -> Arc<Host> {
        let mut hosts = lock(&self.hosts);
        if let Some(host) = hosts.get(target.host()) {
            return Arc::clone(host);
        }
        let host = Arc::new(Host { slots: Semaphore::new(IN_FLIGHT_PER_HOST_MAX), waiting: Mutex::default() });
        hosts.insert(Arc::clone(target.host()), Arc::clone(&host));
        host
    }

    /// Keeps a connection for the next request to the same origin; closes it if there are too many.
    pub(crate) fn keep(&self, host: &Host, target: &Target, connection: Connection, now: Instant) {
        let origin = origin(target);
        let mut waiting = lock(&host.waiting);
        if connection.is_http2() {
            // The newest takes the place of an older one, which lives on for the requests that share it.
            waiting.retain(|kept| kept.origin != origin);
        } else if waiting.len() >= self.waiting_per_host_max {
            return;
        }
        if let Some(counted) = Counted::new(&self.waiting) {
            waiting.push(Waiting { origin, connection, since: now, _counted: counted });
        }
    }

    fn sweep(&self, now: Instant) {
        lock(&self.hosts).retain(|_, host| {
            let mut waiting = lock(&host.waiting);
            waiting.retain(|kept| kept.is_fresh(now));
            // Somebody who holds the host also holds its slots: a second `Host` beside it would double the bound.
            !waiting.is_empty() || Arc::strong_count(host) > 1
        });
    }
}

impl Host {
    /// The connection that was used last, if it may still be used; a shared one stays here as well. Whether it *can*
    /// still be used, [`Connection::is_reusable`] tells.
    pub(crate) fn take(&self, target: &Target, now: Instant) -> Option<Connection> {
        let origin = origin(target);
        let mut waiting = lock(&self.waiting);
        loop {
            let at = waiting.iter().rposition(|kept| kept.origin == origin)?;
            if !waiting[at].is_fresh(now) {
                waiting.swap_remove(at);
                continue;
            }
            if let Some(shared) = waiting[at].connection.share() {
                waiting[at].since = now;
                return Some(shared);
            }
            return Some(waiting.remove(at).connection);
        }
    }

    /// Forgets a shared connection, so that no new request meets what this one met.
    pub(crate) fn forget(&self, connection: &Connection) {
        lock(&self.waiting).retain(|kept| !kept.connection.is_same(connection));
    }
}

#[cfg(test)]
impl Pool {
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (lock(&self.hosts).len(), self.waiting.load(Ordering::Relaxed))
    }
}
