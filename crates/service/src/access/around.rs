//! What happens around handlers, after the guard has let a request through: the audit, and keys of idempotency.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use futures::future::Either;

use super::Entry;

/// An answer to come.
pub type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What stands further in, the handler at last. Called once at most.
pub type Next = Box<dyn FnOnce(Request) -> Answering + Send>;

/// Something around the handlers of some routes.
///
/// It runs behind the guard, so the request's extensions hold who calls: [`Principal::of`](crate::auth::Principal::of).
pub trait Around: Debug + Send + Sync + 'static {
    /// Whether it has to do with this route. Asked once, at the start.
    fn concerns(&self, entry: &Entry) -> bool;

    /// Answers a request to a route that it concerns.
    fn answer(self: Arc<Self>, entry: &'static Entry, request: Request, next: Next) -> Answering;
}

/// A handler with what is around it, the outermost in front. Most have nothing, and cost nothing then.
#[derive(Debug, Clone)]
pub(super) struct Surrounded<H> {
    pub(super) handler: H,
    pub(super) entry: &'static Entry,
    pub(super) around: Option<Arc<[Arc<dyn Around>]>>,
}

impl<H> Surrounded<H> {
    pub(super) fn new(handler: H, entry: &'static Entry, all: &[Arc<dyn Around>]) -> Self {
        let around: Arc<[_]> = all.iter().filter(|it| it.concerns(entry)).cloned().collect();
        Self { handler, entry, around: Some(around).filter(|it| !it.is_empty()) }
    }
}

impl<H, T, S> Handler<T, S> for Surrounded<H>
where
    H: Handler<T, S>,
    T: 'static,
    S: Send + 'static,
{
    type Future = Either<H::Future, Answering>;

    fn call(self, request: Request, state: S) -> Self::Future {
        let Self { handler, entry, around } = self;
        let Some(around) = around else { return Either::Left(handler.call(request, state)) };
        let innermost: Next = Box::new(|request| Box::pin(handler.call(request, state)));
        let outermost = around.iter().rev().fold(innermost, |next, around| {
            let around = Arc::clone(around);
            Box::new(move |request| around.answer(entry, request, next))
        });
        Either::Right(outermost(request))
    }
}
