//! What is configured and posted through the ECG surface (SPEC 6).
//!
//! Categories, events and subscriptions that were deleted keep their rows, as tombstones, so that the history of posts can
//! still name them; codes may be used again. Rows that no history can name any more go ([`tombstones`]).

pub mod activities;
pub mod categories;
pub mod events;
pub mod samples;
pub mod secrets;
pub mod seeds;
pub mod subscriptions;
pub mod tombstones;

use sea_orm::sea_query::SimpleExpr;
use sea_orm::{ColumnTrait, Condition};

/// Which way a list goes, by its sort key and then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The oldest first.
    Asc,
    /// The newest first.
    #[default]
    Desc,
}

impl From<Order> for sea_orm::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Asc => Self::Asc,
            Order::Desc => Self::Desc,
        }
    }
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Which way it goes.
    pub order: Order,
    /// How many rows come before it.
    pub offset: u64,
    /// How many rows it has at most.
    pub limit: u64,
}

/// The rows of one part of a list, and how many rows the list has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The part.
    pub items: Vec<T>,
    /// Of the whole list.
    pub total: u64,
}

/// What a list of something that can be switched off and put away shows (SPEC 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// What is not put away.
    #[default]
    Restored,
    /// What is switched on and not put away.
    Active,
    /// What is switched off and not put away.
    Inactive,
    /// What is put away, switched on or off.
    Archived,
}

impl Status {
    /// As a condition on the columns of these two flags.
    fn condition(self, active: impl ColumnTrait, archived: impl ColumnTrait) -> Condition {
        let is = |condition: SimpleExpr| Condition::all().add(condition);
        match self {
            Self::Restored => is(archived.eq(false)),
            Self::Active => is(archived.eq(false)).add(active.eq(true)),
            Self::Inactive => is(archived.eq(false)).add(active.eq(false)),
            Self::Archived => is(archived.eq(true)),
        }
    }
}
