//! How many requests a minute an endpoint gets (SPEC 3.7; THREATS 10 "rate-limited ramp").
//!
//! Places in time, one after another at equal distances, so that no minute sees more than the rate. A delivery that
//! finds no place free now takes the next one and waits for it on the bus; the message says that it has its place
//! ([`crate::contract::Meta::has_place`]), so it is not asked again, whichever dispatcher takes it up then.

use std::time::Duration;

use crate::lane::Lane;
use crate::timestamp::Timestamp;

/// How far ahead places are given away to a lane. Whoever would wait longer asks again later: the rate may have grown by
/// then. The lower lanes see less of it, so that what is urgent finds a place within a minute, however much waits.
pub const fn ahead_max(lane: Lane) -> Duration {
    match lane {
        Lane::Realtime => Duration::from_mins(10),
        Lane::High => Duration::from_mins(5),
        Lane::Normal => Duration::from_mins(1),
    }
}

/// Gives away places in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// The first place that is not taken, in microseconds since the epoch; past when nobody asked lately.
    next_us: i64,
}

/// What a delivery that asks for a place is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is now.
    Now,
    /// It is then, and taken.
    At(Timestamp),
    /// There is none as near as its lane may look ([`ahead_max`]); none is taken.
    NotWithin(Duration),
}

impl Pace {
    /// Takes the next place. `rate_per_minute` is what all dispatchers may do together, of which each of `sharers` gives
    /// away its part.
    pub fn take(&mut self, lane: Lane, rate_per_minute: u32, sharers: usize, now: Timestamp) -> Place {
        const MINUTE_US: u64 = 60_000_000;
        let distance_us = (MINUTE_US * sharers.max(1) as u64).div_ceil(u64::from(rate_per_minute.max(1))) as i64;
        let now_us = now.as_millis().saturating_mul(1000);
        let ahead_max = ahead_max(lane);
        // Further ahead than anybody gets: the clock was set back since.
        if self.next_us - now_us > self::ahead_max(Lane::Realtime).as_micros() as i64 + distance_us {
            self.next_us = now_us;
        }
        let place_us = self.next_us.max(now_us);
        if place_us - now_us > ahead_max.as_micros() as i64 {
            return Place::NotWithin(ahead_max);
        }
        self.next_us = place_us + distance_us;
        if place_us == now_us {
            Place::Now
        } else {
            Place::At(Timestamp::from_millis(place_us.div_euclid(1000) + i64::from(place_us % 1000 != 0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() + millis)
    }

    #[test]
    fn places_lie_at_equal_distances() {
        let mut pace = Pace::default();
        let places: Vec<_> = (0..4).map(|_| pace.take(Lane::Realtime, 60, 1, NOW)).collect();
        assert_eq!(places, [Place::Now, Place::At(at(1000)), Place::At(at(2000)), Place::At(at(3000))]);
        assert_eq!(pace.take(Lane::Realtime, 60, 1, at(10_000)), Place::Now, "what nobody asked for is not saved up");
        assert_eq!(pace.take(Lane::Realtime, 60, 1, at(10_000)), Place::At(at(11_000)));
    }

    #[test]
    fn sharers_divide_the_rate() {
        let mut pace = Pace::default();
        assert_eq!(
            [pace.take(Lane::Realtime, 60, 3, NOW), pace.take(Lane::Realtime, 60, 3, NOW)],
            [Place::Now, Place::At(at(3000))]
        );
    }

    #[test]
    fn nobody_takes_a_place_far_ahead() {
        let mut pace = Pace::default();
        let taken = (0..1000).filter(|_| !matches!(pace.take(Lane::Realtime, 60, 1, NOW), Place::NotWithin(_))).count();
        assert_eq!(taken, 601);
    }

    #[test]
    fn what_is_urgent_finds_a_place_within_a_minute_however_much_waits() {
        let mut pace = Pace::default();
        while !matches!(pace.take(Lane::Normal, 60, 1, NOW), Place::NotWithin(_)) {}
        let Place::At(place) = pace.take(Lane::Realtime, 60, 1, NOW) else { panic!("there is a place") };
        assert!(place <= at(61_000), "{place}");
    }

    #[test]
    fn a_clock_that_was_set_back_costs_no_more_than_what_had_been_given_away() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.take(Lane::Normal, 60, 1, at(3_600_000));
        }
        assert_eq!(pace.take(Lane::Normal, 60, 1, NOW), Place::Now);
    }

    proptest! {
        /// Whenever deliveries come, no minute has more places than the rate.
        #[test]
        fn no_minute_has_more_places_than_the_rate(
            rate in 1_u32..200, mut asked in prop::collection::vec(0_i64..180_000, 1..400),
        ) {
            asked.sort_unstable();
            let mut pace = Pace::default();
            let mut places: Vec<i64> = asked.iter().filter_map(|millis| match pace.take(Lane::Realtime, rate, 1, at(*millis)) {
                Place::Now => Some(at(*millis).as_millis()),
                Place::At(place) => Some(place.as_millis()),
                Place::NotWithin(_) => None,
            }).collect();
            places.sort_unstable();
            for (index, start) in places.iter().enumerate() {
                let within = places[index..].iter().take_while(|place| **place < start + 60_000).count();
                prop_assert!(within <= rate as usize + 1, "{within} in a minute at {rate}");
            }
        }
    }
}
