//! How many activities each list has, by ten minutes: table `ecg_activity_counts`.
//!
//! Whoever makes, changes or removes an activity holds the lock of its tree and knows what it was before, so each is counted
//! once, however often messages repeat it. An activity counts for each list that shows it: of all, of its event, and, once
//! that is known, by its success.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::Filter;
use super::row::ActivityRow;
use crate::activity::query::big;
use crate::activity::upsert::Upsert;
use crate::error::StoreError;

/// How long the activities of one row were posted. Within it a page is found by counting.
pub(super) const BUCKET_MS: i64 = 600_000;

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct List {
    pub(super) subscription: Uuid,
    pub(super) kind: i16,
    /// Nil: of whatever event.
    pub(super) event: Uuid,
    /// -1: of whatever success.
    pub(super) success: i16,
}

impl List {
    pub(super) fn of(filter: &Filter) -> Self {
        Self {
            subscription: filter.subscription.0,
            kind: kind(filter),
            event: filter.event.map_or(Uuid::nil(), |event| event.0),
            success: filter.success.map_or(-1, i16::from),
        }
    }

    /// What says which it is, in a statement.
    pub(super) fn values(&self) -> [Value; 4] {
        let small = |number| Value::SmallInt(Some(number));
        [Value::Uuid(Some(self.subscription)), small(self.kind), Value::Uuid(Some(self.event)), small(self.success)]
    }
}

/// The kind that a list is of.
pub(super) fn kind(filter: &Filter) -> i16 {
    i16::from(!filter.activations)
}

/// Where an activity counts.
fn places(row: &ActivityRow) -> impl Iterator<Item = (List, i64)> {
    let list = |event, success| List { subscription: row.subscription, kind: row.kind, event, success };
    let of_event = |event| [Some(list(event, -1)), row.success.map(|success| list(event, success))];
    let events = [Some(Uuid::nil()), row.event.filter(|event| !event.is_nil())];
    let lists = events.into_iter().flatten().flat_map(of_event).flatten();
    let bucket = row.sort_ms - row.sort_ms.rem_euclid(BUCKET_MS);
    let lists: Vec<_> = if row.is_heard_of() { lists.collect() } else { Vec::new() };
    lists.into_iter().map(move |list| (list, bucket))
}

/// What a transaction has to add to the counts.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<(List, i64), i64>);

impl Counts {
    /// An activity is there that was not.
    pub(super) fn made(&mut self, row: &ActivityRow) {
        places(row).for_each(|place| *self.0.entry(place).or_default() += 1);
    }

    /// An activity is gone.
    pub(super) fn removed(&mut self, row: &ActivityRow) {
        places(row).for_each(|place| *self.0.entry(place).or_default() -= 1);
    }

    /// An activity is not what it was.
    pub(super) fn changed(&mut self, before: &ActivityRow, after: &ActivityRow) {
        self.removed(before);
        self.made(after);
    }

    /// Adds it. The last statement of its transaction, in the order of the keys, since other writers wait for these rows.
    pub(crate) async fn add(self, connection: &impl ConnectionTrait) -> Result<(), StoreError> {
        let rows = self.0.into_iter().filter(|(_, growth)| *growth != 0).collect();
        let bind = |((list, bucket), growth): ((List, i64), i64), values: &mut Vec<Value>| {
            values.extend(list.values());
            values.extend([big(bucket), big(growth)]);
        };
        COUNTS.run(connection, rows, bind).await
    }
}

const COUNTS: Upsert = Upsert {
    table: "ecg_activity_counts",
    columns: &["subscription", "kind", "event", "success", "bucket_ms", "total"],
    on_conflict: "(subscription, kind, event, success, bucket_ms) \
                  DO UPDATE SET total = ecg_activity_counts.total + excluded.total",
};
