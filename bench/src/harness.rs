//! Driver and receiver against each other, with nothing between: what they cost, and that they count right.

use std::time::Duration;

use anyhow::ensure;

use crate::count;
use crate::driver::{self, Load};
use crate::event::{Letter, Request};
use crate::phases::CONNECTIONS;
use crate::procfs;
use crate::receiver::Receiver;
use crate::report::Harness;
use crate::stats::{rate, rounded};

/// The number in the receiver's path.
const HOOK: u16 = 0;

/// Sends `events` requests straight to a receiver.
///
/// # Errors
/// If one is not answered, or not noted exactly once: then no other figure could be trusted.
pub(crate) async fn measure(events: u32) -> anyhow::Result<Harness> {
    let mut receiver = Receiver::start(1).await?;
    let address = receiver.address();
    let request = Request::new(&address.to_string(), &format!("/hook/{HOOK}"), "none", Letter::default());
    let limit = Duration::from_secs(30);
    let load = Load { address, requests: vec![request], phase: 1, events, connections: CONNECTIONS, limit };
    let pids = [std::process::id(), receiver.pid()];
    let cpu_before = [procfs::cpu_seconds(pids[0])?, procfs::cpu_seconds(pids[1])?];
    let published = driver::publish(&load).await?;
    let cpu_us = |index: usize| {
        let seconds = procfs::cpu_seconds(pids[index])? - cpu_before[index];
        anyhow::Ok(rounded(seconds * 1e6 / f64::from(events), 1))
    };
    let (driver_us, receiver_us) = (cpu_us(0)?, cpu_us(1)?);
    let counts = count::compare(&published, &receiver.take().await?, load.phase, &(HOOK..HOOK + 1)).counts;
    let all = events as usize;
    let is_right = counts.delivered == all && counts.duplicates == 0 && counts.unexpected == 0;
    ensure!(is_right, "driver and receiver disagree: {events} sent, {counts:?}");
    let seconds = (published.answered_at() - published.first_at()) as f64 / 1e9;
    Ok(Harness { requests: all, per_second: rate(u64::from(events), seconds), driver_us, receiver_us })
}
