//! What one request takes.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use slipstream_core::config::Quota;
use slipstream_core::problem::{Problem, ProblemKind};

use super::{Policy, Quotas, RATE_LIMIT, RATE_LIMIT_POLICY, Refused, headers};
use crate::auth::{Actor, Principal};
use crate::names;

/// The longest wait that a refusal names: a quota may be changed before the day is over.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// Who pays for a request, and from which bucket. Everything is free for whoever has no quota.
///
/// The guard takes the token that every request costs, as soon as it is known who asks, and writes with every answer from
/// then on where the caller stands.
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
    pub(crate) fn new(quotas: &Quotas, principal: &Principal, policy: Policy) -> Self {
        let metered = |quota| Metered { quotas: quotas.clone(), actor: principal.actor(), quota, policy };
        Self(principal.quota().map(metered))
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
    ///
    /// # Errors
    /// 429 with the time after which there is one.
    pub(crate) fn begin(&self) -> Result<(), Problem> {
        let Some(metered) = &self.0 else { return Ok(()) };
        metered.take(1).map_err(|refused| match refused {
            Refused::Wait(wait) => metered.over(wait),
            // A bucket that holds nothing, which the registry does not let pass.
            Refused::Never(_) => metered.over(RETRY_AFTER_MAX),
        })
    }

    /// Says where the caller stands, if it has a quota.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
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

/// The meter of the request, which has paid its one token: an extractor, for handlers that cost more.
impl<S: Sync> FromRequestParts<S> for Meter {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or(Self(None)))
    }
}
