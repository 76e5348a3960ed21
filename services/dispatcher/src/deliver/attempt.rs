//! One attempt after another at one endpoint: gate, send, decide, record (SPEC 4.1–4.3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use metrics::{counter, histogram};
use slipstream_bus::{Outgoing, Publisher, subject};
use slipstream_core::answer::Answer;
use slipstream_core::config::{DisabledReason, Subscription, Surface};
use slipstream_core::contract::{self, EndpointChange, EndpointChanged, Meta};
use slipstream_core::delivery::{self, Attempted, DeliveryState, Gate, Reason, after_attempt, gate};
use slipstream_core::retry::RetrySchedule;
use slipstream_core::signing;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Directory, clock, names};
use slipstream_webhook::{AddressPolicy, Client, PreparedHeaders, Target, WebhookRequest};
use tokio_util::sync::CancellationToken;

use super::endpoint::{Endpoints, Next, Park, Prepared, PreparedKey};
use super::record::Recorder;
use super::work::Work;

/// Pause before a schedule that the bus did not take is published again.
const REPEAT_PAUSE: Duration = Duration::from_millis(200);

/// What every attempt needs.
pub(crate) struct Worker {
    pub(crate) client: Client,
    pub(crate) policy: Arc<AddressPolicy>,
    pub(crate) schedule: RetrySchedule,
    pub(crate) directory: Directory,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) work: Publisher,
    pub(crate) outcomes: Publisher,
    pub(crate) recorder: Recorder,
    pub(crate) stop: CancellationToken,
}

impl Worker {
    /// Attempts `work` and then whatever waits at the same endpoint, until nothing does.
    pub(crate) async fn work_off(&self, work: Work) {
        let subscription = work.subscription;
        let mut took = self.attempt(work).await;
        loop {
            match self.endpoints.finished(subscription, took.take()) {
                Next::Attempt(work) if self.stop.is_cancelled() => {
                    work.ack.hand_back().await;
                    for work in self.endpoints.drain(subscription) {
                        work.ack.hand_back().await;
                    }
                }
                Next::Attempt(work) => took = self.attempt(work).await,
                Next::Park(work, park) => self.park(work, park).await,
                Next::Nothing => return,
            }
        }
    }

    /// Makes one attempt if the gate is open, and settles the delivery either way. How long the request took.
    async fn attempt(&self, work: Work) -> Option<Duration> {
        let snapshot = self.directory.load();
        let subscription = snapshot.subscriptions().get(work.subscription);
        let open = match gate(subscription.map(AsRef::as_ref), work.meta.expires_at, clock::now()) {
            Gate::End(state, reason) => Err((state, reason)),
            Gate::Open => subscription
                .filter(|subscription| !self.endpoints.is_gone(subscription))
                .ok_or((DeliveryState::Cancelled, Reason::EndpointDisabled)),
        };
        let subscription = match open {
            Ok(subscription) => Arc::clone(subscription),
            Err((state, reason)) => {
                let surface = subscription.map_or(Surface::Slipstream, |subscription| subscription.surface);
                let outcome = work.outcome(state, Some(reason));
                self.recorder.record(surface, work.subscription, outcome, work.ack).await;
                return None;
            }
        };
        drop(snapshot);
        let prepared = self.endpoints.prepared(&subscription, |subscription| prepare(subscription, &self.policy));
        let (started_at, started) = (clock::now(), Instant::now());
        let answer = self.send(&work, &prepared, started_at).await;
        let took = started.elapsed();
        self.settle(work, &subscription, answer, started_at, took).await;
        Some(took)
    }

    async fn send(&self, work: &Work, prepared: &Prepared, now: Timestamp) -> Answer {
        let Ok(target) = &prepared.target else {
            return Answer::error(slipstream_core::answer::ErrorCode::TargetNotAllowed);
        };
        let webhook_id = work.delivery.webhook_id();
        let seconds = now.as_seconds();
        let is_in_force = |key: &&PreparedKey| key.until.is_none_or(|until| until > now);
        let keys = prepared.keys.iter().filter(is_in_force).map(|key| &key.key);
        let signature = signing::sign(keys, &webhook_id, seconds, &work.body);
        let request = WebhookRequest {
            target,
            content_type: &prepared.content_type,
            webhook_id: &webhook_id,
            timestamp_seconds: seconds,
            signature: Some(signature),
            headers: &prepared.headers,
            traceparent: work.trace.map(|trace| trace.child(rand::random())),
            body: work.body.clone(),
        };
        self.client.send(request).await
    }

    /// Publishes what follows an attempt: the schedule of the next one first, then the record of this one (N10).
    async fn settle(
        &self,
        work: Work,
        subscription: &Subscription,
        answer: Answer,
        started_at: Timestamp,
        took: Duration,
    ) {
        let number = work.meta.attempt;
        let ended_at = started_at.after(took);
        let attempted = Attempted { number, answer: &answer, ended_at };
        let (next, slow) = after_attempt(subscription.surface, &self.schedule, attempted, rand::random());
        match slow {
            Some(asked) => self.endpoints.slow(subscription.id, asked, ended_at),
            None if answer.result.is_ok_and(|status| status < 300) => self.endpoints.took(subscription.id),
            None => {}
        }
        let result = answer.result.map_or_else(slipstream_core::answer::ErrorCode::as_str, status_class);
        counter!(names::ATTEMPTS, "result" => result).increment(1);
        histogram!(names::ATTEMPT_DURATION).record(took.as_secs_f64());
        let attempt = contract::Attempt {
            number,
            started_at,
            duration_us: took.as_micros() as u64,
            status: answer.result.ok(),
            error: answer.result.err(),
            response: (!answer.body.is_empty()).then(|| STANDARD.encode(&answer.body)),
        };
        let outcome = match next {
            delivery::Next::End { state, reason, disable } => {
                if disable {
                    self.endpoints.gone(subscription.id, subscription.revision);
                    self.disable(subscription).await;
                }
                work.attempted(state, reason, attempt)
            }
            delivery::Next::Retry { at } => {
                let meta = Meta { attempt: number + 1, parked: 0, ..work.meta.clone() };
                if !self.schedule_again(&work, &meta, at).await {
                    return; // stopping; the message comes again, and so does the attempt
                }
                let outcome = work.attempted(DeliveryState::RetryWait, None, attempt);
                contract::Outcome { next_attempt_at: Some(at), ..outcome }
            }
        };
        self.recorder.record(subscription.surface, subscription.id, outcome, work.ack).await;
    }

    /// Puts a delivery off without an attempt.
    pub(crate) async fn park(&self, work: Work, park: Park) {
        let meta = Meta { parked: work.meta.parked.saturating_add(1), ..work.meta.clone() };
        if !self.schedule_again(&work, &meta, park.at).await {
            return;
        }
        counter!(names::DELIVERIES_PARKED, "reason" => park.reason.as_str()).increment(1);
        let outcome = work.outcome(work.waiting_state(), Some(park.reason));
        let outcome = contract::Outcome { next_attempt_at: Some(park.at), ..outcome };
        self.recorder.record(Surface::Slipstream, work.subscription, outcome, work.ack).await;
    }

    /// Has the bus hand the delivery out again at `at`; tries until it does. False if told to stop meanwhile.
    async fn schedule_again(&self, work: &Work, meta: &Meta, at: Timestamp) -> bool {
        loop {
            // No message id: the subject alone says which delivery it is, and a second schedule replaces the first.
            match self.work.publish(work.again(meta, at, clock::now())).await {
                Ok(ack) if !ack.duplicate => return true,
                Ok(_) => tracing::error!(delivery.id = %work.delivery, "a schedule was taken for a repeat"),
                Err(error) => tracing::warn!(delivery.id = %work.delivery, %error, "scheduling again"),
            }
            if self.stop.run_until_cancelled(tokio::time::sleep(REPEAT_PAUSE)).await.is_none() {
                return false;
            }
        }
    }

    /// Tells the registry that the receiver answered 410. Until its record is changed, this replica remembers.
    async fn disable(&self, subscription: &Subscription) {
        let changed = EndpointChanged {
            subscription: subscription.id,
            at: clock::now(),
            change: EndpointChange::Disabled(DisabledReason::Gone),
        };
        let payload = serde_json::to_vec(&changed).expect("messages serialise");
        let message = Outgoing::new(subject::endpoint(subscription.surface, subscription.id), payload.into());
        if let Err(error) = self.outcomes.publish(message).await {
            // The next delivery to this endpoint will find it gone again.
            tracing::warn!(subscription.id = %subscription.id, %error, "cannot tell that the endpoint is gone");
        }
    }
}

fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    }
}

/// Makes a subscription ready to be called.
fn prepare(subscription: &Subscription, policy: &AddressPolicy) -> Prepared {
    let headers = PreparedHeaders::new(&subscription.headers).unwrap_or_else(|errors| {
        // The registry checked them; a rule may have become stricter since.
        tracing::error!(subscription.id = %subscription.id, errors = errors.len(), "headers are left out");
        PreparedHeaders::default()
    });
    let keys =
        subscription.signing_keys.iter().filter_map(|signing_key| match signing::Key::parse(&signing_key.secret) {
            Ok(key) => Some(PreparedKey { key, until: signing_key.until }),
            Err(error) => {
                tracing::error!(subscription.id = %subscription.id, %error, "a signing key is left out");
                None
            }
        });
    Prepared {
        revision: subscription.revision,
        target: Target::parse(&subscription.uri, policy),
        headers,
        content_type: http::HeaderValue::from_static(subscription.feature.content_type()),
        keys: keys.collect(),
    }
}
