//! The table itself.

use http::Method;
use slipstream_core::config::Permission::{self, EventsPublish, WebhooksManage};

use super::EcgTenant::{self, InPath, None as Nobodys};
use super::UnknownSite::{self, Forbidden, NotFound};
use super::{Access, Entry};
use crate::auth::EcgRole::{self, Admin, Manager};

/// Mounted once.
const ROOT: &[&str] = &[""];
/// Under its own path and again under the public base path (SPEC 1.1).
const BOTH: &[&str] = &["", "/api/v1"];

const SCHEDULED: &str = "/sites/{site}/events/scheduled";
const FEATURE: &str = "/sites/{site}/webhooks/features/{feature}";

/// The paths of the ECG surface as its specification abbreviates them (SPEC 6.2); the rest of a path follows as a literal.
macro_rules! cat {
    ($rest:literal) => {
        concat!("/api/webhook-categories", $rest)
    };
}
macro_rules! evt {
    ($rest:literal) => {
        concat!("/api/webhook-categories/{webhookCategoryId}/webhook-events", $rest)
    };
}
macro_rules! sub {
    ($rest:literal) => {
        concat!("/api/organizations/{organizationId}/webhook-subscriptions", $rest)
    };
}
macro_rules! hsh {
    ($rest:literal) => {
        concat!("/api/organizations/{organizationId}/subscriptions/{subscriptionId}", $rest)
    };
}
pub(crate) use {cat, evt, hsh, sub};

/// Every route of every service, and what it needs. A new route begins with a row here.
pub static TABLE: &[Entry] = &[
    // Ingest: S1, S2.
    Entry {
        method: Method::POST,
        path: "/sites/{site}/events",
        mounts: BOTH,
        access: Access::Slipstream(EventsPublish, Forbidden),
        token_in_query: true,
    },
    site(Method::OPTIONS, "/sites/{site}/events", EventsPublish, Forbidden),
    // Activity log: events that wait. An unknown site is told from a foreign one by nothing, as on S1.
    site(Method::GET, SCHEDULED, EventsPublish, Forbidden),
    site(Method::GET, "/sites/{site}/events/scheduled/{key}", EventsPublish, Forbidden),
    site(Method::PATCH, "/sites/{site}/events/scheduled/{key}", EventsPublish, Forbidden),
    site(Method::DELETE, "/sites/{site}/events/scheduled/{key}", EventsPublish, Forbidden),
    site(Method::POST, "/sites/{site}/events/scheduled/{key}/deliver-now", EventsPublish, Forbidden),
    // Registry: S3 to S5.
    site(Method::PUT, FEATURE, WebhooksManage, NotFound),
    site(Method::DELETE, FEATURE, WebhooksManage, NotFound),
    site(Method::GET, FEATURE, WebhooksManage, NotFound),
    // Registry, for receivers: the key in the path is the credential of the first two; public keys are for everybody.
    receivers(Method::GET, "/webhooks/handshakes/{key}"),
    receivers(Method::POST, "/webhooks/handshakes/{key}"),
    receivers(Method::GET, "/webhooks/keys/{subscription}"),
    // Every service: what it has for everybody. The row of what it has for operators is below.
    receivers(Method::GET, "/openapi.json"),
    // Registry, operator.
    operator(Method::PUT, "/admin/v1/organisations/{slug}"),
    operator(Method::GET, "/admin/v1/organisations/{slug}"),
    operator(Method::PUT, "/admin/v1/sites/{slug}"),
    operator(Method::GET, "/admin/v1/sites/{slug}"),
    operator(Method::POST, "/admin/v1/accounts"),
    operator(Method::GET, "/admin/v1/accounts"),
    operator(Method::GET, "/admin/v1/accounts/{id}"),
    operator(Method::PUT, "/admin/v1/accounts/{id}"),
    operator(Method::DELETE, "/admin/v1/accounts/{id}"),
    operator(Method::PUT, "/admin/v1/accounts/{id}/keys/{slot}"),
    operator(Method::PUT, "/admin/v1/accounts/{id}/quota"),
    operator(Method::GET, "/admin/v1/endpoints"),
    operator(Method::GET, "/admin/v1/endpoints/{id}"),
    operator(Method::POST, "/admin/v1/endpoints/{id}/enable"),
    operator(Method::POST, "/admin/v1/endpoints/{id}/disable"),
    operator(Method::PUT, "/admin/v1/endpoints/{id}/limits"),
    operator(Method::GET, "/admin/v1/endpoints/{id}/secret"),
    operator(Method::DELETE, "/admin/v1/endpoints/{id}/secrets/{key}"),
    operator(Method::POST, "/admin/v1/endpoints/{id}/rotate-secret"),
    // Activity log, operator.
    operator(Method::GET, "/admin/v1/deliveries"),
    operator(Method::GET, "/admin/v1/deliveries/{id}"),
    operator(Method::PATCH, "/admin/v1/deliveries/{id}"),
    operator(Method::DELETE, "/admin/v1/deliveries/{id}"),
    operator(Method::POST, "/admin/v1/deliveries/{id}/deliver-now"),
    operator(Method::POST, "/admin/v1/deliveries/{id}/replay"),
    operator(Method::POST, "/admin/v1/deliveries/replay"),
    operator(Method::GET, "/admin/v1/dead-letters"),
    operator(Method::GET, "/admin/v1/audit"),
    operator(Method::GET, "/admin/v1/endpoints/{id}/statistics"),
    operator(Method::GET, "/admin/v1/events/{*path}"),
    operator(Method::POST, "/admin/v1/events/replay"),
    operator(Method::GET, "/admin/v1/explain"),
    operator(Method::GET, "/admin/v1/reconcile"),
    operator(Method::GET, "/admin/v1/replays"),
    operator(Method::GET, "/admin/v1/replays/{id}"),
    operator(Method::POST, "/admin/v1/replays/{id}/pause"),
    operator(Method::POST, "/admin/v1/replays/{id}/resume"),
    operator(Method::POST, "/admin/v1/replays/{id}/cancel"),
    // Registry, ECG: E1 to E10.
    ecg_public(Method::GET, "/healthcheck"),
    ecg(Method::POST, cat!(""), Admin, Nobodys),
    ecg(Method::GET, cat!(""), Manager, Nobodys),
    ecg(Method::DELETE, cat!("/{webhookCategoryId}"), Admin, Nobodys),
    ecg(Method::GET, cat!("/{webhookCategoryId}"), Manager, Nobodys),
    ecg(Method::PATCH, cat!("/{webhookCategoryId}"), Admin, Nobodys),
    ecg(Method::POST, cat!("/{webhookCategoryId}/archive"), Admin, Nobodys),
    ecg(Method::POST, cat!("/{webhookCategoryId}/restore"), Admin, Nobodys),
    ecg(Method::POST, cat!("/{webhookCategoryId}/activate"), Admin, Nobodys),
    ecg(Method::POST, cat!("/{webhookCategoryId}/deactivate"), Admin, Nobodys),
    // E11 to E20.
    ecg(Method::GET, "/api/seed-data/versions", Manager, Nobodys),
    ecg(Method::POST, evt!(""), Admin, Nobodys),
    ecg(Method::GET, evt!(""), Manager, Nobodys),
    ecg(Method::DELETE, evt!("/{webhookEventId}"), Admin, Nobodys),
    ecg(Method::GET, evt!("/{webhookEventId}"), Manager, Nobodys),
    ecg(Method::PATCH, evt!("/{webhookEventId}"), Admin, Nobodys),
    ecg(Method::POST, evt!("/{webhookEventId}/archive"), Admin, Nobodys),
    ecg(Method::POST, evt!("/{webhookEventId}/restore"), Admin, Nobodys),
    ecg(Method::POST, evt!("/{webhookEventId}/activate"), Admin, Nobodys),
    ecg(Method::POST, evt!("/{webhookEventId}/deactivate"), Admin, Nobodys),
    // E21: filtered to the organizations of the caller. E22 to E31, E34, E35.
    ecg(Method::GET, "/api/webhook-events/{eventCode}/subscriptions", Manager, Nobodys),
    ecg(Method::POST, sub!(""), Manager, InPath),
    ecg(Method::GET, sub!(""), Manager, InPath),
    ecg(Method::DELETE, sub!("/{subscriptionId}"), Manager, InPath),
    ecg(Method::GET, sub!("/{subscriptionId}"), Manager, InPath),
    ecg(Method::PATCH, sub!("/{subscriptionId}"), Manager, InPath),
    ecg(Method::POST, sub!("/{subscriptionId}/activate"), Manager, InPath),
    ecg(Method::POST, sub!("/{subscriptionId}/deactivate"), Manager, InPath),
    ecg(Method::GET, sub!("/{subscriptionId}/secrets"), Manager, InPath),
    ecg(Method::PUT, sub!("/{subscriptionId}/secrets"), Manager, InPath),
    ecg(Method::DELETE, sub!("/{subscriptionId}/events/{eventId}"), Manager, InPath),
    ecg(Method::POST, sub!("/{subscriptionId}/archive"), Manager, InPath),
    ecg(Method::POST, sub!("/{subscriptionId}/restore"), Manager, InPath),
    // E36 to E40.
    ecg(Method::POST, evt!("/{webhookEventId}/sample-payloads"), Admin, Nobodys),
    ecg(Method::GET, evt!("/{webhookEventId}/sample-payloads"), Manager, Nobodys),
    ecg(Method::DELETE, evt!("/{webhookEventId}/sample-payloads"), Admin, Nobodys),
    ecg(Method::PATCH, evt!("/{webhookEventId}/sample-payloads"), Admin, Nobodys),
    ecg(Method::GET, evt!("/{webhookEventId}/sample-payloads-examples"), Manager, Nobodys),
    // E51 to E53.
    ecg(Method::GET, sub!("/{subscriptionId}/webhook-secret-histories"), Manager, InPath),
    ecg(Method::POST, sub!("/{subscriptionId}/webhook-secret-histories"), Manager, InPath),
    ecg(Method::GET, "/api/webhook-deliveries/payload", Manager, Nobodys),
    // Activity log, ECG: E32, E33, E41 to E45.
    ecg(Method::GET, sub!("/{subscriptionId}/activations"), Manager, InPath),
    ecg(Method::GET, sub!("/{subscriptionId}/activations/{activationId}"), Manager, InPath),
    ecg(Method::POST, sub!("/{subscriptionId}/activity"), Manager, InPath),
    ecg(Method::GET, sub!("/{subscriptionId}/activity"), Manager, InPath),
    ecg(Method::POST, sub!("/{subscriptionId}/activity/{activityId}/retry"), Manager, InPath),
    ecg(Method::POST, sub!("/{subscriptionId}/activity/{activityId}/outcomes"), Manager, InPath),
    ecg(Method::GET, sub!("/{subscriptionId}/activity/{activityId}"), Manager, InPath),
    // E46 and E47: deliveries go there, and carry no token. E48 to E50.
    ecg_public(Method::POST, "/api/webhook-processors/success-response"),
    ecg_public(Method::POST, "/api/webhook-processors/failed-response"),
    ecg(Method::POST, hsh!("/webhooks-payloads"), Manager, InPath),
    ecg(Method::POST, hsh!("/validate-hash"), Manager, InPath),
    ecg(Method::GET, hsh!("/activity/{activityId}/get-hash"), Manager, InPath),
    // Every service.
    probe("/livez"),
    probe("/readyz"),
    probe("/metrics"),
    probe("/openapi.json"),
];

/// A route of the Slipstream surface; `unknown` is what a site that does not exist answers.
const fn site(method: Method, path: &'static str, permission: Permission, unknown: UnknownSite) -> Entry {
    Entry { method, path, mounts: BOTH, access: Access::Slipstream(permission, unknown), token_in_query: false }
}

/// What the receivers of webhooks may use without a credential.
const fn receivers(method: Method, path: &'static str) -> Entry {
    Entry { method, path, mounts: BOTH, access: Access::Public, token_in_query: false }
}

/// A route of the ECG surface, mounted once (SPEC 1.1).
const fn ecg(method: Method, path: &'static str, role: EcgRole, tenant: EcgTenant) -> Entry {
    Entry { method, path, mounts: ROOT, access: Access::Ecg(role, tenant), token_in_query: false }
}

/// What the ECG surface has for everybody.
const fn ecg_public(method: Method, path: &'static str) -> Entry {
    Entry { method, path, mounts: ROOT, access: Access::Public, token_in_query: false }
}

const fn operator(method: Method, path: &'static str) -> Entry {
    Entry { method, path, mounts: ROOT, access: Access::Operator, token_in_query: false }
}

const fn probe(path: &'static str) -> Entry {
    Entry { method: Method::GET, path, mounts: ROOT, access: Access::Probe, token_in_query: false }
}
