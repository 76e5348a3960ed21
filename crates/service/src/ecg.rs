//! What handlers of the ECG surface have in common (SPEC 6.1).
//!
//! | question | item |
//! | --- | --- |
//! | who calls, and for which organization | [`Caller`], [`AtOrganization`] |
//! | which thing the path names | [`path_id`], [`not_found`] |
//! | what the query says | [`Query`], [`Paging`] |
//! | how a body is read | [`body`] |
//! | how a thing is patched | [`patch`] |
//! | what every answer looks like | [`ListOf`], [`Value`], [`ArchiveInfo`], [`ActiveInfo`], [`AuditInfo`] |
//! | how categories and events look | [`Category`], [`Event`] |
//! | how a refusal is worded | [`shape()`], [`refuse`], [`answer`] |
//!
//! Handlers return [`ApiError`](crate::ApiError) and [`Problem`] as on every other surface, and know nothing of the shape
//! that refusals have here.

pub mod body;
mod configured;
mod paging;
pub mod patch;
mod query;
mod shape;
mod views;

use slipstream_core::problem::{Problem, ProblemKind};
use uuid::Uuid;

pub use self::configured::{Category, Event};
pub use self::paging::{ListOf, Order, Paging, PagingParameters};
pub use self::query::Query;
pub(crate) use self::shape::{CONTENT_TYPE, Refusal, finish, is_here};
pub use self::shape::{answer, refuse, shape};
pub use self::views::{ActiveInfo, ArchiveInfo, AuditInfo, Value};
pub use crate::auth::{AtOrganization, Caller, EcgRole};

/// A UUID as this surface writes it: with hyphens, in any case (SPEC 2.1, 6.1).
pub fn uuid(text: &str) -> Option<Uuid> {
    // The crate reads other forms as well, all of another length.
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

/// The id that the path gives as its parameter `name`.
///
/// # Errors
/// 400 naming the parameter, when `text` is no UUID.
pub fn path_id<T: UuidId>(text: &str, name: &str) -> Result<T, Problem> {
    let id = uuid(text).map(T::of_uuid);
    id.ok_or_else(|| Problem::new(ProblemKind::BadRequest, format!("{name} must be a UUID")))
}

/// 404: there is no such thing; `what` is what it would be, in words: "webhook category".
pub fn not_found(what: &str) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no such {what}"))
}

/// An id that is a UUID.
pub trait UuidId {
    /// The id with this UUID.
    fn of_uuid(id: Uuid) -> Self;
}

impl UuidId for Uuid {
    fn of_uuid(id: Uuid) -> Self {
        id
    }
}

macro_rules! uuid_ids {
    ($($id:ident),+) => {$(
        impl UuidId for slipstream_core::ids::$id {
            fn of_uuid(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

uuid_ids! { SubscriptionId, EcgCategoryId, EcgEventId, EcgSecretId, ActivityId }

#[cfg(test)]
mod tests;
