//! Which port the broker listens on: chosen once, kept while it can be had.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Below the range that systems take the ports of outgoing connections from (Linux: 32768 and up): else any program's
/// connection could sit on the port in the moment in which a broker that died is started again.
const RANGE: RangeInclusive<u16> = 20_000..=29_999;
/// Ports tried before the system is asked for any.
const TRIED: usize = 50;

/// The port of the last start if it is still free, else a free one.
///
/// # Errors
/// When nothing can be bound at all.
pub(super) fn choose(directory: &Path) -> anyhow::Result<u16> {
    let kept = std::fs::read_to_string(file(directory)).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = kept.filter(|port| *port != 0 && is_free(*port)) {
        return Ok(port);
    }
    if let Some(port) = (0..TRIED).map(|_| rand::random_range(RANGE)).find(|port| is_free(*port)) {
        return Ok(port);
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    Ok(any.context("no loopback port is free for nats-server")?.port())
}

/// Keeps the port for the next start.
///
/// # Errors
/// When the directory cannot be written.
pub(super) fn keep(directory: &Path, port: u16) -> anyhow::Result<()> {
    let file = file(directory);
    std::fs::write(&file, format!("{port}\n")).with_context(|| format!("cannot write {}", file.display()))
}

/// Whether a server could listen there now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn file(directory: &Path) -> PathBuf {
    directory.join("port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_kept_until_somebody_else_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let port = choose(directory.path()).unwrap();
        keep(directory.path(), port).unwrap();
        assert_eq!(choose(directory.path()).unwrap(), port);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(choose(directory.path()).unwrap(), port);
    }

    #[test]
    fn a_spoilt_file_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "x", "0", "70000"] {
            std::fs::write(file(directory.path()), text).unwrap();
            assert!(RANGE.contains(&choose(directory.path()).unwrap()), "{text:?}");
        }
    }
}
