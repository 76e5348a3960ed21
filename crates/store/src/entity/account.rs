//! Table `accounts`. Of the API keys it holds hashes only.

use sea_orm::entity::prelude::*;
use slipstream_core::config::{Account, AccountKind, Permission, Quota, SitesAllowed};

use super::{Row, to_json};
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) display_name: String,
    /// `external` or `internal`.
    pub(crate) kind: String,
    /// JSON of [`SitesAllowed`].
    pub(crate) sites: String,
    /// JSON list of [`Permission`].
    pub(crate) permissions: String,
    /// JSON of [`Quota`]; none means unlimited.
    pub(crate) quota: Option<String>,
    pub(crate) primary_key: String,
    pub(crate) secondary_key: String,
    pub(crate) revision: i64,
    /// When it was deleted. Such a row keeps its id taken, and the subscriptions whole that refer to it.
    pub(crate) deleted_at_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) const fn kind_name(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::External => "external",
        AccountKind::Internal => "internal",
    }
}

impl From<&Account> for Model {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.to_string(),
            display_name: account.display_name.clone(),
            kind: kind_name(account.kind).to_owned(),
            sites: to_json(&account.sites),
            permissions: to_json(&account.permissions),
            quota: account.quota.as_ref().map(to_json),
            primary_key: account.primary_key.to_hex(),
            secondary_key: account.secondary_key.to_hex(),
            revision: account.revision,
            deleted_at_ms: None,
        }
    }
}

impl TryFrom<Model> for Account {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "accounts", key: &model.id };
        let kinds = [AccountKind::External, AccountKind::Internal];
        let kind = kinds.into_iter().find(|kind| kind_name(*kind) == model.kind);
        Ok(Self {
            id: row.parse("id", &model.id)?,
            kind: row.name("kind", kind)?,
            sites: row.json::<SitesAllowed>("sites", &model.sites)?,
            permissions: row.json::<Vec<Permission>>("permissions", &model.permissions)?,
            quota: model.quota.as_deref().map(|quota| row.json::<Quota>("quota", quota)).transpose()?,
            display_name: model.display_name,
            primary_key: row.parse("primary_key", &model.primary_key)?,
            secondary_key: row.parse("secondary_key", &model.secondary_key)?,
            revision: model.revision,
        })
    }
}
