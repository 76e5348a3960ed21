//! Scheduled events as a resource of the Slipstream surface (issue 3, "Scheduled events").
//!
//! | path, under `/sites/{site}/events/scheduled` | does |
//! | --- | --- |
//! | `GET` | those that wait, the next one to come due in front, filtered, in pages |
//! | `GET /{key}` | one of them |
//! | `PATCH /{key}` | moves it: `intendeddeliverytime`, `expirytime` |
//! | `DELETE /{key}` | cancels it |
//! | `POST /{key}/deliver-now` | lets it come due at once |
//!
//! What waits is a schedule on the bus, and the bus is the truth: of a change and the event's coming due, or of two
//! changes, one wins, and the answer says which (see [`slipstream_bus::schedules`]). The list comes from SQL, because
//! the bus cannot filter; it may still show what came due a moment ago. A change made here is written to SQL in the
//! same request, so whoever made it sees it in the list.
//!
//! An external account sees and changes public events and, of whatever visibility, those that it published itself
//! (THREATS 6); one of our own services, all.

mod lists;
mod parameters;
mod patch;
mod view;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use slipstream_bus::Bus;
use slipstream_core::config::AccountKind;
use slipstream_core::ids::{AccountId, EventKey};
use slipstream_core::lane::Visibility;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_service::access::{RouteError, Routers};
use slipstream_service::auth::AtSite;
use slipstream_service::http::read_body;
use slipstream_service::list::Pairs;
use slipstream_service::openapi::{Conflict, NotFound, Paging};
use slipstream_service::{ApiError, clock};
use slipstream_store::Store;
use slipstream_store::activity::held;
use utoipa::{IntoParams, OpenApi};

pub(crate) use self::lists::Lists;
use self::parameters::{ListParameters, ScheduledFilter};
use self::patch::{NewTimes, Patch};
use self::view::{ScheduledPage, ScheduledView};
use self::waiting::{Change, Waiting};
use crate::Config;
use crate::entrance::Entrance;

/// Bytes of a body that moves an event: two times and what a client adds.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What every request needs.
#[derive(Debug)]
struct Shared {
    store: Store,
    lists: Lists,
    waiting: Waiting,
    body_timeout: Duration,
}

type SharedState = Arc<Shared>;

/// The routes. A caller with a quota pays a token for each request.
pub(crate) fn routes(
    entrance: &Entrance,
    bus: &Bus,
    store: Store,
    lists: Lists,
    config: &Config,
) -> Result<Routers, RouteError> {
    let (waiting, body_timeout) = (Waiting::new(bus, store.clone()), config.http.body_timeout);
    entrance
        .routes()
        .add(Method::GET, "/sites/{site}/events/scheduled", list)
        .add(Method::GET, "/sites/{site}/events/scheduled/{key}", one)
        .add(Method::PATCH, "/sites/{site}/events/scheduled/{key}", reschedule)
        .add(Method::DELETE, "/sites/{site}/events/scheduled/{key}", cancel)
        .add(Method::POST, "/sites/{site}/events/scheduled/{key}/deliver-now", deliver_now)
        .with_state(Arc::new(Shared { store, lists, waiting, body_timeout }))
}

/// The operations, in the order of the routes.
#[derive(OpenApi)]
#[openapi(paths(list, one, reschedule, cancel, deliver_now))]
pub(crate) struct Operations;

/// What a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "documents take its fields' names and rules; the guard and `check` read the path")]
struct ScheduledEvent {
    /// The site.
    #[param(inline)]
    site: Slug,
    /// The event's key.
    #[param(inline)]
    key: EventKey,
}

/// Who asks, and for which site: checked.
struct Caller {
    site: Slug,
    account: AccountId,
    kind: AccountKind,
}

impl From<AtSite> for Caller {
    fn from(at: AtSite) -> Self {
        Self { site: at.site.slug.clone(), account: at.principal.account_id(), kind: at.principal.kind() }
    }
}

impl Caller {
    /// Whether it may see an event of this visibility and publisher.
    fn may_see(&self, visibility: Visibility, published_by: Option<AccountId>) -> bool {
        self.kind == AccountKind::Internal || visibility == Visibility::Public || published_by == Some(self.account)
    }
}

/// A path's site and key. What cannot be decoded is no key.
type SiteAndKey = Result<Path<(String, String)>, PathRejection>;

fn check(at: AtSite, path: &SiteAndKey) -> Result<(Caller, EventKey), Problem> {
    let key = path.as_ref().map_or("", |Path((_, key))| key);
    Ok((Caller::from(at), key.parse().map_err(|_| nothing_waits())?))
}

fn nothing_waits() -> Problem {
    Problem::new(ProblemKind::NotFound, "no event of this site is scheduled under this key")
}

#[utoipa::path(
    get,
    path = "/sites/{site}/events/scheduled",
    tag = "Events",
    operation_id = "listScheduledEvents",
    summary = "List events that wait for their time, the next one in front",
    params(("site" = inline(Slug), Path, description = "The site"), Paging, ScheduledFilter),
    responses((status = 200, description = "A page of them.", body = ScheduledPage))
)]
async fn list(
    State(state): State<SharedState>,
    at: AtSite,
    Query(pairs): Query<Pairs>,
) -> Result<Json<ScheduledPage>, ApiError> {
    let caller = Caller::from(at);
    let ListParameters { mut filter, limit, after } = ListParameters::parse(pairs, caller.site.clone())?;
    filter.visible_to = (caller.kind == AccountKind::External).then_some(caller.account);
    let store = state.store.clone();
    let page = state.lists.ask(async move { held(store.connection(), &filter, limit, after).await }).await?;
    Ok(Json(page.into()))
}

#[utoipa::path(
    get,
    path = "/sites/{site}/events/scheduled/{key}",
    tag = "Events",
    operation_id = "getScheduledEvent",
    summary = "Get an event that waits for its time",
    params(ScheduledEvent),
    responses((status = 200, description = "It, without its data.", body = ScheduledView), NotFound)
)]
async fn one(State(state): State<SharedState>, at: AtSite, path: SiteAndKey) -> Result<Json<ScheduledView>, ApiError> {
    let (caller, key) = check(at, &path)?;
    let found = state.waiting.find(&caller, &key).await?;
    Ok(Json(found.ok_or_else(nothing_waits)?.into()))
}

#[utoipa::path(
    patch,
    path = "/sites/{site}/events/scheduled/{key}",
    tag = "Events",
    operation_id = "moveScheduledEvent",
    summary = "Change the times of an event that waits",
    params(ScheduledEvent),
    request_body(content((NewTimes = "application/merge-patch+json"), (NewTimes = "application/json"))),
    responses((status = 200, description = "The event as it is now.", body = ScheduledView), NotFound, Conflict)
)]
async fn reschedule(
    State(state): State<SharedState>,
    at: AtSite,
    path: SiteAndKey,
    request: Request,
) -> Result<Json<ScheduledView>, ApiError> {
    let (caller, key) = check(at, &path)?;
    let (parts, body) = request.into_parts();
    patch::check_content_type(&parts.headers)?;
    let body = read_body(&parts, body, BODY_BYTES_MAX, state.body_timeout).await?;
    let patch = Patch::read(&body, clock::now())?;
    Ok(Json(state.waiting.change(&caller, &key, Change::Times(patch)).await?.into()))
}

#[utoipa::path(
    delete,
    path = "/sites/{site}/events/scheduled/{key}",
    tag = "Events",
    operation_id = "cancelScheduledEvent",
    summary = "Cancel an event that waits; nobody receives it",
    params(ScheduledEvent),
    responses((status = 204, description = "It is cancelled."), NotFound, Conflict)
)]
async fn cancel(State(state): State<SharedState>, at: AtSite, path: SiteAndKey) -> Result<StatusCode, ApiError> {
    let (caller, key) = check(at, &path)?;
    state.waiting.change(&caller, &key, Change::Cancel).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    post,
    path = "/sites/{site}/events/scheduled/{key}/deliver-now",
    tag = "Events",
    operation_id = "deliverScheduledEvent",
    summary = "Let an event that waits come due now",
    params(ScheduledEvent),
    responses((status = 202, description = "The event as it is now.", body = ScheduledView), NotFound, Conflict)
)]
async fn deliver_now(State(state): State<SharedState>, at: AtSite, path: SiteAndKey) -> Result<Response, ApiError> {
    let (caller, key) = check(at, &path)?;
    let event = state.waiting.change(&caller, &key, Change::DeliverNow).await?;
    Ok((StatusCode::ACCEPTED, Json(ScheduledView::from(event))).into_response())
}
