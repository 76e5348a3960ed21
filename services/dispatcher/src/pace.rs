//! Pace: normal gives way while more urgent events flow and the broker is late (SPEC 4.5).
//!
//! The pick's order decides who goes first of what is *here*. It cannot help an urgent event that is not here yet: every
//! step it takes until then (accepted, routed, published, handed out) waits at the broker, and for a processor, behind
//! the steps of normal deliveries. So when the broker is busy while urgent events flow, normal deliveries start at a
//! bounded rate, which is found as senders on the Internet find theirs: it grows by a constant while urgent events are
//! routed about as quickly as at their best, and falls by a factor when one is late. Dispatchers that share a broker see
//! the same lateness, so each does this for itself, and what they take together settles.
//!
//! Normal keeps its share whatever is late: one delivery for every seven urgent ones that start, and an eighth of the
//! rate it had. Where the broker is not busy, and without urgent events, there is no bound. Nothing here is needed for
//! correctness.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slipstream_core::lane::Lane;

/// How long after the last urgent event normal still gives way.
const URGENT_FOR: Duration = Duration::from_secs(2);
/// How long what was found holds for the next urgent events.
const FOUND_FOR: Duration = Duration::from_mins(1);
/// How often the rate may change: what a change does has to be seen before the next.
const CHANGE_EVERY: Duration = Duration::from_millis(100);
/// Routing an urgent event is never late within this time, whatever it takes at best.
const LATE_AFTER_MIN: Duration = Duration::from_millis(3);
/// It is late after this multiple of what it takes at best: a broker far away is not a busy one.
const LATE_AFTER_TIMES: f64 = 2.5;
/// What one more measurement counts in the mean by which the broker is found busy. One alone never does it.
const MEAN_WEIGHT: f64 = 0.3;
/// How long the best is remembered at least; at most twice as long.
const BEST_FOR: Duration = Duration::from_mins(5);
/// What the rate grows by in a second, as a part of what normal had alone; it does at most for so long at once.
const GROWTH: f64 = 0.1;
const GROWTH_AT_ONCE: Duration = Duration::from_secs(1);
/// How many times what normal had alone is no bound any more.
const FREE_FROM: f64 = 2.0;
/// What it falls to when the broker is late.
const FALL: f64 = 0.6;
/// What normal keeps of what it had alone.
const KEPT: f64 = 0.125;
/// What it has when it begins to give way, until it is known what there is room for.
const AT_FIRST: f64 = 0.25;
/// Deliveries per second that normal always has, in each dispatcher.
const RATE_MIN: f64 = 50.0;
/// Urgent deliveries that earn a normal one: it has the eighth that the pick gives it.
const URGENT_PER_NORMAL: u32 = 7;
/// Normal deliveries that may be earned ahead.
const EARNED_MAX: u32 = 64;
/// For how long a rate may be saved up.
const BURST: Duration = Duration::from_millis(10);
/// Over how long normal's own rate is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// The pace of one dispatcher, shared by its loops.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<Controller>);

impl Pace {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Controller::new(Instant::now())))
    }

    /// A pace at which normal has nothing but what urgent ones earn it.
    #[cfg(test)]
    pub(crate) fn at_a_standstill() -> Self {
        let pace = Self::new();
        pace.came(Lane::Realtime);
        pace.lock().rate = Some(0.0);
        pace
    }

    fn lock(&self) -> MutexGuard<'_, Controller> {
        // Nothing in here can be left half done by a panic: there is nothing in it that panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether normal deliveries wait here in numbers, so that they take all they can get.
    pub(crate) fn normal_waits(&self, waits: bool) {
        self.lock().normal_waits = waits;
    }

    /// Events of a lane have come.
    pub(crate) fn came(&self, lane: Lane) {
        if lane != Lane::Normal {
            self.lock().came(Instant::now());
        }
    }

    /// Events of a lane were routed, which took so long.
    pub(crate) fn routed(&self, lane: Lane, took: Duration) {
        if lane != Lane::Normal {
            self.lock().routed(took, Instant::now());
        }
    }

    /// Whether a delivery may start now. If so, it has to: it has been counted.
    pub(crate) fn may_start(&self, lane: Lane) -> bool {
        let mut controller = self.lock();
        match lane {
            Lane::Realtime | Lane::High => {
                controller.urgent_started(Instant::now());
                true
            }
            Lane::Normal => controller.may_start_normal(Instant::now()),
        }
    }

    /// Whether normal gives way now.
    pub(crate) fn gives_way(&self) -> bool {
        self.lock().bound(Instant::now()).is_some()
    }
}

/// The rules, given the time.
#[derive(Debug)]
struct Controller {
    /// When the last urgent event came.
    urgent_at: Option<Instant>,
    /// See [`Pace::normal_waits`].
    normal_waits: bool,
    /// Normal deliveries per second, while urgent events come; none where nothing is bounded.
    rate: Option<f64>,
    changed_at: Instant,
    /// Whether that is what urgent events were seen to bear, and not a guess.
    is_found: bool,
    /// What may start by the rate, and until when that has been counted.
    saved: f64,
    counted_at: Instant,
    /// Urgent ones that have started and not yet earned a normal one its start.
    earning: u32,
    alone: Alone,
    best: Best,
}

impl Controller {
    fn new(now: Instant) -> Self {
        Self {
            urgent_at: None,
            normal_waits: false,
            rate: None,
            changed_at: now,
            is_found: false,
            saved: 0.0,
            counted_at: now,
            earning: 0,
            alone: Alone { per_second: 0.0, started: 0, since: now },
            best: Best { least: None, least_before: None, since: now, mean: None },
        }
    }

    /// Normal deliveries per second, if they are bounded now.
    fn bound(&self, now: Instant) -> Option<f64> {
        let is_urgent = |at: Instant| now.saturating_duration_since(at) < URGENT_FOR;
        self.rate.filter(|_| self.urgent_at.is_some_and(is_urgent))
    }

    fn came(&mut self, now: Instant) {
        let is_first = self.urgent_at.is_none_or(|at| now.saturating_duration_since(at) >= URGENT_FOR);
        self.urgent_at = Some(now);
        // What was found to be borne stands for a while, so that single events that come now and then do not take from normal
        // what they do not need.
        let is_forgotten = self.changed_at + FOUND_FOR <= now;
        if is_first && is_forgotten {
            self.rate = None;
        }
        if is_first && self.normal_waits && self.rate.is_none() && (is_forgotten || !self.is_found) {
            // At once, and not when this one turns out to be late: the next ones are on their way.
            self.begin(now);
        }
    }

    /// Begins to give way.
    fn begin(&mut self, now: Instant) {
        self.rate = Some((AT_FIRST * self.alone.per_second).max(self.least()));
        (self.saved, self.counted_at, self.changed_at, self.is_found) = (0.0, now, now, false);
    }

    fn routed(&mut self, took: Duration, now: Instant) {
        let lateness = self.best.observe(took, now);
        let Some(rate) = self.rate else {
            if lateness == Lateness::Usual {
                self.begin(now);
            }
            return;
        };
        let passed = now.saturating_duration_since(self.changed_at);
        if passed < CHANGE_EVERY {
            return;
        }
        (self.changed_at, self.is_found) = (now, true);
        let alone = self.alone.per_second;
        let rate = if lateness == Lateness::None {
            rate + (GROWTH * alone).max(RATE_MIN) * passed.min(GROWTH_AT_ONCE).as_secs_f64()
        } else {
            rate * FALL
        };
        let rate = rate.max(self.least());
        self.rate = (rate < (FREE_FROM * alone).max(RATE_MIN + 1.0)).then_some(rate);
    }

    /// What normal always has, per second.
    fn least(&self) -> f64 {
        (KEPT * self.alone.per_second).max(RATE_MIN)
    }

    fn urgent_started(&mut self, now: Instant) {
        self.came(now);
        self.earning = (self.earning + 1).min(EARNED_MAX * URGENT_PER_NORMAL);
    }

    fn may_start_normal(&mut self, now: Instant) -> bool {
        let Some(rate) = self.bound(now) else {
            self.alone.started(now);
            return true;
        };
        self.alone.pause(now);
        let passed = now.saturating_duration_since(self.counted_at);
        self.counted_at = now;
        self.saved = (self.saved + rate * passed.as_secs_f64()).min((rate * BURST.as_secs_f64()).max(1.0));
        if self.saved >= 1.0 {
            self.saved -= 1.0;
            return true;
        }
        let is_earned = self.earning >= URGENT_PER_NORMAL;
        if is_earned {
            self.earning -= URGENT_PER_NORMAL;
        }
        is_earned
    }
}

/// How many normal deliveries a second start while nothing bounds them.
#[derive(Debug)]
struct Alone {
    per_second: f64,
    started: u32,
    since: Instant,
}

impl Alone {
    fn started(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= MEASURE_EVERY {
            let measured = f64::from(self.started) / passed.as_secs_f64();
            // A moment with few does not take away what it had: that is forgotten in some seconds.
            self.per_second = measured.max(0.8 * self.per_second);
            (self.started, self.since) = (0, now);
        }
        self.started += 1;
    }

    fn pause(&mut self, now: Instant) {
        (self.started, self.since) = (0, now);
    }
}

/// Whether routing urgent events takes longer than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lateness {
    /// It does not.
    None,
    /// It did this time.
    Once,
    /// It did this time, and does on the mean of the last ones.
    Usual,
}

/// What routing an urgent event takes at best: the least of the last minutes.
#[derive(Debug)]
struct Best {
    least: Option<Duration>,
    least_before: Option<Duration>,
    since: Instant,
    /// The mean of the last ones in seconds, each counted as twice what is late at most.
    mean: Option<f64>,
}

impl Best {
    /// Takes in one that was routed, and says whether it was late.
    fn observe(&mut self, took: Duration, now: Instant) -> Lateness {
        if now.saturating_duration_since(self.since) >= BEST_FOR {
            (self.least_before, self.least, self.since) = (self.least, None, now);
        }
        self.least = Some(self.least.map_or(took, |least| least.min(took)));
        let best = self.least.into_iter().chain(self.least_before).min().unwrap_or_default();
        let late_after = LATE_AFTER_MIN.max(best.mul_f64(LATE_AFTER_TIMES));
        let counted = took.min(2 * late_after).as_secs_f64();
        let mean = self.mean.map_or(counted, |mean| mean + MEAN_WEIGHT * (counted - mean));
        self.mean = Some(mean);
        let is_usually = mean > late_after.as_secs_f64();
        match took > late_after {
            true if is_usually => Lateness::Usual,
            true => Lateness::Once,
            false => Lateness::None,
        }
    }
}

#[cfg(test)]
mod tests;
