//! Asking a receiver whether it wants our deliveries: the abuse protection of "HTTP 1.1 Web Hooks for Event Delivery"
//! as its sender (SPEC 3.7).
//!
//! The question is itself a request to a place that a stranger chose, so it goes the way of every delivery (address
//! policy, limits, deadline), and only so often per host (THREATS 3, "No amplifier").

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use slipstream_core::answer::ErrorCode;
use tokio::time::Instant;

use crate::client::{Client, WEBHOOK_REQUEST_ORIGIN};
use crate::exchange::Outgoing;
use crate::target::Target;

const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const REQUEST_CALLBACK: HeaderName = HeaderName::from_static("webhook-request-callback");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Fields of a consent request, beside those of every request: origin, rate, callback.
const FIELDS: usize = 3;

/// Consent requests to one host within any 60 s, over all tenants, of one client and its clones (THREATS 3).
pub const CONSENTS_PER_HOST_MAX: usize = 10;
/// What "per minute" means: any 60 s, not a minute of the clock.
const WINDOW: Duration = Duration::from_mins(1);
/// Hosts that are asked within [`WINDOW`]; beyond it a further host is [`ConsentError::TooMany`]. With ten times of 16
/// bytes and a name of at most 253 each, some 2 MiB.
const HOSTS_MAX: usize = 4096;

/// What a receiver is asked.
#[derive(Debug, Clone, Copy)]
pub struct ConsentRequest<'a> {
    /// `WebHook-Request-Origin`: our DNS name.
    pub origin: &'a HeaderValue,
    /// `WebHook-Request-Rate`: deliveries per minute that we would like to make. 0 is not sent, as none is.
    pub rate: Option<u32>,
    /// `WebHook-Request-Callback`: the URL at which consent can be given later. It holds a key; nothing logs it.
    pub callback: Option<&'a str>,
}

/// What the receiver's answer says. The default is no consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConsentAnswer {
    /// Whether deliveries are welcome.
    pub granted: bool,
    /// Deliveries per minute, at least 1; `None` if there is no limit, and always if nothing was granted.
    pub rate: Option<u32>,
}

/// Why there is no answer. Either way the receiver may be asked again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// The host was asked [`CONSENTS_PER_HOST_MAX`] times within a minute, or too many hosts were. No packet was sent.
    #[error("too many consent requests within a minute")]
    TooMany,
    /// The exchange failed.
    #[error("the consent request failed: {}", .0.as_str())]
    Failed(ErrorCode),
}

impl Client {
    /// Asks the receiver for its consent, by `OPTIONS` to the target's exact URL (SPEC 3.7).
    ///
    /// Under the same policy, limits and deadline (`ClientConfig::timeout`) as [`Client::send`], and sent at most once.
    /// The answer's status means nothing: only its header fields do, as [`ConsentAnswer`] tells them. A receiver that
    /// says nothing of the kind has not consented.
    ///
    /// # Errors
    /// [`ConsentError::TooMany`] before anything is sent; [`ConsentError::Failed`] when no whole head of an answer
    /// came.
    pub async fn ask_consent(&self, target: &Target, ask: ConsentRequest<'_>) -> Result<ConsentAnswer, ConsentError> {
        let rate = ask.rate.filter(|rate| *rate > 0);
        let Ok(callback) = ask.callback.map(secret).transpose() else {
            tracing::error!("a consent callback cannot be a header value");
            return Err(ConsentError::Failed(ErrorCode::Protocol));
        };
        if !self.inner.asked.may_ask(target.host(), Instant::now()) {
            return Err(ConsentError::TooMany);
        }
        let outgoing = Outgoing {
            target,
            method: Method::OPTIONS,
            body: Bytes::new(),
            fields_len: FIELDS,
            fields: |headers: &mut HeaderMap| {
                headers.insert(WEBHOOK_REQUEST_ORIGIN, ask.origin.clone());
                if let Some(rate) = rate {
                    headers.insert(REQUEST_RATE, rate.into());
                }
                if let Some(callback) = &callback {
                    headers.insert(REQUEST_CALLBACK, callback.clone());
                }
            },
        };
        let mut consent = ConsentAnswer::default();
        let answer =
            self.inner.exchange(outgoing, |head| consent = read_consent(head, ask.origin, rate.is_some())).await;
        answer.result.map(|_| consent).map_err(ConsentError::Failed)
    }
}

fn secret(text: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the head of an answer grants to `origin`. A rate must be given if one was asked for.
fn read_consent(head: &HeaderMap, origin: &HeaderValue, needs_rate: bool) -> ConsentAnswer {
    let refused = ConsentAnswer::default();
    let Field::Once(allowed) = field(head, &ALLOWED_ORIGIN) else { return refused };
    if allowed != "*" && !is_same_name(allowed.as_bytes(), origin.as_bytes()) {
        return refused;
    }
    match field(head, &ALLOWED_RATE) {
        Field::Absent if !needs_rate => ConsentAnswer { granted: true, rate: None },
        Field::Once(value) if value == "*" => ConsentAnswer { granted: true, rate: None },
        Field::Once(value) => match read_rate(value.as_bytes()) {
            Some(rate) => ConsentAnswer { granted: true, rate: Some(rate) },
            None => refused,
        },
        Field::Absent | Field::Repeated => refused,
    }
}

enum Field<'a> {
    Absent,
    Once(&'a HeaderValue),
    /// Several copies: whoever reads one of them reads something else than whoever reads another.
    Repeated,
}

fn field<'a>(head: &'a HeaderMap, name: &HeaderName) -> Field<'a> {
    let mut values = head.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => Field::Once(value),
        (Some(_), Some(_)) => Field::Repeated,
    }
}

/// Whether both are the same DNS name: without case, with or without a final dot.
fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    let [one, other] = [one, other].map(|name| name.strip_suffix(b".").unwrap_or(name));
    !one.is_empty() && one.eq_ignore_ascii_case(other)
}

/// A positive integer in decimal digits; what is too large for the type is the largest it has.
fn read_rate(digits: &[u8]) -> Option<u32> {
    let mut rate = 0_u32;
    for digit in digits {
        let value = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        rate = rate.saturating_mul(10).saturating_add(value);
    }
    (rate > 0).then_some(rate)
}

/// When each host was asked within the last minute.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<HashMap<Arc<str>, VecDeque<Instant>>>);

impl Asked {
    /// Whether `host` may be asked now; if so, that counts as a request.
    fn may_ask(&self, host: &Arc<str>, now: Instant) -> bool {
        // A panic while the lock was held leaves a table of times, which is fine to go on with.
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) < WINDOW));
        if hosts.len() >= HOSTS_MAX && !hosts.contains_key(host) {
            return false;
        }
        let times = hosts.entry(Arc::clone(host)).or_default();
        while times.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            times.pop_front();
        }
        let may = times.len() < CONSENTS_PER_HOST_MAX;
        if may {
            times.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests;
