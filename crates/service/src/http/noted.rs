//! A socket whose reads are noted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::frames::{Frames, Seen};
use crate::names;

/// The socket of a connection with its [`Activity`].
#[derive(Debug)]
pub(super) struct Noted<T> {
    inner: T,
    activity: Arc<Activity>,
    frames: Frames,
}

impl<T> Noted<T> {
    pub(super) fn new(inner: T, activity: Arc<Activity>) -> Self {
        Self { inner, activity, frames: Frames::new(Instant::now()) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        if came.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match self.frames.read(came, Instant::now()) {
            Ok(Seen::NotFrames) => self.activity.received(),
            Ok(Seen::Head) => self.activity.head_is_under_way(),
            Ok(Seen::Frames) => self.activity.head_is_whole(),
            Err(flooded) => {
                metrics::counter!(names::HTTP_SERVER_CONNECTIONS_CUT, names::ERROR_TYPE => "frames").increment(1);
                return Poll::Ready(Err(io::Error::other(flooded)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
