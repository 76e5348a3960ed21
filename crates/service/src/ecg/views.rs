//! Parts that many answers have in common (SPEC 6.1).

use serde::Serialize;
use slipstream_core::config::{Flags, Stamps};
use slipstream_core::timestamp::Timestamp;
use utoipa::ToSchema;
use uuid::Uuid;

/// The answer of an action (`ValueResponse`): whether it is so now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Value {
    /// Whether it is so.
    pub value: bool,
}

impl Value {
    /// It is so.
    pub const TRUE: Self = Self { value: true };
}

/// Whether something is put away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveInfo {
    /// Whether it is put away. Nothing is dispatched then.
    pub archived: bool,
    /// When that last changed.
    #[schema(inline)]
    pub archived_status_changed_at: Timestamp,
}

impl From<&Flags> for ArchiveInfo {
    fn from(flags: &Flags) -> Self {
        Self { archived: flags.archived, archived_status_changed_at: flags.archived_changed_at }
    }
}

/// Whether something is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveInfo {
    /// Whether it is switched on.
    pub active: bool,
    /// When that last changed.
    #[schema(inline)]
    pub active_status_changed_at: Timestamp,
}

impl From<&Flags> for ActiveInfo {
    fn from(flags: &Flags) -> Self {
        Self { active: flags.active, active_status_changed_at: flags.active_changed_at }
    }
}

/// Who made something and who last changed it, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditInfo {
    /// When it was made.
    #[schema(inline)]
    pub created_at: Timestamp,
    /// Who made it: the `sub` of a token.
    #[schema(value_type = String, format = "uuid")]
    pub created_by: Uuid,
    /// When it was last changed.
    #[schema(inline)]
    pub updated_at: Timestamp,
    /// Who last changed it.
    #[schema(value_type = String, format = "uuid")]
    pub updated_by: Uuid,
}

impl From<&Stamps> for AuditInfo {
    fn from(stamps: &Stamps) -> Self {
        let Stamps { created_at, created_by, updated_at, updated_by } = *stamps;
        Self { created_at, created_by, updated_at, updated_by }
    }
}
