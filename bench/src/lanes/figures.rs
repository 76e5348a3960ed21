//! The figures of `lanes`, for the document and for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::flood::Flood;
use crate::stats::{Latency, median, rounded};

/// All configurations.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// One after the other.
    pub(crate) configurations: Vec<Configuration>,
}

/// What was measured on one platform.
#[derive(Debug, Serialize)]
pub(crate) struct Configuration {
    /// Dispatchers on one broker.
    pub(crate) dispatchers: usize,
    /// How long the receiver takes for each delivery, in milliseconds.
    pub(crate) receiver_ms: u16,
    /// Realtime on an idle system.
    pub(crate) idle: Vec<Run>,
    /// Realtime while normal events wait.
    pub(crate) meanwhile: Vec<Meanwhile>,
    /// Normal while realtime floods.
    pub(crate) flood: Flood,
    /// Median of the runs' p99.
    pub(crate) idle_p99_ms: Option<f64>,
    /// The same while normal events wait.
    pub(crate) meanwhile_p99_ms: Option<f64>,
    /// The one as a multiple of the other.
    pub(crate) realtime_multiple: Option<f64>,
    /// Median of the normal deliveries per second, alone.
    pub(crate) normal_alone_per_second: Option<f64>,
    /// The same beside realtime.
    pub(crate) normal_meanwhile_per_second: Option<f64>,
}

/// One run of realtime events.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    /// Events sent.
    pub(crate) sent: u32,
    /// Events accepted.
    pub(crate) accepted: u32,
    /// Events that arrived.
    pub(crate) delivered: u32,
    /// Arrivals beyond the first.
    pub(crate) repeated: u32,
    /// From when an event was due to be sent to its arrival; one that did not arrive counts as long as it was waited for.
    pub(crate) end_to_end: Option<Latency>,
}

/// One run while normal events wait.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Meanwhile {
    /// The realtime events.
    #[serde(flatten)]
    pub(crate) run: Run,
    /// Normal events that waited when it began.
    pub(crate) waiting_before: u32,
    /// And when it had ended.
    pub(crate) waiting_after: u32,
    /// Normal deliveries per second shortly before, without realtime.
    pub(crate) alone_per_second: f64,
    /// Normal deliveries per second during the run.
    pub(crate) normal_per_second: f64,
}

impl Configuration {
    /// With the medians of the runs.
    pub(super) fn new(
        dispatchers: usize,
        receiver_ms: u16,
        idle: Vec<Run>,
        meanwhile: Vec<Meanwhile>,
        flood: Flood,
    ) -> Self {
        let p99 = |runs: &mut dyn Iterator<Item = &Run>| {
            median(runs.filter_map(|run| Some(run.end_to_end?.p99_ms)).collect())
        };
        let idle_p99_ms = p99(&mut idle.iter());
        let meanwhile_p99_ms = p99(&mut meanwhile.iter().map(|it| &it.run));
        let multiple = meanwhile_p99_ms.zip(idle_p99_ms).map(|(meanwhile, idle)| rounded(meanwhile / idle, 2));
        let alone = median(meanwhile.iter().map(|it| it.alone_per_second).collect());
        let normal = median(meanwhile.iter().map(|it| it.normal_per_second).collect());
        Self {
            dispatchers,
            receiver_ms,
            idle,
            meanwhile,
            flood,
            idle_p99_ms,
            meanwhile_p99_ms,
            realtime_multiple: multiple,
            normal_alone_per_second: alone,
            normal_meanwhile_per_second: normal,
        }
    }

    /// All runs of realtime events.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.idle.iter().chain(self.meanwhile.iter().map(|it| &it.run))
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<32}{value}"); // a String takes all
        };
        for run in &self.idle {
            line("realtime, idle", run.text());
        }
        for it in &self.meanwhile {
            line("realtime, normal waiting", it.run.text());
            let Meanwhile { waiting_before, waiting_after, alone_per_second, normal_per_second, .. } = it;
            line("  normal events waiting", format!("{waiting_before} at the beginning, {waiting_after} at the end"));
            line("  normal deliveries", format!("{normal_per_second:.0}/s, alone {alone_per_second:.0}/s"));
        }
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let (idle, meanwhile) = (number(self.idle_p99_ms), number(self.meanwhile_p99_ms));
        let multiple = number(self.realtime_multiple);
        line("median of p99", format!("idle {idle} ms, normal waiting {meanwhile} ms: {multiple} x"));
        let (alone, normal) = (self.normal_alone_per_second, self.normal_meanwhile_per_second);
        let share = number(normal.zip(alone).map(|(normal, alone)| normal / alone));
        line(
            "median of normal deliveries",
            format!("alone {}/s, beside realtime {}/s: {share} x", number(alone), number(normal)),
        );
        let flood = &self.flood;
        line(
            "realtime floods",
            format!(
                "normal {:.0}/s, realtime {:.0}/s: normal has {} of it; {:.0}/s realtime accepted",
                flood.normal_per_second,
                flood.realtime_per_second,
                number(flood.normal_share()),
                flood.realtime_accepted_per_second
            ),
        );
        let ([realtime_from, realtime_to], [normal_from, normal_to]) = (flood.realtime_waiting, flood.normal_waiting);
        line(
            "  waiting, beginning and end",
            format!("realtime {realtime_from}, {realtime_to}; normal {normal_from}, {normal_to}"),
        );
        text
    }
}

impl Run {
    fn text(&self) -> String {
        let Self { sent, delivered, repeated, end_to_end, .. } = self;
        let latency = end_to_end.map_or_else(String::new, |it| {
            format!("p50 {:.2} ms  p99 {:.2}  max {:.2}   ", it.p50_ms, it.p99_ms, it.max_ms)
        });
        format!("{latency}{delivered} of {sent} delivered, {repeated} again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(p99_ms: f64) -> Run {
        let end_to_end = Some(Latency { p50_ms: 1.0, p99_ms, p999_ms: p99_ms, max_ms: p99_ms });
        Run { sent: 200, accepted: 200, delivered: 200, repeated: 0, end_to_end }
    }

    #[test]
    fn the_multiple_is_of_medians() {
        let flood = Flood {
            seconds: 10.0,
            realtime_accepted_per_second: 5000.0,
            realtime_per_second: 700.0,
            normal_per_second: 100.0,
            realtime_waiting: [1, 2],
            normal_waiting: [3, 4],
        };
        assert_eq!(flood.normal_share(), Some(0.125));
        let meanwhile = [90.0, 12.0, 15.0].map(|p99_ms| Meanwhile {
            run: run(p99_ms),
            waiting_before: 100_000,
            waiting_after: 70_000,
            alone_per_second: 3000.0,
            normal_per_second: 2700.0,
        });
        let idle = [5.0, 50.0, 4.0].map(run);
        let configuration = Configuration::new(3, 0, idle.into(), meanwhile.into(), flood);
        assert_eq!(configuration.realtime_multiple, Some(3.0));
        assert_eq!(configuration.runs().count(), 6);
        assert!(configuration.table().contains("3.00 x"), "{}", configuration.table());
    }
}
