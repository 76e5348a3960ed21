//! Just enough HTTP/1.1: where a message begins and ends on a kept-alive connection.
//!
//! Driver and receiver share two cores with what they measure, so nothing here looks at a header that does not
//! decide where the message ends.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Room at the start; one event's request fits with its headers.
const BUFFER_START: usize = 8 * 1024;
/// Larger messages are refused: only pages of the operator API come near it.
const BUFFER_MAX: usize = 16 * 1024 * 1024;

/// Something that is not HTTP/1.1 as our two sides speak it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The peer closed in the middle of a message.
    #[error("the connection ended inside a message")]
    Cut,
    /// A head that we cannot follow.
    #[error("not a message with a Content-Length")]
    Malformed,
    /// Longer than any message of ours.
    #[error("the message is longer than {BUFFER_MAX} bytes")]
    TooLong,
}

/// One whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Start line and headers, with the empty line.
    pub(crate) head: &'a [u8],
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Message<'_> {
    /// The status code, if this is a response.
    pub(crate) fn status(&self) -> Option<u16> {
        let digits = self.head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
        decimal(digits)
    }
}

/// The lengths of a message's two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    head: usize,
    body: usize,
}

/// Finds the end of the head at the start of `bytes`, and how long the body after it is; none if it is not all there.
fn extent(bytes: &[u8]) -> Result<Option<Extent>, HttpError> {
    let (mut at, mut body) = (0, 0);
    while let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[at..at + length];
        at += length + 1;
        match line {
            b"\r" | b"" => return Ok(Some(Extent { head: at, body })),
            // Only two names matter; their first letter rules out most lines.
            [b'c' | b'C', ..] => {
                if let Some(value) = value_of(line, b"content-length:") {
                    body = decimal(value).ok_or(HttpError::Malformed)?;
                }
            }
            [b't' | b'T', ..] if value_of(line, b"transfer-encoding:").is_some() => return Err(HttpError::Malformed),
            _ => {}
        }
    }
    Ok(None)
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What has arrived on a connection and is not yet looked at.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER_START], start: 0, end: 0 }
    }
}

impl Inbox {
    /// Waits for the next whole message; none if the peer closed between two.
    ///
    /// # Errors
    /// If the connection fails, or what comes is not a message of ours.
    pub(crate) async fn next(&mut self, stream: &mut TcpStream) -> Result<Option<Message<'_>>, HttpError> {
        let extent = loop {
            if let Some(extent) = self.complete()? {
                break extent;
            }
            // Not `try_read`: a short read tells tokio that the socket is empty, which saves the call that says so.
            match stream.read(self.space()?).await? {
                0 if self.start == self.end => return Ok(None),
                0 => return Err(HttpError::Cut),
                read => self.end += read,
            }
        };
        Ok(Some(self.split_off(extent)))
    }

    /// The next whole message, if all of it is there or can be read at once from a non-blocking `stream`.
    ///
    /// # Errors
    /// As [`Inbox::next`]; the end of the connection is an error here.
    pub(crate) fn poll(&mut self, stream: &mut impl io::Read) -> Result<Option<Message<'_>>, HttpError> {
        let extent = loop {
            if let Some(extent) = self.complete()? {
                break extent;
            }
            match stream.read(self.space()?) {
                Ok(0) => return Err(HttpError::Cut),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Some(self.split_off(extent)))
    }

    fn complete(&self) -> Result<Option<Extent>, HttpError> {
        let bytes = &self.buffer[self.start..self.end];
        Ok(extent(bytes)?.filter(|extent| extent.head + extent.body <= bytes.len()))
    }

    fn split_off(&mut self, extent: Extent) -> Message<'_> {
        let (head, body) = self.buffer[self.start..self.end].split_at(extent.head);
        let message = Message { head, body: &body[..extent.body] };
        self.start += extent.head + extent.body;
        if self.start == self.end {
            (self.start, self.end) = (0, 0); // the usual case: nothing has to be moved, ever
        }
        message
    }

    /// Free room for the next read.
    fn space(&mut self) -> Result<&mut [u8], HttpError> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end * 2 > self.buffer.len() {
                if self.end >= BUFFER_MAX {
                    return Err(HttpError::TooLong);
                }
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        Ok(&mut self.buffer[self.end..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out what it holds in pieces of a fixed size, then has nothing for now.
    struct Pieces<'a> {
        rest: &'a [u8],
        size: usize,
    }

    impl io::Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.rest.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let size = self.size.min(self.rest.len()).min(into.len());
            into[..size].copy_from_slice(&self.rest[..size]);
            self.rest = &self.rest[size..];
            Ok(size)
        }
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let long = "x".repeat(3 * BUFFER_START);
        let text = format!(
            "HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n\
             POST /hook/3 HTTP/1.1\r\nCONTENT-Length:  5 \r\ncontent-type: a\r\n\r\nhello\
             HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{long}",
            long.len()
        );
        for size in [1, 2, 7, 64, 5000, 1 << 20] {
            let mut pieces = Pieces { rest: text.as_bytes(), size };
            let mut inbox = Inbox::default();
            let mut found = Vec::new();
            while let Some(message) = inbox.poll(&mut pieces).unwrap() {
                found.push((message.status(), message.body.len()));
            }
            assert_eq!(found, [(Some(204), 0), (None, 5), (Some(200), long.len())], "in pieces of {size}");
        }
    }

    #[test]
    fn what_has_no_stated_length_is_refused() {
        for head in ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "A\r\ncontent-length: -1\r\n\r\n"] {
            let mut pieces = Pieces { rest: head.as_bytes(), size: 4096 };
            assert!(matches!(Inbox::default().poll(&mut pieces), Err(HttpError::Malformed)), "{head}");
        }
    }

    #[test]
    fn a_head_that_has_not_ended_is_waited_for() {
        for part in ["", "HTTP/1.1 204 No Content\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na"] {
            let mut pieces = Pieces { rest: part.as_bytes(), size: 4096 };
            assert!(Inbox::default().poll(&mut pieces).unwrap().is_none(), "{part}");
        }
    }
}
