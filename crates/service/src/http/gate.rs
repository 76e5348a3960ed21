//! How many connections there may be, and how many of one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::names;

/// Counts connections. Its lock is taken when a connection comes and when it goes, not per request.
#[derive(Debug)]
pub(super) struct Gate {
    max: usize,
    per_address_max: usize,
    open: AtomicUsize,
    per_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    ConnectionsMax,
    ConnectionsPerAddressMax,
}

impl Refusal {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionsMax => "connections_max",
            Self::ConnectionsPerAddressMax => "connections_per_address_max",
        }
    }
}

impl Gate {
    pub(super) fn new(max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { max, per_address_max, open: AtomicUsize::new(0), per_address: Mutex::default() })
    }

    /// Lets a connection from `address` in, if there is room.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Pass, Refusal> {
        let address = network_of(address);
        let mut per_address = self.lock();
        if self.open.load(Ordering::Relaxed) >= self.max {
            return Err(Refusal::ConnectionsMax);
        }
        let count = per_address.entry(address).or_insert(0);
        if *count >= self.per_address_max {
            return Err(Refusal::ConnectionsPerAddressMax);
        }
        *count += 1;
        self.open.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!(names::HTTP_SERVER_CONNECTIONS).increment(1);
        Ok(Pass { gate: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Counts only: nothing is left half done under this lock.
        self.per_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut per_address = self.gate.lock();
        if let Some(count) = per_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                per_address.remove(&self.address);
            }
        }
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!(names::HTTP_SERVER_CONNECTIONS).decrement(1);
    }
}

/// What counts as one address: an IPv4 address, or a whole IPv6 /64, which is what one customer gets.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let gate = Gate::new(3, 2);
        let enter = |address: &str| gate.enter(address.parse().unwrap());
        let first = enter("10.0.0.1").unwrap();
        let _second = enter("::ffff:10.0.0.1").unwrap();
        assert_eq!(enter("10.0.0.1").unwrap_err(), Refusal::ConnectionsPerAddressMax);
        let _third = enter("2001:db8::1").unwrap();
        assert_eq!(enter("10.0.0.2").unwrap_err(), Refusal::ConnectionsMax);
        drop(first);
        let again = enter("10.0.0.1").unwrap();
        drop(again);
        assert_eq!(gate.lock().len(), 2);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let gate = Gate::new(10, 1);
        let _pass = gate.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(gate.enter("2001:db8::ffff:1".parse().unwrap()).is_err());
        assert!(gate.enter("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }
}
