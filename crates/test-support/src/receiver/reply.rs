//! What a receiver answers, and how badly.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior};

/// What follows once the reply's delay has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// The whole answer.
    #[default]
    Complete,
    /// No answer: the connection is reset (RST).
    Reset,
    /// No answer, ever; the connection stays open.
    Hang,
    /// The head, then half of the announced body, then a reset.
    Cut,
    /// The head, then the body byte by byte at this interval, over and over without end.
    ///
    /// An empty body drips spaces.
    Drip(Duration),
}

/// One answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long it takes until anything is answered.
    pub delay: Duration,
    /// What follows then.
    pub then: Then,
}

impl Reply {
    /// 200, no body.
    pub fn ok() -> Self {
        Self::default()
    }

    /// This status, no body.
    ///
    /// # Panics
    ///
    /// If `status` is not one of HTTP's (100–999).
    pub fn status(status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).expect("the test's status is one of HTTP's"), ..Self::default() }
    }

    /// 200 and the consent to deliveries from everybody, without a limit (SPEC 3.7).
    ///
    /// With a limit: [`Reply::granted_rate`]. Without consent: [`Reply::ok`], or any other status.
    pub fn granted() -> Self {
        Self::granted_rate("*")
    }

    /// 200 and the consent to `rate` deliveries per minute from everybody; text, so that it may also be nonsense.
    ///
    /// # Panics
    ///
    /// If `rate` cannot stand in a header.
    pub fn granted_rate(rate: &str) -> Self {
        Self::ok().header("webhook-allowed-origin", "*").header("webhook-allowed-rate", rate)
    }

    /// The connection is reset instead of answered.
    pub fn reset() -> Self {
        Self::ok().then(Then::Reset)
    }

    /// Nothing is ever answered.
    pub fn hang() -> Self {
        Self::ok().then(Then::Hang)
    }

    /// Adds a header.
    ///
    /// # Panics
    ///
    /// If name or value is malformed.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("the test's header name is well-formed");
        self.headers.append(name, HeaderValue::from_str(value).expect("the test's header value is well-formed"));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Answers this much later.
    #[must_use]
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets what follows.
    #[must_use]
    pub const fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// The body of an answer on its way out.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// All at once; none when sent.
    Whole(Option<Bytes>),
    /// See [`Then::Cut`]: what is still to send, whether it was flushed, and how much was announced.
    Half { part: Option<Bytes>, flushed: bool, announced: u64, reset: super::connection::ResetSwitch },
    /// See [`Then::Drip`].
    Drip { body: Bytes, next: usize, every: Interval },
}

impl ReplyBody {
    pub(super) fn drip(body: Bytes, every: Duration) -> Self {
        let body = if body.is_empty() { Bytes::from_static(b" ") } else { body };
        let mut every = tokio::time::interval(every.max(Duration::from_millis(1)));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Drip { body, next: 0, every }
    }
}

/// The answer ends in the middle.
#[derive(Debug)]
pub(super) struct CutShort;

impl std::fmt::Display for CutShort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut short, as the script says")
    }
}

impl std::error::Error for CutShort {}

impl From<Infallible> for CutShort {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Half { part, flushed, reset, .. } => {
                if let Some(part) = part.take() {
                    return Poll::Ready(Some(Ok(Frame::data(part))));
                }
                if !*flushed {
                    // hyper writes out what it has while the body is pending; an error at once would throw it away.
                    *flushed = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                reset.turn_on();
                Poll::Ready(Some(Err(CutShort)))
            }
            Self::Drip { body, next, every } => {
                ready!(every.poll_tick(cx));
                let at = *next % body.len();
                *next = at + 1;
                Poll::Ready(Some(Ok(Frame::data(body.slice(at..=at)))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Half { announced, .. } => SizeHint::with_exact(*announced),
            Self::Drip { .. } => SizeHint::new(),
        }
    }
}
