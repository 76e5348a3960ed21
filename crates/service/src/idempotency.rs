//! `Idempotency-Key`: a POST that is sent again is done once (SPEC 2.3).
//!
//! [`Idempotency`] goes around the handlers of POSTs ([`Routes::around`](crate::access::Routes::around)), behind the guard
//! and outside of the audit, so that a repeat is no second act. The first request with a key claims it in the database of
//! its service ([`Keys`]) and is done to its end, even if its sender goes away: that is when keys are needed. A repeat gets
//! the answer that the first one got, with `Idempotent-Replayed: true`.
//!
//! | answer of the first request | what a repeat gets |
//! | --- | --- |
//! | not there yet | 409 `idempotency-in-progress`; after the lease the first one is taken for dead, and the repeat is done |
//! | 2xx, 4xx | the same, for 24 h |
//! | 408, 429, 5xx | it is done anew, under the same [`NewId`]: the first one was not done, or nobody knows |
//! | one that holds a secret (2xx with `no-store`), where the handler finds what it made before (E22, E52) | what the handler says again, under the same [`NewId`]; its secret is kept here no more than elsewhere |
//! | another one that holds a secret (an account's keys, a signing key) | 409: it was done, and its secret is kept nowhere |
//! | one of more than 64 KiB, or 1 MiB on the ECG surface, whose answers show payloads | 409: it was done |
//!
//! A crash between doing and keeping the answer lets a repeat after the lease be done a second time. What makes something
//! takes its id from [`NewId`], which is the same then: so it makes no second one.

mod answer;
mod new_id;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode};
use slipstream_core::idempotency::{Claim, Claimed, Fingerprint, Kept, Key, Keys, NotAKey, Scope};
use slipstream_core::limits::{BODY_BYTES_MAX, MANAGEMENT_BODY_BYTES_MAX};
use slipstream_core::problem::{Problem, ProblemKind};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::answer::{kept, mark_as_replayed, replayed};
pub use self::new_id::NewId;
use crate::access::{Access, Answering, Around, Entry, Next, sub};
use crate::auth::Granted;
use crate::clock;
use crate::config::HttpConfig;
use crate::ecg;
use crate::http::{ToTheEnd, read_body};
use crate::problem::{ApiError, Renderer};
use crate::trace::{self, RequestTrace};

/// The header of a request.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header of an answer that was given before.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// How long an answer is kept: 24 h (SPEC 2.3).
const KEPT_FOR: Duration = Duration::from_hours(24);
/// From when on whoever does the first request is taken for dead. Far longer than any handler's timeouts together.
const LEASE: Duration = Duration::from_mins(1);
/// Bytes of the longest body of an answer that is kept.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The same of the ECG surface: a payload, what led to it and what was answered may have 256 KiB each.
const ECG_ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Routes whose answers hold a secret, and whose handlers recognise by [`NewId`] what they made before and show it again.
const SHOWS_AGAIN: [&str; 2] = [sub!(""), sub!("/{subscriptionId}/webhook-secret-histories")];

/// How long the database may take (THREATS 8).
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);

/// Recognises repeats of POSTs by their key.
#[derive(Debug)]
pub struct Idempotency<K> {
    keys: K,
    renderer: Renderer,
    body_timeout: Duration,
    to_the_end: ToTheEnd,
}

impl<K: Keys + std::fmt::Debug> Idempotency<K> {
    /// Keys that are kept by `keys`. What has a key is done with `to_the_end`, which is the process's
    /// ([`Context::to_the_end`](crate::Context::to_the_end)).
    pub fn new(keys: K, config: &HttpConfig, to_the_end: &ToTheEnd) -> Self {
        let renderer = Renderer::new(&config.problem_base_url);
        Self { keys, renderer, body_timeout: config.body_timeout, to_the_end: to_the_end.clone() }
    }

    async fn with_key(
        self: Arc<Self>,
        entry: &'static Entry,
        key: Key,
        request: Request,
        next: Next,
    ) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let granted: &Granted = parts.extensions.get().ok_or_else(|| {
            ApiError::internal(anyhow::anyhow!("nobody is known to do {} {}", parts.method, parts.uri.path()))
        })?;
        let scope = Scope::new(&granted.principal.actor().to_string(), parts.method.as_str(), parts.uri.path(), &key);
        // Posts hold payloads.
        let limit = if ecg::is_here(parts.uri.path()) { BODY_BYTES_MAX } else { MANAGEMENT_BODY_BYTES_MAX };
        let body = read_body(&parts, body, limit, self.body_timeout).await?;
        let now = clock::now();
        let claim = Claim {
            scope,
            fingerprint: Fingerprint::of(parts.uri.query(), &body),
            token: clock::new_uuid(),
            now,
            lease_until: now.after(LEASE),
            expires_at: now.after(KEPT_FOR),
        };
        let request = Request::from_parts(parts, Body::from(body));
        let to_the_end = self.to_the_end.clone();
        let work = |request| async move {
            self.once(entry, claim, request, next).await.unwrap_or_else(ApiError::into_response)
        };
        Ok(to_the_end.answer(request, work).await)
    }

    async fn once(&self, entry: &Entry, claim: Claim, mut request: Request, next: Next) -> Result<Response, ApiError> {
        match within(self.keys.claim(&claim)).await.map_err(|error| ApiError::unavailable(NO_KEYS, error))? {
            Claimed::First(id) => {
                request.extensions_mut().insert(NewId::of_key(id));
                Ok(self.first(&claim, request, next).await)
            }
            Claimed::Finished(Kept::Answer(answer), _) => Ok(replayed(answer)),
            Claimed::Finished(Kept::Status(_), Some(id)) if SHOWS_AGAIN.contains(&entry.path) => {
                request.extensions_mut().insert(NewId::of_key(id));
                let mut response = next(request).await;
                if response.status().is_success() {
                    mark_as_replayed(&mut response);
                }
                Ok(response)
            }
            Claimed::Finished(Kept::Status(status), _) => Err(not_kept(status).into()),
            Claimed::Running => Err(in_progress().into()),
            Claimed::Reused => {
                let detail = "this Idempotency-Key came with another query or body before";
                Err(Problem::new(ProblemKind::IdempotencyKeyReused, detail).into())
            }
        }
    }

    async fn first(&self, claim: &Claim, request: Request, next: Next) -> Response {
        let trace = request.extensions().get::<RequestTrace>().map(|trace| trace.0);
        let trace = trace.unwrap_or_else(|| trace::of_request(request.headers()));
        let is_of_ecg = ecg::is_here(request.uri().path());
        let response = next(request).await;
        let (response, settled) = if is_final(response.status()) {
            // As it goes out: of a refusal, that is the document.
            let finished = if is_of_ecg {
                ecg::finish(response, trace).await
            } else {
                self.renderer.finish(response, trace).await
            };
            let max = if is_of_ecg { ECG_ANSWER_BYTES_MAX } else { ANSWER_BYTES_MAX };
            let (response, kept) = kept(finished, max).await;
            (response, within(self.keys.finish(claim, &kept)).await)
        } else {
            (response, within(self.keys.release(claim)).await)
        };
        if let Err(error) = settled {
            // What was asked for is done. A repeat hears 409 until the lease is over.
            tracing::warn!(error = format!("{error:#}"), "the answer of a request with an Idempotency-Key is not kept");
        }
        response
    }
}

impl<K: Keys + std::fmt::Debug> Around for Idempotency<K> {
    fn concerns(&self, entry: &Entry) -> bool {
        takes_key(entry)
    }

    fn answer(self: Arc<Self>, entry: &'static Entry, request: Request, next: Next) -> Answering {
        match key(request.headers()) {
            Ok(None) => next(request),
            Ok(Some(key)) => {
                let with_key = self.with_key(entry, key, request, next);
                Box::pin(async move { with_key.await.unwrap_or_else(ApiError::into_response) })
            }
            Err(problem) => Box::pin(std::future::ready(ApiError::from(problem).into_response())),
        }
    }
}

/// Whether requests to a route may have a key.
pub(crate) fn takes_key(entry: &Entry) -> bool {
    // Who has no credential has no keys.
    entry.method == Method::POST && !entry.is_publishing() && !matches!(entry.access, Access::Public | Access::Probe)
}

const NO_KEYS: &str = "the database did not answer in time; nothing was done";

/// How often to look for keys whose time is over, and how many go in one step.
const EXPIRE_EVERY: Duration = Duration::from_mins(10);
const EXPIRE_STEP: usize = 500;
/// Pause between two steps, so that others get their turn on SQLite's one write lock.
const EXPIRE_PAUSE: Duration = Duration::from_millis(50);

/// Forgets keys whose time is over, now and every 10 minutes, until `stop`.
///
/// # Errors
/// None: what cannot be forgotten now is tried again.
pub async fn forget_old(keys: impl Keys, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let forgetting = async {
            loop {
                match within(keys.expire(clock::now(), EXPIRE_STEP)).await {
                    Ok(0) => break,
                    Ok(_) => tokio::time::sleep(EXPIRE_PAUSE).await,
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "cannot forget old idempotency keys");
                        break;
                    }
                }
            }
            tokio::time::sleep(EXPIRE_EVERY).await;
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = forgetting => {}
        }
    }
}

/// The key of a request, if it has one.
fn key(headers: &HeaderMap) -> Result<Option<Key>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Two lines are a list, and a list is no String item.
    let key = if values.next().is_some() { Err(NotAKey) } else { value.to_str().unwrap_or_default().parse() };
    key.map(Some).map_err(|error| Problem::new(ProblemKind::BadRequest, format!("the header Idempotency-Key {error}")))
}

/// Whether a repeat gets this answer too. 408 and 429 say to come again; after a 5xx nobody knows what was done.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error() && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn in_progress() -> Problem {
    let detail = "the first request with this Idempotency-Key is not finished";
    let retry_after = Some(Duration::from_secs(1));
    Problem { retry_after, ..Problem::new(ProblemKind::IdempotencyInProgress, detail) }
}

fn not_kept(status: u16) -> Problem {
    let detail = format!(
        "the request with this Idempotency-Key was done and answered {status}; its answer held a secret, or was too long, \
         and is not kept"
    );
    Problem::new(ProblemKind::Conflict, detail)
}

async fn within<T, E>(asking: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    Ok(timeout(KEYS_TIMEOUT, asking).await??)
}

#[cfg(test)]
mod tests;
