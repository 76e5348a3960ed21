//! The figures of `isolation`, for the document and for people.

use std::fmt::Write as _;

use serde::Serialize;

use crate::stats::{Latency, median, rounded};

/// What kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// All fifty receivers are good.
    Healthy,
    /// The forty, and nothing is published to the ten.
    Alone,
    /// Ten never answer.
    Hanging,
    /// Ten answer a byte a second, without end.
    Dripping,
}

impl Kind {
    /// All kinds, in the order in which they take turns.
    pub(crate) const ALL: [Self; 4] = [Self::Healthy, Self::Alone, Self::Hanging, Self::Dripping];

    /// For people.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "all fifty healthy",
            Self::Alone => "the forty alone",
            Self::Hanging => "ten never answer",
            Self::Dripping => "ten drip",
        }
    }

    /// What ten do, as the end of a sentence.
    pub(crate) const fn of_ten(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Alone => "absent",
            Self::Hanging => "hanging",
            Self::Dripping => "dripping",
        }
    }
}

/// What was measured of the forty in one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Events sent to the forty.
    pub(crate) sent: usize,
    /// Events accepted.
    pub(crate) accepted: usize,
    /// Events that arrived, by a little after the end.
    pub(crate) delivered: usize,
    /// Events accepted per second.
    pub(crate) offered_per_second: f64,
    /// Events that arrived before the end of the run, per second.
    pub(crate) delivered_per_second: f64,
    /// From when an event was due to be sent to its arrival; one that did not arrive counts as long as it was waited for.
    pub(crate) end_to_end: Option<Latency>,
    /// Events that reached the receivers of the ten, whatever these did with them.
    pub(crate) reached_bad: usize,
}

/// All runs, and the medians of each kind.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Events per second to all fifty.
    pub(crate) per_second: u32,
    /// Length of a run.
    pub(crate) seconds: u32,
    /// The medians.
    pub(crate) medians: Vec<Medians>,
    /// In the order in which they ran.
    pub(crate) runs: Vec<Run>,
}

/// The medians of the runs of one kind.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Medians {
    /// The kind.
    pub(crate) kind: Kind,
    /// Of p50.
    pub(crate) p50_ms: Option<f64>,
    /// Of p99.
    pub(crate) p99_ms: Option<f64>,
    /// Of the rate.
    pub(crate) delivered_per_second: Option<f64>,
}

/// One kind as a multiple of another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratios {
    /// Of p99.
    pub(crate) p99: Option<f64>,
    /// Of the rate.
    pub(crate) rate: Option<f64>,
}

impl Figures {
    /// With the medians of these runs.
    pub(super) fn of(per_second: u32, seconds: u32, runs: Vec<Run>) -> Self {
        let medians = Kind::ALL.map(|kind| {
            let of_kind = || runs.iter().filter(move |run| run.kind == kind);
            let latency =
                |of: fn(&Latency) -> f64| median(of_kind().filter_map(|run| run.end_to_end.as_ref().map(of)).collect());
            Medians {
                kind,
                p50_ms: latency(|it| it.p50_ms),
                p99_ms: latency(|it| it.p99_ms),
                delivered_per_second: median(of_kind().map(|run| run.delivered_per_second).collect()),
            }
        });
        Self { per_second, seconds, medians: medians.into(), runs }
    }

    fn medians(&self, kind: Kind) -> Option<&Medians> {
        self.medians.iter().find(|medians| medians.kind == kind)
    }

    /// The medians of `kind` as multiples of those of `base`.
    pub(super) fn ratios(&self, kind: Kind, base: Kind) -> Ratios {
        let ratio = |of: fn(&Medians) -> Option<f64>| {
            let (kind, base) = (self.medians(kind).and_then(of)?, self.medians(base).and_then(of)?);
            Some(rounded(kind / base, 3))
        };
        Ratios { p99: ratio(|it| it.p99_ms), rate: ratio(|it| it.delivered_per_second) }
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::from("medians, of the forty healthy ones\n");
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        for Medians { kind, p50_ms, p99_ms, delivered_per_second } in &self.medians {
            let Ratios { p99, rate } = self.ratios(*kind, Kind::Healthy);
            let _ = writeln!(
                text, // a String takes all
                "  {:<20}p50 {} ms  p99 {} ms ({} x)  delivered {}/s ({} x)",
                kind.as_str(),
                number(*p50_ms),
                number(*p99_ms),
                number(p99),
                number(*delivered_per_second),
                number(rate)
            );
        }
        text
    }
}

impl Run {
    /// For people.
    pub(super) fn line(&self) -> String {
        let latency = self.end_to_end.map_or_else(
            || "-".to_owned(),
            |it| format!("p50 {:.2} ms  p99 {:.2}  max {:.2}", it.p50_ms, it.p99_ms, it.max_ms),
        );
        let Self { kind, accepted, delivered, offered_per_second, delivered_per_second, reached_bad, .. } = self;
        format!(
            "{:<20}{latency}   {delivered_per_second:.1} of {offered_per_second:.1}/s; {delivered} of {accepted}; \
             {reached_bad} events reached the ten",
            kind.as_str()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: Kind, p99_ms: f64, delivered_per_second: f64) -> Run {
        Run {
            kind,
            sent: 100,
            accepted: 100,
            delivered: 100,
            offered_per_second: 320.0,
            delivered_per_second,
            end_to_end: Some(Latency { p50_ms: 2.0, p99_ms, p999_ms: p99_ms, max_ms: p99_ms }),
            reached_bad: 0,
        }
    }

    #[test]
    fn kinds_are_compared_by_their_medians() {
        let runs = vec![
            run(Kind::Healthy, 10.0, 320.0),
            run(Kind::Hanging, 14.0, 320.0),
            run(Kind::Healthy, 90.0, 320.0),
            run(Kind::Hanging, 15.0, 300.0),
            run(Kind::Healthy, 12.0, 310.0),
            run(Kind::Hanging, 80.0, 304.0),
        ];
        let figures = Figures::of(400, 35, runs);
        assert_eq!(figures.ratios(Kind::Hanging, Kind::Healthy), Ratios { p99: Some(1.25), rate: Some(0.95) });
        // Of this kind there was no run.
        assert_eq!(figures.ratios(Kind::Dripping, Kind::Healthy), Ratios { p99: None, rate: None });
    }
}
