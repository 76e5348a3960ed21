//! Posts of the ECG surface: activities, what they say, and how many there are.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum EcgContents {
    Table,
    Id,
    Payload,
    RawMessage,
}

#[derive(DeriveIden)]
enum EcgActivities {
    Table,
    Id,
    Root,
    Parent,
    Level,
    Organization,
    Subscription,
    Event,
    /// -1 while only outcomes have been heard of.
    Kind,
    Dispatch,
    Delivery,
    Number,
    Replay,
    Key,
    CreatedMs,
    PostedMs,
    /// When it was posted, else made: the order of lists.
    SortMs,
    /// How long the attempt took; none while its outcome is open.
    TookUs,
    Status,
    Success,
    Error,
    RawResponse,
    NextRetryMs,
    /// Whether somebody has taken its retry away.
    RetryOff,
    Hash,
    /// Which row of `ecg_contents` it says.
    Content,
    /// Of a root: whether one of its tree was taken.
    TreeSuccess,
    CreatedBy,
    UpdatedMs,
    UpdatedBy,
}

/// Posts of ours that are not known to be on the bus.
#[derive(DeriveIden)]
enum EcgUnsent {
    Table,
    Id,
    MadeMs,
}

#[derive(DeriveIden)]
enum EcgActivityCounts {
    Table,
    Subscription,
    Kind,
    /// The nil UUID: of whatever event.
    Event,
    /// -1: of whatever success.
    Success,
    /// When the ten minutes began that the activities are in, by `sort_ms`.
    BucketMs,
    Total,
}

/// They read the same on both backends. The four lists each have an index that has all they ask for, so that finding a page
/// touches no row; the one by success is left out for what is open, which no such list shows.
const INDEXES: [&str; 8] = [
    "CREATE INDEX ecg_activities_tree ON ecg_activities (root, delivery, number)",
    "CREATE INDEX ecg_activities_list ON ecg_activities (subscription, kind, sort_ms, id)",
    "CREATE INDEX ecg_activities_success ON ecg_activities (subscription, kind, success, sort_ms, id) \
     WHERE success IS NOT NULL",
    "CREATE INDEX ecg_activities_event ON ecg_activities (subscription, kind, event, sort_ms, id)",
    "CREATE INDEX ecg_activities_event_success ON ecg_activities (subscription, kind, event, success, sort_ms, id) \
     WHERE success IS NOT NULL",
    "CREATE INDEX ecg_unsent_made ON ecg_unsent (made_ms)",
    "CREATE INDEX ecg_activities_roots ON ecg_activities (created_ms) WHERE parent IS NULL",
    "CREATE INDEX ecg_activities_response ON ecg_activities (posted_ms) \
     WHERE raw_response IS NOT NULL AND dispatch = 0",
];

/// A column that must have a value.
fn required(name: impl IntoIden, kind: ColumnType) -> ColumnDef {
    ColumnDef::new_with_type(name, kind).not_null().take()
}

/// A column that may have none.
fn optional(name: impl IntoIden, kind: ColumnType) -> ColumnDef {
    ColumnDef::new_with_type(name, kind)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use ColumnType::{BigInteger, Integer, SmallInteger, Text, Uuid};

        let contents = Table::create()
            .table(EcgContents::Table)
            .col(required(EcgContents::Id, Uuid).primary_key().take())
            .col(required(EcgContents::Payload, Text))
            .col(required(EcgContents::RawMessage, Text))
            .take();
        manager.create_table(contents).await?;

        let activities = Table::create()
            .table(EcgActivities::Table)
            .col(required(EcgActivities::Id, Uuid).primary_key().take())
            .col(required(EcgActivities::Root, Uuid))
            .col(optional(EcgActivities::Parent, Uuid))
            .col(required(EcgActivities::Level, Integer))
            .col(required(EcgActivities::Organization, Uuid))
            .col(required(EcgActivities::Subscription, Uuid))
            .col(optional(EcgActivities::Event, Uuid))
            .col(required(EcgActivities::Kind, SmallInteger))
            .col(required(EcgActivities::Dispatch, SmallInteger))
            .col(optional(EcgActivities::Delivery, Uuid))
            .col(required(EcgActivities::Number, Integer))
            .col(optional(EcgActivities::Replay, Uuid))
            .col(required(EcgActivities::Key, Text))
            .col(required(EcgActivities::CreatedMs, BigInteger))
            .col(optional(EcgActivities::PostedMs, BigInteger))
            .col(required(EcgActivities::SortMs, BigInteger))
            .col(optional(EcgActivities::TookUs, BigInteger))
            .col(optional(EcgActivities::Status, Integer))
            .col(optional(EcgActivities::Success, SmallInteger))
            .col(optional(EcgActivities::Error, Text))
            .col(optional(EcgActivities::RawResponse, Text))
            .col(optional(EcgActivities::NextRetryMs, BigInteger))
            .col(required(EcgActivities::RetryOff, SmallInteger))
            .col(optional(EcgActivities::Hash, Text))
            .col(required(EcgActivities::Content, Uuid))
            .col(required(EcgActivities::TreeSuccess, SmallInteger))
            .col(required(EcgActivities::CreatedBy, Uuid))
            .col(required(EcgActivities::UpdatedMs, BigInteger))
            .col(required(EcgActivities::UpdatedBy, Uuid))
            .take();
        manager.create_table(activities).await?;

        let unsent = Table::create()
            .table(EcgUnsent::Table)
            .col(required(EcgUnsent::Id, Uuid).primary_key().take())
            .col(required(EcgUnsent::MadeMs, BigInteger))
            .take();
        manager.create_table(unsent).await?;

        let counts = Table::create()
            .table(EcgActivityCounts::Table)
            .col(required(EcgActivityCounts::Subscription, Uuid))
            .col(required(EcgActivityCounts::Kind, SmallInteger))
            .col(required(EcgActivityCounts::Event, Uuid))
            .col(required(EcgActivityCounts::Success, SmallInteger))
            .col(required(EcgActivityCounts::BucketMs, BigInteger))
            .col(required(EcgActivityCounts::Total, BigInteger))
            .primary_key(
                Index::create()
                    .col(EcgActivityCounts::Subscription)
                    .col(EcgActivityCounts::Kind)
                    .col(EcgActivityCounts::Event)
                    .col(EcgActivityCounts::Success)
                    .col(EcgActivityCounts::BucketMs),
            )
            .take();
        manager.create_table(counts).await?;

        for index in INDEXES {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }
}
