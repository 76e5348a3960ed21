//! What is configured, as a request finds it: subscriptions, their events, their secrets.
//!
//! It comes from the directory, which hears of a change some milliseconds after the registry has answered. Whoever makes a
//! subscription and posts to it at once must not be told that there is none, nor get a hash under a secret that was
//! replaced just before. So what makes something new first asks the bucket how far the records are that it is about, and
//! waits until the directory is as far.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use slipstream_bus::ConfigBucket;
use slipstream_core::config::{EcgEvent, EcgSubscription, Record};
use slipstream_core::ids::{EcgCategoryId, EcgEventId, SubscriptionId};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::directory::{EcgIndex, Snapshot};
use slipstream_service::ecg::AtOrganization;
use slipstream_service::ecg::body::wrong;
use slipstream_service::ecg::not_found;
use slipstream_service::{ApiError, Directory};
use tokio::time::{Instant, timeout, timeout_at};

use crate::replay::conflict;

/// How long the bucket may take to say how far it is. Without its answer, what is known serves.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the directory may take to be as far.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// What is configured.
#[derive(Debug)]
pub(super) struct Known {
    directory: Directory,
    bucket: ConfigBucket,
}

/// A record that a request is about.
#[derive(Debug, Clone, Copy)]
enum Thing {
    Category(EcgCategoryId),
    Event(EcgEventId),
    Subscription(SubscriptionId),
}

impl Thing {
    fn key(self) -> String {
        match self {
            Self::Category(id) => format!("ecg_category.{id}"),
            Self::Event(id) => format!("ecg_event.{id}"),
            Self::Subscription(id) => format!("ecg_subscription.{id}"),
        }
    }

    /// Its revision as far as we have heard; none if we have not.
    fn revision(self, index: &EcgIndex) -> Option<i64> {
        match self {
            Self::Category(id) => index.category(id).map(|it| it.revision),
            Self::Event(id) => index.event(id).map(|it| it.revision),
            Self::Subscription(id) => index.subscription(id).map(|it| it.revision),
        }
    }
}

/// A subscription that has not been deleted, and what was configured beside it at that moment.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) subscription: Arc<EcgSubscription>,
    snapshot: Arc<Snapshot>,
}

impl Known {
    pub(super) const fn new(directory: Directory, bucket: ConfigBucket) -> Self {
        Self { directory, bucket }
    }

    /// What is known now, for what is shown.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.directory.snapshot()
    }

    /// That the organization has, or had, this subscription: its history can be read after it was deleted (SPEC 6.1).
    ///
    /// # Errors
    /// 404 if it never had.
    pub(super) async fn had(&self, at: &AtOrganization, id: SubscriptionId) -> Result<(), ApiError> {
        let is_there =
            |snapshot: &Snapshot| snapshot.ecg().subscription(id).is_some_and(|it| it.organization == at.organization);
        if is_there(&self.snapshot()) || is_there(&*self.caught_up(&[Thing::Subscription(id)]).await?) {
            return Ok(());
        }
        Err(not_found("subscription").into())
    }

    /// The organization's subscription for what makes something new, and `event` beside it, as they are now.
    ///
    /// # Errors
    /// 404 if there is none, or it was deleted; 503 if it is not heard of in time what they are.
    pub(super) async fn living(
        &self,
        at: &AtOrganization,
        id: SubscriptionId,
        event: Option<EcgEventId>,
    ) -> Result<Living, ApiError> {
        let category = event.and_then(|id| self.directory.load().ecg().event(id).map(|event| event.category));
        let things = [Some(Thing::Subscription(id)), event.map(Thing::Event), category.map(Thing::Category)];
        let things: Vec<Thing> = things.into_iter().flatten().collect();
        let snapshot = self.caught_up(&things).await?;
        let found = snapshot.ecg().subscription(id).filter(|it| it.organization == at.organization && !it.deleted);
        let subscription = Arc::clone(found.ok_or_else(|| not_found("subscription"))?);
        Ok(Living { subscription, snapshot })
    }

    /// A snapshot that is as far as the bucket is now, as for these records.
    async fn caught_up(&self, things: &[Thing]) -> Result<Arc<Snapshot>, ApiError> {
        let asking = things.iter().map(|thing| async move { (*thing, self.bucket.get(&thing.key()).await) });
        let asking = join_all(asking);
        let Ok(found) = timeout(ASK_TIMEOUT, asking).await else { return Ok(self.snapshot()) };
        let wanted = found.into_iter().filter_map(|(thing, found)| Some((thing, found.ok()??)));
        let wanted: Vec<(Thing, i64)> = wanted.map(|(thing, record)| (thing, Record::revision(&record))).collect();
        let mut changed = self.directory.changed();
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        loop {
            changed.mark_unchanged();
            let snapshot = self.snapshot();
            let is_as_far =
                |(thing, revision): &(Thing, i64)| thing.revision(snapshot.ecg()).is_some_and(|it| it >= *revision);
            if wanted.iter().all(is_as_far) {
                return Ok(snapshot);
            }
            match timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(ApiError::internal(error)),
                Err(elapsed) => {
                    return Err(ApiError::unavailable("what was configured last is not known here yet", elapsed));
                }
            }
        }
    }
}

impl Living {
    /// An event of the subscription.
    ///
    /// # Errors
    /// 400 when it is none of them.
    pub(super) fn event(&self, id: EcgEventId) -> Result<Arc<EcgEvent>, Problem> {
        let event = self.snapshot.ecg().event(id).filter(|it| !it.deleted && self.subscription.events.contains(&id));
        event.cloned().ok_or_else(|| wrong("eventId", "must be an event of the subscription"))
    }

    /// The event of the subscription that has this code: of several versions one that is dispatchable, and then the latest.
    ///
    /// # Errors
    /// 404 when it has none.
    pub(super) fn event_by_code(&self, code: &str) -> Result<Arc<EcgEvent>, Problem> {
        let index = self.snapshot.ecg();
        let events = self.subscription.events.iter().filter_map(|id| index.event(*id));
        let fitting = events.filter(|it| !it.deleted && it.code.eq_ignore_ascii_case(code));
        let best = fitting.max_by_key(|it| (index.is_dispatchable(it.id), version_number(&it.version)));
        best.cloned()
            .ok_or_else(|| Problem::new(ProblemKind::NotFound, "the subscription has no webhook event with this code"))
    }

    /// That the platform may post to it now (SPEC 6.4, 6.8).
    ///
    /// # Errors
    /// 409 when the subscription or the event is switched off or put away.
    pub(super) fn check_dispatchable(&self, event: Option<EcgEventId>) -> Result<(), Problem> {
        let Flags { active, archived } = Flags::of(&self.subscription);
        if archived {
            return Err(conflict("the subscription is archived"));
        }
        if !active {
            return Err(conflict("the subscription is not active"));
        }
        match event {
            Some(event) if !self.snapshot.ecg().is_dispatchable(event) => {
                Err(conflict("the webhook event or its category is inactive or archived"))
            }
            _ => Ok(()),
        }
    }

    /// The secret that is good for what is made at `at`.
    ///
    /// # Errors
    /// 503 while none is known: its key has not arrived, or our clock is behind that of the registry.
    pub(super) fn secret_at(&self, at: Timestamp) -> Result<&str, Problem> {
        let none = || Problem::new(ProblemKind::Unavailable, "the subscription has no secret yet");
        self.find_secret(at)?.ok_or_else(none)
    }

    /// The same; none if none was good then.
    ///
    /// # Errors
    /// 503 while it is sealed.
    pub(super) fn find_secret(&self, at: Timestamp) -> Result<Option<&str>, Problem> {
        let Some(secret) = self.subscription.secret_at(at) else { return Ok(None) };
        let sealed = |_| Problem::new(ProblemKind::Unavailable, "the subscription's secret cannot be opened yet");
        secret.secret.expose().map(Some).map_err(sealed)
    }
}

/// The two flags of a subscription.
struct Flags {
    active: bool,
    archived: bool,
}

impl Flags {
    /// One without a target is not active, whatever its flag says: there is nowhere to post to.
    fn of(subscription: &EcgSubscription) -> Self {
        let active = subscription.flags.active && subscription.post_uri.is_some();
        Self { active, archived: subscription.flags.archived }
    }
}

/// The number of an event's version, `v` and a number of any length: longer is larger.
fn version_number(version: &str) -> (usize, &str) {
    let digits = version.trim_start_matches('v').trim_start_matches('0');
    (digits.len(), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_number() {
        let mut versions = ["v10", "v9", "v2", "v100000000000000000000000", "v010", "v1"];
        versions.sort_by_key(|it| version_number(it));
        assert_eq!(versions, ["v1", "v2", "v9", "v10", "v010", "v100000000000000000000000"]);
    }
}
