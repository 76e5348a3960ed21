//! Records of the audit that are still to be published: what changes without anybody's credential, noted in the
//! transaction of the change, so that there is no change without its record. As with events, publishing one twice is
//! harmless.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::contract::Audited;
use slipstream_core::ids::AuditId;

use crate::entity::outbox_audited::{Column, Entity, Model};
use crate::error::StoreError;

/// Notes a record. One that is noted already stays as it is.
pub async fn put(connection: &impl ConnectionTrait, record: &Audited) -> Result<(), StoreError> {
    let known = OnConflict::column(Column::Id).do_nothing().to_owned();
    let row = Model::from(record).into_active_model();
    Entity::insert(row).on_conflict(known).exec_without_returning(connection).await?;
    Ok(())
}

/// The oldest records, at most `limit` of them.
pub async fn oldest(connection: &impl ConnectionTrait, limit: usize) -> Result<Vec<Audited>, StoreError> {
    let rows =
        Entity::find().order_by_asc(Column::AtMs).order_by_asc(Column::Id).limit(limit as u64).all(connection).await?;
    rows.into_iter().map(Audited::try_from).collect()
}

/// Removes records that have been published.
pub async fn remove(connection: &impl ConnectionTrait, ids: &[AuditId]) -> Result<(), StoreError> {
    let ids = ids.iter().map(AuditId::to_string);
    Entity::delete_many().filter(Column::Id.is_in(ids)).exec(connection).await?;
    Ok(())
}
