//! How fast a job goes: small chunks at equal distances, and never a burst to catch up.

use std::time::Duration;

use tokio::time::Instant;

/// Deliveries of one chunk. With the largest rate that is a chunk every 50 ms.
const CHUNK_MAX: usize = 500;
/// Chunks a second, unless they would be larger than that.
const CHUNKS_PER_SECOND: u32 = 4;
/// Between two chunks of which nothing was published: looking costs the database and the bus something too.
const IDLE: Duration = Duration::from_millis(20);

/// A job's pace.
#[derive(Debug)]
pub(super) struct Pace {
    rate_per_second: u32,
    next: Instant,
}

impl Pace {
    pub(super) fn new(rate_per_second: u32, now: Instant) -> Self {
        Self { rate_per_second: rate_per_second.max(1), next: now }
    }

    /// How many deliveries the next chunk may have.
    pub(super) fn chunk(&self) -> usize {
        ((self.rate_per_second / CHUNKS_PER_SECOND) as usize).clamp(1, CHUNK_MAX)
    }

    /// When the next chunk may begin.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// A chunk of which `published` were published was begun at `began`.
    pub(super) fn took(&mut self, published: u64, began: Instant) {
        let share = Duration::from_secs_f64(published as f64 / f64::from(self.rate_per_second));
        self.next = self.next.max(began) + share.max(IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works through `count` deliveries, each chunk taking `cost`; how long it took in all.
    fn run(rate: u32, count: u64, cost: Duration) -> Duration {
        let began = Instant::now();
        let (mut now, mut left) = (began, count);
        let mut pace = Pace::new(rate, began);
        while left > 0 {
            now = now.max(pace.next());
            let published = left.min(pace.chunk() as u64);
            pace.took(published, now);
            (now, left) = (now + cost, left - published);
        }
        now.max(pace.next()) - began
    }

    #[test]
    fn the_rate_is_kept_whatever_a_chunk_costs_as_long_as_it_can_be() {
        for rate in [1, 3, 7, 100, 2000, 10_000] {
            let ideal = Duration::from_secs(20);
            for cost in [Duration::ZERO, Duration::from_millis(30)] {
                let took = run(rate, u64::from(rate) * 20, cost);
                assert!(took >= ideal.mul_f64(0.999) && took <= ideal.mul_f64(1.01), "{rate}/s: {took:?}");
            }
        }
        assert!(
            run(100, 1000, Duration::from_secs(1)) >= Duration::from_secs(39),
            "what was missed is not made up for"
        );
    }

    #[test]
    fn no_chunk_waits_longer_than_a_second_or_is_larger_than_the_bound() {
        for rate in [1, 2, 100, 10_000, u32::MAX] {
            let now = Instant::now();
            let mut pace = Pace::new(rate, now);
            assert!((1..=CHUNK_MAX).contains(&pace.chunk()));
            pace.took(pace.chunk() as u64, now);
            assert!(pace.next() - now <= Duration::from_secs(1) && pace.next() > now);
        }
    }
}
