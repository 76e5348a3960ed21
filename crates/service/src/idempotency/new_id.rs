//! The id of what a request makes.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uuid::Uuid;

use crate::clock;

/// The id that a request gives to what it makes, for handlers: `new: NewId`.
///
/// A request without an `Idempotency-Key` gets a fresh one. One with a key gets the same whenever it is done, so that what
/// it made before, when nobody heard its answer, is recognised instead of made once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewId {
    id: Uuid,
    may_exist: bool,
}

impl NewId {
    /// Of a request with a key.
    pub(super) const fn of_key(id: Uuid) -> Self {
        Self { id, may_exist: true }
    }

    /// A UUIDv7, of the moment at which the request was first heard of. For one thing only.
    pub const fn get(self) -> Uuid {
        self.id
    }

    /// Whether something may have this id already, made by this very request: whatever has it is no other's.
    pub const fn may_exist(self) -> bool {
        self.may_exist
    }
}

impl<S: Sync> FromRequestParts<S> for NewId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let fresh = || Self { id: clock::new_uuid(), may_exist: false };
        Ok(parts.extensions.get().copied().unwrap_or_else(fresh))
    }
}
