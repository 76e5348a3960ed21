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

use simulation::checker::{Invariant, Violation};
use simulation::history::Stats;
use simulation::mutation::Mutation;
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

/// Worlds in which a mutation has to be found.
const MUTATION_SEEDS: u64 = 10_000;

/// A deliberate defect turns the checker red, by the rule that it breaks; the same world without it is green.
fn is_found(mutation: Mutation, broken: Invariant) {
    for seed in 0..MUTATION_SEEDS {
        let violations = world::run(seed, Some(mutation), false).violations;
        if let Some(found) = violations.iter().find(|violation| violation.invariant == broken) {
            println!("{mutation:?} is found in world {seed}, by {broken:?}: {}", found.story);
            let without = world::run(seed, None, false).violations;
            assert!(without.is_empty(), "{}", story(seed, &without));
            return;
        }
    }
    panic!("{MUTATION_SEEDS} worlds with {mutation:?} do not break {broken:?}");
}

/// One test per mutation: its name, the mutation, and the invariant that it breaks.
macro_rules! mutations {
    ($($name:ident: $mutation:ident breaks $invariant:ident;)+) => {
        mod mutations {
            use super::*;

            $(#[test]
            fn $name() {
                is_found(Mutation::$mutation, Invariant::$invariant);
            })+

            #[test]
            fn every_one_is_tested() {
                let tested = [$(Mutation::$mutation),+];
                for mutation in Mutation::ALL {
                    assert!(tested.contains(&mutation), "{mutation:?} is not");
                }
            }
        }
    };
}

mutations! {
    an_event_acknowledged_before_it_is_routed_is_lost: AcknowledgeBeforeRouting breaks N1;
    a_record_before_its_deliveries_names_some_that_never_are: RecordBeforeDeliveries breaks N1;
    an_outcome_acknowledged_before_it_is_durable_is_lost: AcknowledgeBeforeOutcome breaks N10;
    a_schedule_before_its_record_lets_an_attempt_go_unrecorded: ScheduleBeforeRecord breaks N10;
    a_schedule_whose_id_lacks_the_attempt_is_taken_for_a_repeat: ScheduleIdWithoutAttempt breaks N1;
    half_a_batch_is_a_phantom: KeepTheGoodHalf breaks N2;
    an_intended_time_that_nobody_looks_at_is_not_kept: IgnoreIntendedTime breaks N3;
    a_schedule_that_fires_early_is_early: FireEarly breaks N3;
    an_expiry_time_that_nobody_looks_at_is_not_kept: IgnoreExpiryTime breaks N4;
    a_final_answer_that_is_retried_is_not_final: RetryAfterFinal breaks N5;
    another_webhook_id_per_attempt_is_no_identity: FreshWebhookId breaks N6;
    who_slept_past_the_lease_sends_what_others_have: IgnoreLease breaks N6;
    late_repeats_that_nobody_asks_for_are_delivered_again: ForgetRepeats breaks N6;
    an_alarm_that_is_set_before_its_list_may_ring_too_early: AlarmBeforeList breaks N1;
    an_alarm_that_is_replaced_while_it_rings_may_not_ring_again: ShareNearAlarms breaks N1;
    an_id_that_is_forgotten_does_not_tell_of_a_change: TrustOldIds breaks N5;
    an_older_generation_takes_a_later_one_away: ForgetLaterGeneration breaks N1;
    a_held_repeat_takes_the_place_of_its_original: HoldRepeats breaks N1;
    retry_after_that_is_not_read_is_undercut: ForgetRetryAfter breaks N8;
    ten_attempts_are_not_eleven: EleventhAttempt breaks N8;
    a_delivery_put_off_does_not_start_again: ForgetAttemptAtPark breaks N6;
    a_breaker_uses_up_no_attempt: BreakerUsesAttempt breaks N8;
    a_cancelled_delivery_without_a_record_has_no_end: CancelWithoutRecord breaks N1;
    a_cancelled_event_that_comes_due_all_the_same_is_not_cancelled: IgnoreCancelledGeneration breaks N5;
    a_replay_in_the_place_of_its_original_loses_one: ReplayInPlaceOfOriginal breaks N1;
    an_unrecognised_repeat_in_the_place_of_its_original_loses_one: RepeatInPlaceOfOriginal breaks N1;
    an_older_step_in_the_place_of_a_newer_loses_it: OlderInPlaceOfNewer breaks N1;
    what_an_earlier_life_scheduled_goes_on_after_the_end: LeaveOtherLife breaks N5;
    what_waits_for_a_removed_subscription_needs_an_end: ForgetRemovals breaks N1;
    who_waits_for_each_receiver_lets_the_others_wait: AttemptInline breaks N7;
    bytes_that_are_written_anew_are_not_those_that_were_signed: RewriteBody breaks N12;
    a_switch_that_nobody_looks_at_does_not_act: IgnoreDisabled breaks N13;
    what_is_due_at_a_paused_endpoint_goes_on_waiting: CancelPaused breaks N1;
}
