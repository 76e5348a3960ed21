//! One attempt after another at one host: gate, send, decide, record (SPEC 4.1–4.3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use metrics::{counter, histogram};
use slipstream_bus::{Bus, ConfigBucket, Outgoing, Publisher, Schedules, subject};
use slipstream_core::answer::Answer;
use slipstream_core::config::{DisabledReason, Record, Subscription, Surface};
use slipstream_core::contract::{self, EndpointChange, EndpointChanged, Meta};
use slipstream_core::delivery::{
    self, Attempted, DeliveryState, Gate, Reason, after_attempt, gate, held_back_until, pause_of,
};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::retry::RetrySchedule;
use slipstream_core::signing;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Directory, clock, names, trace};
use slipstream_webhook::WebhookRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use super::callers::Callers;
use super::ecg::Post;
use super::endpoint::{Ended, Endpoints, Next, Park, Place, Prepared, PreparedKey};
use super::message::Message;
use super::record::Recorder;
use super::work::Work;
use crate::pace::Pace;

/// Pause before a schedule that the bus did not take is published again.
const REPEAT_PAUSE: Duration = Duration::from_millis(200);
/// How often a delivery whose subscription we do not know is looked at again before it is cancelled.
const UNKNOWN_LOOKS: u32 = 2;
const UNKNOWN_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a delivery is looked at again whose subscription's secrets are still sealed.
const SEALED_LOOK_EVERY: Duration = Duration::from_secs(5);

/// What every attempt needs.
pub(crate) struct Worker {
    pub(crate) callers: Callers,
    pub(crate) schedule: RetrySchedule,
    pub(crate) directory: Directory,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) bus: Bus,
    pub(crate) bucket: ConfigBucket,
    pub(crate) schedules: Schedules,
    pub(crate) dead_letters: Publisher,
    pub(crate) outcomes: Publisher,
    pub(crate) recorder: Recorder,
    /// How long a delivery may have been in hand when its attempt starts: well below its lease.
    pub(crate) stale_after: Duration,
    /// After how long in hand the server hands a delivery out again.
    pub(crate) lease: Duration,
    /// One permit per attempt under way.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) workers: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Worker {
    /// Attempts `work` and then whatever waits at the same host, until nothing does. `permit` is for one attempt at a
    /// time.
    pub(crate) fn spawn(self: &Arc<Self>, work: Work, place: Place, permit: OwnedSemaphorePermit) {
        let worker = Arc::clone(self);
        self.workers.spawn(async move {
            worker.work_off(Next::Attempt(work, place), None).await;
            drop(permit);
        });
    }

    async fn work_off(self: &Arc<Self>, mut next: Next, mut host: Option<Arc<str>>) {
        loop {
            next = match next {
                Next::Attempt(work, place) => {
                    host = Endpoints::host_of(&place);
                    let took = if self.stop.is_cancelled() {
                        work.ack.hand_back().await;
                        None
                    } else {
                        self.attempt(work).await
                    };
                    let next = self.endpoints.finished(place, took);
                    self.help_at(host.as_ref());
                    next
                }
                Next::Park(work, park) => {
                    // What has been in hand too long is handed out again anyway, here or elsewhere.
                    if work.taken_at.elapsed() <= self.stale_after {
                        self.park(work, park).await;
                    }
                    match &host {
                        Some(host) => self.endpoints.next_at(host),
                        None => return,
                    }
                }
                Next::Nothing => return,
            };
        }
    }

    /// An endpoint that has been answering may have earned one more place than there are workers for it. Whether it had,
    /// and there is one more now.
    fn help_at(self: &Arc<Self>, host: Option<&Arc<str>>) -> bool {
        let Some(host) = host.filter(|host| self.endpoints.has_more_at(host)) else { return false };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return false };
        let next = self.endpoints.next_at(host);
        if matches!(next, Next::Nothing) {
            return false;
        }
        let (worker, host) = (Arc::clone(self), Arc::clone(host));
        self.workers.spawn(async move {
            Box::pin(worker.work_off(next, Some(host))).await;
            drop(permit);
        });
        true
    }

    /// Takes up what rested to give way, as far as it may start now: of one host after another, and again.
    pub(crate) fn wake_rested(self: &Arc<Self>) {
        let mut hosts = self.endpoints.wake_rested();
        let woken = hosts.clone();
        while !hosts.is_empty() {
            hosts.retain(|host| self.help_at(Some(host)));
        }
        for host in woken {
            self.endpoints.rest_unattended(&host);
        }
    }

    /// Makes one attempt if the gate is open, and settles the delivery either way. How long the request took.
    async fn attempt(&self, work: Work) -> Option<Duration> {
        if work.taken_at.elapsed() > self.stale_after {
            return None; // the server hands it out again, here or elsewhere; two at once must not be
        }
        let snapshot = self.directory.load();
        let subscription = snapshot.endpoint(work.subscription);
        let is_cancelled = work.meta.cancelled_at.is_some();
        if subscription.is_none() && !is_cancelled {
            drop(snapshot);
            // Perhaps it is only new, and we have not heard of it.
            if work.meta.parked < UNKNOWN_LOOKS || self.is_there(work.subscription).await {
                let now = clock::now();
                let park = Park::until(now.after(UNKNOWN_LOOK_EVERY), now, Some(Reason::SubscriptionRemoved));
                self.park(work, park).await;
            } else {
                let outcome = work.outcome(DeliveryState::Cancelled, Some(Reason::SubscriptionRemoved));
                self.recorder.record_last((self.surface_of(&work), work.subscription), outcome, work.ack).await;
            }
            return None;
        }
        let post = match subscription.map(|subscription| subscription.surface) {
            Some(Surface::Ecg) => match Post::read(&work.body) {
                Ok(post) => Some(post),
                Err(error) => {
                    drop(snapshot);
                    // We write these ourselves: a stranger's must not hold up the others.
                    tracing::error!(delivery.id = %work.delivery, %error, "not an ECG post of ours: it fails");
                    let outcome = work.outcome(DeliveryState::Failed, None);
                    self.recorder.record_last((Surface::Ecg, work.subscription), outcome, work.ack).await;
                    return None;
                }
            },
            Some(Surface::Slipstream) | None => None,
        };
        let is_paused = |subscription: &Subscription| {
            let waits_for_event = post.as_ref().is_some_and(|post| !post.is_dispatchable(snapshot.ecg()));
            waits_for_event || (post.is_some() && self.endpoints.is_gone(subscription))
        };
        let open = match gate(subscription.map(AsRef::as_ref), &work.meta, clock::now()) {
            Gate::Open if subscription.is_some_and(|subscription| is_paused(subscription)) => Gate::Pause,
            decided => decided,
        };
        let open = match open {
            Gate::End(state, reason) => Err((state, reason)),
            Gate::Pause => {
                drop(snapshot);
                let now = clock::now();
                let park = Park::until(now.after(pause_of(work.meta.parked)), now, Some(Reason::EndpointPaused));
                self.park(work, park).await;
                return None;
            }
            Gate::Wait(until) => {
                drop(snapshot);
                let at = held_back_until(until, work.meta.parked);
                self.park(work, Park { at, reason: None, keeps_place: false }).await;
                return None;
            }
            Gate::Open => subscription
                .filter(|subscription| !self.endpoints.is_gone(subscription))
                .ok_or((DeliveryState::Cancelled, Reason::EndpointDisabled)),
        };
        let subscription = match open {
            Ok(subscription) => Arc::clone(subscription),
            Err((state, reason)) => {
                let outcome = work.outcome(state, Some(reason));
                drop(snapshot);
                self.recorder.record_last((self.surface_of(&work), work.subscription), outcome, work.ack).await;
                return None;
            }
        };
        let prepared = self.endpoints.prepared(&subscription, |it| self.callers.prepare(it, snapshot.ecg()));
        let made = post.map(|post| (post, snapshot.ecg().subscription(subscription.id).cloned()));
        drop(snapshot);
        let (started_at, started) = (clock::now(), Instant::now());
        let message = match made {
            _ if prepared.is_sealed => None,
            None => Some(Message::of_event(&work)),
            Some((post, subscription)) => subscription.and_then(|it| post.message(&work, &it, started_at)),
        };
        let Some(message) = message else {
            // Never unsigned, and never without its headers: it waits for the key that opens them.
            let park = Park::until(started_at.after(SEALED_LOOK_EVERY), started_at, Some(Reason::SecretsSealed));
            self.park(work, park).await;
            return None;
        };
        let answer = self.send(&work, &prepared, &message, started_at).await;
        let took = started.elapsed();
        self.settle(work, &subscription, (message, answer), started_at, took).await;
        Some(took)
    }

    /// The surface of a delivery whose subscription may be gone, or not known yet; then its body tells.
    fn surface_of(&self, work: &Work) -> Surface {
        let snapshot = self.directory.load();
        match snapshot.endpoint(work.subscription) {
            Some(known) => known.surface,
            None if Post::read(&work.body).is_ok() => Surface::Ecg,
            None => Surface::Slipstream,
        }
    }

    async fn send(&self, work: &Work, prepared: &Prepared, message: &Message, now: Timestamp) -> Answer {
        let Ok(target) = &prepared.target else {
            return Answer::error(slipstream_core::answer::ErrorCode::TargetNotAllowed);
        };
        let span = send_span(work);
        let webhook_id = work.webhook_id();
        let seconds = now.as_seconds();
        let is_in_force = |key: &&PreparedKey| key.until.is_none_or(|until| until > now);
        let keys = prepared.keys.iter().filter(is_in_force).map(|key| &key.key);
        let signature = signing::sign(keys, &webhook_id, seconds, &message.body);
        let request = WebhookRequest {
            target,
            content_type: &prepared.content_type,
            webhook_id: &webhook_id,
            timestamp_seconds: seconds,
            signature: Some(signature),
            request_origin: prepared.origin.as_ref(),
            headers: &prepared.headers,
            surface_headers: &message.headers,
            traceparent: trace::of_span(&span).or_else(|| work.trace.map(|trace| trace.child(rand::random()))),
            body: message.body.clone(),
        };
        self.callers.client(prepared.caller).send(request).instrument(span).await
    }

    /// Publishes what follows an attempt: first its record (N10), then the schedule of the next one if there is one,
    /// then the acknowledgement.
    async fn settle(
        &self,
        work: Work,
        subscription: &Subscription,
        (message, answer): (Message, Answer),
        started_at: Timestamp,
        took: Duration,
    ) {
        let number = work.meta.attempt;
        let ended_at = started_at.after(took);
        let attempted = Attempted { number, answer: &answer, ended_at };
        let shorter = message.attempts_max.map(|max| self.schedule.first(max));
        let schedule = shorter.as_ref().unwrap_or(&self.schedule);
        let (next, slow) = after_attempt(subscription.surface, schedule, attempted, rand::random());
        if let Some(asked) = slow {
            self.endpoints.slow(subscription.id, asked, started_at, ended_at);
        }
        let ended = ended(&next, &answer);
        let change = if message.says_of_endpoint {
            self.endpoints.ended(subscription, ended, started_at, ended_at)
        } else {
            None
        };
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
            hash: message.hash,
        };
        let recipient = (subscription.surface, subscription.id);
        if let Some(change) = change {
            self.tell_once(subscription, change, started_at).await;
        }
        match next {
            delivery::Next::End { state, reason, disable } => {
                if disable && message.says_of_endpoint {
                    self.endpoints.gone(subscription.id, subscription.revision);
                    if !self.disable(subscription, started_at).await {
                        return;
                    }
                }
                // A post is no event, and the activity log has its payload.
                if state != DeliveryState::Succeeded && subscription.surface != Surface::Ecg {
                    self.keep(&work).await;
                }
                if work.is_redelivered || work.taken_at.elapsed() > self.lease {
                    self.end_other_lives(&work).await;
                }
                let outcome = work.attempted(state, reason, attempt);
                self.recorder.record_last(recipient, outcome, work.ack).await;
            }
            delivery::Next::Retry { at } => {
                let outcome = work.attempted(DeliveryState::RetryWait, None, attempt);
                let outcome = contract::Outcome { next_attempt_at: Some(at), ..outcome };
                let meta =
                    Meta { attempt: number + 1, parked: 0, is_paused: false, has_place: false, ..work.meta.clone() };
                if work.taken_at.elapsed() > self.lease {
                    // It has been handed out again meanwhile: that life of it decides what follows.
                    self.recorder.note(recipient, outcome).await;
                    return;
                }
                // Told to stop before both are done, the message comes again, and so does the attempt.
                if self.recorder.record(recipient, outcome).await && self.schedule_again(&work, &meta, at).await {
                    work.ack.ack().await;
                }
            }
        }
    }

    /// Keeps the event's bytes for a replay. Best effort: without them a replay depends on what `EVENTS` keeps.
    async fn keep(&self, work: &Work) {
        if let Err(error) = self.dead_letters.publish(work.dead_letter()).await {
            tracing::warn!(delivery.id = %work.delivery, %error, "an event's bytes are not kept for a replay");
        }
    }

    /// Whether the bucket has this subscription, whatever we have heard; true if it cannot be asked now.
    async fn is_there(&self, subscription: SubscriptionId) -> bool {
        for kind in ["subscription", "ecg_subscription"] {
            match self.bucket.get(&format!("{kind}.{subscription}")).await {
                Ok(None) => {}
                Ok(Some(Record::EcgSubscription(found))) if found.deleted => {}
                Ok(Some(_)) | Err(_) => return true,
            }
        }
        false
    }

    /// Takes away what an earlier life of this delivery may have scheduled. Best effort: what fires all the same is one
    /// more attempt under the same webhook id.
    async fn end_other_lives(&self, work: &Work) {
        if let Err(error) = self.bus.cancel_schedules(&work.waiting_subject()).await {
            tracing::debug!(delivery.id = %work.delivery, %error, "an earlier life of a delivery may go on");
        }
    }

    /// Puts a delivery off without an attempt.
    pub(crate) async fn park(&self, work: Work, park: Park) {
        let has_place = park.keeps_place;
        let is_paused = park.reason == Some(Reason::EndpointPaused);
        let meta = Meta { parked: work.meta.parked.saturating_add(1), is_paused, has_place, ..work.meta.clone() };
        let reason = park.reason;
        if !self.schedule_again(&work, &meta, park.at).await {
            return;
        }
        work.ack.ack().await;
        counter!(names::DELIVERIES_PARKED, "reason" => reason.map_or("not_yet_time", Reason::as_str)).increment(1);
        let outcome = work.outcome(work.waiting_state(), reason);
        let outcome = contract::Outcome { next_attempt_at: Some(park.at), ..outcome };
        self.recorder.note((self.surface_of(&work), work.subscription), outcome).await;
    }

    /// Has the bus hand the delivery out again at `at`; tries until it does. False if told to stop meanwhile.
    async fn schedule_again(&self, work: &Work, meta: &Meta, at: Timestamp) -> bool {
        let subject = work.waiting_subject();
        let again = |last| work.again(meta, last, at, clock::now());
        // A repeat means that an earlier try, or an earlier life of this process, has done it; a later attempt waiting
        // there, that another life has come further.
        while let Err(error) = self.schedules.wait(&subject, (meta.attempt, meta.parked), again, clock::now).await {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(delivery.id = %work.delivery, error, "scheduling again");
            if self.stop.run_until_cancelled(tokio::time::sleep(REPEAT_PAUSE)).await.is_none() {
                return false;
            }
        }
        true
    }

    /// Tells the registry that the receiver answered 410; tries until it is told. Until its record has changed, this
    /// replica remembers. False if told to stop meanwhile: then the attempt comes again, and so does its 410.
    async fn disable(&self, subscription: &Subscription, seen_at: Timestamp) -> bool {
        let message = endpoint_changed(subscription, EndpointChange::Disabled(DisabledReason::Gone), seen_at);
        while let Err(error) = self.outcomes.publish(message.clone()).await {
            tracing::warn!(subscription.id = %subscription.id, %error, "telling again that the endpoint is gone");
            if self.stop.run_until_cancelled(tokio::time::sleep(REPEAT_PAUSE)).await.is_none() {
                return false;
            }
        }
        true
    }

    /// Tells the registry how an endpoint does. If that fails, the next attempt tells it.
    async fn tell_once(&self, subscription: &Subscription, change: EndpointChange, seen_at: Timestamp) {
        tracing::info!(subscription.id = %subscription.id, ?change, "an endpoint's health changed");
        if let Err(error) = self.outcomes.publish(endpoint_changed(subscription, change, seen_at)).await {
            tracing::warn!(subscription.id = %subscription.id, %error, "the registry does not know of it yet");
            self.endpoints.not_told(subscription.id);
        }
    }
}

/// `subscription` is as the attempt that says so had it, which started at `seen_at`: what people changed since is about
/// another receiver.
fn endpoint_changed(subscription: &Subscription, change: EndpointChange, seen_at: Timestamp) -> Outgoing {
    let revision = Some(subscription.revision);
    let changed = EndpointChanged { subscription: subscription.id, at: seen_at, change, revision };
    let payload = Bytes::from(serde_json::to_vec(&changed).expect("messages serialise"));
    Outgoing::new(subject::endpoint(subscription.surface, subscription.id), payload)
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

/// The span of one attempt; its id goes out as the webhook's `traceparent`. Nothing unless traces are exported.
fn send_span(work: &Work) -> Span {
    let span = tracing::debug_span!(
        target: "slipstream::span",
        "send webhook",
        otel.kind = "client",
        http.request.method = "POST",
        http.request.resend_count = work.meta.attempt - 1,
        subscription.id = %work.subscription,
        delivery.id = %work.delivery,
    );
    if let Some(cause) = work.trace {
        trace::set_parent(&span, cause);
    }
    span
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
