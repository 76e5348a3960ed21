//! What arrived, against what was accepted.

use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;

use crate::driver::Published;
use crate::receiver::Arrival;

/// Deliveries of a phase, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Accepted events times subscriptions.
    pub(crate) expected: usize,
    /// Different deliveries that were expected and came.
    pub(crate) delivered: usize,
    /// Expected and never came.
    pub(crate) missing: usize,
    /// Came once more.
    pub(crate) duplicates: usize,
    /// Came, but belong to no accepted event or to no subscription of the site.
    pub(crate) unexpected: usize,
}

/// The counts, and what is measured of each delivery.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The counts.
    pub(crate) counts: Counts,
    /// From the event's (due) sending to the first arrival, in nanoseconds, one for each delivery.
    pub(crate) end_to_end: Vec<u64>,
    /// When the last one came; 0 if none did.
    pub(crate) last_at: u64,
}

/// Compares the arrivals of `phase` with what was published in it to a site whose subscriptions are `hooks`.
pub(crate) fn compare(published: &Published, arrivals: &[Arrival], phase: u16, hooks: &Range<u16>) -> Outcome {
    let fan_out = hooks.len();
    let sent_at: HashMap<u32, u64> =
        published.sent.iter().filter(|sent| sent.is_accepted()).map(|sent| (sent.number, sent.at)).collect();
    let size = sent_at.keys().max().map_or(0, |number| *number as usize + 1) * fan_out;
    let mut first_at: Vec<Option<u64>> = vec![None; size];
    let mut counts = Counts { expected: sent_at.len() * fan_out, ..Counts::default() };
    let mut outcome = Outcome { counts, end_to_end: Vec::with_capacity(counts.expected), last_at: 0 };
    for arrival in arrivals {
        let sent = sent_at.get(&arrival.event.number).filter(|_| arrival.event.phase == phase);
        let (Some(sent), true) = (sent, hooks.contains(&arrival.hook)) else {
            counts.unexpected += 1;
            continue;
        };
        let place = arrival.event.number as usize * fan_out + usize::from(arrival.hook - hooks.start);
        if first_at[place].replace(arrival.at).is_some() {
            counts.duplicates += 1;
            continue;
        }
        counts.delivered += 1;
        outcome.end_to_end.push(arrival.at.saturating_sub(*sent));
        outcome.last_at = outcome.last_at.max(arrival.at);
    }
    counts.missing = counts.expected - counts.delivered;
    outcome.counts = counts;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Sent;
    use crate::event::EventId;

    fn arrival(number: u32, hook: u16, at: u64) -> Arrival {
        Arrival { event: EventId { phase: 1, number }, hook, at }
    }

    #[test]
    fn missing_double_and_strange_deliveries_are_told_apart() {
        let sent = |number, status| Sent { number, at: 100, answered_after: None, status };
        let published = Published { sent: vec![sent(0, 204), sent(1, 503), sent(2, 204)], reconnects: 0 };
        let of_another_phase = Arrival { event: EventId { phase: 2, number: 0 }, hook: 5, at: 1 };
        let arrivals = [
            arrival(0, 5, 150),
            arrival(0, 6, 170),
            arrival(2, 6, 190),
            arrival(0, 6, 900), // again
            arrival(1, 5, 200), // was refused
            arrival(2, 4, 200), // not a subscription of this site
            of_another_phase,
        ];
        let outcome = compare(&published, &arrivals, 1, &(5..7));
        let counts = Counts { expected: 4, delivered: 3, missing: 1, duplicates: 1, unexpected: 3 };
        assert_eq!(outcome.counts, counts);
        assert_eq!((outcome.end_to_end, outcome.last_at), (vec![50, 70, 90], 190));
    }

    #[test]
    fn nothing_accepted_means_nothing_expected() {
        let outcome = compare(&Published::default(), &[arrival(0, 0, 1)], 1, &(0..1));
        assert_eq!(outcome.counts, Counts { unexpected: 1, ..Counts::default() });
    }
}
