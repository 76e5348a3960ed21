//! Wakes what waits for a paused endpoint when that goes on (SPEC 6.5).
//!
//! What was put off comes due by itself within hours, so nothing is lost if this misses a change; it is for not having
//! to wait that long. Every replica does it, and repeats are harmless.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use slipstream_bus::Schedules;
use slipstream_core::config::{EcgSubscription, EndpointState};
use slipstream_core::ids::{EcgEventId, SubscriptionId};
use slipstream_service::directory::{EcgIndex, Snapshot};
use slipstream_service::{Directory, clock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When it is done again: for what was being put off while the endpoint went on.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Subscriptions that are woken at once.
const AT_ONCE: usize = 4;

/// What is dispatched to, and what is dispatched.
#[derive(Debug, Default, PartialEq, Eq)]
struct On {
    subscriptions: HashSet<SubscriptionId>,
    events: HashSet<EcgEventId>,
}

impl On {
    fn of(snapshot: &Snapshot) -> Self {
        let ecg = snapshot.ecg();
        let active = ecg.endpoints().filter(|it| it.state == EndpointState::Active).map(|it| it.id);
        Self { subscriptions: active.collect(), events: ecg.dispatchable_events().collect() }
    }

    /// The subscriptions for which something goes on that did not before.
    fn going_on_since<'a>(&'a self, before: &'a Self, ecg: &'a EcgIndex) -> impl Iterator<Item = SubscriptionId> + 'a {
        let new_events: HashSet<_> = self.events.difference(&before.events).collect();
        let goes_on = move |id: &&SubscriptionId| {
            let has_new = |it: &Arc<EcgSubscription>| it.events.iter().any(|event| new_events.contains(event));
            !before.subscriptions.contains(*id)
                || (!new_events.is_empty() && ecg.subscription(**id).is_some_and(has_new))
        };
        self.subscriptions.iter().filter(goes_on).copied()
    }
}

/// Watches the directory until told to stop.
pub(crate) async fn run(schedules: Schedules, directory: Directory, stop: CancellationToken) -> anyhow::Result<()> {
    let mut changes = directory.changed();
    // At the start all of them: who was here before may have missed a change.
    let mut on = On::default();
    let mut again: HashSet<SubscriptionId> = HashSet::new();
    let mut again_at = Instant::now();
    loop {
        let snapshot = directory.snapshot();
        let before = std::mem::replace(&mut on, On::of(&snapshot));
        let going_on: HashSet<_> = on.going_on_since(&before, snapshot.ecg()).collect();
        wake(&schedules, &directory, &going_on, &stop).await;
        if again.is_empty() {
            again_at = Instant::now() + AGAIN_AFTER;
        }
        again.extend(going_on);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep_until(again_at), if !again.is_empty() => {
                wake(&schedules, &directory, &std::mem::take(&mut again), &stop).await;
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Wakes what waits for these subscriptions, some of them at once.
async fn wake(
    schedules: &Schedules,
    directory: &Directory,
    subscriptions: &HashSet<SubscriptionId>,
    stop: &CancellationToken,
) {
    let wake = subscriptions.iter().copied().map(|id| async move {
        let is_active = || {
            let snapshot = directory.load();
            let endpoint = snapshot.ecg().endpoint(id);
            !stop.is_cancelled() && endpoint.is_some_and(|it| it.state == EndpointState::Active)
        };
        match schedules.wake(id, clock::now, is_active).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(subscription.id = %id, count, "deliveries go on"),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(subscription.id = %id, error, "deliveries go on later");
            }
        }
    });
    futures::stream::iter(wake).buffer_unordered(AT_ONCE).for_each(|()| std::future::ready(())).await;
}
