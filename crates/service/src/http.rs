//! The accept loop: HTTP/1.1 and HTTP/2 with a limit on everything a stranger can make grow (THREATS 7).
//!
//! axum's own `serve` has no limit on the time of a head, on connections, or on their idle time, so this replaces it.
//! One task per connection; one timer per connection, that fires at most every `head_timeout`; nothing is locked and
//! nothing allocated per request beyond what hyper and axum do themselves.
//!
//! | limit | where |
//! | --- | --- |
//! | connections, per address | [`serve`] |
//! | time of a head, idle time | `activity`, watched by `connection` |
//! | bytes and fields of a head | hyper for HTTP/1.1 (431), [`App`] for both |
//! | streams of one HTTP/2 connection, and their windows; what h2 holds of a flood | hyper and h2, set by `connection` |
//! | how fast a flood of HTTP/2 frames may come | `frames` |
//! | bytes, time and encoding of a body, all bodies in memory and those of one caller | [`read_body`] |
//! | requests that go on when their sender has left | [`ToTheEnd`] |

mod activity;
mod app;
mod body;
mod connection;
mod frames;
mod gate;
mod noted;
mod server;
mod to_the_end;

pub use app::App;
pub(crate) use body::report_bodies;
pub use body::{BODIES_BYTES_MAX, BODIES_BYTES_MAX_OF_ONE, BODIES_BYTES_MAX_OF_OPERATORS, read_body};
pub use server::serve;
pub use to_the_end::ToTheEnd;

pub(crate) use app::panic_message;

/// Bytes of a request's head. Beyond: 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Fields of a request's head. Beyond: 431.
pub const HEAD_FIELDS_MAX: usize = 100;
/// Streams at once of one HTTP/2 connection; further ones are refused.
pub const STREAMS_MAX: u32 = 100;
