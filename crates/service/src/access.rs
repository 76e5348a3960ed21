//! What each route needs, and the guard that asks for it (SPEC 5.1, THREATS 6).
//!
//! [`TABLE`] is the one place that says who may use which route of which service, public and operator. A service builds
//! its routers with [`Routes`], which looks every route up there and puts the guard around its handler: a route without
//! an entry makes the start fail, and none can be served unguarded by mistake. So a handler asks for nothing by itself;
//! it takes what the guard found out as an extractor:
//!
//! - [`Principal`](crate::auth::Principal): who calls. Its credential is valid and it has the entry's permission.
//! - [`AtSite`](crate::auth::AtSite): the same, and the site in the path, which the principal may act for.
//!
//! The order of refusals is the same everywhere: 401 (no credential, a bad one, two of different callers), 403 (without the
//! permission), 400 (malformed slug), 403 or 404 (a site that is unknown or somebody else's).
//!
//! Where a credential needs no look at anything but memory (all but tokens), the guard answers or goes on at once: it
//! awaits nothing and allocates one small box, for what it hands to the handler.

mod around;
mod guard;
mod routes;
mod segment;
mod table;

use axum::response::{IntoResponse as _, Response};
use http::Method;
use slipstream_core::config::Permission;
use slipstream_core::trace::TraceContext;

pub use self::around::{Answering, Around, Next};
pub use self::routes::{RouteError, Routers, Routes};
pub use self::table::TABLE;
use crate::auth::{EcgRole, OpenDentalPermission};
use crate::problem::ApiError;

/// What a site that does not exist answers to somebody who may use the route (SPEC 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownSite {
    /// 403, as for a site of somebody else: nobody learns which sites exist.
    Forbidden,
    /// 404: S3 to S5.
    NotFound,
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
    /// A token with at least this role (SPEC 6.1). Public listener.
    Ecg(EcgRole),
    /// A pair of developer and customer key with this permission (SPEC 7.2). Public listener.
    OpenDental(OpenDentalPermission),
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
