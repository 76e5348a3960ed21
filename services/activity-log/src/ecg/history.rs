//! What was posted: lists and single activities. The history of a subscription that was deleted stays readable (SPEC 6.1).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::http::header::LINK;
use axum::response::{IntoResponse as _, Response};
use slipstream_core::contract::PostKind;
use slipstream_core::ids::{ActivityId, SubscriptionId};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::ApiError;
use slipstream_service::ecg::{self, AtOrganization, ListOf, PagingParameters, Query, not_found, path_id};
use slipstream_service::openapi::{NotFound, Unprocessable};
use slipstream_store::ecg::Order;
use slipstream_store::ecg::activities::{self, Activity, Filter, TREE_ACTIVITIES_MAX};

use super::pages::{self, Page, Reading};
use super::parameters::{EventFilter, HistoryMode, Include, ListFilter, ListParameters};
use super::tree::tree;
use super::view::{ActivityView, TreeView, included_bytes};
use super::{ActivityInPath, Shared, SharedState, SubscriptionInPath};
use crate::database::ask;

/// What who pages through a list has to know.
const WHAT_MOVES: &str = "Sorted by when they were posted; one that is still to be posted, by when it was made. Such a one has \
another place once it is posted, and who pages meanwhile may see it twice or not at all. One that was posted stays where it \
is: who follows `Link` gets each of those exactly once, whatever else arrives. With `order_by=ASC` so does who counts up \
`skip`, as long as nothing older is still to be posted.";

/// E32.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activations",
    tag = "Activations",
    operation_id = "listActivations",
    summary = "List the posts that said that the subscription was activated",
    description = WHAT_MOVES,
    params(SubscriptionInPath, PagingParameters, ListFilter, EventFilter),
    responses(
        (
            status = 200,
            description = "A page of them.",
            body = ListOf<ActivityView>,
            headers(("Link" = String, description = "Where the next page is (RFC 8288), if there is one")),
        ),
        NotFound,
    )
)]
pub(super) async fn activations(
    State(state): State<SharedState>,
    at: AtOrganization,
    Path((_, subscription)): Path<(String, String)>,
    uri: Uri,
    query: Query,
) -> Result<Response, ApiError> {
    let subscription = path_id(&subscription, "subscriptionId")?;
    let parameters = ListParameters::read(&query)?;
    state.list(&at, subscription, PostKind::Activation, &parameters, &uri).await
}

/// E42.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activity",
    tag = "Activities",
    operation_id = "listActivities",
    summary = "List the posts of events",
    description = WHAT_MOVES,
    params(SubscriptionInPath, PagingParameters, ListFilter, EventFilter),
    responses(
        (
            status = 200,
            description = "A page of them.",
            body = ListOf<ActivityView>,
            headers(("Link" = String, description = "Where the next page is (RFC 8288), if there is one")),
        ),
        NotFound,
    )
)]
pub(super) async fn activities(
    State(state): State<SharedState>,
    at: AtOrganization,
    Path((_, subscription)): Path<(String, String)>,
    uri: Uri,
    query: Query,
) -> Result<Response, ApiError> {
    let subscription = path_id(&subscription, "subscriptionId")?;
    let parameters = ListParameters::read(&query)?;
    state.list(&at, subscription, PostKind::Event, &parameters, &uri).await
}

/// E33.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activations/{activationId}",
    tag = "Activations",
    operation_id = "getActivation",
    summary = "Get a post that said that the subscription was activated",
    params(SubscriptionInPath, ("activationId" = ActivityId, Path, description = "The post")),
    responses((status = 200, description = "It.", body = ActivityView), NotFound)
)]
pub(super) async fn activation(
    State(state): State<SharedState>,
    at: AtOrganization,
    Path((_, subscription, activation)): Path<(String, String, String)>,
) -> Result<Json<ActivityView>, ApiError> {
    let (subscription, id) = (path_id(&subscription, "subscriptionId")?, path_id(&activation, "activationId")?);
    state.known.had(&at, subscription).await?;
    let found = state.find(subscription, id).await?.filter(|it| it.kind == PostKind::Activation);
    Ok(Json(state.view(found.ok_or_else(|| not_found("activation"))?)))
}

/// E45.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activity/{activityId}",
    tag = "Activities",
    operation_id = "getActivityHistory",
    summary = "Get a post and those that repeated it",
    params(
        ActivityInPath,
        ("mode" = String, Query, pattern = "^(flat|nested)$", description = "`nested`: each with its own children. `flat`: all descendants in one list, by level and then by age"),
    ),
    responses((status = 200, description = "It.", body = TreeView), NotFound, Unprocessable)
)]
pub(super) async fn history(
    State(state): State<SharedState>,
    at: AtOrganization,
    Path((_, subscription, activity)): Path<(String, String, String)>,
    query: Query,
) -> Result<Json<TreeView>, ApiError> {
    let (subscription, id) = (path_id(&subscription, "subscriptionId")?, path_id(&activity, "activityId")?);
    let mode = HistoryMode::read(&query)?;
    state.known.had(&at, subscription).await?;
    let asked = state.activity(subscription, id).await?;
    let (store, root) = (state.store.clone(), asked.root);
    let reading = async move {
        let size = activities::weigh_tree(store.connection(), root).await?;
        let is_too_much = size.activities > TREE_ACTIVITIES_MAX || size.bytes > HISTORY_BYTES_MAX;
        if is_too_much { Ok(None) } else { activities::tree(store.connection(), root).await.map(Some) }
    };
    let Some(all) = state.lists.ask(reading).await? else {
        let detail = format!(
            "the post and all its repeats are more than {TREE_ACTIVITIES_MAX}, or more than {} MiB: too much to be shown \
             at once; the list of activities has them all",
            HISTORY_BYTES_MAX >> 20
        );
        return Err(Problem::new(ProblemKind::Unprocessable, detail).into());
    };
    let shown = tree(all, id, mode, state.known.snapshot().ecg());
    Ok(Json(shown.ok_or_else(no_activity)?))
}

/// Bytes of texts that a history shows, at most (N9).
const HISTORY_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// 404: the subscription has no such activity.
pub(super) fn no_activity() -> Problem {
    not_found("activity")
}

/// As the store says it.
const fn order(order: ecg::Order) -> Order {
    match order {
        ecg::Order::Asc => Order::Asc,
        ecg::Order::Desc => Order::Desc,
    }
}

impl Shared {
    async fn list(
        &self,
        at: &AtOrganization,
        subscription: SubscriptionId,
        kind: PostKind,
        parameters: &ListParameters,
        uri: &Uri,
    ) -> Result<Response, ApiError> {
        self.known.had(at, subscription).await?;
        let ListParameters { paging, after, success, event, include } = parameters;
        let activations = kind == PostKind::Activation;
        let filter = Filter { subscription, activations, success: *success, event: *event };
        let offset = if after.is_some() { 0 } else { paging.offset() };
        let (order, limit, after) = (order(paging.order), paging.take, *after);
        let (store, snapshot) = (self.store.clone(), self.known.snapshot());
        let included = included_bytes(*include, subscription, snapshot.ecg());
        let paging = *paging;
        let asking = async move {
            let total = activities::count(store.connection(), &filter).await?;
            let (page, next) = activities::weigh(store.connection(), &filter, order, offset, limit, after).await?;
            let mut rest = pages::parts(&page, included);
            let first = pages::read(&store, &rest.pop_front().unwrap_or_default()).await?;
            Ok((Page { paging, total, first, rest }, next))
        };
        let (page, next) = self.lists.ask(asking).await?;
        let reading = Reading { store: self.store.clone(), lists: self.lists.clone(), snapshot, include: *include };
        let link = next.map(|next| [(LINK, parameters.link(uri, &next))]);
        Ok((link, reading.answer(page)).into_response())
    }

    /// An activity of a subscription, of whatever kind.
    ///
    /// # Errors
    /// As [`ask`].
    pub(super) async fn find(
        &self,
        subscription: SubscriptionId,
        id: ActivityId,
    ) -> Result<Option<Activity>, ApiError> {
        let found = ask(activities::get(self.store.connection(), id)).await?;
        Ok(found.filter(|it| it.subscription == subscription))
    }

    /// The same.
    ///
    /// # Errors
    /// 404 if there is none.
    pub(super) async fn activity(&self, subscription: SubscriptionId, id: ActivityId) -> Result<Activity, ApiError> {
        Ok(self.find(subscription, id).await?.ok_or_else(no_activity)?)
    }

    /// An activity as it is shown by itself.
    pub(super) fn view(&self, activity: Activity) -> ActivityView {
        ActivityView::new(activity, Include::ALL, self.known.snapshot().ecg())
    }
}
