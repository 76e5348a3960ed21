//! Posts of the ECG surface, called activities (SPEC 6.7, 6.8): making, repeating, reporting and reading them.
//!
//! SUB is `/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}`, HSH the same with `subscriptions`.
//!
//! | route | does | module |
//! | --- | --- | --- |
//! | `GET SUB/activity`, `SUB/activations` (E42, E32) | lists, in pages | `history` |
//! | `GET SUB/activity/{activityId}`, `SUB/activations/{activationId}` (E45, E33) | one, the first with those that repeat it | `history`, `tree` |
//! | `POST SUB/activity` (E41) | posts something, or notes what was posted | `create` |
//! | `POST SUB/activity/{activityId}/retry` (E43) | posts again what failed | `retry` |
//! | `POST SUB/activity/{activityId}/outcomes` (E44) | notes what came of somebody else's post | `outcome` |
//! | `POST HSH/webhooks-payloads` (E48) | makes and hashes a payload for somebody else to post | `signed` |
//! | `POST HSH/validate-hash`, `GET HSH/activity/{activityId}/get-hash` (E49, E50) | hashes | `hashes` |
//! | `POST /api/webhook-processors/…` (E46, E47) | targets to try with | `targets` |
//!
//! A post of ours is a delivery like any other: a message on `WORK`, which the dispatcher attempts, and an attempt is an
//! activity. The first is made here, in a transaction, and published after it (`post`, `poster`); those that follow are made
//! when their outcome is recorded. Who retries by hand makes a replay of the tree's first delivery, so all of a tree goes out
//! under one `webhook-id`. Posts that somebody else makes are rows and never touch the bus.
//!
//! What is configured comes from the directory, secrets opened (`known`): this service has the master key as the dispatcher
//! has.

mod create;
mod hashes;
mod history;
mod known;
mod outcome;
mod pages;
mod parameters;
mod post;
mod poster;
mod retry;
mod signed;
mod targets;
mod tree;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use slipstream_bus::ConfigBucket;
use slipstream_core::ids::{ActivityId, SubscriptionId};
use slipstream_core::retry::RetrySchedule;
use slipstream_service::Directory;
use slipstream_service::access::{RouteError, Routers};
use slipstream_store::Store;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use self::known::Known;
pub(crate) use self::poster::Poster;
use crate::entrance::Entrance;
use crate::scheduled::Lists;

/// What every request needs.
#[derive(Debug)]
struct Shared {
    store: Store,
    known: Known,
    poster: Poster,
    lists: Lists,
    /// When somebody else's post should be made again.
    schedule: RetrySchedule,
    body_timeout: Duration,
}

type SharedState = Arc<Shared>;

const ACTIVITIES: &str = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activity";
const ACTIVATIONS: &str = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activations";
const HASHES: &str = "/api/organizations/{organizationId}/subscriptions/{subscriptionId}";

/// What the routes need of their service.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) directory: Directory,
    pub(crate) bucket: ConfigBucket,
    pub(crate) poster: Poster,
    pub(crate) lists: Lists,
    /// When somebody else's post should be made again.
    pub(crate) schedule: RetrySchedule,
    /// How long the body of a request may take to arrive.
    pub(crate) body_timeout: Duration,
}

/// The routes.
pub(crate) fn routes(entrance: &Entrance, parts: Parts) -> Result<Routers, RouteError> {
    let Parts { store, directory, bucket, poster, lists, schedule, body_timeout } = parts;
    let known = Known::new(directory, bucket);
    entrance
        .ecg_routes()
        .add(Method::GET, ACTIVATIONS, history::activations)
        .add(Method::GET, &format!("{ACTIVATIONS}/{{activationId}}"), history::activation)
        .add(Method::POST, ACTIVITIES, create::create)
        .add(Method::GET, ACTIVITIES, history::activities)
        .add(Method::POST, &format!("{ACTIVITIES}/{{activityId}}/retry"), retry::retry)
        .add(Method::POST, &format!("{ACTIVITIES}/{{activityId}}/outcomes"), outcome::tell)
        .add(Method::GET, &format!("{ACTIVITIES}/{{activityId}}"), history::history)
        .add(Method::POST, "/api/webhook-processors/success-response", targets::succeed)
        .add(Method::POST, "/api/webhook-processors/failed-response", targets::fail)
        .add(Method::POST, &format!("{HASHES}/webhooks-payloads"), signed::create)
        .add(Method::POST, &format!("{HASHES}/validate-hash"), hashes::validate)
        .add(Method::GET, &format!("{HASHES}/activity/{{activityId}}/get-hash"), hashes::get)
        .with_state(Arc::new(Shared { store, known, poster, lists, schedule, body_timeout }))
}

/// The operations, in the order of the routes.
#[derive(OpenApi)]
#[openapi(paths(
    history::activations,
    history::activation,
    create::create,
    history::activities,
    retry::retry,
    outcome::tell,
    history::history,
    targets::succeed,
    targets::fail,
    signed::create,
    hashes::validate,
    hashes::get
))]
pub(crate) struct Operations;

/// What the path of a subscription names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents take its fields' names and rules; handlers read the path")]
struct SubscriptionInPath {
    /// The organization.
    #[param(value_type = String, format = "uuid")]
    organization_id: Uuid,
    /// Its subscription.
    #[param(inline)]
    subscription_id: SubscriptionId,
}

/// What the path of an activity names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents take its fields' names and rules; handlers read the path")]
#[expect(clippy::struct_field_names, reason = "so they are called in the path")]
struct ActivityInPath {
    /// The organization.
    #[param(value_type = String, format = "uuid")]
    organization_id: Uuid,
    /// Its subscription.
    #[param(inline)]
    subscription_id: SubscriptionId,
    /// The activity.
    #[param(inline)]
    activity_id: ActivityId,
}
