//! The ECG surface, as far as it is configuration: E1 to E31, E34 to E40, E51 to E53 (SPEC 6.2). Posts and their history
//! are the activity log's.
//!
//! Refusals have a shape of their own, which handlers know nothing of: it is put around all of them.

pub(crate) mod activation;
mod categories;
mod deliveries;
mod endpoints;
mod events;
mod examples;
pub(crate) mod health;
mod list;
mod patching;
mod samples;
mod secrets;
pub(crate) mod seeds;
mod subscriptions;
mod switch;
mod text;

use http::Method;
use slipstream_core::ids::{EcgEventId, SubscriptionId};
use slipstream_service::access::Routes;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use crate::state::AppState;

const CATEGORIES: &str = "/api/webhook-categories";
const CATEGORY: &str = "/api/webhook-categories/{webhookCategoryId}";
const EVENTS: &str = "/api/webhook-categories/{webhookCategoryId}/webhook-events";
const EVENT: &str = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}";
const SUBSCRIPTIONS: &str = "/api/organizations/{organizationId}/webhook-subscriptions";
const SUBSCRIPTION: &str = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}";

/// Adds the routes, in the order of the specification.
pub(crate) fn add(routes: Routes<AppState>) -> Routes<AppState> {
    let of = |path: &str, rest: &str| format!("{path}{rest}");
    let routes = routes
        .add(Method::GET, "/healthcheck", health::get)
        .add(Method::POST, CATEGORIES, categories::create)
        .add(Method::GET, CATEGORIES, categories::list)
        .add(Method::DELETE, CATEGORY, categories::delete)
        .add(Method::GET, CATEGORY, categories::get)
        .add(Method::PATCH, CATEGORY, categories::patch)
        .add(Method::POST, &of(CATEGORY, "/archive"), categories::archive)
        .add(Method::POST, &of(CATEGORY, "/restore"), categories::restore)
        .add(Method::POST, &of(CATEGORY, "/activate"), categories::activate)
        .add(Method::POST, &of(CATEGORY, "/deactivate"), categories::deactivate)
        .add(Method::GET, "/api/seed-data/versions", seeds::list)
        .add(Method::POST, EVENTS, events::create)
        .add(Method::GET, EVENTS, events::list)
        .add(Method::DELETE, EVENT, events::delete)
        .add(Method::GET, EVENT, events::get)
        .add(Method::PATCH, EVENT, events::patch)
        .add(Method::POST, &of(EVENT, "/archive"), events::archive)
        .add(Method::POST, &of(EVENT, "/restore"), events::restore)
        .add(Method::POST, &of(EVENT, "/activate"), events::activate)
        .add(Method::POST, &of(EVENT, "/deactivate"), events::deactivate);
    routes
        .add(Method::GET, "/api/webhook-events/{eventCode}/subscriptions", subscriptions::reading::by_event)
        .add(Method::POST, SUBSCRIPTIONS, subscriptions::create)
        .add(Method::GET, SUBSCRIPTIONS, subscriptions::reading::list)
        .add(Method::DELETE, SUBSCRIPTION, subscriptions::deleting::delete)
        .add(Method::GET, SUBSCRIPTION, subscriptions::reading::get)
        .add(Method::PATCH, SUBSCRIPTION, subscriptions::patching::patch)
        .add(Method::POST, &of(SUBSCRIPTION, "/activate"), subscriptions::switching::activate)
        .add(Method::POST, &of(SUBSCRIPTION, "/deactivate"), subscriptions::switching::deactivate)
        .add(Method::GET, &of(SUBSCRIPTION, "/secrets"), secrets::get)
        .add(Method::PUT, &of(SUBSCRIPTION, "/secrets"), secrets::renew)
        .add(Method::DELETE, &of(SUBSCRIPTION, "/events/{eventId}"), subscriptions::patching::remove_event)
        .add(Method::POST, &of(SUBSCRIPTION, "/archive"), subscriptions::switching::archive)
        .add(Method::POST, &of(SUBSCRIPTION, "/restore"), subscriptions::switching::restore)
        .add(Method::POST, &of(EVENT, "/sample-payloads"), samples::create)
        .add(Method::GET, &of(EVENT, "/sample-payloads"), samples::get)
        .add(Method::DELETE, &of(EVENT, "/sample-payloads"), samples::delete)
        .add(Method::PATCH, &of(EVENT, "/sample-payloads"), samples::patch)
        .add(Method::GET, &of(EVENT, "/sample-payloads-examples"), examples::get)
        .add(Method::GET, &of(SUBSCRIPTION, "/webhook-secret-histories"), secrets::list)
        .add(Method::POST, &of(SUBSCRIPTION, "/webhook-secret-histories"), secrets::put)
        .add(Method::GET, "/api/webhook-deliveries/payload", deliveries::payload)
}

/// The operations, in the order of the routes.
#[derive(OpenApi)]
#[openapi(paths(
    health::get,
    categories::create,
    categories::list,
    categories::delete,
    categories::get,
    categories::patch,
    categories::archive,
    categories::restore,
    categories::activate,
    categories::deactivate,
    seeds::list,
    events::create,
    events::list,
    events::delete,
    events::get,
    events::patch,
    events::archive,
    events::restore,
    events::activate,
    events::deactivate,
    subscriptions::reading::by_event,
    subscriptions::create,
    subscriptions::reading::list,
    subscriptions::deleting::delete,
    subscriptions::reading::get,
    subscriptions::patching::patch,
    subscriptions::switching::activate,
    subscriptions::switching::deactivate,
    secrets::get,
    secrets::renew,
    subscriptions::patching::remove_event,
    subscriptions::switching::archive,
    subscriptions::switching::restore,
    samples::create,
    samples::get,
    samples::delete,
    samples::patch,
    examples::get,
    secrets::list,
    secrets::put,
    deliveries::payload
))]
pub(crate) struct Operations;

/// What the path of an organization's subscriptions names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents take its fields' names and rules; guard and handlers read the path")]
struct OrganizationPath {
    /// The organization.
    #[param(value_type = String, format = "uuid")]
    organization_id: Uuid,
}

/// What the path of a subscription names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "as of `OrganizationPath`")]
struct SubscriptionPath {
    /// The organization.
    #[param(value_type = String, format = "uuid")]
    organization_id: Uuid,
    /// The subscription.
    #[param(inline)]
    subscription_id: SubscriptionId,
}

/// What the path of an event in a subscription names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "as of `OrganizationPath`")]
#[expect(clippy::struct_field_names, reason = "they are called so in the path")]
struct SubscribedEventPath {
    /// The organization.
    #[param(value_type = String, format = "uuid")]
    organization_id: Uuid,
    /// The subscription.
    #[param(inline)]
    subscription_id: SubscriptionId,
    /// The event.
    #[param(inline)]
    event_id: EcgEventId,
}
