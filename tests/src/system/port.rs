//! Ports for programs that cannot tell which one they got.

use std::net::TcpListener;

/// Below what systems hand out to outgoing connections (32768 and up on Linux), so that none of those takes a port
/// between our look and the program's, or while the program is dead and about to be started again.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A loopback port that nobody listens on.
///
/// # Panics
///
/// If there is none.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut random = std::iter::repeat_with(|| rand::random_range(PORTS));
    random.by_ref().take(1000).find(is_free).expect("one of a thousand ports is free")
}
