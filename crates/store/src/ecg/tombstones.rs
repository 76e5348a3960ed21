//! Rows of what was deleted, once no history of posts can name it any more.

use sea_orm::sea_query::{Query, SelectStatement};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::timestamp::Timestamp;

use crate::entity::{ecg_category, ecg_event, ecg_secret, ecg_subscription, ecg_subscription_event as subscribed};
use crate::error::StoreError;
use crate::store::Store;

/// Removes what was deleted before `before`, at most `limit` of each kind, and gives the keys that it has in the bucket.
///
/// Subscriptions go first, then events that none names, then categories that have none: a row that another one refers to
/// waits for that. Several replicas may do this at once; a key that both give is none the less gone.
pub async fn remove(store: &Store, before: Timestamp, limit: u64) -> Result<Vec<String>, StoreError> {
    let before = before.as_millis();
    let transaction = store.begin().await?;
    let subscriptions: Vec<String> = ecg_subscription::Entity::find()
        .filter(ecg_subscription::Column::DeletedAtMs.lt(before))
        .order_by_asc(ecg_subscription::Column::Id)
        .limit(limit)
        .select_only()
        .column(ecg_subscription::Column::Id)
        .into_tuple()
        .all(&transaction)
        .await?;
    if !subscriptions.is_empty() {
        let ids = || subscriptions.iter().map(String::as_str);
        let events = subscribed::Entity::delete_many().filter(subscribed::Column::Subscription.is_in(ids()));
        events.exec(&transaction).await?;
        // They went when it was deleted.
        let secrets = ecg_secret::Entity::delete_many().filter(ecg_secret::Column::Subscription.is_in(ids()));
        secrets.exec(&transaction).await?;
        let rows = ecg_subscription::Entity::delete_many().filter(ecg_subscription::Column::Id.is_in(ids()));
        rows.exec(&transaction).await?;
    }
    let named = column(subscribed::Entity, subscribed::Column::Event);
    let events: Vec<String> = ecg_event::Entity::find()
        .filter(ecg_event::Column::DeletedAtMs.lt(before))
        .filter(ecg_event::Column::Id.not_in_subquery(named))
        .order_by_asc(ecg_event::Column::Id)
        .limit(limit)
        .select_only()
        .column(ecg_event::Column::Id)
        .into_tuple()
        .all(&transaction)
        .await?;
    if !events.is_empty() {
        let ids = events.iter().map(String::as_str);
        ecg_event::Entity::delete_many().filter(ecg_event::Column::Id.is_in(ids)).exec(&transaction).await?;
    }
    let full = column(ecg_event::Entity, ecg_event::Column::Category);
    let categories: Vec<String> = ecg_category::Entity::find()
        .filter(ecg_category::Column::DeletedAtMs.lt(before))
        .filter(ecg_category::Column::Id.not_in_subquery(full))
        .order_by_asc(ecg_category::Column::Id)
        .limit(limit)
        .select_only()
        .column(ecg_category::Column::Id)
        .into_tuple()
        .all(&transaction)
        .await?;
    if !categories.is_empty() {
        let ids = categories.iter().map(String::as_str);
        ecg_category::Entity::delete_many().filter(ecg_category::Column::Id.is_in(ids)).exec(&transaction).await?;
    }
    transaction.commit().await?;
    // As `Record::key` has them.
    let keys = |kind: &'static str, ids: Vec<String>| ids.into_iter().map(move |id| format!("{kind}.{id}"));
    let keys = keys("ecg_subscription", subscriptions).chain(keys("ecg_event", events));
    Ok(keys.chain(categories.into_iter().map(|id| format!("ecg_category.{id}"))).collect())
}

/// All that stands in a column.
fn column(table: impl sea_orm::EntityTrait, column: impl sea_orm::ColumnTrait) -> SelectStatement {
    Query::select().column(column).from(table).take()
}
