//! The records that a snapshot is made of, and which parts of it a change touches.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Arc;

use slipstream_core::config::{
    Account, EcgCategory, EcgEvent, EcgSubscription, OpenDentalKey, Organisation, Record, Site, Subscription,
    WrappedKey,
};
use slipstream_core::ids::{AccountId, EcgCategoryId, EcgEventId, OpenDentalKeyId, SubscriptionId};
use slipstream_core::matching::MatchIndex;
use slipstream_core::slug::Slug;

use super::Snapshot;
use super::ecg::EcgIndex;
use crate::vault::{Vault, VaultError};

/// Records of one kind.
#[derive(Debug)]
struct Part<K, V> {
    records: HashMap<K, Arc<V>>,
    changed: bool,
}

impl<K, V> Default for Part<K, V> {
    fn default() -> Self {
        Self { records: HashMap::new(), changed: false }
    }
}

impl<K: Hash + Eq, V> Part<K, V> {
    /// Takes `value` in, unless a newer revision is known already: writers may overtake each other on the way. Says
    /// whether it did.
    fn put(&mut self, key: K, value: V, revision: impl Fn(&V) -> i64) -> bool {
        if self.records.get(&key).is_some_and(|known| revision(known) > revision(&value)) {
            return false;
        }
        self.records.insert(key, Arc::new(value));
        self.changed = true;
        true
    }

    /// Forgets the record. What is deleted is remembered only as absence.
    fn delete(&mut self, key: &str)
    where
        K: FromStr,
    {
        if let Ok(key) = key.parse() {
            self.changed |= self.records.remove(&key).is_some();
        }
    }
}

/// All records, with what has changed since the last snapshot.
#[derive(Debug, Default)]
pub(super) struct Records {
    organisations: Part<Slug, Organisation>,
    sites: Part<Slug, Site>,
    accounts: Part<AccountId, Account>,
    subscriptions: Part<SubscriptionId, Subscription>,
    key_pairs: Part<OpenDentalKeyId, OpenDentalKey>,
    ecg_categories: Part<EcgCategoryId, EcgCategory>,
    ecg_events: Part<EcgEventId, EcgEvent>,
    ecg_subscriptions: Part<SubscriptionId, EcgSubscription>,
    latest: Snapshot,
    /// What opens secrets; none where they stay sealed.
    vault: Option<Vault>,
    /// Subscriptions that are still to be opened, and whether it was told that they do not open.
    sealed: BTreeMap<SubscriptionId, bool>,
    /// The same of ECG subscriptions.
    ecg_sealed: BTreeMap<SubscriptionId, bool>,
    /// A data key that does not unwrap.
    wrong_key: Option<VaultError>,
}

impl Records {
    /// No records yet; secrets of those to come are opened by `vault`, if one is given.
    pub(super) fn new(vault: Option<Vault>) -> Self {
        Self { vault, ..Self::default() }
    }

    /// Takes in a record.
    pub(super) fn put(&mut self, record: Record) {
        let _ = match record {
            Record::Organisation(record) => self.organisations.put(record.slug.clone(), record, |r| r.revision),
            Record::Site(record) => self.sites.put(record.slug.clone(), record, |r| r.revision),
            Record::Account(record) => self.accounts.put(record.id, record, |r| r.revision),
            Record::Subscription(record) => return self.put_subscription(*record),
            Record::DataKey(record) => return self.learn(&record),
            Record::OpenDentalKey(record) => self.key_pairs.put(record.id, record, |r| r.revision),
            Record::EcgCategory(record) => self.ecg_categories.put(record.id, record, |r| r.revision),
            Record::EcgEvent(record) => self.ecg_events.put(record.id, record, |r| r.revision),
            Record::EcgSubscription(record) => return self.put_ecg_subscription(*record),
        };
    }

    fn put_ecg_subscription(&mut self, record: EcgSubscription) {
        let id = record.id;
        if self.ecg_subscriptions.put(id, record, |r| r.revision) && self.vault.is_some() {
            self.ecg_sealed.insert(id, false);
        }
    }

    fn put_subscription(&mut self, record: Subscription) {
        let id = record.id;
        if self.subscriptions.put(id, record, |r| r.revision) && self.vault.is_some() {
            self.sealed.insert(id, false);
        }
    }

    /// Takes in a data key, and has another look at what may be sealed under it.
    fn learn(&mut self, record: &WrappedKey) {
        match self.vault.as_ref().map_or(Ok(false), |vault| vault.learn(record)) {
            Ok(is_new) => {
                self.subscriptions.changed |= is_new && !self.sealed.is_empty();
                self.ecg_subscriptions.changed |= is_new && !self.ecg_sealed.is_empty();
            }
            Err(error) => self.wrong_key = Some(error),
        }
    }

    /// A data key that did not unwrap, if there was one since this was last asked.
    pub(super) fn take_wrong_key(&mut self) -> Option<VaultError> {
        self.wrong_key.take()
    }

    /// How many subscriptions cannot be opened.
    pub(super) fn sealed_count(&self) -> usize {
        self.sealed.len() + self.ecg_sealed.len()
    }

    /// Forgets the record with this key of the bucket ([`Record::key`]).
    pub(super) fn delete(&mut self, key: &str) {
        match key.split_once('.') {
            Some(("organisation", slug)) => self.organisations.delete(slug),
            Some(("site", slug)) => self.sites.delete(slug),
            Some(("account", id)) => self.accounts.delete(id),
            Some(("subscription", id)) => {
                self.subscriptions.delete(id);
                self.sealed.retain(|id, _| self.subscriptions.records.contains_key(id));
            }
            Some(("open_dental_key", id)) => self.key_pairs.delete(id),
            Some(("ecg_category", id)) => self.ecg_categories.delete(id),
            Some(("ecg_event", id)) => self.ecg_events.delete(id),
            Some(("ecg_subscription", id)) => {
                self.ecg_subscriptions.delete(id);
                self.ecg_sealed.retain(|id, _| self.ecg_subscriptions.records.contains_key(id));
            }
            Some(("data_key", id)) => {
                if let (Some(vault), Ok(id)) = (&self.vault, id.parse()) {
                    vault.forget(id);
                }
            }
            _ => tracing::warn!(config.key = key, "deleted a record of a kind this release does not know"),
        }
    }

    /// Whether something has changed since the last snapshot.
    pub(super) fn has_changed(&self) -> bool {
        self.organisations.changed
            || self.sites.changed
            || self.accounts.changed
            || self.subscriptions.changed
            || self.key_pairs.changed
            || self.has_ecg_changed()
    }

    fn has_ecg_changed(&self) -> bool {
        self.ecg_categories.changed || self.ecg_events.changed || self.ecg_subscriptions.changed
    }

    /// The snapshot of what is known now. Builds anew only the parts that have changed; 10,000 subscriptions take a
    /// few milliseconds, so changes are better applied many at a time.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        refresh(&mut self.latest.organisations, &mut self.organisations);
        refresh(&mut self.latest.sites, &mut self.sites);
        refresh(&mut self.latest.accounts, &mut self.accounts);
        if std::mem::take(&mut self.key_pairs.changed) {
            self.latest.key_pairs = Arc::new(self.key_pairs.records.values().map(Arc::as_ref).collect());
        }
        self.open_sealed();
        if std::mem::take(&mut self.subscriptions.changed) {
            self.latest.subscriptions = Arc::new(MatchIndex::new(self.subscriptions.records.values().cloned()));
        }
        self.open_sealed_ecg();
        if self.has_ecg_changed() {
            self.ecg_categories.changed = false;
            self.ecg_events.changed = false;
            self.ecg_subscriptions.changed = false;
            let (categories, events) = (&self.ecg_categories.records, &self.ecg_events.records);
            let index = EcgIndex::new(&self.latest.ecg, categories, events, self.ecg_subscriptions.records.values());
            self.latest.ecg = Arc::new(index);
        }
        self.latest.clone()
    }
}

impl Records {
    /// Opens what can be opened by now. What cannot stays as it is: known and matched, and not delivered to. A data key
    /// stands in the bucket before what is sealed under it, but comes after it when it was wrapped anew since.
    fn open_sealed(&mut self) {
        let Self { vault: Some(vault), sealed, subscriptions, .. } = self else { return };
        sealed.retain(|id, is_told| {
            let Some(record) = subscriptions.records.get_mut(id) else { return false };
            match vault.opened(Subscription::clone(record)) {
                Ok(opened) => {
                    *record = Arc::new(opened);
                    false
                }
                Err(error) => {
                    if !std::mem::replace(is_told, true) {
                        let error = format!("{:#}", anyhow::Error::from(error));
                        tracing::error!(subscription.id = %id, error, "held back: its secrets cannot be opened");
                    }
                    true
                }
            }
        });
    }
}

impl Records {
    /// As [`Self::open_sealed`].
    fn open_sealed_ecg(&mut self) {
        let Self { vault: Some(vault), ecg_sealed, ecg_subscriptions, .. } = self else { return };
        ecg_sealed.retain(|id, is_told| {
            let Some(record) = ecg_subscriptions.records.get_mut(id) else { return false };
            match vault.opened_ecg(EcgSubscription::clone(record)) {
                Ok(opened) => {
                    *record = Arc::new(opened);
                    false
                }
                Err(error) => {
                    if !std::mem::replace(is_told, true) {
                        let error = format!("{:#}", anyhow::Error::from(error));
                        tracing::error!(subscription.id = %id, error, "held back: its secrets cannot be opened");
                    }
                    true
                }
            }
        });
    }
}

fn refresh<K: Clone, V>(latest: &mut Arc<HashMap<K, Arc<V>>>, part: &mut Part<K, V>) {
    if std::mem::take(&mut part.changed) {
        *latest = Arc::new(part.records.clone());
    }
}

#[cfg(test)]
mod tests {
    use slipstream_core::sealing::{MasterKey, SecretText, Tenant};
    use slipstream_test_support::{builders, secrets};

    use super::*;

    fn site(revision: i64, name: &str) -> Record {
        Record::Site(Site {
            slug: "s8n6EzC".parse().unwrap(),
            name: name.into(),
            organisation: "o4fKq2".parse().unwrap(),
            billing_organisation: "o4fKq2".parse().unwrap(),
            product: slipstream_core::config::Product::Testing,
            pms_specific_id: None,
            ecg_organization: None,
            revision,
        })
    }

    fn name(records: &mut Records) -> Option<String> {
        let slug = "s8n6EzC".parse().unwrap();
        records.snapshot().site(&slug).map(|site| site.name.clone())
    }

    #[test]
    fn an_older_revision_does_not_replace_a_newer_one() {
        let mut records = Records::default();
        records.put(site(2, "new"));
        records.put(site(1, "old"));
        assert_eq!(name(&mut records).as_deref(), Some("new"));
        records.put(site(2, "again"));
        assert_eq!(name(&mut records).as_deref(), Some("again"));
    }

    #[test]
    fn a_deleted_record_may_come_back_with_any_revision() {
        let mut records = Records::default();
        records.put(site(7, "first"));
        records.delete("site.s8n6EzC");
        assert_eq!(name(&mut records), None);
        records.put(site(1, "second"));
        assert_eq!(name(&mut records).as_deref(), Some("second"));
    }

    #[test]
    fn a_change_leaves_the_other_parts_as_they_were() {
        let mut records = Records::default();
        records.put(site(1, "first"));
        let before = records.snapshot();
        assert!(!records.has_changed());
        records.delete("site.nothere");
        records.delete("account.not-an-id");
        records.delete("nonsense");
        assert!(!records.has_changed());
        records.put(site(2, "second"));
        let after = records.snapshot();
        assert!(Arc::ptr_eq(&before.subscriptions, &after.subscriptions));
        assert!(!Arc::ptr_eq(&before.sites, &after.sites));
    }

    fn subscription() -> Subscription {
        builders::subscription(builders::SITE, builders::account().account.id, "https://receiver.example/")
    }

    fn is_sealed(records: &mut Records, id: SubscriptionId) -> bool {
        records.snapshot().subscriptions().get(id).unwrap().secrets().any(SecretText::is_sealed)
    }

    #[test]
    fn a_subscription_is_opened_when_its_key_comes_first_or_last_or_anew() {
        let subscription = subscription();
        let [key, sealed] = secrets::records(&subscription);
        for order in [[&key, &sealed], [&sealed, &key]] {
            let mut records = Records::new(Some(Vault::new(secrets::master_key(), None)));
            records.put(order[0].clone());
            if matches!(order[0], Record::Subscription(_)) {
                assert!(is_sealed(&mut records, subscription.id), "known, and held back");
                assert_eq!(records.sealed_count(), 1);
            }
            records.put(order[1].clone());
            assert!(records.has_changed());
            assert!(!is_sealed(&mut records, subscription.id));
            assert_eq!((records.sealed_count(), records.take_wrong_key().is_none()), (0, true));
            records.put(key.clone());
            assert!(!records.has_changed(), "a known key changes nothing");
        }
    }

    #[test]
    fn a_key_of_another_master_is_told_and_opens_nothing() {
        let subscription = subscription();
        let mut records = Records::new(Some(Vault::new(MasterKey::from_bytes([3; 32]), None)));
        for record in secrets::records(&subscription) {
            records.put(record);
        }
        assert!(is_sealed(&mut records, subscription.id));
        let wrong = records.take_wrong_key();
        assert!(matches!(wrong, Some(VaultError::WrongMasterKey { tenant: Tenant::Site(_), .. })), "{wrong:?}");
        assert!(records.take_wrong_key().is_none());
    }

    #[test]
    fn without_a_vault_secrets_stay_sealed_and_nothing_waits_for_them() {
        let subscription = subscription();
        let mut records = Records::default();
        for record in secrets::records(&subscription) {
            records.put(record);
        }
        assert!(is_sealed(&mut records, subscription.id));
        assert_eq!((records.sealed_count(), records.has_changed()), (0, false));
    }

    #[test]
    fn what_is_sealed_and_deleted_is_not_waited_for_and_a_deleted_key_is_forgotten() {
        let vault = Vault::new(secrets::master_key(), None);
        let mut records = Records::new(Some(vault.clone()));
        let subscription = subscription();
        let [key, sealed] = secrets::records(&subscription);
        records.put(sealed.clone());
        records.delete(&sealed.key());
        assert_eq!(records.sealed_count(), 0);
        records.put(key.clone());
        assert!(vault.has_key_of(&subscription.tenant()));
        records.delete(&key.key());
        assert!(!vault.has_key_of(&subscription.tenant()));
    }
}
