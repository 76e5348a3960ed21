//! The records of all aggregates, by their key in the `config` bucket: what a reconciler needs.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait, QueryFilter as _};
use slipstream_core::config::Record;

use crate::entity::{account, data_key, ecg_category, ecg_event, ecg_subscription, organisation, site, subscription};
use crate::error::StoreError;
use crate::{accounts, data_keys, ecg, organisations, sites, subscriptions};

/// Every record, data keys before what is sealed under them.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Record>, StoreError> {
    let mut records: Vec<Record> = data_keys::all(connection).await?.into_iter().map(Record::DataKey).collect();
    records.extend(organisations::all(connection).await?.into_iter().map(Record::Organisation));
    records.extend(sites::all(connection).await?.into_iter().map(Record::Site));
    records.extend(accounts::all(connection).await?.into_iter().map(Record::Account));
    records.extend(subscriptions::all(connection).await?.into_iter().map(|it| Record::Subscription(Box::new(it))));
    records.extend(ecg::categories::all(connection).await?.into_iter().map(Record::EcgCategory));
    records.extend(ecg::events::all(connection).await?.into_iter().map(Record::EcgEvent));
    let subscribed = ecg::subscriptions::all(connection).await?;
    records.extend(subscribed.into_iter().map(|it| Record::EcgSubscription(Box::new(it))));
    Ok(records)
}

/// The record whose [`Record::key`] is `key`; none if there is no such row, or the key is not of our making.
pub async fn get(connection: &impl ConnectionTrait, key: &str) -> Result<Option<Record>, StoreError> {
    let Some((kind, name)) = key.split_once('.') else { return Ok(None) };
    let record = match kind {
        "organisation" => match name.parse() {
            Ok(slug) => organisations::get(connection, &slug).await?.map(Record::Organisation),
            Err(_) => None,
        },
        "site" => match name.parse() {
            Ok(slug) => sites::get(connection, &slug).await?.map(Record::Site),
            Err(_) => None,
        },
        "account" => match name.parse() {
            Ok(id) => accounts::get(connection, id).await?.map(Record::Account),
            Err(_) => None,
        },
        "subscription" => match name.parse() {
            Ok(id) => subscriptions::get(connection, id).await?.map(|it| Record::Subscription(Box::new(it))),
            Err(_) => None,
        },
        "data_key" => match name.parse() {
            Ok(id) => data_keys::get(connection, id).await?.map(Record::DataKey),
            Err(_) => None,
        },
        "ecg_category" => match name.parse() {
            Ok(id) => ecg::categories::get_any(connection, id).await?.map(Record::EcgCategory),
            Err(_) => None,
        },
        "ecg_event" => match name.parse() {
            Ok(id) => ecg::events::get_any(connection, id).await?.map(Record::EcgEvent),
            Err(_) => None,
        },
        "ecg_subscription" => match name.parse() {
            Ok(id) => {
                ecg::subscriptions::get_any(connection, id).await?.map(|it| Record::EcgSubscription(Box::new(it)))
            }
            Err(_) => None,
        },
        _ => None,
    };
    // `ACCOUNT.{id}` in another spelling of the id parses too, but is not the record's key.
    Ok(record.filter(|record| record.key() == key))
}

/// Lifts the row of `record` above `revision`, so that readers who have seen `revision` take it; for a bucket that is
/// ahead of the database, as after a restore from backup.
pub async fn lift(connection: &impl ConnectionTrait, record: &Record, revision: i64) -> Result<(), StoreError> {
    async fn lift<E: EntityTrait>(
        connection: &impl ConnectionTrait,
        key: (E::Column, String),
        column: E::Column,
        revision: i64,
    ) -> Result<(), StoreError> {
        E::update_many()
            .col_expr(column, Expr::value(revision.saturating_add(1)))
            .filter(key.0.eq(key.1))
            .filter(column.lte(revision))
            .exec(connection)
            .await?;
        Ok(())
    }
    match record {
        Record::Organisation(it) => {
            use organisation::{Column, Entity};
            lift::<Entity>(connection, (Column::Slug, it.slug.to_string()), Column::Revision, revision).await
        }
        Record::Site(it) => {
            use site::{Column, Entity};
            lift::<Entity>(connection, (Column::Slug, it.slug.to_string()), Column::Revision, revision).await
        }
        Record::Account(it) => {
            use account::{Column, Entity};
            lift::<Entity>(connection, (Column::Id, it.id.to_string()), Column::Revision, revision).await
        }
        Record::Subscription(it) => {
            use subscription::{Column, Entity};
            lift::<Entity>(connection, (Column::Id, it.id.to_string()), Column::Revision, revision).await
        }
        Record::EcgCategory(it) => {
            use ecg_category::{Column, Entity};
            lift::<Entity>(connection, (Column::Id, it.id.to_string()), Column::Revision, revision).await
        }
        Record::EcgEvent(it) => {
            use ecg_event::{Column, Entity};
            lift::<Entity>(connection, (Column::Id, it.id.to_string()), Column::Revision, revision).await
        }
        Record::EcgSubscription(it) => {
            use ecg_subscription::{Column, Entity};
            lift::<Entity>(connection, (Column::Id, it.id.to_string()), Column::Revision, revision).await
        }
        // Has no row; see `slipstream_core::config::OpenDentalKey`.
        Record::OpenDentalKey(_) => Ok(()),
        Record::DataKey(it) => {
            use data_key::{Column, Entity};
            lift::<Entity>(connection, (Column::Id, it.id.to_string()), Column::Revision, revision).await
        }
    }
}
