//! The figures of `schedule`, for the document and for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::lateness::Punctuality;
use super::pending::Pending;
use crate::resources::Used;
use crate::stats::Latency;

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Events due over a time.
    pub(crate) spread: Punctuality,
    /// Events due in the same second.
    pub(crate) same_second: Punctuality,
    /// Requests about pending events.
    pub(crate) pending: Pending,
}

impl Figures {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<34}{value}"); // a String takes all
        };
        for (name, held) in [("spread", &self.spread), ("same second", &self.same_second)] {
            of_held(name, held, &mut line);
        }
        let pending = &self.pending;
        for request in &pending.requests {
            let (name, succeeded, others) = (request.name, request.succeeded, &request.others);
            let text = format!("{}   {succeeded} with success", latency(request.answer));
            line(&format!("{name}, {} pending", pending.events), text);
            if let Some(first) = others.first() {
                line("  NOT ALL WITH SUCCESS", format!("{} others, first: {first}", others.len()));
            }
        }
        let Pending { expected_after, listed_after, delivered_now_expected, delivered_now, came_uncalled, .. } =
            pending;
        line("  listed afterwards", format!("{listed_after}, expected {expected_after}"));
        let came = format!("{delivered_now} of {delivered_now_expected}, {}", latency(pending.delivered_after));
        line("  delivered now", format!("{came}; {came_uncalled} uncalled"));
        text
    }
}

fn of_held(name: &str, held: &Punctuality, line: &mut impl FnMut(&str, String)) {
    let Punctuality { accepted, delivered, repeated, early, over_seconds, .. } = held;
    line(
        &format!("{name}: {accepted} events"),
        format!(
            "due over {over_seconds} s; published in {} s, all held after {} s, {} s to spare",
            held.published_seconds, held.held_seconds, held.spare_seconds
        ),
    );
    line("  lateness", latency(held.lateness));
    if held.realtime_lateness.is_some() {
        line("  lateness, realtime", latency(held.realtime_lateness));
    }
    line(
        "  arrived",
        format!("{delivered}, {early} early, {repeated} again, {} missing; in {} s", held.missing(), held.seconds),
    );
    let [before, all_held] = held.broker_mib;
    line("  nats-server, resident", format!("{before} MiB before, {all_held} MiB with all held"));
    line("  nats-server", used(held.resources.nats_server));
    line("  slipstream", used(held.resources.slipstream));
}

fn used(used: Used) -> String {
    let memory = used.memory;
    format!("peak {} MiB, {} MiB at the end; {:.1} s CPU", memory.peak_mib, memory.resident_mib, used.cpu_seconds)
}

fn latency(latency: Option<Latency>) -> String {
    latency.map_or_else(
        || "-".to_owned(),
        |it| format!("p50 {:.2} ms  p99 {:.2}  max {:.2}", it.p50_ms, it.p99_ms, it.max_ms),
    )
}
