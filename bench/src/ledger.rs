//! What arrived of each phase: the first arrival of every event, where each has one subscription.

use std::collections::HashMap;
use std::ops::Range;

use crate::receiver::Arrival;

/// All that arrived, by phase.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    phases: HashMap<u16, Phase>,
}

/// What arrived of one phase.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    /// The first arrival of each event, by its number.
    first: Vec<Option<Arrival>>,
    /// Events that arrived.
    delivered: u32,
    /// Arrivals of events that had arrived before.
    repeated: u32,
}

impl Ledger {
    /// Notes what the receiver tells.
    pub(crate) fn note(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            self.phases.entry(arrival.event.phase).or_default().note(arrival);
        }
    }

    /// What arrived of a phase so far.
    pub(crate) fn phase(&self, phase: u16) -> &Phase {
        const NOTHING: &Phase = &Phase { first: Vec::new(), delivered: 0, repeated: 0 };
        self.phases.get(&phase).unwrap_or(NOTHING)
    }
}

impl Phase {
    fn note(&mut self, arrival: Arrival) {
        let place = arrival.event.number as usize;
        if self.first.len() <= place {
            self.first.resize(place + 1, None);
        }
        match &mut self.first[place] {
            // The receiver tells in the order of arrival.
            Some(_) => self.repeated += 1,
            none => {
                *none = Some(arrival);
                self.delivered += 1;
            }
        }
    }

    /// How many events arrived.
    pub(crate) const fn delivered(&self) -> u32 {
        self.delivered
    }

    /// How many arrivals were repeats.
    pub(crate) const fn repeated(&self) -> u32 {
        self.repeated
    }

    /// The first arrival of event `number`.
    pub(crate) fn first(&self, number: u32) -> Option<Arrival> {
        self.first.get(number as usize).copied().flatten()
    }

    /// The first arrivals, in the order of the events' numbers.
    pub(crate) fn arrivals(&self) -> impl Iterator<Item = Arrival> {
        self.first.iter().copied().flatten()
    }

    /// How many events arrived first within a time, given in [`crate::clock::now_nanos`].
    pub(crate) fn within(&self, time: &Range<u64>) -> u32 {
        self.arrivals().filter(|arrival| time.contains(&arrival.at)).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;

    #[test]
    fn the_first_arrival_counts_and_the_others_are_counted() {
        let arrival = |phase, number, at| Arrival { event: EventId { phase, number }, hook: 0, at };
        let mut ledger = Ledger::default();
        ledger.note(vec![arrival(1, 3, 100), arrival(1, 0, 110), arrival(1, 3, 120), arrival(2, 3, 130)]);
        let phase = ledger.phase(1);
        assert_eq!((phase.delivered(), phase.repeated()), (2, 1));
        assert_eq!(phase.first(3).map(|arrival| arrival.at), Some(100));
        assert_eq!((phase.first(1), phase.first(4)), (None, None));
        assert_eq!((phase.within(&(100..110)), phase.within(&(100..200))), (1, 2));
        assert_eq!(ledger.phase(9).delivered(), 0);
    }
}
