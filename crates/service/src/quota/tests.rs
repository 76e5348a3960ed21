use slipstream_core::ids::AccountId;
use uuid::Uuid;

use super::*;

const QUOTA: Quota = Quota { burst_capacity: 10, tokens_per_second: 1 };

fn actor() -> Actor {
    Actor::Account(AccountId(Uuid::new_v4()))
}

#[test]
fn actors_and_policies_do_not_affect_each_other() {
    let (quotas, now) = (Quotas::default(), Instant::now());
    let (first, second) = (actor(), actor());
    assert_eq!(quotas.take(&first, QUOTA, Policy::Publish, 10, now), Ok(()));
    assert!(quotas.take(&first, QUOTA, Policy::Publish, 1, now).is_err());
    assert_eq!(quotas.take(&first, QUOTA, Policy::Requests, 10, now), Ok(()));
    assert_eq!(quotas.take(&second, QUOTA, Policy::Publish, 10, now), Ok(()));
}

#[test]
fn whoever_only_asks_gets_no_bucket() {
    let (quotas, now) = (Quotas::default(), Instant::now());
    let standing = quotas.standing(&actor(), QUOTA, Policy::Publish, now);
    assert_eq!((standing, quotas.actors()), (Standing { remaining: 10, more_in: None }, 0));
}

#[test]
fn buckets_that_are_full_again_are_dropped() {
    let (quotas, start) = (Quotas::default(), Instant::now());
    let kept = actor();
    let slow = Quota { burst_capacity: 1_000_000, tokens_per_second: 1 };
    quotas.take(&kept, slow, Policy::Publish, 1_000_000, start).unwrap();
    let mut most = 0;
    // Each is full again after a second, in which 1000 others come.
    for number in 0..100_000 {
        let now = start + Duration::from_millis(number);
        quotas.take(&actor(), QUOTA, Policy::Publish, 1, now).unwrap();
        most = most.max(quotas.actors());
    }
    assert!(most < 4096, "{most} buckets for 1000 that had something missing");
    assert!(quotas.take(&kept, slow, Policy::Publish, 1000, start).is_err(), "what misses something is kept");
}

#[test]
fn threads_together_get_what_the_bucket_holds() {
    let (quotas, actor) = (Quotas::default(), actor());
    let (quota, now) = (Quota { burst_capacity: 10_000, tokens_per_second: 1 }, Instant::now());
    let taken: usize = std::thread::scope(|scope| {
        let take = || (0..5_000).filter(|_| quotas.take(&actor, quota, Policy::Publish, 1, now).is_ok()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 10_000);
}

/// Prints what a token costs; fails only far away from it, since others use the machine too.
#[test]
fn a_token_costs_well_under_a_microsecond_of_a_request() {
    const TIMES: u32 = 200_000;
    let quota = Quota { burst_capacity: u32::MAX, tokens_per_second: 1 };
    let quotas = Quotas::default();
    let cost = |actors: &[Actor]| {
        let began = Instant::now();
        for number in 0..TIMES {
            let actor = &actors[number as usize % actors.len()];
            quotas.take(actor, quota, Policy::Publish, 1, Instant::now()).unwrap();
        }
        began.elapsed() / TIMES
    };
    let many: Vec<_> = std::iter::repeat_with(actor).take(10_000).collect();
    let (alone, among_many) = (cost(&many[..1]), cost(&many));
    let together = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| cost(&many[..1]))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    });
    eprintln!("a token: one actor {alone:?}, of 10,000 actors {among_many:?}, four threads at one {together:?}");
    assert!(alone < Duration::from_micros(20) && among_many < Duration::from_micros(20));
}
