//! What each route needs, and the guard that asks for it (SPEC 5.1, THREATS 6).
//!
//! [`TABLE`] is the one place that says who may use which route of which service, public and operator. A service builds
//! its routers with [`Routes`], which looks every route up there and puts the guard around its handler: a route without
//! an entry makes the start fail, and none can be served unguarded by mistake. So a handler asks for nothing by itself;
//! it takes what the guard found out as an extractor:
//!
//! - [`Principal`](crate::auth::Principal): who calls. Its credential is valid and it has the entry's permission.
//! - [`AtSite`](crate::auth::AtSite): the same, and the site in the path, which the principal may act for.
//! - [`AtOrganization`](crate::auth::AtOrganization): the same for an organization of the ECG surface.
//!
//! The order of refusals is the same everywhere: 401 (no credential, a bad one, two of different callers), 429 (over quota:
//! whoever is known pays, also for what is refused then), 403 (without the permission), 400 (malformed slug or id), 403 or 404 (a site that is unknown or somebody else's; an organization of
//! somebody else).
//!
//! Where a credential needs no look at anything but memory (all but tokens), the guard answers or goes on at once: it
//! awaits nothing and allocates one small box, for what it hands to the handler. A caller with a quota costs another, for
//! what is said of it with the answer.

mod around;
mod guard;
mod routes;
mod segment;
mod table;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method};
use slipstream_core::config::Permission;
use slipstream_core::trace::TraceContext;

pub use self::around::{Answering, Around, Next};
pub use self::routes::{RouteError, Routers, Routes};
pub(crate) use self::segment::decoded as decoded_segment;
pub use self::table::TABLE;
pub(crate) use self::table::{cat, evt, hsh, sub};
use crate::auth::{EcgRole, OpenDentalPermission};
use crate::problem::ApiError;
use crate::quota::Policy;

/// What a site that does not exist answers to somebody who may use the route (SPEC 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownSite {
    /// 403, as for a site of somebody else: nobody learns which sites exist.
    Forbidden,
    /// 404: S3 to S5.
    NotFound,
}

/// Whose things an ECG route is about (SPEC 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EcgTenant {
    /// Nobody's: categories and events belong to all.
    None,
    /// Those of the organization that the path names as `{organizationId}`: the token must allow it, 403 otherwise.
    InPath,
}

/// What a route asks of whoever calls it. Decides the listener too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing. Public listener.
    Public,
    /// Nothing: probes and metrics, which only the operator's listener has.
    Probe,
    /// An API account or a token with this permission, for the site that the path names as `{site}`. Public listener.
    Slipstream(Permission, UnknownSite),
    /// The operator's token. Operator's listener.
    Operator,
    /// A token with at least this role, and for which organization (SPEC 6.1). Public listener.
    Ecg(EcgRole, EcgTenant),
    /// A pair of developer and customer key with this permission (SPEC 7.2). Public listener.
    OpenDental(OpenDentalPermission),
}

impl Access {
    /// The challenge of a 401 (RFC 9110, 11.6.1): the scheme of `Authorization` that would do. An API key has none, so
    /// its routes name that of tokens.
    pub(crate) const fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::OpenDental(_) => "ODFHIR",
            Self::Public | Self::Probe | Self::Slipstream(..) | Self::Operator | Self::Ecg(..) => "Bearer",
        })
    }
}

/// One row of [`TABLE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The method. `GET` stands for `HEAD` too.
    pub method: Method,
    /// The path below each of the mount points, as axum writes it.
    pub path: &'static str,
    /// Where the path is mounted, each without a slash at the end.
    pub mounts: &'static [&'static str],
    /// What it asks for.
    pub access: Access,
    /// Whether a token may also come as `?access_token=` (S1 only, SPEC 5.1).
    pub token_in_query: bool,
}

impl Entry {
    /// The entry of a route, if it has one.
    pub fn find(method: &Method, path: &str) -> Option<&'static Self> {
        TABLE.iter().find(|entry| entry.is(method, path))
    }

    /// Whether events are published here: a token each, and no `Idempotency-Key`, since an event's own identity tells its
    /// repeats (SPEC 2.3, 2.4).
    pub(crate) fn is_publishing(&self) -> bool {
        self.method == Method::POST && self.path == "/sites/{site}/events"
    }

    /// What its requests cost a caller with a quota.
    pub(crate) fn policy(&self) -> Policy {
        if self.is_publishing() { Policy::Publish } else { Policy::Requests }
    }

    fn is(&self, method: &Method, path: &str) -> bool {
        self.method == *method && self.path == path
    }

    /// The paths it is served at.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.mounts.iter().map(|mount| format!("{mount}{}", self.path))
    }

    /// Whether it is served on the operator's listener, and not on the public one.
    pub fn is_for_operators(&self) -> bool {
        matches!(self.access, Access::Operator | Access::Probe)
    }
}

/// Makes an answer of a refusal of the guard, in the error shape of the surface (SPEC 2.2). The trace is the request's.
pub type Refuse = fn(ApiError, TraceContext) -> Response;

/// The shape of Slipstream, CloudEvents and the operator API: a problem document, written by the accept loop.
pub fn refuse_with_problem(error: ApiError, _trace: TraceContext) -> Response {
    error.into_response()
}

#[cfg(test)]
mod tests;
