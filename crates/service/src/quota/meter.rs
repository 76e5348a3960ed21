//! What one request takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use slipstream_core::config::Quota;
use slipstream_core::problem::{Problem, ProblemKind};

use super::{Policy, Quotas, RATE_LIMIT, RATE_LIMIT_POLICY, Refused, headers};
use crate::access::{Access, Answering, Around, Entry, Next};
use crate::auth::{Actor, Principal};
use crate::names;
use crate::problem::ApiError;

/// The longest wait that a refusal names: a quota may be changed before the day is over.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// Who pays for a request, and from which bucket. Everything is free for whoever has no quota.
#[derive(Debug, Clone)]
pub struct Meter(Option<Metered>);

#[derive(Debug, Clone)]
struct Metered {
    quotas: Quotas,
    actor: Actor,
    quota: Quota,
    policy: Policy,
}

impl Meter {
    /// The meter of `principal`.
    pub fn new(quotas: &Quotas, principal: &Principal, policy: Policy) -> Self {
        let metered = |quota| Metered { quotas: quotas.clone(), actor: principal.actor(), quota, policy };
        Self(principal.quota().map(metered))
    }

    /// The answer to a request: `work`'s, if there is a token for it, and otherwise a refusal. Both say where the actor
    /// stands when they are ready, so that what `work` took is counted.
    pub async fn around(&self, work: impl Future<Output = Result<Response, ApiError>>) -> Response {
        let worked = match self.begin() {
            Ok(()) => work.await,
            Err(refusal) => Err(ApiError::from(refusal).of_quota(self.policy())),
        };
        let mut response = worked.unwrap_or_else(ApiError::into_response);
        self.write(response.headers_mut());
        response
    }

    /// Takes what publishing so many events costs beyond the one token of each request: a token per event, of which the
    /// first is paid.
    ///
    /// # Errors
    /// 413 for more events than the bucket ever holds, otherwise 429 with the time after which all of them would pass.
    pub fn take_events(&self, count: usize) -> Result<(), Problem> {
        let Some(metered) = &self.0 else { return Ok(()) };
        let capacity = metered.quota.burst_capacity;
        let Some(count) = u32::try_from(count).ok().filter(|count| *count <= capacity) else {
            let detail = format!("{count} events in one request are more than the quota's burst of {capacity}");
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        };
        match metered.take(count.saturating_sub(1)) {
            Ok(()) => Ok(()),
            // The next try pays for its first event again.
            Err(Refused::Wait(wait)) => Err(metered.over(wait.saturating_add(metered.time_of_one()))),
            Err(Refused::Never(_)) => Err(metered.over(RETRY_AFTER_MAX)),
        }
    }

    /// Takes the token that every request costs.
    fn begin(&self) -> Result<(), Problem> {
        let Some(metered) = &self.0 else { return Ok(()) };
        metered.take(1).map_err(|refused| match refused {
            Refused::Wait(wait) => metered.over(wait),
            // A bucket that holds nothing, which the registry does not let pass.
            Refused::Never(_) => metered.over(RETRY_AFTER_MAX),
        })
    }

    /// The name of the policy, for refusals.
    fn policy(&self) -> &'static str {
        self.0.as_ref().map_or(Policy::Publish, |metered| metered.policy).as_str()
    }

    fn write(&self, headers: &mut HeaderMap) {
        let Some(Metered { quotas, actor, quota, policy }) = &self.0 else { return };
        let standing = quotas.standing(actor, *quota, *policy, Instant::now());
        headers.insert(RATE_LIMIT_POLICY, headers::policy(*policy, *quota));
        headers.insert(RATE_LIMIT, headers::standing(*policy, standing));
    }
}

impl Metered {
    fn take(&self, tokens: u32) -> Result<(), Refused> {
        self.quotas.take(&self.actor, self.quota, self.policy, tokens, Instant::now())
    }

    fn time_of_one(&self) -> Duration {
        Duration::from_secs(1) / self.quota.tokens_per_second.max(1)
    }

    fn over(&self, wait: Duration) -> Problem {
        metrics::counter!(names::OVER_QUOTA, names::POLICY => self.policy.as_str()).increment(1);
        let Quota { burst_capacity, tokens_per_second } = self.quota;
        let detail = format!("the quota is {tokens_per_second} a second, and {burst_capacity} at once");
        let retry_after = Some(wait.min(RETRY_AFTER_MAX));
        Problem { retry_after, ..Problem::new(ProblemKind::QuotaExceeded, detail) }
    }
}

/// Takes a token of [`Policy::Requests`] for each request to a route of the Slipstream surface. Put it behind the route
/// that publishes, which pays by event and has a [`Meter`] of its own.
impl Around for Quotas {
    fn concerns(&self, entry: &Entry) -> bool {
        matches!(entry.access, Access::Slipstream(..))
    }

    fn answer(self: Arc<Self>, _: &'static Entry, request: Request, next: Next) -> Answering {
        let meter = Principal::of(&request).map(|principal| Meter::new(&self, principal, Policy::Requests));
        match meter {
            Some(meter @ Meter(Some(_))) => {
                Box::pin(async move { meter.around(async { Ok(next(request).await) }).await })
            }
            _ => next(request),
        }
    }
}
