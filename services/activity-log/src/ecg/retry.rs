//! Posting again what has failed (SPEC 6.8, E43).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use slipstream_core::problem::Problem;
use slipstream_service::ApiError;
use slipstream_service::ecg::{AtOrganization, path_id};
use slipstream_service::idempotency::NewId;
use slipstream_service::openapi::{Conflict, NotFound};
use slipstream_store::StoreError;
use slipstream_store::ecg::activities::{self, Activity, Content, Inserted, New};

use super::history::no_activity;
use super::post::{Draft, Identity};
use super::view::ActivityView;
use super::{ActivityInPath, Shared, SharedState};
use crate::database::ask;
use crate::replay::conflict;

/// E43.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activity/{activityId}/retry",
    tag = "Activities",
    operation_id = "retryActivity",
    summary = "Post again what has failed",
    description = "Whoever posted it. Its own next retry is not made then.",
    params(ActivityInPath),
    responses((status = 201, description = "The new activity.", body = ActivityView), NotFound, Conflict)
)]
pub(super) async fn retry(
    State(state): State<SharedState>,
    at: AtOrganization,
    new_id: NewId,
    Path((_, subscription, activity)): Path<(String, String, String)>,
) -> Result<(StatusCode, Json<ActivityView>), ApiError> {
    let (subscription, id) = (path_id(&subscription, "subscriptionId")?, path_id(&activity, "activityId")?);
    state.known.had(&at, subscription).await?;
    let parent = state.activity(subscription, id).await?;
    let living = state.known.living(&at, subscription, parent.event).await?;
    if parent.success != Some(false) {
        return Err(not_failed(&parent).into());
    }
    living.check_dispatchable(parent.event)?;
    let identity = Identity::repeating(&parent, new_id)?;
    let draft = Draft {
        identity,
        kind: parent.kind,
        event: parent.event,
        post: identity.by_platform(),
        made_by: at.caller,
        hash: living.hash(&parent.payload, identity.created_at)?,
        content: Content::Of(parent.id),
    };
    let new = draft.for_subscription(&living);
    let inserted = state.replace_retry(&parent, &new).await?;
    let child = state.activity(subscription, new.id).await?;
    // Also if it is there already: whoever made it may have died before it came to this.
    state.poster.take_back(&parent).await;
    if inserted == Inserted::New {
        let event = parent.event.and_then(|id| state.known.snapshot().ecg().event(id).cloned());
        state.poster.post(&child, event.as_ref()).await;
    }
    Ok((StatusCode::CREATED, Json(state.view(child))))
}

fn not_failed(activity: &Activity) -> Problem {
    conflict(match activity.success {
        Some(_) => "the activity succeeded, and only one that failed can be retried",
        None => "nothing has come of the activity yet, and only one that failed can be retried",
    })
}

impl Shared {
    /// Writes the child down; then the parent's own retry is not ahead any more.
    async fn replace_retry(&self, parent: &Activity, child: &New) -> Result<Inserted, ApiError> {
        let replaced = ask(async {
            let tx = self.store.begin().await?;
            // Once more, now that nobody else changes it.
            let Some(parent) = activities::lock(&tx, parent.id).await? else { return Ok(None) };
            if parent.success != Some(false) {
                return Ok(Some(Err(not_failed(&parent))));
            }
            activities::clear_next_retry(&tx, parent.id).await?;
            let inserted = activities::insert(&tx, child).await?;
            tx.commit().await.map_err(StoreError::from)?;
            Ok(Some(Ok(inserted)))
        });
        Ok(replaced.await?.ok_or_else(no_activity)??)
    }
}
