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

mod parameters;
mod patch;
mod view;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use slipstream_bus::Bus;
use slipstream_core::config::{AccountKind, Permission};
use slipstream_core::ids::{AccountId, EventKey};
use slipstream_core::lane::Visibility;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_service::auth::{UnknownSite, authorize};
use slipstream_service::http::read_body;
use slipstream_service::list::Pairs;
use slipstream_service::{ApiError, Directory, clock};
use slipstream_store::Store;
use slipstream_store::activity::held;

use self::parameters::ListParameters;
use self::patch::Patch;
use self::view::{ScheduledPage, ScheduledView};
use self::waiting::{Change, Waiting};
use crate::database::ask;

/// Bytes of a body that moves an event: two times and what a client adds.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What every request needs.
#[derive(Debug)]
struct Shared {
    store: Store,
    directory: Directory,
    waiting: Waiting,
    body_timeout: Duration,
}

type SharedState = Arc<Shared>;

/// The routes, under their own path and again under the public base path (SPEC 1.1). All need an account with the
/// permission `Events.Publish`.
pub(crate) fn router(bus: &Bus, store: Store, directory: Directory, body_timeout: Duration) -> Router {
    let waiting = Waiting::new(bus, store.clone());
    let sites = Router::new()
        .route("/sites/{site}/events/scheduled", get(list))
        .route("/sites/{site}/events/scheduled/{key}", get(one).patch(reschedule).delete(cancel))
        .route("/sites/{site}/events/scheduled/{key}/deliver-now", post(deliver_now))
        .with_state(Arc::new(Shared { store, directory, waiting, body_timeout }));
    Router::new().merge(sites.clone()).nest("/api/v1", sites)
}

/// Who asks, and for which site: checked.
struct Caller {
    site: Slug,
    account: AccountId,
    kind: AccountKind,
}

impl Caller {
    fn check(state: &Shared, headers: &HeaderMap, site: &str) -> Result<Self, Problem> {
        let snapshot = state.directory.load();
        let (site, account) = authorize(&snapshot, headers, site, Permission::EventsPublish, UnknownSite::Forbidden)?;
        Ok(Self { site: site.slug.clone(), account: account.id, kind: account.kind })
    }

    /// Whether it may see an event of this visibility and publisher.
    fn may_see(&self, visibility: Visibility, published_by: Option<AccountId>) -> bool {
        self.kind == AccountKind::Internal || visibility == Visibility::Public || published_by == Some(self.account)
    }
}

/// A path's site and key; what cannot be decoded is neither, and is refused as such, after the credential.
type SiteAndKey = Result<Path<(String, String)>, PathRejection>;

fn check(state: &Shared, headers: &HeaderMap, path: &SiteAndKey) -> Result<(Caller, EventKey), Problem> {
    let (site, key) = path.as_ref().map_or(("", ""), |Path((site, key))| (site, key));
    let caller = Caller::check(state, headers, site)?;
    let key = key.parse().map_err(|_| nothing_waits())?;
    Ok((caller, key))
}

fn nothing_waits() -> Problem {
    Problem::new(ProblemKind::NotFound, "no event of this site is scheduled under this key")
}

async fn list(
    State(state): State<SharedState>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    Query(pairs): Query<Pairs>,
) -> Result<Json<ScheduledPage>, ApiError> {
    let caller = Caller::check(&state, &headers, path.as_ref().map_or("", |Path(site)| site))?;
    let ListParameters { mut filter, limit, after } = ListParameters::parse(pairs, caller.site.clone())?;
    filter.visible_to = (caller.kind == AccountKind::External).then_some(caller.account);
    let page = ask(held(state.store.connection(), &filter, limit, after)).await?;
    Ok(Json(page.into()))
}

async fn one(
    State(state): State<SharedState>,
    path: SiteAndKey,
    headers: HeaderMap,
) -> Result<Json<ScheduledView>, ApiError> {
    let (caller, key) = check(&state, &headers, &path)?;
    let found = state.waiting.find(&caller, &key).await?;
    Ok(Json(found.ok_or_else(nothing_waits)?.into()))
}

async fn reschedule(
    State(state): State<SharedState>,
    path: SiteAndKey,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ScheduledView>, ApiError> {
    let (caller, key) = check(&state, &headers, &path)?;
    patch::check_content_type(&headers)?;
    let body = read_body(&headers, body, BODY_BYTES_MAX, state.body_timeout).await?;
    let patch = Patch::read(&body, clock::now())?;
    Ok(Json(state.waiting.change(&caller, &key, Change::Times(patch)).await?.into()))
}

async fn cancel(
    State(state): State<SharedState>,
    path: SiteAndKey,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (caller, key) = check(&state, &headers, &path)?;
    state.waiting.change(&caller, &key, Change::Cancel).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn deliver_now(
    State(state): State<SharedState>,
    path: SiteAndKey,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (caller, key) = check(&state, &headers, &path)?;
    let event = state.waiting.change(&caller, &key, Change::DeliverNow).await?;
    Ok((StatusCode::ACCEPTED, Json(ScheduledView::from(event))).into_response())
}
