//! Base64 as CloudEvents means it: RFC 4648 section 4, with padding, nothing else in between.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Whether `text` is valid Base64. Non-zero bits in the padding are refused: two texts would name the same bytes.
pub(super) fn is_valid(text: &str) -> bool {
    STANDARD.decode(text).is_ok()
}

/// The bytes of a text that [`is_valid`]; none if it is not.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The text of `bytes`.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
