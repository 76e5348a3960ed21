//! Priority lanes and visibility: the two small enumerations every event carries (SPEC 4.5, 5.2).

use serde::{Deserialize, Serialize};

/// The lane an event travels in, from its `priority` attribute (SPEC 4.5).
///
/// Ordered: [`Lane::Realtime`] is served first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// `priority` 0, and the default when absent.
    #[default]
    Normal,
    /// `priority` 1.
    High,
    /// `priority` 2.
    Realtime,
}

impl Lane {
    /// All lanes, the one served first in front.
    pub const ALL: [Self; 3] = [Self::Realtime, Self::High, Self::Normal];

    /// The lane of a `priority` attribute, or `None` for a value that is not 0, 1 or 2.
    pub const fn from_priority(priority: i64) -> Option<Self> {
        match priority {
            0 => Some(Self::Normal),
            1 => Some(Self::High),
            2 => Some(Self::Realtime),
            _ => None,
        }
    }

    /// The `priority` attribute of this lane.
    pub const fn priority(self) -> i32 {
        match self {
            Self::Normal => 0,
            Self::High => 1,
            Self::Realtime => 2,
        }
    }

    /// The lane as a subject token and as text: `realtime`, `high` or `normal`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
            Self::Realtime => "realtime",
        }
    }

    /// The lane named by [`Lane::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == name)
    }
}

/// Who may see an event, from its `visibility` attribute (SPEC 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// 0: internal accounts only; no feature webhooks. The default when absent.
    #[default]
    Internal,
    /// 1: everybody who may; the only visibility that feature webhooks see.
    Public,
    /// 2: the publishing service's own work queue; internal publishers only.
    WorkQueue,
    /// 3: telemetry only; internal publishers only.
    Private,
}

impl Visibility {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Internal, Self::Public, Self::WorkQueue, Self::Private];

    /// The visibility of the attribute's number, or `None` outside 0–3.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Internal),
            1 => Some(Self::Public),
            2 => Some(Self::WorkQueue),
            3 => Some(Self::Private),
            _ => None,
        }
    }

    /// The attribute's number, 0–3.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The visibility as a subject token and as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Public => "public",
            Self::WorkQueue => "workqueue",
            Self::Private => "private",
        }
    }

    /// The visibility named by [`Visibility::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|visibility| visibility.as_str() == name)
    }
}
