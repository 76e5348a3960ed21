//! How one request travels and its answer is read, whatever the request is for: slots, connections, limits (THREATS 3).

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use slipstream_core::answer::{Answer, ErrorCode};
use slipstream_core::limits::{ANSWER_BYTES_KEPT_MAX, ANSWER_BYTES_READ_MAX};
use tokio::time::{Instant, timeout_at};

use crate::client::Inner;
use crate::connection::{Body, Connection, HEAD_FIELDS_MAX, SendError};
use crate::pool::Host;
use crate::target::Target;

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Fields that every request has: `Host`, agent, encoding.
pub(crate) const COMMON_FIELDS: usize = 3;
/// Longest `Retry-After` that is passed on; the longest form that means something has 33 characters.
const RETRY_AFTER_BYTES_MAX: usize = 64;

/// A request before it is known which connection it takes.
pub(crate) struct Outgoing<'a, F> {
    pub(crate) target: &'a Target,
    pub(crate) method: Method,
    pub(crate) body: Bytes,
    /// How many fields `fields` adds at most.
    pub(crate) fields_len: usize,
    /// Adds its own fields. Called once for each connection that is tried. `User-Agent` may be among them and then
    /// takes the place of ours; the other common ones may not.
    pub(crate) fields: F,
}

impl<F: Fn(&mut HeaderMap)> Outgoing<'_, F> {
    fn message(&self, user_agent: &HeaderValue, is_http2: bool) -> Request<Body> {
        let mut message = Request::new(Body::new(self.body.clone()));
        *message.method_mut() = self.method.clone();
        let mut headers = HeaderMap::with_capacity(COMMON_FIELDS + self.fields_len);
        headers.insert(USER_AGENT, user_agent.clone());
        (self.fields)(&mut headers);
        // Last, so that whatever slipped through the checks of chosen headers could not replace them.
        headers.insert(ACCEPT_ENCODING, IDENTITY);
        if is_http2 {
            *message.uri_mut() = self.target.absolute_form().clone();
            *message.version_mut() = Version::HTTP_2;
        } else {
            *message.uri_mut() = self.target.origin_form().clone();
            headers.insert(HOST, self.target.host_header().clone());
        }
        *message.headers_mut() = headers;
        message
    }
}

impl Inner {
    /// Sends a request and reads its answer, all within the client's deadline. `on_head` sees the head's fields as soon
    /// as it has arrived and has been found to be within the limits.
    pub(crate) async fn exchange<F: Fn(&mut HeaderMap)>(
        &self,
        outgoing: Outgoing<'_, F>,
        on_head: impl FnOnce(&HeaderMap),
    ) -> Answer {
        let deadline = Instant::now() + self.timeout;
        // Stands until something better is known, also when the deadline cuts the exchange off.
        let mut answer = Answer::error(ErrorCode::Timeout);
        let exchange = self.converse(&outgoing, &mut answer, on_head);
        if let Ok(Err(code)) = timeout_at(deadline, exchange).await {
            answer.result = Err(code);
        }
        answer
    }

    /// Writes to `answer` as it learns; an error only as long as there is no status.
    async fn converse<F: Fn(&mut HeaderMap)>(
        &self,
        outgoing: &Outgoing<'_, F>,
        answer: &mut Answer,
        on_head: impl FnOnce(&HeaderMap),
    ) -> Result<(), ErrorCode> {
        let host = self.pool.host(outgoing.target);
        let _slot = host.slots.acquire().await.expect("nobody closes the slots");
        let mut lease = Lease { host: &host, connection: None, is_sound: false };
        let response = loop {
            let (connection, is_new) = self.connection(&host, outgoing.target).await?;
            let message = outgoing.message(&self.user_agent, connection.is_http2());
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
        on_head(response.headers());
        let is_whole = read_body(connection, response.into_body(), answer).await;
        lease.is_sound = is_whole || connection.is_http2();
        if is_whole && !connection.is_http2() && connection.is_reusable().await {
            let connection = lease.connection.take().expect("it has just been used");
            self.pool.keep(&host, outgoing.target, connection, Instant::now());
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
