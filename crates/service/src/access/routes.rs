//! Routers that have no route outside the table.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::Method;

use super::around::{Around, Surrounded};
use super::guard::{Gate, Guarded};
use super::{Access, Entry, Refuse, TABLE, refuse_with_problem};
use crate::auth::Guards;

/// Why a service does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A route that nobody said anything about must not be served.
    #[error("the route {method} {path} has no entry in the access table")]
    NoEntry {
        /// The method.
        method: Method,
        /// The path.
        path: String,
    },
    /// The service cannot check what the entry asks for.
    #[error("the route {method} {path} needs {access:?}, and this service was not given what checks that")]
    NoScheme {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// What it needs.
        access: Access,
    },
}

/// The routes of a process, by the listener that serves them: none, or what [`Routes`] has made, so that every one of
/// them has its entry and its guard. A router from elsewhere cannot be put in:
///
/// ```compile_fail,E0451
/// use slipstream_service::access::Routers;
///
/// let extra = axum::Router::<()>::new().route("/extra", axum::routing::get(async || "in"));
/// let routers = Routers { public: extra, ..Routers::default() };
/// ```
///
/// They come apart only, for who calls them without a socket:
///
/// ```
/// use slipstream_service::access::Routers;
///
/// let extra = axum::Router::<()>::new().route("/extra", axum::routing::get(async || "in"));
/// let (public, operator) = Routers::default().into_parts();
/// assert!(extra.has_routes() && !public.has_routes() && !operator.has_routes());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Routers {
    /// For everybody: `http.listen`.
    public: Router,
    /// The operator API: `http.operator_listen`. The probes are added when it is served.
    operator: Router,
}

impl Routers {
    /// The routes of both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self { public: self.public.merge(other.public), operator: self.operator.merge(other.operator) }
    }

    /// Whether there is anything for everybody.
    pub(crate) fn has_public(&self) -> bool {
        self.public.has_routes()
    }

    /// The routers of the public and of the operator's listener.
    pub fn into_parts(self) -> (Router, Router) {
        (self.public, self.operator)
    }
}

/// Builds [`Routers`]: looks each route up in the table, puts it on the listener it belongs to, at every mount point it
/// has, with the guard around it.
#[derive(Debug)]
pub struct Routes<S = ()> {
    table: &'static [Entry],
    guards: Guards,
    refuse: Refuse,
    around: Vec<Arc<dyn Around>>,
    public: Router<S>,
    operator: Router<S>,
    error: Option<RouteError>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet; `guards` checks what they will need.
    pub fn new(guards: &Guards) -> Self {
        Self::of_table(TABLE, guards)
    }

    /// As [`Routes::new`], by another table.
    pub(super) fn of_table(table: &'static [Entry], guards: &Guards) -> Self {
        let (public, operator) = (Router::new(), Router::new());
        Self {
            table,
            guards: guards.clone(),
            refuse: refuse_with_problem,
            around: Vec::new(),
            public,
            operator,
            error: None,
        }
    }

    /// Words the guard's refusals as the surface does, from the next route on. Problem documents unless told otherwise.
    #[must_use]
    pub fn refusing_with(mut self, refuse: Refuse) -> Self {
        self.refuse = refuse;
        self
    }

    /// Puts `around` around the handlers that it concerns, from the next route on, inside of what was put before.
    #[must_use]
    pub fn around(mut self, around: Arc<dyn Around>) -> Self {
        self.around.push(around);
        self
    }

    /// Adds a route. `path` is that of its entry, without a mount point. What a layer around the handler alone should do
    /// (`handler.layer(…)`) happens after the guard.
    #[must_use]
    pub fn add<H, T>(self, method: Method, path: &str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let entry = self.entry(method, path, |_| true);
        self.put(entry, handler)
    }

    /// As [`Routes::add`], of a path that the public listener has, too: the one for operators.
    #[must_use]
    pub(crate) fn add_for_operators<H, T>(self, method: Method, path: &str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let entry = self.entry(method, path, Entry::is_for_operators);
        self.put(entry, handler)
    }

    fn put<H, T>(mut self, entry: Result<&'static Entry, RouteError>, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        match entry {
            Ok(entry) => {
                let filter = MethodFilter::try_from(entry.method.clone());
                let filter = filter.expect("the table holds methods of HTTP only");
                let handler = Surrounded::new(handler, entry, &self.around);
                for path in entry.paths() {
                    let gate = Gate::new(entry, &path, self.guards.clone(), self.refuse);
                    let route = on(filter, Guarded { handler: handler.clone(), gate: Arc::new(gate) });
                    let router = if entry.is_for_operators() { &mut self.operator } else { &mut self.public };
                    *router = std::mem::take(router).route(&path, route);
                }
            }
            // The first one: more of them are seldom of another kind.
            Err(error) => drop(self.error.get_or_insert(error)),
        }
        self
    }

    fn entry(&self, method: Method, path: &str, fits: fn(&Entry) -> bool) -> Result<&'static Entry, RouteError> {
        let mut found = self.table.iter().filter(|entry| entry.is(&method, path));
        let entry = found
            .find(|entry| fits(entry))
            .ok_or_else(|| RouteError::NoEntry { method: method.clone(), path: path.to_owned() })?;
        if self.guards.can_check(entry.access) {
            Ok(entry)
        } else {
            Err(RouteError::NoScheme { method, path: path.to_owned(), access: entry.access })
        }
    }

    /// The routers, with the state that all handlers share.
    ///
    /// # Errors
    /// If a route has no entry in the table, or needs what these guards cannot check.
    pub fn with_state(self, state: S) -> Result<Routers, RouteError> {
        match self.error {
            Some(error) => Err(error),
            None => {
                Ok(Routers { public: self.public.with_state(state.clone()), operator: self.operator.with_state(state) })
            }
        }
    }
}
