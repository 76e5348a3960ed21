//! What stands before a handler: authenticates, takes a token of the quota, checks the permission and the site, and only
//! then calls it.

use std::borrow::Cow;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use futures::future::Either;
use http::{HeaderValue, StatusCode, header};
use slipstream_core::config::{Permission, Site};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;

use super::{Access, EcgTenant, Entry, Refuse, UnknownSite, segment};
use crate::auth::{Credential, Granted, Guards, Principal, in_query};
use crate::problem::ApiError;
use crate::trace::{self, RequestTrace};

/// A handler behind its gate.
#[derive(Debug, Clone)]
pub(super) struct Guarded<H> {
    pub(super) handler: H,
    pub(super) gate: Arc<Gate>,
}

/// What one route asks for.
#[derive(Debug)]
pub(super) struct Gate {
    entry: &'static Entry,
    /// Which segment of the path is the site or the organization; of routes of one.
    tenant_at: usize,
    guards: Guards,
    refuse: Refuse,
}

/// An answer that is already there, or the handler's.
type Now<F> = Either<Ready<Response>, F>;
/// An answer for which something had to be awaited first.
type Later = Pin<Box<dyn Future<Output = Response> + Send>>;

impl<H, T, S> Handler<T, S> for Guarded<H>
where
    H: Handler<T, S>,
    T: 'static,
    S: Send + 'static,
{
    type Future = Either<Now<H::Future>, Later>;

    fn call(self, mut request: Request, state: S) -> Self::Future {
        let Self { handler, gate } = self;
        if matches!(gate.entry.access, Access::Public | Access::Probe) {
            return Either::Left(Either::Right(handler.call(request, state)));
        }
        let (credential, in_query) = match gate.credential(&request) {
            Ok(found) => found,
            Err(problem) => return Either::Left(Either::Left(ready(gate.refused(problem, &request)))),
        };
        // A token in the query makes the answer private, and a quota has something to say with every answer: both are
        // things to do later.
        if let (Credential::Known(principal), false) = (&credential, in_query)
            && let principal = gate.guards.with_quota(principal.clone())
            && principal.quota().is_none()
        {
            return Either::Left(match gate.permit(principal, &request) {
                Ok(granted) => {
                    request.extensions_mut().insert(granted);
                    Either::Right(handler.call(request, state))
                }
                Err(problem) => Either::Left(ready(gate.refused(problem, &request))),
            });
        }
        Either::Right(Box::pin(async move {
            let mut response = match gate.guards.verify(gate.entry.access, credential).await {
                Ok(principal) => {
                    let principal = gate.guards.with_quota(principal);
                    let meter = gate.guards.meter(&principal, gate.entry);
                    // Before the permission is looked at: whoever may not do this pays for asking all the same.
                    let permitted = meter.begin().and_then(|()| gate.permit(principal, &request));
                    let mut response = match permitted {
                        Ok(granted) => {
                            request.extensions_mut().insert(granted);
                            request.extensions_mut().insert(meter.clone());
                            handler.call(request, state).await
                        }
                        Err(problem) => {
                            let error = ApiError::from(problem).of_quota(gate.entry.policy().as_str());
                            gate.refused(error, &request)
                        }
                    };
                    // When the answer is ready, so that what the handler took is counted.
                    meter.write(response.headers_mut());
                    response
                }
                Err(problem) => gate.refused(problem, &request),
            };
            if in_query {
                // RFC 6750, 2.3. What is refused gets `no-store` when its document is written.
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
            }
            response
        }))
    }
}

impl Gate {
    pub(super) fn new(entry: &'static Entry, path: &str, guards: Guards, refuse: Refuse) -> Self {
        let tenant_at = match entry.access {
            Access::Slipstream(..) => segment::position(path, "site").expect("a route of a site names it as {site}"),
            Access::Ecg(_, EcgTenant::InPath) => segment::position(path, "organizationId")
                .expect("a route of an organization names it as {organizationId}"),
            _ => 0,
        };
        Self { entry, tenant_at, guards, refuse }
    }

    /// What the request shows, and whether any of it stood in the query.
    fn credential(&self, request: &Request) -> Result<(Credential, bool), Problem> {
        let token = match request.uri().query() {
            Some(query) if self.entry.token_in_query => in_query(query)?,
            _ => None,
        };
        let in_query = token.is_some();
        Ok((self.guards.credential(self.entry.access, request.headers(), token.map(Cow::into_owned))?, in_query))
    }

    /// What `principal` is granted at this route.
    fn permit(&self, principal: Principal, request: &Request) -> Result<Granted, Problem> {
        let (mut site, mut organization) = (None, None);
        match self.entry.access {
            Access::Slipstream(permission, unknown) => {
                site = Some(self.site(&principal, permission, unknown, request)?);
            }
            Access::Ecg(role, tenant) => {
                principal.require_ecg(role)?;
                if tenant == EcgTenant::InPath {
                    organization = Some(principal.require_organization(&self.tenant(request))?);
                }
            }
            Access::OpenDental(permission) => principal.require_open_dental(permission)?,
            Access::Public | Access::Probe | Access::Operator => {}
        }
        Ok(Granted { principal, site, organization })
    }

    /// The segment of the path that names whose things the request is about.
    fn tenant<'a>(&self, request: &'a Request) -> Cow<'a, str> {
        segment::at(request.uri().path(), self.tenant_at)
    }

    fn site(
        &self,
        principal: &Principal,
        permission: Permission,
        unknown: UnknownSite,
        request: &Request,
    ) -> Result<Arc<Site>, Problem> {
        if !principal.may(permission) {
            return Err(Problem::new(ProblemKind::Forbidden, "the caller does not have the permission for this"));
        }
        let slug = Slug::from_str(&self.tenant(request))
            .map_err(|error| Problem::new(ProblemKind::SlugMalformed, format!("the site slug {error}")))?;
        // One text for both, so that it does not tell which sites exist.
        let forbidden = || Problem::new(ProblemKind::Forbidden, "the caller may not act for this site");
        let site = self.guards.site(&slug).ok_or_else(|| match unknown {
            UnknownSite::Forbidden => forbidden(),
            UnknownSite::NotFound => Problem::new(ProblemKind::NotFound, "there is no such site"),
        })?;
        if principal.may_at(&slug) { Ok(site) } else { Err(forbidden()) }
    }

    fn refused(&self, error: impl Into<ApiError>, request: &Request) -> Response {
        let trace = request.extensions().get::<RequestTrace>().map(|trace| trace.0);
        let trace = trace.unwrap_or_else(|| trace::of_request(request.headers()));
        let mut response = (self.refuse)(error.into(), trace);
        // Here, since every surface words its refusals by itself, and none may forget this (RFC 9110, 15.5.2).
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, self.entry.access.challenge());
        }
        response
    }
}
