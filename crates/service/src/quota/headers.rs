//! Where an actor stands, as headers say it (draft-ietf-httpapi-ratelimit-headers-10; SPEC 2.4).

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use slipstream_core::config::Quota;

use super::{Policy, Standing};

/// What the bucket is: `"publish";q=500;w=10`.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is in it: `"publish";r=37;t=1`.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The value of [`RATE_LIMIT_POLICY`].
pub(super) fn policy(policy: Policy, quota: Quota) -> HeaderValue {
    let Quota { burst_capacity, tokens_per_second } = quota;
    let name = policy.as_str();
    match tokens_per_second {
        // It would never be full again.
        0 => value(format!("\"{name}\";q={burst_capacity}")),
        rate => value(format!("\"{name}\";q={burst_capacity};w={}", burst_capacity.div_ceil(rate))),
    }
}

/// The value of [`RATE_LIMIT`].
pub(super) fn standing(policy: Policy, standing: Standing) -> HeaderValue {
    let name = policy.as_str();
    let Standing { remaining, more_in } = standing;
    match more_in {
        None => value(format!("\"{name}\";r={remaining}")),
        Some(more_in) => value(format!("\"{name}\";r={remaining};t={}", whole_seconds(more_in))),
    }
}

/// Seconds, rounded up: whoever comes back then does not come too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names of policies and numbers are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_the_specification_has_them() {
        let quota = |burst_capacity, tokens_per_second| Quota { burst_capacity, tokens_per_second };
        assert_eq!(policy(Policy::Publish, quota(500, 50)), "\"publish\";q=500;w=10");
        assert_eq!(policy(Policy::Requests, quota(1, 50)), "\"requests\";q=1;w=1");
        assert_eq!(policy(Policy::Requests, quota(10, 3)), "\"requests\";q=10;w=4");
        let told = |remaining, millis| {
            standing(Policy::Publish, Standing { remaining, more_in: Some(Duration::from_millis(millis)) })
        };
        assert_eq!(told(37, 1001), "\"publish\";r=37;t=2");
        assert_eq!(told(0, 20), "\"publish\";r=0;t=1");
        assert_eq!(standing(Policy::Publish, Standing { remaining: 500, more_in: None }), "\"publish\";r=500");
    }
}
