//! What one attempt sends beside what every attempt has.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::work::Work;

/// The message of one attempt.
#[derive(Debug)]
pub(crate) struct Message {
    /// The bytes that are signed and sent.
    pub(crate) body: Bytes,
    /// What the surface says in headers.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The hash that the body has, on the ECG surface.
    pub(crate) hash: Option<String>,
    /// How many attempts there are at most, if fewer than usual.
    pub(crate) attempts_max: Option<u32>,
    /// Whether its answer says something of the endpoint's health, as all do but that to an activation, which never blocks
    /// anything (SPEC 6.5).
    pub(crate) says_of_endpoint: bool,
}

impl Message {
    /// An event in its forwarded form: the delivery's own bytes.
    pub(crate) fn of_event(work: &Work) -> Self {
        Self { body: work.body.clone(), headers: Vec::new(), hash: None, attempts_max: None, says_of_endpoint: true }
    }
}
