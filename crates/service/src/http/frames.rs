//! Looks at the frames of an HTTP/2 connection as they arrive: whether a head is under way, and whether the peer sends
//! more of what costs it nothing than anybody needs.
//!
//! h2 bounds what a peer can make it hold: CONTINUATION frames of a head, empty and tiny DATA frames, streams that are
//! reset before they were taken, answers to PING and SETTINGS. It does not bound how often: a peer may send PINGs as
//! fast as its line carries them, or open streams and reset each a moment later ("rapid reset"), and we would work for
//! it for ever. So frames that carry nothing are paid for from an allowance that comes back with time and with every
//! request. TLS ends before us, so that what arrives can be read here; HTTP/1 is seen by its first bytes and left alone.

use std::time::{Duration, Instant};

/// What a client of HTTP/2 says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most that is saved up.
const ALLOWANCE_MAX: u32 = 1000;
/// One comes back in this time.
const ONE_COMES_BACK_IN: Duration = Duration::from_millis(10);
/// What a head and a piece of a body bring: an answer of ours may need a window update for its stream and one for the
/// connection, and some peers measure their line with a PING meanwhile.
const BROUGHT: u32 = 4;
/// What a reset costs: more than its stream has brought, so that opening and resetting loses in the long run. A peer may
/// give up a hundred requests a second for as long as it likes.
const RESET_COSTS: u32 = BROUGHT + 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The peer sends too many frames that carry nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many control frames")]
pub(super) struct Flooded;

/// What the last bytes were part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not HTTP/2, or not yet to be told: bytes outside a request belong to a head.
    NotFrames,
    /// Frames, and no head among them is still incomplete.
    Frames,
    /// Frames, and a head is under way.
    Head,
}

/// Follows one connection from its first byte.
#[derive(Debug)]
pub(super) struct Frames {
    state: State,
    in_head: bool,
    allowance: Allowance,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// This many bytes were those of the preface.
    Preface(usize),
    Http1,
    /// Between frames, or within the nine bytes before a payload.
    Start {
        bytes: [u8; 9],
        got: usize,
    },
    /// This many bytes of a payload are still to come; with the last of them, `head_ends`.
    Payload {
        left: usize,
        head_ends: bool,
    },
}

const START: State = State::Start { bytes: [0; 9], got: 0 };

impl Frames {
    pub(super) fn new(now: Instant) -> Self {
        Self { state: State::Preface(0), in_head: false, allowance: Allowance { left: ALLOWANCE_MAX, at: now } }
    }

    /// Looks at the bytes that came.
    ///
    /// # Errors
    /// When the allowance is used up.
    pub(super) fn read(&mut self, mut bytes: &[u8], now: Instant) -> Result<Seen, Flooded> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Http1 => return Ok(Seen::NotFrames),
                State::Preface(seen) => self.read_preface(seen, bytes),
                State::Start { bytes: start, got } => self.read_start(start, got, bytes, now)?,
                State::Payload { left, head_ends } => {
                    let here = left.min(bytes.len());
                    self.state = State::Payload { left: left - here, head_ends };
                    self.end_payload();
                    &bytes[here..]
                }
            };
        }
        Ok(match self.state {
            State::Preface(_) | State::Http1 => Seen::NotFrames,
            _ if self.in_head => Seen::Head,
            _ => Seen::Frames,
        })
    }

    fn read_preface<'a>(&mut self, seen: usize, bytes: &'a [u8]) -> &'a [u8] {
        let expected = &PREFACE[seen..];
        let here = expected.len().min(bytes.len());
        self.state = match bytes[..here] == expected[..here] {
            false => State::Http1,
            true if here == expected.len() => START,
            true => State::Preface(seen + here),
        };
        &bytes[here..]
    }

    fn read_start<'a>(
        &mut self,
        mut start: [u8; 9],
        got: usize,
        bytes: &'a [u8],
        now: Instant,
    ) -> Result<&'a [u8], Flooded> {
        let here = (start.len() - got).min(bytes.len());
        start[got..got + here].copy_from_slice(&bytes[..here]);
        if got + here < start.len() {
            self.state = State::Start { bytes: start, got: got + here };
            return Ok(&bytes[here..]);
        }
        let [a, b, c, kind, flags, ..] = start;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        match kind {
            HEADERS => self.allowance.bring(BROUGHT),
            DATA if length > 0 => self.allowance.bring(BROUGHT),
            RST_STREAM => self.allowance.spend(RESET_COSTS, now)?,
            _ => self.allowance.spend(1, now)?,
        }
        let is_of_head = matches!(kind, HEADERS | CONTINUATION);
        self.in_head |= is_of_head;
        self.state = State::Payload { left: length, head_ends: is_of_head && flags & END_HEADERS != 0 };
        self.end_payload();
        Ok(&bytes[here..])
    }

    /// Goes on to the next frame, if this one is at its end.
    fn end_payload(&mut self) {
        if let State::Payload { left: 0, head_ends } = self.state {
            self.in_head &= !head_ends;
            self.state = START;
        }
    }
}

/// How many frames that carry nothing may still come.
#[derive(Debug)]
struct Allowance {
    left: u32,
    at: Instant,
}

impl Allowance {
    fn bring(&mut self, count: u32) {
        self.left = (self.left + count).min(ALLOWANCE_MAX);
    }

    fn spend(&mut self, count: u32, now: Instant) -> Result<(), Flooded> {
        let came_back = now.saturating_duration_since(self.at).as_millis() / ONE_COMES_BACK_IN.as_millis();
        let came_back = u32::try_from(came_back).unwrap_or(u32::MAX);
        // Not to `now`: what is on its way to one more stays on its way.
        self.at += ONE_COMES_BACK_IN * came_back;
        self.left = self.left.saturating_add(came_back).min(ALLOWANCE_MAX).checked_sub(count).ok_or(Flooded)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
