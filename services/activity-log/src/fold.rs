//! From messages of the bus to the rows they amount to. Pure: no clock, no I/O.
//!
//! Folding a message twice amounts to folding it once, and the order of messages does not matter, because of the
//! orders that [`Batch::merge`] keeps to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use slipstream_core::config::Surface;
use slipstream_core::contract::{
    Attempt, Audited, EcgPosted, EndpointChange, EndpointChanged, Outcome, Outcomes, Routed, RoutedEvent,
};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, SubscriptionId};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::activity::{AttemptRecord, Batch, DeliveryRecord, EventRecord, Quarantined, Removal};
use slipstream_store::ecg::activities::{PostAttempt, PostRecord};
use uuid::Uuid;

/// Why a message says nothing to us.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Its subject is none that we know.
    #[error("the subject is not known")]
    Subject,
    /// Its bytes are not what its subject promises.
    #[error("not the message that its subject promises")]
    Payload(#[source] serde_json::Error),
}

/// Adds to `batch` what the message of `subject` says.
///
/// # Errors
/// When it cannot be read; `batch` is then as it was. Put the message aside with [`put_aside`].
pub fn fold(batch: &mut Batch, subject: &str, payload: &[u8]) -> Result<(), Unreadable> {
    match subject.split('.').next() {
        Some("routed") => {
            let Routed { site, events } = serde_json::from_slice(payload).map_err(Unreadable::Payload)?;
            for event in events {
                fold_event(batch, &site, event);
            }
        }
        Some("outcomes") => {
            let outcomes: Outcomes = serde_json::from_slice(payload).map_err(Unreadable::Payload)?;
            let Outcomes { subscription, surface, outcomes } = outcomes;
            for outcome in outcomes {
                if surface == Surface::Ecg {
                    batch.post_attempts.extend(outcome.attempt.as_ref().map(|it| post_attempt(outcome.delivery, it)));
                }
                let Outcome { delivery, site, key, lane, state, reason, at, attempt, next_attempt_at, replay, .. } =
                    outcome;
                batch.deliveries.push(DeliveryRecord {
                    id: delivery,
                    site,
                    event_key: key,
                    subscription,
                    surface,
                    lane,
                    state,
                    reason,
                    next_attempt_at,
                    updated_at: at,
                    replay,
                });
                batch.attempts.extend(attempt.map(|attempt| AttemptRecord {
                    delivery,
                    number: attempt.number,
                    started_at: attempt.started_at,
                    duration_us: attempt.duration_us,
                    status: attempt.status,
                    error: attempt.error,
                    response: attempt.response.map(response),
                }));
            }
        }
        Some("endpoints") => {
            let changed: EndpointChanged = serde_json::from_slice(payload).map_err(Unreadable::Payload)?;
            match changed.change {
                EndpointChange::Removed => {
                    batch.removals.push(Removal { subscription: changed.subscription, at: changed.at });
                }
                // The gate ends each of its deliveries, and says so in an outcome of its own.
                EndpointChange::Disabled(_) | EndpointChange::Degraded(_) | EndpointChange::Recovered => {}
            }
        }
        Some("posts") => {
            let subscription = subject.split('.').nth(1).and_then(|id| id.parse().ok()).ok_or(Unreadable::Subject)?;
            let posted = serde_json::from_slice(payload).map_err(Unreadable::Payload)?;
            fold_post(batch, subscription, posted);
        }
        Some("audited") => {
            let audited: Audited = serde_json::from_slice(payload).map_err(Unreadable::Payload)?;
            batch.audited.push(audited);
        }
        _ => return Err(Unreadable::Subject),
    }
    Ok(())
}

/// The first bytes of an answer.
fn response(base64: String) -> Vec<u8> {
    // Not Base64 after all: what was written is worth more than nothing.
    STANDARD.decode(&base64).unwrap_or(base64.into_bytes())
}

fn post_attempt(delivery: DeliveryId, attempt: &Attempt) -> PostAttempt {
    PostAttempt {
        delivery,
        number: attempt.number,
        started_at: attempt.started_at,
        duration_us: attempt.duration_us,
        status: attempt.status,
        error: attempt.error,
        response: attempt.response.clone().map(response),
        hash: attempt.hash.clone(),
    }
}

/// A post that was made and is not yet attempted: as a delivery, and as the activity that it begins with.
fn fold_post(batch: &mut Batch, subscription: SubscriptionId, posted: EcgPosted) {
    let EcgPosted { delivery, key, site, lane, organization, made_by, post, raw_message } = posted;
    batch.deliveries.push(DeliveryRecord {
        id: delivery,
        site,
        event_key: key,
        subscription,
        surface: Surface::Ecg,
        lane,
        state: DeliveryState::Scheduled,
        reason: None,
        next_attempt_at: None,
        // As when an event's delivery is made: an outcome is always later.
        updated_at: delivery.accepted_at(),
        replay: None,
    });
    batch.posts.push(PostRecord {
        delivery,
        key,
        organization,
        subscription,
        event: post.event,
        kind: post.kind,
        created_at: post.created_at,
        made_by,
        payload: post.payload.get().to_owned(),
        raw_message: raw_message.get().to_owned(),
    });
}

fn fold_event(batch: &mut Batch, site: &Slug, event: RoutedEvent) {
    // A delivery that was made and is not yet attempted. The time is the acceptance and not the routing, so that an
    // outcome is always later, however short its way was.
    batch.deliveries.extend(event.matched.iter().map(|matched| DeliveryRecord {
        id: matched.delivery,
        site: site.clone(),
        event_key: event.key,
        subscription: matched.subscription,
        surface: matched.surface,
        lane: event.lane,
        state: DeliveryState::Scheduled,
        reason: None,
        next_attempt_at: None,
        updated_at: event.accepted_at,
        replay: None,
    }));
    batch.events.push(EventRecord {
        accepted_at: event.accepted_at,
        key: event.key,
        site: site.clone(),
        source: event.source,
        id: event.id,
        event_type: event.event_type,
        subject: event.subject,
        visibility: event.visibility,
        lane: event.lane,
        intended_at: event.intended_at,
        expires_at: event.expires_at,
        published_by: event.published_by,
        routed_at: event.routed_at,
        changed_at: event.changed_at,
        cancelled_at: event.cancelled_at,
        sequence: event.sequence,
        // Once its times are changed, it is no longer what was accepted, and a repeat is not what it is now.
        content_hash: event.content_hash.filter(|_| event.changed_at.is_none()),
        skipped: event.skipped,
    });
}

/// Puts a message aside that cannot be read or written. The same message is put aside once, however often it comes.
pub fn put_aside(batch: &mut Batch, subject: &str, payload: &[u8], error: String, now: Timestamp) {
    let mut hash = Sha256::new();
    hash.update((subject.len() as u64).to_be_bytes());
    hash.update(subject.as_bytes());
    hash.update(payload);
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    batch.quarantined.push(Quarantined {
        id: Uuid::from_bytes(id),
        received_at: now,
        subject: subject.to_owned(),
        error,
        payload: payload.to_vec(),
    });
}

#[cfg(test)]
mod tests;
