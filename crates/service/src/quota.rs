//! How much an actor may do: a token bucket each for publishing and for everything else (SPEC 2.4).
//!
//! A bucket holds `burst_capacity` tokens at most and gets `tokens_per_second` of them back. Publishing takes a token
//! per event from the bucket `publish`; every other request takes one from the bucket `requests`, which is as large,
//! so that managing webhooks does not eat what was meant for events. An account has its own quota, the holder of tokens its
//! issuer's, and whoever has none the deployment's (`auth.quota`); an actor without any has no bucket.
//!
//! What is taken when:
//!
//! * As soon as it is known who asks, one token: whoever is over quota costs us a head and no more. What the guard refuses
//!   then (403, 404, a malformed slug) has cost it.
//! * When the events of a batch are counted, the rest: one token per event after the first. A batch of more events than
//!   the bucket holds could never pass and is 413.
//! * Nothing is given back. A request that is refused for what is in it (400, 413, 429 of a batch) has cost its one
//!   token, as at other gateways, which count requests and not successes; an empty batch costs one too. A request that
//!   we could not serve (503) has cost all of its tokens, and they are back as fast as any.
//! * A request without a valid credential belongs to nobody and takes nothing; the accept loop's limits are for those.
//!
//! Every answer to an actor with a quota says where it stands: `RateLimit-Policy: "publish";q=500;w=10` (tokens of a full
//! bucket, seconds until an empty one is full) and `RateLimit: "publish";r=37;t=1` (whole tokens there now, seconds until
//! there is one more; no `t` when the bucket is full). A refusal is 429 with `Retry-After`: whole seconds, rounded up,
//! after which what was asked for would pass if nobody else of the account asked meanwhile.
//!
//! A changed quota acts with the next request: what was taken stays taken, up to the new size.
//!
//! Each process has its own buckets. With `n` replicas behind a balancer, an account gets up to `n` times its quota:
//! a limit that holds over all of them would need a question to somebody else on every request, and dividing by `n`
//! would refuse batches that one replica alone should take. Whoever wants an exact total gives an `n`th.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slipstream_core::config::Quota;

mod bucket;
mod headers;
mod meter;
mod table;

pub use headers::{RATE_LIMIT, RATE_LIMIT_POLICY};
pub use meter::Meter;

use self::table::{Buckets, Table};
use crate::auth::Actor;

/// What tokens are for. Each has a bucket of its own, of the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// A token per event published.
    Publish,
    /// A token per request of any other kind.
    Requests,
}

impl Policy {
    /// The policy's name in headers, problems and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Requests => "requests",
        }
    }
}

/// Why tokens were not given. Nothing was taken then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are too few now.
    #[error("there are too few tokens for another {} ms", .0.as_millis())]
    Wait(Duration),
    /// There will never be as many: the bucket is smaller.
    #[error("the bucket holds {0} tokens at most")]
    Never(u32),
}

/// Where an actor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whole tokens there now.
    pub remaining: u32,
    /// How long until there is one more; none when the bucket is full.
    pub more_in: Option<Duration>,
}

/// The buckets of all actors of a process. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Quotas(Arc<Table>);

impl Quotas {
    /// Takes `tokens`, all or none.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn take(&self, actor: &Actor, quota: Quota, policy: Policy, tokens: u32, now: Instant) -> Result<(), Refused> {
        self.0.with(actor, now, |buckets| buckets.of(policy).take(quota, tokens, now))
    }

    /// Where `actor` stands. Takes nothing, and makes no bucket for whoever has none.
    pub fn standing(&self, actor: &Actor, quota: Quota, policy: Policy, now: Instant) -> Standing {
        let full = || Buckets::full(now).of(policy).standing(quota, now);
        self.0.find(actor, |buckets| buckets.of(policy).standing(quota, now)).unwrap_or_else(full)
    }

    /// How many actors have a bucket at present.
    pub fn actors(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests;
