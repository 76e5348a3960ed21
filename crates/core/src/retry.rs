//! When the next attempt is: the retry schedule (SPEC 4.3). The one place where it lives.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The delays before attempts 1, 2, 3 … of a delivery.
///
/// At least one entry, the first is zero by nature (the first attempt is due at once).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct RetrySchedule(Vec<Duration>);

/// The schedule is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a retry schedule has 1 to {ATTEMPTS_MAX} delays and begins with 0")]
pub struct BadSchedule;

/// The most attempts of one delivery (N8).
pub const ATTEMPTS_MAX: usize = 10;

/// Largest factor that jitter multiplies a delay with, less one: delays are multiplied by 1.0–1.2.
const JITTER_SPAN: f64 = 0.2;

impl RetrySchedule {
    /// A schedule from its delays.
    ///
    /// # Errors
    /// Unless there are 1 to [`ATTEMPTS_MAX`] delays, the first of them zero.
    pub fn new(delays: Vec<Duration>) -> Result<Self, BadSchedule> {
        let is_valid = (1..=ATTEMPTS_MAX).contains(&delays.len()) && delays[0].is_zero();
        if is_valid { Ok(Self(delays)) } else { Err(BadSchedule) }
    }

    /// How many attempts there are.
    pub fn attempts(&self) -> u32 {
        self.0.len() as u32
    }

    /// Its first `attempts` attempts, at least one.
    #[must_use]
    pub fn first(&self, attempts: u32) -> Self {
        Self(self.0.iter().take(attempts.max(1) as usize).copied().collect())
    }

    /// The delay between attempt `number - 1` and attempt `number` (from 1), or `None` when there is none left.
    ///
    /// `jitter` in 0..1 picks the factor between 1.0 and 1.2; `floor` is the receiver's `Retry-After`.
    pub fn delay_before(&self, number: u32, jitter: f64, floor: Option<Duration>) -> Option<Duration> {
        let delay = self.0.get(number.checked_sub(1)? as usize)?;
        let jittered = delay.mul_f64(1.0 + JITTER_SPAN * jitter.clamp(0.0, 1.0));
        Some(jittered.max(floor.unwrap_or_default()))
    }
}

impl Default for RetrySchedule {
    /// The schedule of SPEC 4.3: 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let seconds = [0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self(seconds.map(Duration::from_secs).to_vec())
    }
}

impl TryFrom<Vec<u64>> for RetrySchedule {
    type Error = BadSchedule;

    /// From delays in milliseconds.
    fn try_from(millis: Vec<u64>) -> Result<Self, BadSchedule> {
        Self::new(millis.into_iter().map(Duration::from_millis).collect())
    }
}

impl From<RetrySchedule> for Vec<u64> {
    fn from(schedule: RetrySchedule) -> Self {
        schedule.0.iter().map(|delay| delay.as_millis() as u64).collect()
    }
}

/// How long an endpoint that asked for less is left alone when it named no time: 10 s × 2^n, at most 10 min (SPEC 4.3).
pub fn slow_down(in_a_row: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_mins(10);
    FIRST.saturating_mul(1 << in_a_row.min(6)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_attempt_ends_75_hours_35_minutes_5_seconds_after_the_first() {
        let schedule = RetrySchedule::default();
        let total: Duration = (1..=10).filter_map(|n| schedule.delay_before(n, 0.0, None)).sum();
        assert_eq!(total, Duration::from_secs(75 * 3600 + 35 * 60 + 5));
        assert_eq!(schedule.delay_before(11, 0.0, None), None);
        assert_eq!(schedule.delay_before(0, 0.0, None), None);
    }

    #[test]
    fn a_schedule_begins_at_once_and_ends() {
        assert_eq!(RetrySchedule::try_from(vec![]), Err(BadSchedule));
        assert_eq!(RetrySchedule::try_from(vec![5]), Err(BadSchedule));
        assert_eq!(RetrySchedule::try_from(vec![0; 11]), Err(BadSchedule));
    }

    #[test]
    fn slowing_down_doubles_up_to_ten_minutes() {
        let seconds: Vec<_> = (0..9).map(|n| slow_down(n).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    }

    proptest! {
        #[test]
        fn delays_stay_between_the_table_and_a_fifth_more_and_above_the_floor(
            number in 1_u32..=10, jitter in 0.0..1.0_f64, floor in 0_u64..100_000,
        ) {
            let schedule = RetrySchedule::default();
            let exact = schedule.delay_before(number, 0.0, None).unwrap();
            let floor = Duration::from_secs(floor);
            let delay = schedule.delay_before(number, jitter, Some(floor)).unwrap();
            prop_assert!(delay >= exact && delay >= floor);
            prop_assert!(delay <= exact.mul_f64(1.2).max(floor));
        }
    }
}
