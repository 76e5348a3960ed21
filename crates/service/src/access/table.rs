//! The table itself.

use http::Method;
use slipstream_core::config::Permission::{self, EventsPublish, WebhooksManage};

use super::UnknownSite::{self, Forbidden, NotFound};
use super::{Access, Entry};

/// Mounted once.
const ROOT: &[&str] = &[""];
/// Under its own path and again under the public base path (SPEC 1.1).
const BOTH: &[&str] = &["", "/api/v1"];

const SCHEDULED: &str = "/sites/{site}/events/scheduled";
const FEATURE: &str = "/sites/{site}/webhooks/features/{feature}";

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

const fn operator(method: Method, path: &'static str) -> Entry {
    Entry { method, path, mounts: ROOT, access: Access::Operator, token_in_query: false }
}

const fn probe(path: &'static str) -> Entry {
    Entry { method: Method::GET, path, mounts: ROOT, access: Access::Probe, token_in_query: false }
}
