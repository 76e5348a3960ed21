//! `GET /admin/v1/explain?site=&source=&id=&subscription=`: why an event was, or was not, delivered to a subscription
//! (issue 3, "Explain").
//!
//! Everything that stands between accepting and delivering is asked in its order, and what is not known is said to be so:
//! what was decided when the event was routed is taken from its record, the rest from how things are now.
//! A subscription of the ECG surface gets events by way of the bridge, and is asked the same in its own terms
//! (`checks/posting.rs`).

mod checks;

use axum::Json;
use axum::extract::{Query, State};
use serde::Serialize;
use slipstream_core::ids::{ActivityId, DeliveryId, EventKey, SubscriptionId};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::audit::Note;
use slipstream_service::list::{Pairs, bad_parameter, each_once, parse, unknown_parameter};
use slipstream_service::openapi::NotFound;
use slipstream_service::{ApiError, clock};
use slipstream_store::activity::replay::replays_to;
use slipstream_store::activity::{delivery, event};
use slipstream_store::ecg::activities;
use utoipa::ToSchema;

use self::checks::{Check, Facts, Posting, Verdict, explain};
use super::view::{DeliveryDetail, DeliveryView};
use crate::database::ask;
use crate::replay::Replayer;

/// Which event, and to whom.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    site: Slug,
    source: String,
    id: String,
    subscription: SubscriptionId,
}

impl Question {
    fn parse(pairs: Pairs) -> Result<Self, Problem> {
        let (mut site, mut source, mut id, mut subscription) = (None, None, None, None);
        each_once(pairs, |name, value| {
            match name {
                "site" => site = Some(parse(name, &value, "must be a site's slug")?),
                "subscription" => subscription = Some(parse(name, &value, "must be a UUID")?),
                "source" | "id" if value.is_empty() || value.contains('\0') => {
                    return Err(bad_parameter(name, "must not be empty or contain NUL"));
                }
                "source" => source = Some(value),
                "id" => id = Some(value),
                _ => return Err(unknown_parameter(name, "site, source, id and subscription")),
            }
            Ok(())
        })?;
        let missing = |name| move || bad_parameter(name, "is required");
        Ok(Self {
            site: site.ok_or_else(missing("site"))?,
            source: source.ok_or_else(missing("source"))?,
            id: id.ok_or_else(missing("id"))?,
            subscription: subscription.ok_or_else(missing("subscription"))?,
        })
    }
}

/// Why an event was, or was not, delivered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    verdict: Verdict,
    /// One sentence for people.
    summary: String,
    /// What stands between accepting and delivering, in its order.
    checks: Vec<Check>,
    /// When something will happen next, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Timestamp>,
    /// The event's own delivery to the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryDetail>,
    /// Those that replays made, oldest first: the newest 100, and one that succeeded, if any did.
    replays: Vec<DeliveryView>,
}

/// Answers with all that is known.
#[utoipa::path(
    get,
    path = "/admin/v1/explain",
    tag = "Deliveries",
    operation_id = "explainDelivery",
    summary = "Tell why an event was, or was not, delivered to a subscription",
    params(
        ("site" = inline(Slug), Query, description = "The event's site"),
        ("source" = String, Query, description = "Its source", min_length = 1),
        ("id" = String, Query, description = "Its id", min_length = 1),
        ("subscription" = inline(SubscriptionId), Query, description = "To whom"),
    ),
    responses((status = 200, description = "All that is known.", body = Explanation), NotFound)
)]
pub(super) async fn answer(
    State(replayer): State<Replayer>,
    note: Note,
    Query(pairs): Query<Pairs>,
) -> Result<Json<Explanation>, ApiError> {
    let Question { site, source, id, subscription: to } = Question::parse(pairs)?;
    note.site(&site);
    note.target(EventKey::new(&site, &source, &id));
    let connection = replayer.store.connection();
    let event = ask(event(connection, &site, &source, &id)).await?.map(|found| found.event);
    let snapshot = replayer.directory.snapshot();
    let (subscription, of_ecg) = (snapshot.endpoint(to), snapshot.ecg().subscription(to));
    if event.is_none() && subscription.is_none() && of_ecg.is_none() {
        let detail = "neither such an event nor such a subscription is known";
        return Err(Problem::new(ProblemKind::NotFound, detail).into());
    }
    let (mut own, mut replays) = (None, Vec::new());
    if let Some(event) = &event {
        own = ask(delivery(connection, DeliveryId::derive(event.accepted_at, to, &event.key))).await?;
        replays = ask(replays_to(connection, event.accepted_at, &event.key, to)).await?;
    }
    let mut posted = None;
    if let (Some(_), Some((own, _))) = (of_ecg, &own) {
        posted = ask(activities::get(connection, ActivityId::of_attempt(own.record.id, 1))).await?;
    }
    let posting = of_ecg.map(|subscription| Posting {
        subscription,
        index: snapshot.ecg(),
        linked_to: snapshot.site(&site).and_then(|site| site.ecg_organization),
        posted: posted.and_then(|activity| activity.event),
    });
    let facts = Facts {
        event: event.as_ref(),
        to,
        subscription: subscription.map(AsRef::as_ref),
        posting,
        own: own.as_ref().map(|(delivery, attempts)| (&delivery.record, attempts.as_slice())),
        replays: &replays,
        now: clock::now(),
    };
    let (verdict, summary, checks) = explain(&facts);
    let next_attempt_at = facts.next_attempt_at();
    Ok(Json(Explanation {
        verdict,
        summary,
        checks,
        next_attempt_at,
        delivery: own.map(|(delivery, attempts)| DeliveryDetail::new(delivery, attempts)),
        replays: replays.into_iter().map(DeliveryView::from).collect(),
    }))
}
