//! How one request is sent and its answer read, within one deadline and fixed limits (SPEC 2.8, 4.6; THREATS 3).

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_rustls::ConfigBuilderExt as _;
use rustls::RootCertStore;
use slipstream_core::answer::{Answer, ErrorCode};
use slipstream_core::limits::{ANSWER_BYTES_KEPT_MAX, ANSWER_BYTES_READ_MAX};
use slipstream_core::trace::TraceContext;
use tokio::time::{Instant, timeout_at};

use crate::connect::Dialer;
use crate::connection::{Body, Connection, HEAD_FIELDS_MAX, SendError};
use crate::headers::PreparedHeaders;
use crate::policy::AddressPolicy;
use crate::pool::{Host, Pool, REUSE_MAX};
use crate::resolve::{Resolve, SystemResolver};
use crate::target::Target;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Fields that we add: `Host`, type, encoding, agent, trace, three of Standard Webhooks.
const OWN_FIELDS: usize = 8;
/// Longest `Retry-After` that is passed on; the longest form that means something has 33 characters.
const RETRY_AFTER_BYTES_MAX: usize = 64;

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
    inner: Arc<Inner>,
}

struct Inner {
    dialer: Dialer,
    pool: Arc<Pool>,
    user_agent: HeaderValue,
    timeout: Duration,
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
    /// The attempt's position in its trace.
    pub traceparent: Option<TraceContext>,
    /// The bytes that were signed (N12).
    pub body: Bytes,
}

/// The fields of a request whose values were made for it, once for all connections that are tried.
struct Fields {
    id: HeaderValue,
    timestamp: HeaderValue,
    signature: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
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
        Self { inner: Arc::new(Inner { dialer, pool, user_agent: config.user_agent, timeout: config.timeout }) }
    }

    /// Makes one attempt and reads its answer. Ends by the deadline, whatever the receiver does.
    ///
    /// Once the head of an answer has arrived its status is the result, whatever becomes of the body. The request is
    /// never sent twice: it moves to another connection only if no byte of it was written, as when a connection kept
    /// from an earlier request turns out to be closed. When 64 requests to the host are in flight, it
    /// waits for one of them within its own deadline.
    pub async fn send(&self, request: WebhookRequest<'_>) -> Answer {
        let deadline = Instant::now() + self.inner.timeout;
        // Stands until something better is known, also when the deadline cuts the exchange off.
        let mut answer = Answer::error(ErrorCode::Timeout);
        let exchange = self.inner.exchange(request, &mut answer);
        if let Ok(Err(code)) = timeout_at(deadline, exchange).await {
            answer.result = Err(code);
        }
        answer
    }
}

impl Inner {
    /// Writes to `answer` as it learns; an error only as long as there is no status.
    async fn exchange(&self, mut request: WebhookRequest<'_>, answer: &mut Answer) -> Result<(), ErrorCode> {
        let fields = Fields::new(&mut request).ok_or_else(|| {
            tracing::error!("the id or signature of a webhook cannot be a header value");
            ErrorCode::Protocol
        })?;
        let host = self.pool.host(request.target);
        let _slot = host.slots.acquire().await.expect("nobody closes the slots");
        let mut lease = Lease { host: &host, connection: None, is_sound: false };
        let response = loop {
            let (connection, is_new) = self.connection(&host, request.target).await?;
            let message = self.message(&request, &fields, connection.is_http2());
            let connection = lease.connection.insert(connection);
            match connection.send(message).await {
                Ok(response) => break response,
                Err(SendError::Failed(code)) => return Err(code),
                Err(SendError::Unsent) if is_new => return Err(ErrorCode::Protocol),
                Err(SendError::Unsent) => lease.discard(),
            }
        };
        let connection = lease.connection.as_mut().expect("the answer came over it");
        read_head(&response, answer)?;
        let is_whole = read_body(connection, response.into_body(), answer).await;
        lease.is_sound = is_whole || connection.is_http2();
        if is_whole && !connection.is_http2() && connection.is_reusable().await {
            let connection = lease.connection.take().expect("it has just been used");
            self.pool.keep(&host, request.target, connection, Instant::now());
        }
        Ok(())
    }

    /// A connection for one request, kept or new.
    async fn connection(&self, host: &Host, target: &Target) -> Result<(Connection, bool), ErrorCode> {
        while let Some(mut kept) = host.take(target, Instant::now()) {
            if kept.is_reusable().await {
                return Ok((kept, false));
            }
            host.forget(&kept);
        }
        let new = self.dialer.dial(target).await?;
        if let Some(shared) = new.share() {
            self.pool.keep(host, target, shared, Instant::now());
        }
        Ok((new, true))
    }

    fn message(&self, request: &WebhookRequest<'_>, fields: &Fields, is_http2: bool) -> Request<Body> {
        let target = request.target;
        let mut message = Request::new(Body::new(request.body.clone()));
        *message.method_mut() = Method::POST;
        let mut headers = HeaderMap::with_capacity(OWN_FIELDS + request.headers.iter().len());
        if is_http2 {
            *message.uri_mut() = target.absolute_form().clone();
            *message.version_mut() = Version::HTTP_2;
        } else {
            *message.uri_mut() = target.origin_form().clone();
            headers.insert(HOST, target.host_header().clone());
        }
        headers.insert(USER_AGENT, self.user_agent.clone());
        // Before ours, so that whatever slipped through its checks could not replace one of them. Only `User-Agent` may.
        for (name, value) in request.headers.iter() {
            headers.insert(name.clone(), value.clone());
        }
        headers.insert(CONTENT_TYPE, request.content_type.clone());
        headers.insert(ACCEPT_ENCODING, IDENTITY);
        headers.insert(WEBHOOK_ID, fields.id.clone());
        headers.insert(WEBHOOK_TIMESTAMP, fields.timestamp.clone());
        if let Some(signature) = &fields.signature {
            headers.insert(WEBHOOK_SIGNATURE, signature.clone());
        }
        if let Some(traceparent) = &fields.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
        *message.headers_mut() = headers;
        message
    }
}

impl Fields {
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

fn traceparent(context: TraceContext) -> HeaderValue {
    let mut text = [0; 55];
    write!(text.as_mut_slice(), "{context}").expect("a traceparent has 55 characters");
    HeaderValue::from_bytes(&text).expect("a traceparent is hex digits and hyphens")
}

/// The connection of one exchange. A shared one that is left in the middle, by an error or the deadline, is forgotten:
/// its peer may have gone without a word, and every further request would wait for it in vain.
struct Lease<'a> {
    host: &'a Host,
    connection: Option<Connection>,
    is_sound: bool,
}

impl Lease<'_> {
    fn discard(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.host.forget(&connection);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.is_sound {
            self.discard();
        }
    }
}

fn read_head(response: &Response<Incoming>, answer: &mut Answer) -> Result<(), ErrorCode> {
    // HTTP/1.1 has this limit in its parser.
    if response.headers().len() > HEAD_FIELDS_MAX {
        return Err(ErrorCode::Protocol);
    }
    answer.result = Ok(response.status().as_u16());
    let mut values = response.headers().get_all(RETRY_AFTER).iter();
    if let (Some(value), None) = (values.next(), values.next()) {
        let text = value.to_str().ok().filter(|text| text.len() <= RETRY_AFTER_BYTES_MAX);
        answer.retry_after = text.map(ToOwned::to_owned);
    }
    Ok(())
}

/// Reads the body as far as the limit. Whether all of it was read, so that the connection is free for another request.
async fn read_body(connection: &mut Connection, mut body: Incoming, answer: &mut Answer) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let reading = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let Some(data) = frame.data_ref() else { continue };
            let room = ANSWER_BYTES_KEPT_MAX - answer.body.len();
            answer.body.extend_from_slice(&data[..data.len().min(room)]);
            read += data.len();
            if read > ANSWER_BYTES_READ_MAX {
                return false;
            }
        }
        true
    };
    connection.drive(reading).await
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
