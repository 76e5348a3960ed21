//! The table for people.

use std::fmt::Write as _;

use super::{Accepting, Delivering, Harness, Mode};
use crate::resources::Used;
use crate::stats::Latency;

/// Width of the first column.
const NAME_WIDTH: usize = 34;

/// What the measuring costs, in a line.
pub(crate) fn harness(it: &Harness) -> String {
    let Harness { per_second, driver_us, receiver_us, .. } = it;
    format!(
        "driver and receiver alone: {per_second:.0} requests/s; CPU per request {driver_us} us + {receiver_us} us\n"
    )
}

/// One mode's figures in a few lines.
pub(crate) fn table(mode: &Mode) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<NAME_WIDTH$}{value}"); // a String takes all
    };
    let start = &mode.start_up;
    line(
        "ready on an empty directory",
        &format!(
            "{:.2} s; slipstream {} MiB, nats-server {} MiB, idle {:.1} % of a core",
            start.seconds,
            start.slipstream_mib,
            start.nats_server_mib,
            start.idle_cores * 100.0
        ),
    );
    let raw = &mode.raw;
    let acknowledged = short(raw.acknowledgement);
    let per_second =
        format!("{:>9.0} /s   {acknowledged}   nats-server {} us CPU each", raw.per_second, raw.nats_server_us);
    line(&format!("raw JetStream, {} in flight", raw.in_flight), &per_second);
    let accepting = &mode.accepting;
    line(
        &format!("accepted, {} connections", accepting.connections),
        &format!(
            "{:>9.0} /s   {}   {:.0} % of raw; {:.3} ms CPU each",
            accepting.accepted_per_second,
            short(accepting.answer),
            mode.accepted_share() * 100.0,
            accepting.cpu_ms_per_event
        ),
    );
    if accepting.accepted != accepting.sent || accepting.reconnects > 0 {
        let Accepting { sent, accepted, refused, reconnects, .. } = accepting;
        line("  NOT ALL ACCEPTED", &format!("{accepted} of {sent}; others {refused:?}; reconnects {reconnects}"));
    }
    for delivering in mode.delivering.iter().chain([&mode.open_loop]) {
        phase(delivering, &mut line);
    }
    let log = mode.activity_log;
    line("activity log, succeeded", &format!("{} listed of {} that arrived", log.listed_succeeded, log.expected));
    format!("sync {}\n{text}", mode.sync)
}

fn phase(it: &Delivering, line: &mut impl FnMut(&str, &str)) {
    let name = match it.scheduled_per_second {
        Some(rate) => format!("open loop {rate}/s, fan-out {}", it.fan_out),
        None => format!("delivered, fan-out {}, {} events", it.fan_out, it.accepted),
    };
    let speed = format!("{:>9.0} /s   {:.0} deliveries/s", it.events_per_second, it.deliveries_per_second);
    line(&name, &speed);
    line("  end to end", &long(it.end_to_end));
    let counts = it.counts;
    line(
        "  sent / accepted / deliveries",
        &format!(
            "{} / {} / {} of {}; missing {}, twice {}, strange {}",
            it.sent,
            it.accepted,
            counts.delivered,
            counts.expected,
            counts.missing,
            counts.duplicates,
            counts.unexpected
        ),
    );
    if !it.refused.is_empty() || it.reconnects > 0 {
        line("  NOT ALL ACCEPTED", &format!("{:?}; reconnects {}", it.refused, it.reconnects));
    }
    line("  recorded after the last arrival", &format!("{:.1} s", it.recorded_after_seconds));
    let cpu = format!("{:.3} ms per event, {:.3} per delivery", it.cpu_ms_per_event, it.cpu_ms_per_delivery);
    line("  CPU, ours + broker", &cpu);
    line("  memory, ours + broker", &format!("{} MiB, peak {} MiB", it.resident_mib, it.peak_mib));
    let used = &it.resources;
    line("    slipstream / nats-server", &format!("{} / {}", one(used.slipstream), one(used.nats_server)));
    line("    driver / receiver", &format!("{} / {}", one(used.driver), one(used.receiver)));
}

fn one(used: Used) -> String {
    format!("{:.2} s CPU, {} MiB (peak {})", used.cpu_seconds, used.memory.resident_mib, used.memory.peak_mib)
}

fn short(latency: Option<Latency>) -> String {
    latency.map_or_else(|| "-".to_owned(), |it| format!("p50 {:.2} ms  p99 {:.2} ms", it.p50_ms, it.p99_ms))
}

fn long(latency: Option<Latency>) -> String {
    latency.map_or_else(
        || "-".to_owned(),
        |it| format!("p50 {:.2} ms  p99 {:.2}  p99.9 {:.2}  max {:.2}", it.p50_ms, it.p99_ms, it.p999_ms, it.max_ms),
    )
}
