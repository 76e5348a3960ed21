//! The client and its deliveries: what is sent to whom, and with which fields (SPEC 2.8, 4.6; THREATS 3).

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use hyper_rustls::ConfigBuilderExt as _;
use rustls::RootCertStore;
use slipstream_core::answer::{Answer, ErrorCode};
use slipstream_core::trace::TraceContext;

use crate::connect::Dialer;
use crate::consent::Asked;
use crate::exchange::Outgoing;
use crate::headers::PreparedHeaders;
use crate::policy::AddressPolicy;
use crate::pool::{Pool, REUSE_MAX};
use crate::resolve::{Resolve, SystemResolver};
use crate::target::Target;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
pub(crate) const WEBHOOK_REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Fields that we add to a delivery, beside those of every request: type, trace, three of Standard Webhooks, origin.
const OWN_FIELDS: usize = 6;

/// How the client behaves. The defaults are those of SPEC 2.8.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The value of `User-Agent`, `<product>/<version>`. A subscription's own `User-Agent` takes its place.
    pub user_agent: HeaderValue,
    /// The whole exchange, from waiting for a slot to the last byte of the body: 30 s.
    pub timeout: Duration,
    /// Connecting, over all addresses of a name: 5 s.
    pub connect_timeout: Duration,
    /// Looking up a name: 5 s.
    pub resolve_timeout: Duration,
    /// Connections per host that are kept open for the next request: 64, as many as there may be requests in flight.
    pub idle_per_host_max: usize,
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// How names are looked up.
    pub resolver: Arc<dyn Resolve>,
}

/// Whose certificates are trusted. Names and certificates are always verified, with TLS 1.2 or newer.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// Those that the machine trusts.
    #[default]
    Native,
    /// These and no others.
    Only(RootCertStore),
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            user_agent: HeaderValue::from_static(concat!("Slipstream/", env!("CARGO_PKG_VERSION"))),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            resolve_timeout: Duration::from_secs(5),
            idle_per_host_max: crate::pool::IN_FLIGHT_PER_HOST_MAX,
            roots: Roots::default(),
            resolver: Arc::new(SystemResolver::default()),
        }
    }
}

/// The client. Cheap to clone; clones share connections and the bounds per host.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) dialer: Dialer,
    pub(crate) pool: Arc<Pool>,
    pub(crate) asked: Asked,
    pub(crate) user_agent: HeaderValue,
    pub(crate) timeout: Duration,
}

/// One attempt: what is sent where.
#[derive(Debug)]
pub struct WebhookRequest<'a> {
    /// Where to.
    pub target: &'a Target,
    /// The body's type, by surface.
    pub content_type: &'a HeaderValue,
    /// `webhook-id`: the same over all attempts.
    pub webhook_id: &'a str,
    /// `webhook-timestamp`: Unix seconds of this attempt.
    pub timestamp_seconds: i64,
    /// `webhook-signature`, of [`slipstream_core::signing::sign`]; none if the receiver has no key.
    pub signature: Option<String>,
    /// The subscription's own headers.
    pub headers: &'a PreparedHeaders,
    /// What its surface says beside the body; ours, so a header of the subscription does not replace it.
    pub surface_headers: &'a [(HeaderName, HeaderValue)],
    /// `WebHook-Request-Origin`: our DNS name, once the receiver has given its consent ([`Client::ask_consent`]).
    pub request_origin: Option<&'a HeaderValue>,
    /// The attempt's position in its trace.
    pub traceparent: Option<TraceContext>,
    /// The bytes that were signed (N12).
    pub body: Bytes,
}

impl Client {
    /// A client under a policy. Call it within a Tokio runtime: it starts a task that closes idle connections.
    ///
    /// Where the machine has no trusted certificates the client works nonetheless, says so in the log, and every `https`
    /// target answers `tls`.
    pub fn new(policy: Arc<AddressPolicy>, config: ClientConfig) -> Self {
        let dialer = Dialer {
            policy,
            resolver: config.resolver,
            tls: Arc::new(tls_config(config.roots)),
            resolve_timeout: config.resolve_timeout,
            connect_timeout: config.connect_timeout,
            lifetime: REUSE_MAX + config.timeout,
        };
        let pool = Pool::new(config.idle_per_host_max);
        let (asked, user_agent, timeout) = (Asked::default(), config.user_agent, config.timeout);
        Self { inner: Arc::new(Inner { dialer, pool, asked, user_agent, timeout }) }
    }

    /// Makes one attempt and reads its answer. Ends by the deadline, whatever the receiver does.
    ///
    /// Once the head of an answer has arrived its status is the result, whatever becomes of the body. The request is
    /// never sent twice: it moves to another connection only if no byte of it was written, as when a connection kept
    /// from an earlier request turns out to be closed. When 64 requests to the host are in flight, it
    /// waits for one of them within its own deadline.
    pub async fn send(&self, mut request: WebhookRequest<'_>) -> Answer {
        let Some(made) = Made::new(&mut request) else {
            tracing::error!("the id or signature of a webhook cannot be a header value");
            return Answer::error(ErrorCode::Protocol);
        };
        let outgoing = Outgoing {
            target: request.target,
            method: Method::POST,
            body: request.body.clone(),
            fields_len: OWN_FIELDS + request.headers.iter().len() + request.surface_headers.len(),
            fields: |headers: &mut HeaderMap| fields(headers, &request, &made),
        };
        self.inner.exchange(outgoing, |_| ()).await
    }
}

/// The values of a request's fields that were made for it, once for all connections that are tried.
struct Made {
    id: HeaderValue,
    timestamp: HeaderValue,
    signature: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl Made {
    fn new(request: &mut WebhookRequest<'_>) -> Option<Self> {
        let signature = request.signature.take().map(HeaderValue::try_from).transpose().ok()?;
        Some(Self {
            id: HeaderValue::from_str(request.webhook_id).ok()?,
            timestamp: HeaderValue::from(request.timestamp_seconds),
            signature,
            traceparent: request.traceparent.map(traceparent),
        })
    }
}

fn fields(headers: &mut HeaderMap, request: &WebhookRequest<'_>, made: &Made) {
    // Before ours, so that whatever slipped through its checks could not replace one of them. Only `User-Agent` may.
    for (name, value) in request.headers.iter() {
        headers.insert(name.clone(), value.clone());
    }
    for (name, value) in request.surface_headers {
        headers.insert(name.clone(), value.clone());
    }
    headers.insert(CONTENT_TYPE, request.content_type.clone());
    headers.insert(WEBHOOK_ID, made.id.clone());
    headers.insert(WEBHOOK_TIMESTAMP, made.timestamp.clone());
    if let Some(signature) = &made.signature {
        headers.insert(WEBHOOK_SIGNATURE, signature.clone());
    }
    if let Some(origin) = request.request_origin {
        headers.insert(WEBHOOK_REQUEST_ORIGIN, origin.clone());
    }
    if let Some(traceparent) = &made.traceparent {
        headers.insert(TRACEPARENT, traceparent.clone());
    }
}

fn traceparent(context: TraceContext) -> HeaderValue {
    let mut text = [0; 55];
    write!(text.as_mut_slice(), "{context}").expect("a traceparent has 55 characters");
    HeaderValue::from_bytes(&text).expect("a traceparent is hex digits and hyphens")
}

fn tls_config(roots: Roots) -> rustls::ClientConfig {
    let builder = || {
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the ring provider has TLS 1.2 and 1.3")
    };
    let builder = match roots {
        Roots::Only(roots) => builder().with_root_certificates(roots),
        Roots::Native => builder().with_native_roots().unwrap_or_else(|error| {
            tracing::warn!(%error, "no trusted certificates on this machine: no https target can be reached");
            builder().with_root_certificates(RootCertStore::empty())
        }),
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

#[cfg(test)]
mod tests;
