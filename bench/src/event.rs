//! The event that is published: a letter whose id tells phase and number.

mod letter;

pub(crate) use letter::{EVENT_BYTES, Letter, LetterKind, Request};

/// What every id starts with. Nothing else in an event or a delivery's head holds it, so the receiver looks for it
/// and need not parse JSON.
const MARK: &[u8] = b"slb-";

/// Which event of which phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EventId {
    /// The phase of the run.
    pub(crate) phase: u16,
    /// The event within the phase, from 0.
    pub(crate) number: u32,
}

impl EventId {
    /// Length as text: the mark, and both parts in hexadecimal.
    const LENGTH: usize = MARK.len() + 4 + 8;

    /// Writes the id over the one that stands in `place`.
    fn write(self, place: &mut [u8]) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut value = (u64::from(self.phase) << 32) | u64::from(self.number);
        for digit in place[MARK.len()..].iter_mut().rev() {
            *digit = HEX[(value & 15) as usize];
            value >>= 4;
        }
    }

    /// Finds the id in a delivery's body. `hint` is where the last one stood, usually right again; it is updated.
    pub(crate) fn find(body: &[u8], hint: &mut usize) -> Option<Self> {
        if !body.get(*hint..)?.starts_with(MARK) {
            *hint = body.windows(MARK.len()).position(|bytes| bytes == MARK)?;
        }
        let digits = body.get(*hint + MARK.len()..*hint + Self::LENGTH)?;
        let mut value: u64 = 0;
        for digit in digits {
            value = (value << 4) | u64::from(char::from(*digit).to_digit(16)?);
        }
        Some(Self { phase: (value >> 32) as u16, number: value as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_written_is_found_again() {
        let mut request = Request::new("127.0.0.1:1", "/sites/s8n6EzC/events", "key", Letter::default());
        let mut hint = 0;
        for id in [EventId { phase: 0, number: 0 }, EventId { phase: 0xabcd, number: u32::MAX }] {
            let bytes = request.with_id(id).to_vec();
            assert_eq!(EventId::find(&bytes, &mut hint), Some(id));
            assert_eq!(EventId::find(&bytes[7..], &mut hint), Some(id), "a wrong hint only costs a search");
        }
        assert_eq!(EventId::find(b"{\"id\":\"another\"}", &mut hint), None);
        assert_eq!(EventId::find(b"slb-12", &mut 0), None);
    }
}
