//! Ports for programs that cannot tell which one they got.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use slipstream_test_support::env;

/// Below what systems hand out to outgoing connections (32768 and up on Linux), so that none of those takes a port
/// between our look and the program's, or while the program is dead and about to be started again.
const PORTS: Range<u16> = 12_000..32_000;
/// Each test that runs has a part of them to itself, by the number that nextest gives it among those that run.
const PARTS: u16 = 16;

/// What this process has handed out: nobody may listen there yet, and it is taken all the same.
static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A loopback port that nobody listens on and nobody else is given.
///
/// # Panics
///
/// If there is none.
pub fn free_port() -> u16 {
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut random = std::iter::repeat_with(|| rand::random_range(part()));
    let is_free = |port: &u16| !handed_out.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = random.by_ref().take(1000).find(is_free).expect("one of a thousand ports is free");
    handed_out.insert(port);
    port
}

/// The ports of this test; all of them where nobody numbers tests.
fn part() -> Range<u16> {
    let slot = env::variable("NEXTEST_TEST_GLOBAL_SLOT").and_then(|slot| slot.parse::<u16>().ok());
    slot.map_or(PORTS, |slot| {
        let len = PORTS.len() as u16 / PARTS;
        let start = PORTS.start + slot % PARTS * len;
        start..start + len
    })
}
