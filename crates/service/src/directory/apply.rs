//! The records that a snapshot is made of, and which parts of it a change touches.

use std::collections::HashMap;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Arc;

use slipstream_core::config::{Account, Organisation, Record, Site, Subscription};
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::matching::MatchIndex;
use slipstream_core::slug::Slug;

use super::Snapshot;

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
    /// Takes `value` in, unless a newer revision is known already: writers may overtake each other on the way.
    fn put(&mut self, key: K, value: V, revision: impl Fn(&V) -> i64) {
        if self.records.get(&key).is_some_and(|known| revision(known) > revision(&value)) {
            return;
        }
        self.records.insert(key, Arc::new(value));
        self.changed = true;
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
    latest: Snapshot,
}

impl Records {
    /// Takes in a record.
    pub(super) fn put(&mut self, record: Record) {
        match record {
            Record::Organisation(record) => self.organisations.put(record.slug.clone(), record, |r| r.revision),
            Record::Site(record) => self.sites.put(record.slug.clone(), record, |r| r.revision),
            Record::Account(record) => self.accounts.put(record.id, record, |r| r.revision),
            Record::Subscription(record) => self.subscriptions.put(record.id, *record, |r| r.revision),
        }
    }

    /// Forgets the record with this key of the bucket ([`Record::key`]).
    pub(super) fn delete(&mut self, key: &str) {
        match key.split_once('.') {
            Some(("organisation", slug)) => self.organisations.delete(slug),
            Some(("site", slug)) => self.sites.delete(slug),
            Some(("account", id)) => self.accounts.delete(id),
            Some(("subscription", id)) => self.subscriptions.delete(id),
            _ => tracing::warn!(config.key = key, "deleted a record of a kind this release does not know"),
        }
    }

    /// Whether something has changed since the last snapshot.
    pub(super) fn has_changed(&self) -> bool {
        self.organisations.changed || self.sites.changed || self.accounts.changed || self.subscriptions.changed
    }

    /// The snapshot of what is known now. Builds anew only the parts that have changed; 10,000 subscriptions take a
    /// few milliseconds, so changes are better applied many at a time.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        refresh(&mut self.latest.organisations, &mut self.organisations);
        refresh(&mut self.latest.sites, &mut self.sites);
        refresh(&mut self.latest.accounts, &mut self.accounts);
        if std::mem::take(&mut self.subscriptions.changed) {
            self.latest.subscriptions = Arc::new(MatchIndex::new(self.subscriptions.records.values().cloned()));
        }
        self.latest.clone()
    }
}

fn refresh<K: Clone, V>(latest: &mut Arc<HashMap<K, Arc<V>>>, part: &mut Part<K, V>) {
    if std::mem::take(&mut part.changed) {
        *latest = Arc::new(part.records.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(revision: i64, name: &str) -> Record {
        Record::Site(Site {
            slug: "s8n6EzC".parse().unwrap(),
            name: name.into(),
            organisation: "o4fKq2".parse().unwrap(),
            billing_organisation: "o4fKq2".parse().unwrap(),
            product: slipstream_core::config::Product::Testing,
            pms_specific_id: None,
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
}
