//! Puts our own posts on the bus, where the dispatcher takes them up.
//!
//! A post is written down first, as one that is still to be published, and published then; so whoever hears that it was
//! made finds it, and one whose publishing failed, or that a crash came between, is published by the loop. Publishing it
//! twice makes it once, as long as the stream knows its message's id, and one more attempt under the same `webhook-id`
//! after that.

use std::sync::Arc;
use std::time::Duration;

use slipstream_bus::{Bus, BusError, Outgoing, PublishError, Publisher, Schedules, StreamName, Waiting, subject};
use slipstream_core::config::EcgEvent;
use slipstream_core::contract::{EcgPost, Meta, Outcome, PostKind};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ecg::ACTIVATED;
use slipstream_core::ids::{ActivityId, DeliveryId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_service::{Directory, clock};
use slipstream_store::Store;
use slipstream_store::activity::{DeliveryRecord, delivery};
use slipstream_store::ecg::activities::{self, Activity, Dispatch, Unsent};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::database::{QUERY_TIMEOUT, before};
use crate::replay::record;

/// How often to look for posts that are still to be published.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How old they are at least: whoever made a younger one is publishing it.
const AGE_MIN: Duration = Duration::from_secs(10);
/// How many are taken at once: with 256 KiB each, 8 MiB.
const AT_ONCE_MAX: usize = 32;
/// How long a retry may take to wait on the bus, once it was told of, and how often to look.
const SCHEDULED_WITHIN: Duration = Duration::from_millis(500);
const SCHEDULED_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Publishes posts. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Poster {
    store: Store,
    bus: Bus,
    directory: Directory,
    work: Publisher,
    outcomes: Publisher,
    schedules: Schedules,
}

impl Poster {
    pub(crate) fn new(store: Store, bus: Bus, directory: Directory) -> Self {
        let (work, outcomes) = (bus.publisher(StreamName::Work), bus.publisher(StreamName::Outcomes));
        let schedules = bus.schedules();
        Self { store, bus, directory, work, outcomes, schedules }
    }

    /// Publishes posts that were not published when they were made, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let mut more = true;
            while more && !stop.is_cancelled() {
                more = self.catch_up().await.unwrap_or_else(|error| {
                    tracing::warn!(error = format!("{error:#}"), "posts that were made wait to be published");
                    false
                });
            }
        }
    }

    /// Publishes the oldest ones that are left. False if there are none that can be.
    async fn catch_up(&self) -> anyhow::Result<bool> {
        let made_before = before(clock::now(), AGE_MIN);
        let unsent = activities::unsent(self.store.connection(), made_before, AT_ONCE_MAX);
        let unsent = timeout(QUERY_TIMEOUT, unsent).await??;
        if unsent.is_empty() {
            return Ok(false);
        }
        tracing::info!(posts.count = unsent.len(), "publishing posts that were made before");
        let (mut sent, mut result) = (Vec::with_capacity(unsent.len()), anyhow::Ok(()));
        for post in &unsent {
            let event = post.event.and_then(|id| self.directory.load().ecg().event(id).cloned());
            match self.publish(post, event.as_ref()).await {
                Ok(true) => sent.push(ActivityId(post.delivery.0)),
                Ok(false) => tracing::warn!(delivery.id = %post.delivery, "a post waits until its event is known"),
                Err(error) => {
                    result = Err(error.into());
                    break;
                }
            }
        }
        self.mark(&sent).await?;
        result.map(|()| !sent.is_empty())
    }

    /// Publishes an activity that was just made, if that is up to us. One that is not published now is published later.
    pub(super) async fn post(&self, activity: &Activity, event: Option<&Arc<EcgEvent>>) {
        let Some(post) = delivery_of(activity) else { return };
        match self.publish(&post, event).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(activity.id = %activity.id, %error, "a post is made, and published later");
                return;
            }
        }
        // Not marked, it is published once more, which harms nobody.
        if let Err(error) = self.mark(&[activity.id]).await {
            tracing::debug!(activity.id = %activity.id, error = format!("{error:#}"), "a post is published twice");
        }
    }

    async fn mark(&self, sent: &[ActivityId]) -> anyhow::Result<()> {
        timeout(QUERY_TIMEOUT, activities::sent(self.store.connection(), sent)).await??;
        Ok(())
    }

    /// False if it cannot be published yet: nobody knows what its event is called.
    async fn publish(&self, post: &Unsent, event: Option<&Arc<EcgEvent>>) -> Result<bool, PublishError> {
        let Some(message) = message(post, event) else { return Ok(false) };
        self.work.publish(message).await.map(|_| true)
    }

    /// Takes the automatic retry of a failed activity off the bus, if it still waits there. Best effort: what fires all the
    /// same is one more attempt under the same `webhook-id`.
    pub(super) async fn take_back(&self, activity: &Activity) {
        let Some(id) = activity.delivery else { return };
        let taking = async {
            let Some((found, _)) = timeout(QUERY_TIMEOUT, delivery(self.store.connection(), id)).await?? else {
                return Ok(());
            };
            // A later attempt's is that of another activity.
            self.take_off(vec![found.record], |waiting| waiting.meta.attempt == activity.number + 1).await
        };
        if let Err(error) = taking.await {
            let error = format!("{error:#}");
            tracing::warn!(activity.id = %activity.id, error, "a retry that was replaced may be made all the same");
        }
    }

    /// Takes off the bus what else waits in the trees of activities that were taken. Best effort, as [`Poster::take_back`].
    pub(crate) async fn take_back_others(&self, taken: &[ActivityId]) {
        if taken.is_empty() {
            return;
        }
        let taking = async {
            let taken: Vec<_> = taken.iter().map(|id| DeliveryId(id.0)).collect();
            let others = activities::others_waiting(self.store.connection(), &taken);
            let mut others = timeout(QUERY_TIMEOUT, others).await??;
            // One that has not come to its first attempt says itself what comes of it.
            others.retain(|it| it.next_attempt_at.is_some() || it.state.is_terminal());
            self.take_off(others, |_| true).await
        };
        if let Err(error) = taking.await {
            let error = format!("{error:#}");
            tracing::warn!(activities.count = taken.len(), error, "retries may be made of what was taken already");
        }
    }

    /// Takes retries off the bus that are not to be made any more. Best effort, as [`Poster::take_back`].
    pub(crate) async fn take_back_all(&self, over: Vec<DeliveryRecord>) {
        let count = over.len();
        if let Err(error) = self.take_off(over, |_| true).await {
            let error = format!("{error:#}");
            tracing::warn!(deliveries.count = count, error, "retries may be made that are not wanted any more");
        }
    }

    /// Ends those deliveries that wait on the bus, as wanted, and takes just them off it. One that is under way is let alone:
    /// what comes of it is recorded, and then comes here again.
    ///
    /// That it ended is told first: a crash in between leaves one that is recorded as cancelled, and is found as such.
    async fn take_off(
        &self,
        deliveries: Vec<DeliveryRecord>,
        is_wanted: impl Fn(&Waiting) -> bool,
    ) -> anyhow::Result<()> {
        let looking_until = Instant::now() + SCHEDULED_WITHIN;
        for record in deliveries {
            let subject = subject::waiting(record.subscription, &record.event_key, record.id);
            let Some(waiting) = self.find_waiting(&record, looking_until).await? else { continue };
            if !is_wanted(&waiting) {
                continue;
            }
            if !record.state.is_terminal() {
                self.ended(record).await?;
            }
            self.bus.cancel_schedules(&subject).await?;
        }
        Ok(())
    }

    /// What waits on the bus of a delivery. The dispatcher first tells of a retry and then has it wait, so one that is ahead
    /// may need another look.
    async fn find_waiting(&self, record: &DeliveryRecord, until: Instant) -> Result<Option<Waiting>, BusError> {
        loop {
            let found = self.schedules.waiting(record.subscription, &record.event_key, record.id).await?;
            let may_come = record.next_attempt_at.is_some_and(|at| at > clock::now()) && Instant::now() < until;
            if found.is_some() || !may_come {
                return Ok(found);
            }
            sleep(SCHEDULED_LOOK_EVERY).await;
        }
    }

    /// Has it recorded that a delivery ended.
    async fn ended(&self, it: DeliveryRecord) -> Result<(), PublishError> {
        let outcome = Outcome {
            delivery: it.id,
            site: it.site,
            key: it.event_key,
            lane: it.lane,
            accepted_at: it.id.accepted_at(),
            state: DeliveryState::Cancelled,
            reason: Some(Reason::CancelledByRequest),
            at: clock::now(),
            attempt: None,
            next_attempt_at: None,
            replay: it.replay,
        };
        self.outcomes.publish_each(&record([(it.surface, it.subscription, outcome)])).await.map(drop)
    }
}

/// The delivery that we make of an activity; none of one that somebody else posts.
fn delivery_of(activity: &Activity) -> Option<Unsent> {
    Some(Unsent {
        delivery: activity.delivery.filter(|_| activity.dispatch == Dispatch::Platform)?,
        replay: activity.replay,
        organization: activity.organization,
        subscription: activity.subscription,
        key: activity.key,
        event: activity.event,
        kind: activity.kind,
        created_at: activity.created_at,
        payload: activity.payload.clone(),
    })
}

/// A post's message: its id lets the stream know a repeat. None if it is of an event that is not known (yet): an activation
/// needs none.
fn message(post: &Unsent, event: Option<&Arc<EcgEvent>>) -> Option<Outgoing> {
    let code = match (event, post.kind) {
        (Some(event), _) => event.code.clone(),
        (None, PostKind::Activation) => ACTIVATED.to_owned(),
        (None, PostKind::Event) => return None,
    };
    let body = EcgPost {
        kind: post.kind,
        event: post.event,
        code,
        created_at: post.created_at,
        payload: (*post.payload).to_owned(),
    };
    let meta = Meta {
        replay: post.replay,
        ..Meta::new(Slug::of_organization(post.organization), post.delivery.accepted_at())
    };
    let payload = serde_json::to_vec(&body).expect("texts, numbers and JSON always serialise");
    let subject = subject::delivery(Lane::Normal, post.subscription, &post.key);
    Some(Outgoing::new(subject, payload.into()).id(&post.delivery.to_string()).meta(&meta))
}
