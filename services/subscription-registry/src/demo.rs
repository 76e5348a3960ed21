//! A demo organisation, site and account, for the first start of the embedded mode (DESIGN 6).

use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use slipstream_core::config::{Account, AccountKind, Permission, Product, SitesAllowed};
use slipstream_core::ids::AccountId;
use slipstream_core::slug::Slug;
use slipstream_service::clock;
use slipstream_store::accounts::{self, KeySlot};
use slipstream_store::sites::SiteDetails;
use slipstream_store::{Store, organisations, sites};
use uuid::Uuid;

use crate::keys::ApiKey;

/// The demo organisation.
const ORGANISATION: &str = "o4fKq2";
/// The demo site.
const SITE: &str = "s8n6EzC";
/// The demo account: always the same, so that a lost file leads to a new key and not to one more account; another only when
/// an operator has deleted it.
const ACCOUNT: AccountId = AccountId(Uuid::from_u128(0xdec0_de00_0000_4000_8000_0000_0000_0001));

/// What a caller needs to use the demo site. Does not print the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemoCredentials {
    /// The site to publish to and to subscribe at.
    pub site: Slug,
    /// The key, for header `X-API-KEY`.
    pub api_key: String,
}

impl fmt::Debug for DemoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DemoCredentials").field("site", &self.site).field("api_key", &"***").finish()
    }
}

/// Makes sure that the demo organisation, site and account exist, and says how to use them.
///
/// The database keeps only the key's hash, so the key is kept in `file`, readable by its owner only. A repeat changes
/// nothing and gives the same key; without the file the account gets a new one, and in place of one that was deleted there
/// is another. `store` must be migrated. Writes SQL only: the registry's start brings it to the bucket.
///
/// # Errors
/// When the database or the file cannot be read or written.
pub async fn seed_demo(store: &Store, file: &Path) -> anyhow::Result<DemoCredentials> {
    let transaction = store.begin().await?;
    let (organisation, site): (Slug, Slug) = (ORGANISATION.parse()?, SITE.parse()?);
    if organisations::get(&transaction, &organisation).await?.is_none() {
        organisations::put(&transaction, &organisation, "Demo organisation").await?;
    }
    if sites::get(&transaction, &site).await?.is_none() {
        let details = SiteDetails {
            name: "Demo practice".to_owned(),
            organisation: organisation.clone(),
            billing_organisation: organisation,
            product: Product::Testing,
            pms_specific_id: None,
            ecg_organization: None,
        };
        sites::put(&transaction, &site, &details).await?;
    }
    let saved = read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut id = saved.as_ref().and_then(account_of).unwrap_or(ACCOUNT);
    let account = accounts::get(&transaction, id).await?;
    if let (Some(account), Some(saved)) = (&account, saved)
        && account.has_key(&saved.api_key)
    {
        transaction.commit().await?;
        return Ok(saved);
    }
    if accounts::is_deleted(&transaction, id).await? {
        id = AccountId(clock::new_uuid());
    }
    let key = ApiKey::new(id);
    match account {
        Some(_) => drop(accounts::set_key(&transaction, id, KeySlot::Primary, &key.hash()).await?),
        None => accounts::create(&transaction, &new_account(id, &key)).await?,
    }
    let credentials = DemoCredentials { site, api_key: key.into_shown() };
    // Before the commit: a key that nobody wrote down would be of no use.
    write(file, &credentials).with_context(|| format!("cannot write {}", file.display()))?;
    transaction.commit().await?;
    Ok(credentials)
}

/// Whose key it is.
fn account_of(saved: &DemoCredentials) -> Option<AccountId> {
    saved.api_key.split_once('_')?.0.parse().ok()
}

fn new_account(id: AccountId, key: &ApiKey) -> Account {
    Account {
        id,
        display_name: "Demo account".to_owned(),
        kind: AccountKind::External,
        sites: SitesAllowed::All,
        permissions: vec![Permission::EventsPublish, Permission::WebhooksManage],
        quota: None,
        primary_key: key.hash(),
        // Nobody knows it until it is rotated.
        secondary_key: ApiKey::new(id).hash(),
        revision: 1,
    }
}

/// The saved credentials; none if there is no file, or it holds something else.
fn read(file: &Path) -> std::io::Result<Option<DemoCredentials>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(file: &Path, credentials: &DemoCredentials) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let bytes = serde_json::to_vec_pretty(credentials)?;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    file.write_all(&bytes)?;
    file.sync_all()
}
