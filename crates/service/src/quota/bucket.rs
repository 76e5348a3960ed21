//! One bucket: exact arithmetic in billionths of a token, since a second has as many nanoseconds.

use std::time::{Duration, Instant};

use slipstream_core::config::Quota;

use super::{Refused, Standing};

/// Billionths of a token.
const TOKEN: u64 = 1_000_000_000;

/// What is missing in a bucket. Told this way round, a full bucket needs no size, and a changed quota no conversion.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// Billionths of a token until it is full, at `at`. At most `u32::MAX` tokens: they fit.
    missing: u64,
    at: Instant,
    /// What came back per second when it was last used.
    tokens_per_second: u32,
}

impl Bucket {
    pub(super) const fn full(now: Instant) -> Self {
        Self { missing: 0, at: now, tokens_per_second: 0 }
    }

    /// Takes `tokens`, all or none.
    pub(super) fn take(&mut self, quota: Quota, tokens: u32, now: Instant) -> Result<(), Refused> {
        if tokens > quota.burst_capacity {
            return Err(Refused::Never(quota.burst_capacity));
        }
        self.refill(quota, now);
        let missing = self.missing + u64::from(tokens) * TOKEN;
        let above = missing.saturating_sub(u64::from(quota.burst_capacity) * TOKEN);
        if above > 0 {
            return Err(Refused::Wait(time_for(above, quota)));
        }
        self.missing = missing;
        Ok(())
    }

    pub(super) fn standing(&mut self, quota: Quota, now: Instant) -> Standing {
        self.refill(quota, now);
        let there = u64::from(quota.burst_capacity) * TOKEN - self.missing;
        let more_in = (self.missing > 0).then(|| time_for(TOKEN - there % TOKEN, quota));
        let remaining = u32::try_from(there / TOKEN).expect("a bucket holds at most as many as its capacity, a u32");
        Standing { remaining, more_in }
    }

    /// Whether nothing is missing any more, at the rate of the last use.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.missing <= came_back(self.tokens_per_second, self.at, now)
    }

    /// Adds what came back, and makes the bucket as large as it is to be. What came back since the last use is counted at
    /// the new rate if the rate has changed: that is off by one bucket at most, once.
    fn refill(&mut self, quota: Quota, now: Instant) {
        let missing_max = u64::from(quota.burst_capacity) * TOKEN;
        let came_back = came_back(quota.tokens_per_second, self.at, now);
        self.missing = self.missing.min(missing_max).saturating_sub(came_back);
        // Two requests may look at the clock in one order and come here in the other: time does not run backwards then.
        self.at = self.at.max(now);
        self.tokens_per_second = quota.tokens_per_second;
    }
}

/// Tokens per second times nanoseconds is billionths of a token.
fn came_back(tokens_per_second: u32, since: Instant, now: Instant) -> u64 {
    let nanos = now.saturating_duration_since(since).as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX).saturating_mul(u64::from(tokens_per_second))
}

/// How long `missing` takes to come back. Nothing ever does at a rate of zero, which the registry does not let pass.
fn time_for(missing: u64, quota: Quota) -> Duration {
    match quota.tokens_per_second {
        0 => Duration::MAX,
        rate => Duration::from_nanos(missing.div_ceil(u64::from(rate))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn quota(burst_capacity: u32, tokens_per_second: u32) -> Quota {
        Quota { burst_capacity, tokens_per_second }
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_full_bucket_gives_its_capacity_and_then_as_much_as_comes_back() {
        let (quota, start) = (quota(10, 4), Instant::now());
        let mut bucket = Bucket::full(start);
        for _ in 0..10 {
            assert_eq!(bucket.take(quota, 1, start), Ok(()));
        }
        assert_eq!(bucket.take(quota, 1, start), Err(Refused::Wait(millis(250))));
        assert_eq!(bucket.take(quota, 1, start + millis(249)), Err(Refused::Wait(millis(1))));
        assert_eq!(bucket.take(quota, 1, start + millis(250)), Ok(()));
        assert_eq!(bucket.take(quota, 4, start + millis(250)), Err(Refused::Wait(millis(1000))));
        assert_eq!(bucket.take(quota, 4, start + millis(1250)), Ok(()));
        assert_eq!(bucket.standing(quota, start + millis(1_000_000)).remaining, 10, "never more than it holds");
    }

    #[test]
    fn tokens_are_given_all_or_none() {
        let (quota, start) = (quota(10, 1), Instant::now());
        let mut bucket = Bucket::full(start);
        assert_eq!(bucket.take(quota, 8, start), Ok(()));
        assert_eq!(bucket.take(quota, 3, start), Err(Refused::Wait(millis(1000))));
        assert_eq!(bucket.take(quota, 2, start), Ok(()));
        assert_eq!(bucket.take(quota, 11, start), Err(Refused::Never(10)));
    }

    #[test]
    fn the_wait_is_exactly_long_enough_at_any_rate() {
        let start = Instant::now();
        for rate in [1, 3, 7, 50, 333, 9_999, u32::MAX] {
            for capacity in [1, 2, 500, u32::MAX] {
                let quota = quota(capacity, rate);
                let mut bucket = Bucket::full(start);
                assert_eq!(bucket.take(quota, capacity, start), Ok(()));
                let Err(Refused::Wait(wait)) = bucket.take(quota, capacity, start) else { panic!("it is empty") };
                let early = start + wait.saturating_sub(Duration::from_nanos(1));
                assert!(bucket.clone().take(quota, capacity, early).is_err(), "{capacity} at {rate}");
                assert_eq!(bucket.take(quota, capacity, start + wait), Ok(()), "{capacity} at {rate}");
            }
        }
    }

    #[test]
    fn a_changed_quota_acts_at_once() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        assert_eq!(bucket.take(quota(10, 1), 10, start), Ok(()));
        assert_eq!(bucket.standing(quota(500, 1), start).remaining, 490, "what was taken stays taken");
        assert_eq!(bucket.take(quota(500, 1), 490, start), Ok(()));
        let smaller = bucket.take(quota(5, 1), 1, start);
        assert_eq!(smaller, Err(Refused::Wait(millis(1000))), "and no more than the new size is missing");
        assert_eq!(bucket.take(quota(5, 1), 5, start + millis(5000)), Ok(()));
    }

    #[test]
    fn standing_tells_whole_tokens_and_when_there_is_one_more() {
        let (quota, start) = (quota(10, 4), Instant::now());
        let mut bucket = Bucket::full(start);
        assert_eq!(bucket.standing(quota, start), Standing { remaining: 10, more_in: None });
        bucket.take(quota, 10, start).unwrap();
        assert_eq!(bucket.standing(quota, start), Standing { remaining: 0, more_in: Some(millis(250)) });
        let later = start + millis(600);
        assert_eq!(bucket.standing(quota, later), Standing { remaining: 2, more_in: Some(millis(150)) });
    }

    #[test]
    fn time_does_not_run_backwards() {
        let (quota, start) = (quota(10, 10), Instant::now());
        let mut bucket = Bucket::full(start);
        bucket.take(quota, 10, start + millis(100)).unwrap();
        assert!(bucket.take(quota, 1, start).is_err());
        assert!(bucket.take(quota, 1, start + millis(199)).is_err(), "the time before is not counted twice");
        assert_eq!(bucket.take(quota, 1, start + millis(200)), Ok(()));
    }
}
