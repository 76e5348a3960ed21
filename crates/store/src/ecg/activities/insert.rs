//! Making an activity.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::config::Surface;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{ActivityId, DeliveryId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::counts::Counts;
use super::row::{ActivityRow, INSERT, bind, lock_roots};
use super::{Content, Dispatch, Inserted, New, Post, contents, unsent};
use crate::activity::DeliveryRecord;
use crate::activity::code::Code as _;
use crate::activity::record::note_deliveries;
use crate::entity::Row;
use crate::error::StoreError;

/// Makes an activity, unless there is one with its id; for one that we post, its delivery with it.
///
/// Locks the tree of the activity that it repeats. Counts are written too, so this comes last in its transaction.
///
/// # Errors
/// [`StoreError::Corrupt`] if it says the same as an activity that is not there.
pub async fn insert(transaction: &impl ConnectionTrait, new: &New) -> Result<Inserted, StoreError> {
    let root = new.repeats.map_or(new.id, |repeats| repeats.root);
    if new.repeats.is_some() {
        lock_roots(transaction, &[root.0]).await?;
    }
    let content = match &new.content {
        Content::Own { .. } => new.id.0,
        Content::Of(other) => content_of(transaction, *other).await?,
    };
    let row = row(new, root, content);
    let returned = INSERT.run_returning(transaction, vec![row.clone()], bind, "id").await?;
    if returned.is_empty() {
        return Ok(Inserted::There);
    }
    if let Content::Own { payload, raw_message } = &new.content {
        let content = (new.id.0, payload.get().to_owned(), raw_message.get().to_owned());
        contents::put(transaction, vec![content]).await?;
    }
    if let Post::Platform { replay } = new.post {
        let delivery = DeliveryRecord {
            id: DeliveryId(new.id.0),
            site: Slug::of_organization(new.organization),
            event_key: new.key,
            subscription: new.subscription,
            surface: Surface::Ecg,
            lane: Lane::Normal,
            state: DeliveryState::Scheduled,
            reason: None,
            next_attempt_at: None,
            updated_at: new.created_at,
            replay,
        };
        unsent::note(transaction, &row).await?;
        note_deliveries(transaction, &[delivery]).await?;
    }
    let mut counts = Counts::default();
    counts.made(&row);
    counts.add(transaction).await?;
    Ok(Inserted::New)
}

async fn content_of(transaction: &impl ConnectionTrait, activity: ActivityId) -> Result<Uuid, StoreError> {
    #[derive(FromQueryResult)]
    struct Found {
        content: Uuid,
    }
    let sql = "SELECT content FROM ecg_activities WHERE id = $1";
    let values = [Value::Uuid(Some(activity.0))];
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    let found = Found::find_by_statement(statement).one(transaction).await?;
    let key = activity.to_string();
    let none = || Row { table: "ecg_activities", key: &key }.corrupt("content", "there is no such activity");
    found.map(|found| found.content).ok_or_else(none)
}

fn row(new: &New, root: ActivityId, content: Uuid) -> ActivityRow {
    let created_ms = new.created_at.as_millis();
    let (dispatch, delivery, replay, posted_at) = match new.post {
        Post::Platform { replay } => (Dispatch::Platform, Some(new.id.0), replay.map(|replay| replay.0), None),
        Post::External { posted_at } => (Dispatch::External, None, None, posted_at),
    };
    let mut row = ActivityRow {
        id: new.id.0,
        root: root.0,
        parent: new.repeats.map(|repeats| repeats.parent.0),
        level: new.repeats.map_or(1, |it| i32::try_from(it.parent_level).unwrap_or(i32::MAX).saturating_add(1)),
        organization: new.organization,
        subscription: new.subscription.0,
        event: new.event.map(|event| event.0),
        kind: new.kind.code(),
        dispatch: dispatch.code(),
        delivery,
        number: 1,
        replay,
        key: new.key.to_string(),
        created_ms,
        posted_ms: posted_at.map(Timestamp::as_millis),
        sort_ms: created_ms,
        took_us: None,
        status: None,
        success: None,
        error: None,
        raw_response: None,
        next_retry_ms: None,
        retry_off: 0,
        hash: new.hash.clone(),
        content,
        tree_success: 0,
        created_by: new.made_by,
        updated_ms: created_ms,
        updated_by: new.made_by,
    };
    row.sort();
    row
}
