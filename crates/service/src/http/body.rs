//! Reads a request's body within its limits (THREATS 7).

use std::sync::LazyLock;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use slipstream_core::problem::{Problem, ProblemKind};

use crate::budget::{Budget, Exceeded, Share, actor_of};
use crate::names;

/// Bytes of all request bodies of the process in memory together, but those of operators. Beyond: 503.
pub const BODIES_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of those of one caller: 16 requests of the largest kind. Whoever has no credential is one caller with all others
/// who have none.
pub const BODIES_BYTES_MAX_OF_ONE: usize = BODIES_BYTES_MAX / 8;
/// Bytes of those of operators, whom no tenant can keep from acting.
pub const BODIES_BYTES_MAX_OF_OPERATORS: usize = 16 * 1024 * 1024;

/// Bytes of a refused body that are read and thrown away, so that the answer reaches a sender that reads only after
/// it has written everything: closing a socket with unread bytes takes the answer with it.
const DISCARD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Counted as bytes arrive: a claim in `Content-Length` reserves nothing, or a few senders of nothing could shut out
/// everybody.
static BUDGET: LazyLock<Budget> =
    LazyLock::new(|| Budget::new(BODIES_BYTES_MAX, BODIES_BYTES_MAX_OF_ONE, BODIES_BYTES_MAX_OF_OPERATORS));

/// The whole body of the request with these `parts`, at most `limit` bytes, arrived within `timeout`.
///
/// A body that comes in one piece is not copied. The bytes count against [`BODIES_BYTES_MAX`] and what its caller may have
/// of it until the last clone of the result is dropped. Who calls stands in the parts once the guard has run.
///
/// # Errors
/// 415 for any `Content-Encoding` but `identity` (bodies are never unpacked), 413 beyond `limit` (before reading, if
/// `Content-Length` says so), 408 after `timeout`, 503 when the process holds too many bodies, or too many of this
/// caller, 400 when the body breaks off.
pub async fn read_body(parts: &Parts, body: Body, limit: usize, timeout: Duration) -> Result<Bytes, Problem> {
    read_within(&parts.headers, body, limit, timeout, BUDGET.share(actor_of(&parts.extensions))).await
}

async fn read_within(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    timeout: Duration,
    share: Share,
) -> Result<Bytes, Problem> {
    let refusal = if !is_identity(headers) {
        Problem::new(ProblemKind::UnsupportedMediaType, "content encodings other than identity are not accepted")
    } else if body.size_hint().lower() > limit as u64 {
        too_large(limit)
    } else {
        match tokio::time::timeout(timeout, collect(&mut body, limit, share)).await {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(problem)) => problem,
            Err(_) => return Err(Problem::new(ProblemKind::RequestTimeout, "the body did not arrive in time")),
        }
    };
    // A sender that asked first has sent nothing, and will not if we do not read.
    if !headers.contains_key(header::EXPECT) {
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(&mut body)).await;
    }
    Err(refusal)
}

fn is_identity(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ProblemKind::TooLarge, format!("the body is larger than {limit} bytes"))
}

async fn collect(body: &mut Body, limit: usize, mut share: Share) -> Result<Bytes, Problem> {
    let Some(first) = next_piece(body, &mut share, limit).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() {
        return Ok(hold(share, first));
    }
    let Some(second) = next_piece(body, &mut share, limit).await? else { return Ok(hold(share, first)) };
    // The hint is the sender's claim, so it only saves growing: it is within the limit, or the body was refused.
    let hint = (body.size_hint().lower() as usize).min(limit);
    let mut whole = BytesMut::with_capacity(first.len() + second.len() + hint);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    drop((first, second));
    while let Some(piece) = next_piece(body, &mut share, limit).await? {
        whole.extend_from_slice(&piece);
    }
    Ok(hold(share, whole.freeze()))
}

/// The next bytes, counted; `None` at the end.
async fn next_piece(body: &mut Body, share: &mut Share, limit: usize) -> Result<Option<Bytes>, Problem> {
    loop {
        let Some(frame) = body.frame().await else { return Ok(None) };
        let frame = frame.map_err(|_| Problem::new(ProblemKind::BadRequest, "the body broke off or is malformed"))?;
        // Trailers are not for us.
        let Ok(piece) = frame.into_data() else { continue };
        if piece.is_empty() {
            continue;
        }
        if share.held() + piece.len() > limit {
            return Err(too_large(limit));
        }
        return match share.grow(piece.len()) {
            Ok(()) => Ok(Some(piece)),
            Err(Exceeded::All) => unavailable("too many requests are being read at once"),
            Err(Exceeded::Own) => unavailable("too many requests of this caller are being read at once"),
        };
    }
}

fn unavailable<T>(detail: &'static str) -> Result<T, Problem> {
    Err(Problem::new(ProblemKind::Unavailable, detail))
}

async fn discard(body: &mut Body) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > DISCARD_BYTES_MAX {
            return;
        }
    }
}

/// Ties the share to the bytes it is for.
fn hold(share: Share, bytes: Bytes) -> Bytes {
    Bytes::from_owner(Held { bytes, _share: share })
}

/// Bytes with their share of the budget.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Puts the bytes of all bodies in memory into the metrics.
pub(crate) fn report_bodies() {
    metrics::gauge!(names::HTTP_SERVER_BODY_BYTES).set(BUDGET.used() as f64);
}

#[cfg(test)]
mod tests;
