//! Gate, send, decide, record: as `deliver/attempt.rs` of the dispatcher, effect by effect.

use std::rc::Rc;
use std::time::Duration;

use slipstream_core::answer::Answer;
use slipstream_core::config::{DisabledReason, EndpointState, Subscription};
use slipstream_core::contract::{self, EndpointChange, EndpointChanged, Meta, Outcome};
use slipstream_core::delivery::{
    self, Attempted, DeliveryState, Gate, Reason, after_attempt, gate, held_back_until, pause_of,
};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;

use super::super::chance::Chance;
use super::super::message::{ConsumerName, Outgoing, Payload, Place, PublishError, Subject};
use super::super::mutation::Mutation;
use super::super::node::REPEAT_PAUSE;
use super::super::receiver::{self, Request};
use super::super::schedules::Waiting;
use super::Dispatcher;
use super::endpoint::{Ended, Next, Park, Prepared};
use super::work::Work;

/// How often a delivery whose subscription we do not know is looked at again before it is cancelled.
const UNKNOWN_LOOKS: u32 = 2;
const UNKNOWN_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a delivery may have been in hand when its attempt starts, in milliseconds: two thirds of its lease.
const STALE_AFTER: i64 = ConsumerName::Deliver.lease() * 2 / 3;

/// How long before it is due a schedule is not replaced: what a publish takes, and twice what clocks may be off.
const ABOUT_TO_FIRE: Duration = Duration::from_secs(11);

impl Dispatcher {
    /// Attempts `work` and then whatever waits at the same endpoint, until nothing does.
    pub(super) async fn work_off(&self, work: Work) {
        let subscription = work.subscription;
        let mut next = Next::Attempt(Box::new(work));
        loop {
            next = match next {
                Next::Attempt(work) => {
                    let took = self.attempt(&work).await;
                    self.endpoints.finished(&self.node, subscription, took)
                }
                Next::Park(work, park) => {
                    // What has been in hand too long is handed out again anyway, here or elsewhere.
                    if self.node.monotonic() - work.taken_at <= STALE_AFTER {
                        self.park(&work, park).await;
                    }
                    self.endpoints.next_at(&self.node, subscription)
                }
                Next::Nothing => return,
            };
        }
    }

    /// Makes one attempt if the gate is open, and settles the delivery either way. How long the request took.
    pub(super) async fn attempt(&self, work: &Work) -> Option<Duration> {
        let world = &self.node.world;
        if self.node.monotonic() - work.taken_at > STALE_AFTER && !world.is(Mutation::IgnoreLease) {
            return None; // the server hands it out again, here or elsewhere; two at once must not be
        }
        let index = self.index();
        let subscription = index.get(work.subscription);
        let is_cancelled = work.meta.cancelled_at.is_some();
        if subscription.is_none() && !is_cancelled && work.meta.parked < UNKNOWN_LOOKS {
            // Perhaps it is only new, and we have not heard of it.
            let now = self.node.now();
            let until = now.after(UNKNOWN_LOOK_EVERY);
            self.park(work, Park::until(&self.node, until, now, Some(Reason::SubscriptionRemoved))).await;
            return None;
        }
        let open = match self.gate(subscription.map(AsRef::as_ref), &work.meta) {
            Gate::End(state, reason) => Err((state, reason)),
            Gate::Wait(until) => {
                let at = held_back_until(until, work.meta.parked);
                self.park(work, Park { at, reason: None, keeps_place: false }).await;
                return None;
            }
            Gate::Pause => {
                let now = self.node.now();
                let until = now.after(pause_of(work.meta.parked));
                self.park(work, Park::until(&self.node, until, now, Some(Reason::EndpointPaused))).await;
                return None;
            }
            Gate::Open => subscription
                .filter(|subscription| !self.endpoints.is_gone(subscription))
                .ok_or((DeliveryState::Cancelled, Reason::EndpointDisabled)),
        };
        let subscription = match open {
            Ok(subscription) => subscription,
            Err((state, reason)) => {
                let outcome = work.outcome(state, Some(reason), self.node.now());
                self.record(work.subscription, outcome).await;
                self.node.acknowledge(&work.message).await;
                return None;
            }
        };
        let prepared = self.endpoints.prepared(subscription);
        let (started_at, started) = (self.node.now(), self.node.monotonic());
        let answer = self.send(work, &prepared, started_at).await;
        let took = Duration::from_millis((self.node.monotonic() - started).unsigned_abs());
        self.settle(work, subscription, answer, started_at, took).await;
        Some(took)
    }

    pub(super) fn gate(&self, subscription: Option<&Subscription>, meta: &Meta) -> Gate {
        let world = &self.node.world;
        let mut meta = meta.clone();
        if world.is(Mutation::IgnoreExpiryTime) {
            meta.expires_at = None;
        }
        if world.is(Mutation::IgnoreIntendedTime) || world.is(Mutation::FireEarly) {
            meta.intended_at = None;
        }
        if world.is(Mutation::IgnoreDisabled)
            && let Some(subscription) = subscription
        {
            let active = Subscription { state: EndpointState::Active, ..subscription.clone() };
            return gate(Some(&active), &meta, self.node.now());
        }
        match gate(subscription, &meta, self.node.now()) {
            Gate::Pause if world.is(Mutation::CancelPaused) => {
                Gate::End(DeliveryState::Cancelled, Reason::EndpointPaused)
            }
            decided => decided,
        }
    }

    async fn send(&self, work: &Work, prepared: &Prepared, now: Timestamp) -> Answer {
        let webhook_id = work.webhook_id(&self.node.world);
        let keys = prepared.keys.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
        let seconds = now.as_seconds();
        let signature = slipstream_core::signing::sign(keys.map(|(key, _)| key), &webhook_id, seconds, &work.body);
        let mut body = Rc::clone(&work.body);
        if self.node.world.is(Mutation::RewriteBody) {
            body = body.iter().copied().chain(*b"\n").collect();
        }
        let request = Request { work, now, webhook_id, timestamp: seconds, signature, body };
        let mut answer = receiver::call(&self.node, request).await;
        if self.node.world.is(Mutation::ForgetRetryAfter) {
            answer.retry_after = None;
        }
        answer
    }

    /// Publishes what follows an attempt: first its record (N10), then the schedule of the next one if there is one,
    /// then the acknowledgement.
    async fn settle(
        &self,
        work: &Work,
        subscription: &Subscription,
        answer: Answer,
        started_at: Timestamp,
        took: Duration,
    ) {
        let world = &self.node.world;
        let number = work.meta.attempt;
        let ended_at = started_at.after(took);
        let attempted = Attempted { number, answer: &answer, ended_at };
        let (next, slow) = after_attempt(subscription.surface, &self.schedule, attempted, world.chance(Chance::share));
        let next = self.mutated(next, number, ended_at);
        if let Some(asked) = slow {
            self.endpoints.slow(subscription.id, asked, started_at, ended_at);
        }
        let change = self.endpoints.ended(subscription, ended(&next, &answer), started_at, ended_at);
        let attempt = contract::Attempt {
            number,
            started_at,
            duration_us: took.as_micros() as u64,
            status: answer.result.ok(),
            error: answer.result.err(),
            response: None,
            hash: None,
        };
        if let Some(change) = change {
            self.tell_once(subscription, change, started_at).await;
        }
        if world.is(Mutation::AcknowledgeBeforeOutcome) {
            self.node.acknowledge(&work.message).await;
        }
        match next {
            delivery::Next::End { state, reason, disable } => {
                if disable {
                    self.endpoints.gone(subscription.id, subscription.revision);
                    let gone = EndpointChange::Disabled(DisabledReason::Gone);
                    self.node.publish_surely(endpoint_changed(subscription, gone, started_at)).await;
                }
                self.end_other_lives(work).await;
                let outcome = work.attempted(state, reason, attempt, self.node.now());
                self.record(work.subscription, outcome).await;
                self.node.acknowledge(&work.message).await;
            }
            delivery::Next::Retry { at } => {
                let outcome = work.attempted(DeliveryState::RetryWait, None, attempt, self.node.now());
                let outcome = Outcome { next_attempt_at: Some(at), ..outcome };
                let meta = Meta { attempt: number + 1, parked: 0, has_place: false, ..work.meta.clone() };
                if self.is_overdue(work) {
                    // It has been handed out again meanwhile: that life of it decides what follows.
                    self.record(work.subscription, outcome).await;
                    return;
                }
                if world.is(Mutation::ScheduleBeforeRecord) {
                    self.schedule_again(work, meta, at).await;
                    self.record(work.subscription, outcome).await;
                } else {
                    self.record(work.subscription, outcome).await;
                    self.schedule_again(work, meta, at).await;
                }
                self.node.acknowledge(&work.message).await;
            }
        }
    }

    /// Takes away what another life of a delivery may have scheduled: one before this, or one after its lease ran out.
    async fn end_other_lives(&self, work: &Work) {
        let world = &self.node.world;
        if (work.message.is_again || self.is_overdue(work)) && !world.is(Mutation::LeaveOtherLife) {
            self.node.step().await;
            world.broker.borrow_mut().purge(Place::Waiting(work.subscription, work.place(world)));
        }
    }

    /// Whether its lease has run out.
    fn is_overdue(&self, work: &Work) -> bool {
        self.node.monotonic() - work.taken_at > ConsumerName::Deliver.lease()
    }

    fn mutated(&self, next: delivery::Next, number: u32, ended_at: Timestamp) -> delivery::Next {
        use delivery::Next::{End, Retry};
        let world = &self.node.world;
        match next {
            End { state: DeliveryState::Failed, .. } if world.is(Mutation::RetryAfterFinal) && number < 10 => {
                Retry { at: ended_at.after(Duration::from_hours(1)) }
            }
            End { state: DeliveryState::Exhausted, .. } if world.is(Mutation::EleventhAttempt) && number < 11 => {
                Retry { at: ended_at.after(Duration::from_hours(24)) }
            }
            next => next,
        }
    }

    /// Puts a delivery off without an attempt.
    pub(super) async fn park(&self, work: &Work, park: Park) {
        let world = &self.node.world;
        let (parked, has_place) = (work.meta.parked.saturating_add(1), park.keeps_place);
        let mut meta = Meta { parked, has_place, ..work.meta.clone() };
        if world.is(Mutation::ForgetAttemptAtPark) {
            meta.attempt = 1;
        }
        if world.is(Mutation::BreakerUsesAttempt) && park.reason == Some(Reason::BreakerOpen) {
            meta.attempt += 1;
        }
        self.schedule_again(work, meta, park.at).await;
        self.node.acknowledge(&work.message).await;
        let outcome = work.outcome(work.waiting_state(), park.reason, self.node.now());
        self.record(work.subscription, Outcome { next_attempt_at: Some(park.at), ..outcome }).await;
    }

    /// Has the bus hand the delivery out again at `at`, unless a later step of it waits already: of two lives of one
    /// delivery the one that is further goes on.
    async fn schedule_again(&self, work: &Work, meta: Meta, at: Timestamp) {
        let world = &self.node.world;
        let mut last = 0;
        loop {
            let again = work.again(meta.clone(), at, world);
            let again = if world.is(Mutation::OlderInPlaceOfNewer) { again } else { again.expect_last(last) };
            match self.node.publish(again).await {
                Ok(_) => return,
                Err(PublishError::Unanswered) => self.node.sleep(REPEAT_PAUSE).await,
                Err(PublishError::Superseded) => match self.waiting(work).await {
                    Some(waiting) if step_of(&waiting.meta) >= step_of(&meta) => return,
                    // The server may have read it already, and would purge ours with it.
                    Some(waiting) if waiting.due_at() < self.node.now().after(ABOUT_TO_FIRE) => {
                        self.node.sleep(REPEAT_PAUSE).await;
                        last = 0;
                    }
                    waiting => last = waiting.map_or(0, |waiting| waiting.sequence()),
                },
            }
        }
    }

    /// What waits of the same delivery.
    async fn waiting(&self, work: &Work) -> Option<Waiting> {
        self.node.step().await;
        Waiting::find(&self.node, work.subscription, work.place(&self.node.world))
    }

    /// Makes an outcome durable.
    async fn record(&self, subscription: SubscriptionId, outcome: Outcome) {
        let message = Outgoing::new(Subject::Outcomes, Payload::Outcome(subscription, Rc::new(outcome)));
        self.node.publish_surely(message).await;
    }

    /// Tells the registry how an endpoint does. If that fails, the next attempt tells it.
    async fn tell_once(&self, subscription: &Subscription, change: EndpointChange, seen_at: Timestamp) {
        if self.node.publish(endpoint_changed(subscription, change, seen_at)).await.is_err() {
            self.endpoints.not_told(subscription.id);
        }
    }
}

/// `seen_at` is when the attempt started that says so: what people changed since is about another receiver.
fn endpoint_changed(subscription: &Subscription, change: EndpointChange, seen_at: Timestamp) -> Outgoing {
    let changed =
        EndpointChanged { subscription: subscription.id, at: seen_at, change, revision: Some(subscription.revision) };
    Outgoing::new(Subject::Endpoint, Payload::Endpoint(changed))
}

/// How far a delivery is.
const fn step_of(meta: &Meta) -> (u32, u32) {
    (meta.attempt, meta.parked)
}

/// What an attempt says about its endpoint.
fn ended(next: &delivery::Next, answer: &Answer) -> Ended {
    match (next, answer.result) {
        (delivery::Next::End { state: DeliveryState::Succeeded, .. }, _) => Ended::Success,
        (_, Ok(429)) => Ended::Throttled,
        (delivery::Next::End { state: DeliveryState::Failed, .. }, _) => Ended::Refusal,
        _ => Ended::Failure,
    }
}
