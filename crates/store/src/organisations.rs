//! Organisations: owners of sites.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait as _};
use slipstream_core::config::Organisation;
use slipstream_core::slug::Slug;

use crate::entity::organisation::{ActiveModel, Column, Entity};
use crate::error::StoreError;

/// The organisation called `slug`, if there is one.
pub async fn get(connection: &impl ConnectionTrait, slug: &Slug) -> Result<Option<Organisation>, StoreError> {
    Entity::find_by_id(slug.as_str()).one(connection).await?.map(Organisation::try_from).transpose()
}

/// Every organisation.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Organisation>, StoreError> {
    Entity::find().all(connection).await?.into_iter().map(Organisation::try_from).collect()
}

/// Creates or replaces the organisation called `slug`; its revision grows by one.
pub async fn put(connection: &impl ConnectionTrait, slug: &Slug, name: &str) -> Result<Organisation, StoreError> {
    let replace = OnConflict::column(Column::Slug)
        .update_column(Column::Name)
        .value(Column::Revision, Expr::col((Entity, Column::Revision)).add(1))
        .to_owned();
    let row = ActiveModel { slug: Set(slug.to_string()), name: Set(name.to_owned()), revision: Set(1) };
    Entity::insert(row).on_conflict(replace).exec_with_returning(connection).await?.try_into()
}
