use super::*;

const QUICK: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_millis(20);
/// What normal has alone in these tests.
const ALONE: f64 = 1000.0;

/// Time, as these tests let it pass.
struct Clock(Instant);

impl Clock {
    fn pass(&mut self, time: Duration) -> Instant {
        self.0 += time;
        self.0
    }
}

/// A dispatcher whose normal deliveries start at [`ALONE`] a second.
fn busy_with_normal() -> (Controller, Clock) {
    let mut clock = Clock(Instant::now());
    let mut controller = Controller::new(clock.0);
    assert_eq!(starts(&mut controller, &mut clock, 3000), 3000);
    assert!((controller.alone.per_second - ALONE).abs() < 0.01 * ALONE, "{:?}", controller.alone);
    (controller, clock)
}

/// Asks each millisecond whether a normal delivery may start, so many times; gives how many might.
fn starts(controller: &mut Controller, clock: &mut Clock, times: u32) -> u32 {
    (0..times).filter(|_| controller.may_start_normal(clock.pass(Duration::from_millis(1)))).count() as u32
}

/// An urgent event every 100 ms, so many of them, each routed within `took`.
fn urgent(controller: &mut Controller, clock: &mut Clock, events: u32, took: Duration) {
    for _ in 0..events {
        controller.came(clock.pass(Duration::from_millis(100)));
        controller.routed(took, clock.0);
    }
}

#[test]
fn urgent_events_bound_nothing_where_nothing_waits_and_the_broker_is_quick() {
    let (mut controller, mut clock) = busy_with_normal();
    urgent(&mut controller, &mut clock, 50, QUICK);
    assert_eq!(controller.bound(clock.0), None);
}

#[test]
fn one_late_event_bounds_nothing_and_three_do() {
    let (mut controller, mut clock) = busy_with_normal();
    urgent(&mut controller, &mut clock, 50, QUICK);
    for _ in 0..10 {
        urgent(&mut controller, &mut clock, 1, LATE);
        assert_eq!(controller.bound(clock.0), None);
        urgent(&mut controller, &mut clock, 9, QUICK);
    }
    urgent(&mut controller, &mut clock, 3, LATE);
    assert!(controller.bound(clock.0).is_some());
}

#[test]
fn where_normal_waits_in_numbers_the_first_urgent_event_bounds_it_at_once() {
    let (mut controller, mut clock) = busy_with_normal();
    controller.normal_waits = true;
    controller.came(clock.pass(QUICK));
    assert_eq!(controller.bound(clock.0), Some(AT_FIRST * controller.alone.per_second));
    let started = starts(&mut controller, &mut clock, 1000);
    assert!((240..=260).contains(&started), "{started}");
}

#[test]
fn an_eighth_of_what_it_had_is_left_to_normal_whatever_is_late() {
    let (mut controller, mut clock) = busy_with_normal();
    urgent(&mut controller, &mut clock, 1, QUICK);
    urgent(&mut controller, &mut clock, 500, LATE);
    assert_eq!(controller.bound(clock.0), Some(KEPT * controller.alone.per_second));
    let started = starts(&mut controller, &mut clock, 1000);
    assert!((120..=130).contains(&started), "{started}");
}

#[test]
fn a_dispatcher_that_never_had_normal_alone_starts_some_all_the_same() {
    let mut clock = Clock(Instant::now());
    let mut controller = Controller::new(clock.0);
    urgent(&mut controller, &mut clock, 1, QUICK);
    urgent(&mut controller, &mut clock, 10, LATE);
    let started = starts(&mut controller, &mut clock, 1000);
    assert!((49..=51).contains(&started), "{started}");
}

#[test]
fn the_bound_goes_when_urgent_events_are_quick_for_long() {
    let (mut controller, mut clock) = busy_with_normal();
    urgent(&mut controller, &mut clock, 1, QUICK);
    urgent(&mut controller, &mut clock, 10, LATE);
    urgent(&mut controller, &mut clock, 90, QUICK);
    assert!(controller.bound(clock.0).is_some_and(|rate| rate > 0.9 * ALONE), "{:?}", controller.rate);
    urgent(&mut controller, &mut clock, 150, QUICK);
    assert_eq!(controller.bound(clock.0), None);
}

#[test]
fn the_bound_goes_with_the_urgent_events() {
    let (mut controller, mut clock) = busy_with_normal();
    urgent(&mut controller, &mut clock, 1, QUICK);
    urgent(&mut controller, &mut clock, 10, LATE);
    assert!(controller.bound(clock.pass(URGENT_FOR.saturating_sub(QUICK))).is_some());
    assert_eq!(controller.bound(clock.pass(QUICK)), None);
    assert_eq!(starts(&mut controller, &mut clock, 1000), 1000);
}

#[test]
fn seven_urgent_deliveries_earn_a_normal_one() {
    let (mut controller, mut clock) = busy_with_normal();
    urgent(&mut controller, &mut clock, 1, QUICK);
    urgent(&mut controller, &mut clock, 10, LATE);
    controller.rate = Some(0.0);
    let mut started = 0;
    for _ in 0..700 {
        controller.urgent_started(clock.0);
        started += u32::from(controller.may_start_normal(clock.0));
    }
    assert_eq!(started, 100);
}

#[test]
fn what_is_saved_up_is_no_more_than_a_moments() {
    let (mut controller, mut clock) = busy_with_normal();
    controller.normal_waits = true;
    controller.came(clock.pass(QUICK));
    clock.pass(URGENT_FOR / 2);
    let at_once = (0..100).filter(|_| controller.may_start_normal(clock.0)).count();
    assert_eq!(at_once, 2, "10 ms of 250 a second");
}

#[test]
fn a_broker_that_is_far_away_is_not_a_busy_one() {
    let (mut controller, mut clock) = busy_with_normal();
    urgent(&mut controller, &mut clock, 1, 20 * QUICK);
    urgent(&mut controller, &mut clock, 50, 40 * QUICK);
    assert_eq!(controller.bound(clock.0), None);
    urgent(&mut controller, &mut clock, 50, 60 * QUICK);
    assert!(controller.bound(clock.0).is_some());
}

#[test]
fn a_broker_that_was_nearer_is_forgotten() {
    let (mut controller, mut clock) = busy_with_normal();
    urgent(&mut controller, &mut clock, 1, QUICK);
    urgent(&mut controller, &mut clock, 2 * BEST_FOR.as_millis() as u32 / 100 + 200, LATE);
    assert_eq!(controller.bound(clock.0), None, "that is what it takes now");
}

/// A broker that is late as soon as three dispatchers start more than 1500 a second between them, which see every third
/// urgent event each.
#[test]
fn dispatchers_that_share_a_broker_settle_at_what_it_bears() {
    let (mut three, mut clocks): (Vec<_>, Vec<_>) = (0..3).map(|_| busy_with_normal()).unzip();
    for controller in &mut three {
        controller.normal_waits = true;
    }
    let mut sums = Vec::new();
    for event in 0..1200 {
        let sum: f64 = three.iter().map(|it| it.rate.unwrap_or(ALONE)).sum();
        sums.push(sum);
        for (number, (controller, clock)) in three.iter_mut().zip(&mut clocks).enumerate() {
            clock.pass(Duration::from_millis(50));
            if event % 3 == number {
                controller.came(clock.0);
                controller.routed(if sum > 1500.0 { LATE } else { QUICK }, clock.0);
            }
        }
    }
    let settled = &sums[200..];
    let mean = settled.iter().sum::<f64>() / settled.len() as f64;
    assert!((1100.0..=1500.0).contains(&mean), "{mean}");
    assert!(settled.iter().all(|sum| *sum < 1.2 * 1500.0), "{:?}", settled.iter().copied().fold(0.0, f64::max));
    let least = three.iter().filter_map(|it| it.rate).fold(f64::MAX, f64::min);
    assert!(least >= KEPT * ALONE, "{least}");
}

#[test]
fn single_urgent_events_take_nothing_from_normal_once_the_broker_was_seen_to_bear_them() {
    let (mut controller, mut clock) = busy_with_normal();
    controller.normal_waits = true;
    urgent(&mut controller, &mut clock, 1, QUICK);
    assert!(controller.bound(clock.0).is_some(), "at first it is not known");
    urgent(&mut controller, &mut clock, 250, QUICK);
    assert_eq!(controller.bound(clock.0), None);
    for _ in 0..10 {
        controller.came(clock.pass(URGENT_FOR + QUICK));
        controller.routed(QUICK, clock.0);
        assert_eq!(controller.bound(clock.0), None);
    }
    controller.came(clock.pass(FOUND_FOR + URGENT_FOR));
    assert!(controller.bound(clock.0).is_some(), "that was long ago");
}

#[test]
fn a_dispatcher_that_never_had_normal_alone_is_bound_only_until_the_broker_bears_more() {
    let mut clock = Clock(Instant::now());
    let mut controller = Controller::new(clock.0);
    controller.normal_waits = true;
    controller.came(clock.0);
    assert_eq!(controller.bound(clock.0), Some(RATE_MIN));
    urgent(&mut controller, &mut clock, 3, QUICK);
    assert_eq!(controller.bound(clock.0), None);
}
