//! Sites: the tenants of the Slipstream surface.

use sea_orm::sea_query::LockType;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DatabaseTransaction, EntityTrait as _, QuerySelect as _};
use slipstream_core::config::{Product, Site};
use slipstream_core::slug::Slug;
use uuid::Uuid;

use crate::entity::site::{ActiveModel, Column, Entity};
use crate::error::StoreError;

/// What an operator says of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteDetails {
    /// Its name, for people.
    pub name: String,
    /// The organisation that owns it.
    pub organisation: Slug,
    /// The organisation that is billed.
    pub billing_organisation: Slug,
    /// Its practice software.
    pub product: Product,
    /// The practice's id in its own software.
    pub pms_specific_id: Option<String>,
    /// The ECG organization that gets posts of its public events (SPEC 6.8, "Bridge").
    pub ecg_organization: Option<Uuid>,
}

/// The site called `slug`, if there is one.
pub async fn get(connection: &impl ConnectionTrait, slug: &Slug) -> Result<Option<Site>, StoreError> {
    Entity::find_by_id(slug.as_str()).one(connection).await?.map(Site::try_from).transpose()
}

/// Waits until nobody else has locked the site so, and keeps it locked until this transaction ends: for who counts what it has.
/// Nobody else is kept waiting. A site that is not there is not locked.
///
/// On SQLite the transaction itself is the lock ([`crate::Store::begin`]).
pub async fn lock(transaction: &DatabaseTransaction, slug: &Slug) -> Result<(), StoreError> {
    Entity::find_by_id(slug.as_str()).lock(LockType::NoKeyUpdate).one(transaction).await?;
    Ok(())
}

/// Every site.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Site>, StoreError> {
    Entity::find().all(connection).await?.into_iter().map(Site::try_from).collect()
}

/// Creates or replaces the site called `slug`; its revision grows by one.
///
/// # Errors
/// [`StoreError::Conflict`] when one of its organisations does not exist.
pub async fn put(connection: &impl ConnectionTrait, slug: &Slug, details: &SiteDetails) -> Result<Site, StoreError> {
    let replace = OnConflict::column(Column::Slug)
        .update_columns([
            Column::Name,
            Column::Organisation,
            Column::BillingOrganisation,
            Column::Product,
            Column::PmsSpecificId,
            Column::EcgOrganization,
        ])
        .value(Column::Revision, Expr::col((Entity, Column::Revision)).add(1))
        .to_owned();
    let row = ActiveModel {
        slug: Set(slug.to_string()),
        name: Set(details.name.clone()),
        organisation: Set(details.organisation.to_string()),
        billing_organisation: Set(details.billing_organisation.to_string()),
        product: Set(details.product.as_str().to_owned()),
        pms_specific_id: Set(details.pms_specific_id.clone()),
        ecg_organization: Set(details.ecg_organization.map(|id| id.to_string())),
        revision: Set(1),
    };
    Entity::insert(row).on_conflict(replace).exec_with_returning(connection).await?.try_into()
}
