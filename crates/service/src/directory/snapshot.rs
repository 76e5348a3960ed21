//! One state of everything configured.

use std::collections::HashMap;
use std::sync::Arc;

use slipstream_core::config::{Account, Organisation, Record, Site, Subscription};
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::matching::MatchIndex;
use slipstream_core::slug::Slug;

use super::apply::Records;
use super::ecg::EcgIndex;
use crate::auth::KeyPairs;

/// Everything configured, at one moment. Parts that a change does not touch are shared with the snapshot before.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(super) organisations: Arc<HashMap<Slug, Arc<Organisation>>>,
    pub(super) sites: Arc<HashMap<Slug, Arc<Site>>>,
    pub(super) accounts: Arc<HashMap<AccountId, Arc<Account>>>,
    pub(super) subscriptions: Arc<MatchIndex>,
    pub(super) key_pairs: Arc<KeyPairs>,
    pub(super) ecg: Arc<EcgIndex>,
}

impl Snapshot {
    /// The snapshot of these records; of two with the same key, the one of the higher revision.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Self {
        let mut state = Records::default();
        for record in records {
            state.put(record);
        }
        state.snapshot()
    }

    /// The organisation with this slug.
    pub fn organisation(&self, slug: &Slug) -> Option<&Arc<Organisation>> {
        self.organisations.get(slug)
    }

    /// The site with this slug.
    pub fn site(&self, slug: &Slug) -> Option<&Arc<Site>> {
        self.sites.get(slug)
    }

    /// The account with this id.
    pub fn account(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(&id)
    }

    /// The pairs of keys that open the Open Dental surface.
    pub fn key_pairs(&self) -> &KeyPairs {
        &self.key_pairs
    }

    /// What is configured through the ECG surface.
    pub fn ecg(&self) -> &EcgIndex {
        &self.ecg
    }

    /// The subscription of any surface that deliveries with this id are made to.
    pub fn endpoint(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(id).or_else(|| self.ecg.endpoint(id))
    }

    /// The subscriptions of Slipstream features, ready to be matched.
    pub fn subscriptions(&self) -> &MatchIndex {
        &self.subscriptions
    }
}
