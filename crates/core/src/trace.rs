//! W3C Trace Context: the `traceparent` that follows an event from publisher to receiver (SPEC 2.6, 3.6).

use std::fmt;
use std::str::FromStr;

/// A position in a trace: which trace, which span, whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never all zero.
    pub trace_id: u128,
    /// The span; never zero.
    pub span_id: u64,
    /// Flags; bit 0 means recorded.
    pub flags: u8,
}

/// The text is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct NotATraceparent;

impl TraceContext {
    /// A new trace, from 24 random bytes' worth of numbers.
    pub fn new(trace_id: u128, span_id: u64) -> Self {
        // Zero is invalid in both; the chance is nil, the rule is not.
        Self { trace_id: trace_id.max(1), span_id: span_id.max(1), flags: 0 }
    }

    /// The same trace at another span.
    #[must_use]
    pub fn child(self, span_id: u64) -> Self {
        Self { span_id: span_id.max(1), ..self }
    }
}

impl FromStr for TraceContext {
    type Err = NotATraceparent;

    /// Reads `^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`, version not `ff`, ids not all zero.
    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        let is_well_formed = text.len() == 55
            && text.bytes().enumerate().all(|(at, byte)| match at {
                2 | 35 | 52 => byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            })
            && !text.starts_with("ff");
        if !is_well_formed {
            return Err(NotATraceparent);
        }
        let trace_id = u128::from_str_radix(&text[3..35], 16).map_err(|_| NotATraceparent)?;
        let span_id = u64::from_str_radix(&text[36..52], 16).map_err(|_| NotATraceparent)?;
        let flags = u8::from_str_radix(&text[53..55], 16).map_err(|_| NotATraceparent)?;
        if trace_id == 0 || span_id == 0 {
            return Err(NotATraceparent);
        }
        Ok(Self { trace_id, span_id, flags })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_survives() {
        let text = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";
        assert_eq!(text.parse::<TraceContext>().map(|t| t.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn malformed_ones_are_refused() {
        for text in [
            "",
            "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4-00",
            "ff-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01",
            "00-00000000000000000000000000000000-85d1d4a1b2c3d4e5-01",
            "00-84c1fd4063c38d9f3900d06e56542d48-0000000000000000-01",
            "00-84C1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01",
            "00-84c1fd4063c38d9f3900d06e56542d4é-85d1d4a1b2c3d4e5-0",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NotATraceparent), "{text}");
        }
    }
}
