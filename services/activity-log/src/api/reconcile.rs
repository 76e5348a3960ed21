//! `GET /admin/v1/reconcile`: everything accepted in a time, and what became of it (issue 3, "Reconcile").
//!
//! `items` are a page of events with the state of each for every subscription that matched; an event with more than
//! 10,000 deliveries has the first so many, and `deliveriesCut`. `totals` are of the whole range, and on the first page
//! only, null on the others:
//!
//! > accepted = succeeded + failed + exhausted + expired + cancelled + waiting + unmatched
//!
//! The unit is a pair of an event and a subscription; an event that nobody matched counts once, as `unmatched`, one that
//! is held once, as `waiting`, one that was cancelled while it was held once, as `cancelled`. What replays made is counted
//! apart. `accepted` is counted by event, the rest by delivery (see [`slipstream_store::activity::totals`]), and `addsUp`
//! says whether they agree: they do not while the record of an event's routing is missing.
//!
//! `unrecorded` is what the bus holds that the records do not have yet, looked up before the counting: with nothing
//! there, every event that was acknowledged before the request is in the totals, if it is in the range, and `complete` is
//! true. Both are null and false when the bus does not tell. `complete` is also false when `since` lies before what is
//! kept: then `keptSince` says from when on nothing was forgotten yet, and what lies before it counts as what is left of
//! it.
//!
//! Work-queue events that are due at once are no part of this, nor are private ones: they go to one consumer straight from
//! the broker, and nothing is recorded of them; `without` says so. A delivery that was recorded and then lost would stay
//! `waiting` for ever; the numbers do not hide it, and cannot tell it from one that still waits.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Method;
use serde::Serialize;
use slipstream_bus::{Bus, BusError, ConsumerName};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::problem::Problem;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::access::{RouteError, Routers, Routes};
use slipstream_service::auth::Guards;
use slipstream_service::list::{
    LIMIT_DEFAULT, Pairs, bad_cursor, bad_parameter, each_once, parse, parse_limit, unknown_parameter,
};
use slipstream_service::openapi::Paging;
use slipstream_service::{ApiError, clock};
use slipstream_store::Store;
use slipstream_store::activity::{AcceptedPlace, ByState, Range, Reconciled, Totals, reconcile, totals};
use utoipa::ToSchema;

use super::events::EventState;
use crate::config::RetentionConfig;
use crate::database::{ask, before};

/// How long the bus may take to tell what is still on its way.
const BACKLOG_TIMEOUT: Duration = Duration::from_secs(2);
/// Every parameter, in words.
const KNOWN: &str = "since, until, site, limit and cursor";

#[derive(Debug, Clone)]
pub(super) struct Reconciler {
    store: Store,
    bus: Bus,
    /// For how long records are kept.
    kept: Duration,
}

/// The route.
pub(crate) fn routes(
    guards: &Guards,
    store: Store,
    bus: Bus,
    retention: RetentionConfig,
) -> Result<Routers, RouteError> {
    let reconciler = Reconciler { store, bus, kept: retention.records };
    Routes::new(guards).add(Method::GET, "/admin/v1/reconcile", answer).with_state(reconciler)
}

#[utoipa::path(
    get,
    path = "/admin/v1/reconcile",
    tag = "Deliveries",
    operation_id = "reconcile",
    summary = "List what was accepted in a time, and what became of it",
    params(
        Paging,
        ("since" = inline(Timestamp), Query, description = "From when on, this time included"),
        ("until" = inline(Timestamp), Query, description = "Until when, this time not included"),
        ("site" = inline(Option<Slug>), Query, description = "Of which site"),
    ),
    responses((status = 200, description = "A page of events, and what all of them amount to.", body = ReconcileView))
)]
pub(super) async fn answer(
    State(it): State<Reconciler>,
    Query(pairs): Query<Pairs>,
) -> Result<Json<ReconcileView>, ApiError> {
    let Parameters { range, limit, after } = Parameters::parse(pairs)?;
    let kept_since = Some(before(clock::now(), it.kept)).filter(|kept_since| range.since < *kept_since);
    let unrecorded = unrecorded(&it.bus).await;
    let totals = match after {
        None => Some(ask(totals(it.store.connection(), &range)).await?.into()),
        Some(_) => None,
    };
    let page = ask(reconcile(it.store.connection(), &range, limit, after)).await?;
    let next = page.next.map(|place| format!("{}.{}", place.accepted_at.as_millis(), place.key));
    let items = page.items.into_iter().map(ItemView::from).collect();
    let complete = kept_since.is_none() && unrecorded.is_some_and(|it| it.events == 0 && it.outcomes == 0);
    Ok(Json(ReconcileView { items, next, totals, unrecorded, complete, kept_since, without: WITHOUT }))
}

/// Events that are not routed and messages that are not recorded; none if the bus does not tell.
///
/// Events first: whatever has left them by then has been recorded, or its record is among the outcomes that are counted
/// afterwards.
async fn unrecorded(bus: &Bus) -> Option<Unrecorded> {
    let counting = async {
        let mut events = bus.backlog(ConsumerName::Hold).await?;
        for lane in Lane::ALL {
            events += bus.backlog(ConsumerName::Route(lane)).await?;
        }
        let outcomes = bus.backlog(ConsumerName::ActivityLog).await?;
        Ok::<_, BusError>(Unrecorded { events, outcomes })
    };
    let failed = match tokio::time::timeout(BACKLOG_TIMEOUT, counting).await {
        Ok(Ok(unrecorded)) => return Some(unrecorded),
        Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(error = failed, "the bus does not tell what is still on its way");
    None
}

#[derive(Debug, PartialEq, Eq)]
struct Parameters {
    range: Range,
    limit: usize,
    after: Option<AcceptedPlace>,
}

impl Parameters {
    /// Reads `since`, `until`, `site`, `limit` and `cursor`; the first two must be there.
    fn parse(pairs: Pairs) -> Result<Self, Problem> {
        let (mut since, mut until, mut site, mut limit, mut after) = (None, None, None, LIMIT_DEFAULT, None);
        each_once(pairs, |name, value| {
            match name {
                "since" => since = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
                "until" => until = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
                "site" => site = Some(parse(name, &value, "must be a site's slug")?),
                "limit" => limit = parse_limit(&value)?,
                "cursor" => after = Some(place(&value).ok_or_else(bad_cursor)?),
                _ => return Err(unknown_parameter(name, KNOWN)),
            }
            Ok(())
        })?;
        let since: Timestamp = since.ok_or_else(|| bad_parameter("since", "is required"))?;
        let until = until.ok_or_else(|| bad_parameter("until", "is required"))?;
        if since >= until {
            return Err(bad_parameter("until", "must be later than since"));
        }
        Ok(Self { range: Range { since, until, site }, limit, after })
    }
}

fn place(cursor: &str) -> Option<AcceptedPlace> {
    let (millis, key) = cursor.split_once('.')?;
    Some(AcceptedPlace { accepted_at: Timestamp::from_millis(millis.parse().ok()?), key: key.parse().ok()? })
}

/// What no answer has in it.
const WITHOUT: &str = "work-queue events that are due at once, and private events";

/// The whole answer. `next` is null on the last page, `totals` on all but the first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Reconciliation)]
pub(super) struct ReconcileView {
    items: Vec<ItemView>,
    #[schema(required)]
    next: Option<String>,
    #[schema(required)]
    totals: Option<TotalsView>,
    #[schema(required)]
    unrecorded: Option<Unrecorded>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_since: Option<Timestamp>,
    without: &'static str,
}

/// What the bus holds that the records do not have yet.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
struct Unrecorded {
    /// Events that are accepted and neither routed nor held.
    events: u64,
    /// Messages about events and deliveries; each may hold many.
    outcomes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Totals)]
struct TotalsView {
    events: u64,
    accepted: u64,
    unmatched: u64,
    #[serde(flatten)]
    states: StatesView,
    adds_up: bool,
    replays: StatesView,
}

impl From<Totals> for TotalsView {
    fn from(totals: Totals) -> Self {
        Self {
            events: totals.events,
            accepted: totals.accepted,
            unmatched: totals.unmatched,
            states: totals.states.into(),
            adds_up: totals.add_up(),
            replays: totals.replays.into(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CountsByState)]
struct StatesView {
    waiting: u64,
    succeeded: u64,
    failed: u64,
    exhausted: u64,
    expired: u64,
    cancelled: u64,
}

impl From<ByState> for StatesView {
    fn from(states: ByState) -> Self {
        let ByState { waiting, succeeded, failed, exhausted, expired, cancelled } = states;
        Self { waiting, succeeded, failed, exhausted, expired, cancelled }
    }
}

/// An event and its state for each subscription that matched.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReconciledEvent)]
struct ItemView {
    site: Slug,
    key: EventKey,
    source: String,
    id: String,
    r#type: String,
    accepted_at: Timestamp,
    state: EventState,
    deliveries: Vec<DeliveryStateView>,
    /// Whether it has more than these.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deliveries_cut: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReconciledDelivery)]
struct DeliveryStateView {
    id: DeliveryId,
    subscription: SubscriptionId,
    state: DeliveryState,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

impl From<Reconciled> for ItemView {
    fn from(reconciled: Reconciled) -> Self {
        let Reconciled { event, deliveries, is_cut } = reconciled;
        Self {
            state: EventState::of(&event, !deliveries.is_empty()),
            site: event.site,
            key: event.key,
            source: event.source,
            id: event.id,
            r#type: event.event_type,
            accepted_at: event.accepted_at,
            deliveries_cut: is_cut,
            deliveries: deliveries
                .into_iter()
                .map(|it| DeliveryStateView {
                    id: it.id,
                    subscription: it.subscription,
                    state: it.state,
                    reason: it.reason,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: (&str, &str) = ("since", "2026-03-02T09:30:00Z");
    const UNTIL: (&str, &str) = ("until", "2026-03-02T09:31:00Z");

    fn parsed(pairs: &[(&str, &str)]) -> Result<Parameters, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Parameters::parse(pairs).map_err(|problem| problem.detail.into_owned())
    }

    #[test]
    fn every_bad_parameter_is_named() {
        for (name, value) in [
            ("site", "x"),
            ("limit", "0"),
            ("cursor", "1"),
            ("cursor", "x.AAAAAAAAAAAAAAAAAAAAAA"),
            ("state", "failed"),
        ] {
            let detail = parsed(&[SINCE, UNTIL, (name, value)]).unwrap_err();
            assert!(detail.contains(&format!("`{name}`")), "{name}={value}: {detail}");
        }
        assert!(parsed(&[UNTIL]).unwrap_err().contains("`since` is required"));
        assert!(parsed(&[SINCE]).unwrap_err().contains("`until` is required"));
        assert!(parsed(&[SINCE, ("until", SINCE.1)]).unwrap_err().contains("`until` must be later"));
        assert!(parsed(&[SINCE, SINCE]).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_cursor_names_a_place() {
        let parameters = parsed(&[SINCE, UNTIL, ("cursor", "1772443800000.AAAAAAAAAAAAAAAAAAAAAA")]).unwrap();
        assert_eq!(parameters.after.unwrap().accepted_at.as_millis(), 1_772_443_800_000);
        assert_eq!(parameters.range.until.since(parameters.range.since), Duration::from_mins(1));
    }
}
