//! The decision core in a simulated world: seeded, in virtual time, with everything going wrong that can (issue 3, item
//! 11). Nobody sleeps here, and the only chance is a seed's.
//!
//! ```text
//! SIMULATION_SEEDS=100000 cargo nextest run -p slipstream-core --test simulation     more worlds
//! SIMULATION_SEED=4711 cargo nextest run -p slipstream-core --test simulation --no-capture one_world    one, told in full
//! ```
//!
//! The flow is that of the services, file by file (`simulation/dispatcher/attempt.rs` is
//! `services/dispatcher/src/deliver/attempt.rs`), every `.await` being a place where a process may die, freeze or have its
//! clock set. What is decided, the functions of `core` decide. Around it stand a broker that keeps exactly the promises of
//! the real one, and publishers, receivers and people who do what such do. At the end the [`simulation::checker`] holds the
//! history against the invariants of THREATS 2.

mod simulation {
    pub(crate) mod activity_log;
    pub(crate) mod broker;
    pub(crate) mod chance;
    pub(crate) mod checker;
    pub(crate) mod dispatcher;
    pub(crate) mod executor;
    pub(crate) mod history;
    pub(crate) mod message;
    pub(crate) mod mutation;
    pub(crate) mod node;
    pub(crate) mod people;
    pub(crate) mod publisher;
    pub(crate) mod receiver;
    pub(crate) mod registry;
    pub(crate) mod schedules;
    pub(crate) mod settings;
    pub(crate) mod world;
}

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::checker::Violation;
use simulation::history::Stats;
use simulation::world;

/// Worlds of a run, unless `SIMULATION_SEEDS` says otherwise.
const SEEDS: u64 = 10_000;

#[expect(clippy::disallowed_methods, reason = "a test that is told how many worlds to make")]
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, and not {text:?}")))
}

/// How to see a world again that failed.
fn story(seed: u64, violations: &[Violation]) -> String {
    let first: Vec<_> = violations.iter().take(3).map(|it| format!("  {:?}: {}", it.invariant, it.story)).collect();
    format!(
        "seed {seed} breaks {} rules:\n{}\nto see all of it:\n  SIMULATION_SEED={seed} \
         cargo nextest run -p slipstream-core --test simulation --no-capture one_world",
        violations.len(),
        first.join("\n")
    )
}

#[test]
fn every_invariant_holds_in_every_world() {
    let seeds = variable("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let work = || {
        let (mut stats, mut failed) = (Stats::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || failed.len() > 20 {
                return (stats, failed);
            }
            let ended = world::run(seed, None, false);
            stats.add(&ended.stats);
            if !ended.violations.is_empty() {
                failed.push((seed, ended.violations));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut stats, mut failed) = (Stats::default(), Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (of_worker, of_failed) = worker.join().expect("no world panics");
            stats.add(&of_worker);
            failed.extend(of_failed);
        }
    });
    println!("{stats} in {:.1} s on {threads} threads", started.elapsed().as_secs_f64());
    failed.sort_by_key(|(seed, _)| *seed);
    let stories: Vec<_> = failed.iter().take(12).map(|(seed, violations)| story(*seed, violations)).collect();
    assert!(failed.is_empty(), "{} worlds of {seeds} failed\n{}", failed.len(), stories.join("\n\n"));
}

/// Told in full. Without `SIMULATION_SEED` it shows that a world is the same each time.
#[test]
fn one_world() {
    let seed = variable("SIMULATION_SEED");
    let ended = world::run(seed.unwrap_or(1), None, true);
    if seed.is_some() {
        ended.trace.iter().for_each(|line| println!("{line}"));
        println!("{}", ended.stats);
        println!("{:#?}", ended.violations);
    }
    assert!(ended.violations.is_empty(), "{}", story(seed.unwrap_or(1), &ended.violations));
    assert_eq!(world::run(seed.unwrap_or(1), None, true).trace, ended.trace);
}
