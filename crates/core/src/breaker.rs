//! When an endpoint that keeps failing is left alone, and how it is tried again (issue 3, "Isolation"; DESIGN 4).
//!
//! A circuit breaker per endpoint and dispatcher. It spares the receiver, and our places in flight: an endpoint that
//! answers nothing holds one of them, not all it may have. It decides *when* an attempt may start, never *whether* there
//! will be one: a delivery that finds it open waits without using up an attempt.
//!
//! After an outage requests come back slowly: one probe, then one more in flight for each success (THREATS 10,
//! "receiver back after an outage").

use std::time::Duration;

use crate::timestamp::Timestamp;

/// Failures in a row that open the breaker.
pub const FAILURES_MAX: u32 = 10;
/// How long it stays open at first; twice as long after each probe that fails.
pub const OPEN_MIN: Duration = Duration::from_secs(5);
/// The longest it stays open.
pub const OPEN_MAX: Duration = Duration::from_mins(5);
/// In flight at an endpoint that has not succeeded yet, or not since it failed.
pub const IN_FLIGHT_FIRST: usize = 2;

/// The breaker of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    /// The first of the failures in a row.
    failing_since: Option<Timestamp>,
    /// Until when nothing starts, and how often it has been opened without a success.
    open: Option<(Timestamp, u32)>,
    /// How many may be in flight, below what the endpoint is allowed.
    in_flight_max: usize,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 0, failing_since: None, open: None, in_flight_max: IN_FLIGHT_FIRST }
    }
}

/// What a breaker says about an attempt that would start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// It may start, as long as no more than this many are in flight with it.
    UpTo(usize),
    /// Nothing starts before this instant.
    NotBefore(Timestamp),
}

/// What an attempt changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing worth telling.
    None,
    /// It has just opened, for the first time since a success.
    Opened,
    /// It was open and has closed.
    Closed,
}

impl Breaker {
    /// Whether an attempt may start at `now`.
    pub fn permit(&self, now: Timestamp) -> Permit {
        match self.open {
            // One that lies further ahead than any pause was set before the clock was set back.
            Some((until, _)) if now < until && until.since(now) <= OPEN_MAX => Permit::NotBefore(until),
            // Half open: one probe, and nothing beside it.
            Some(_) => Permit::UpTo(1),
            None => Permit::UpTo(self.in_flight_max),
        }
    }

    /// An attempt that started at `started_at` was taken.
    pub fn succeeded(&mut self, allowed: usize) -> Change {
        let was_open = self.open.is_some();
        let in_flight_max = if was_open { 1 } else { self.in_flight_max };
        *self = Self { in_flight_max: (in_flight_max + 1).min(allowed.max(1)), ..Self::default() };
        if was_open { Change::Closed } else { Change::None }
    }

    /// An attempt that started at `started_at` and ended at `now` came to nothing: no answer, or one that asks for a
    /// repeat.
    pub fn failed(&mut self, started_at: Timestamp, now: Timestamp) -> Change {
        self.failures = self.failures.saturating_add(1);
        self.failing_since = Some(self.failing_since.map_or(started_at, |since| since.min(started_at)));
        self.in_flight_max = IN_FLIGHT_FIRST;
        match self.open {
            // An attempt from before it opened says nothing new.
            Some((until, _)) if started_at < until => Change::None,
            Some((_, times)) => {
                self.open = Some((now.after(open_for(times)), times.saturating_add(1)));
                Change::None
            }
            None if self.failures >= FAILURES_MAX => {
                self.open = Some((now.after(open_for(0)), 1));
                Change::Opened
            }
            None => Change::None,
        }
    }

    /// Whether it is open or half open.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How many failures there were in a row, and when the first of them started.
    pub fn failures(&self) -> (u32, Option<Timestamp>) {
        (self.failures, self.failing_since)
    }
}

/// How long it stays open after `times` openings without a success.
fn open_for(times: u32) -> Duration {
    OPEN_MIN.saturating_mul(1 << times.min(16)).min(OPEN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for number in 1..=FAILURES_MAX {
            let expected = if number == FAILURES_MAX { Change::Opened } else { Change::None };
            assert_eq!(breaker.failed(NOW, NOW), expected);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_when_one_succeeds_between() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            for _ in 1..FAILURES_MAX {
                assert_eq!(breaker.failed(NOW, NOW), Change::None);
            }
            breaker.succeeded(8);
        }
        assert_eq!(opened().permit(NOW), Permit::NotBefore(NOW.after(OPEN_MIN)));
    }

    #[test]
    fn half_open_lets_one_probe_through_and_a_failing_one_doubles_the_pause() {
        let mut breaker = opened();
        let mut at = NOW.after(OPEN_MIN);
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(breaker.permit(at), Permit::UpTo(1));
            assert_eq!(breaker.failed(at, at), Change::None);
            let until = at.after(Duration::from_secs(seconds));
            assert_eq!(breaker.permit(at), Permit::NotBefore(until));
            at = until;
        }
    }

    #[test]
    fn attempts_from_before_it_opened_do_not_lengthen_the_pause() {
        let mut breaker = opened();
        for _ in 0..8 {
            breaker.failed(NOW, NOW.after(Duration::from_secs(30)));
        }
        assert_eq!(breaker.permit(NOW), Permit::NotBefore(NOW.after(OPEN_MIN)));
    }

    #[test]
    fn after_an_outage_each_success_allows_one_more_in_flight() {
        let mut breaker = opened();
        let at = NOW.after(OPEN_MIN);
        assert_eq!(breaker.succeeded(8), Change::Closed);
        for allowed in [2, 3, 4, 5, 6, 7, 8, 8] {
            assert_eq!(breaker.permit(at), Permit::UpTo(allowed));
            assert_eq!(breaker.succeeded(8), Change::None);
        }
    }

    #[test]
    fn it_remembers_when_the_failures_began() {
        let mut breaker = Breaker::default();
        let earlier = Timestamp::from_millis(NOW.as_millis() - 5);
        breaker.failed(NOW, NOW);
        breaker.failed(earlier, NOW);
        assert_eq!(breaker.failures(), (2, Some(earlier)));
        breaker.succeeded(8);
        assert_eq!(breaker.failures(), (0, None));
    }
}
