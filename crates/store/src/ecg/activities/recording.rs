//! What the bus tells of posts, written down: by the writer of all records, in its transaction.
//!
//! Two writers that speak of one delivery have met at its row of `deliveries`, which each wrote before it comes here; two
//! that speak of one tree meet at the lock of its root. So what is found here is what is there, and can be changed by rules
//! ([`Chain`]) instead of by statements.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::answer::ErrorCode;
use slipstream_core::config::Surface;
use slipstream_core::contract::PostKind;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{ActivityId, DeliveryId, EcgEventId, EventKey, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::chain::{Chain, Whereabouts};
use super::contents;
use super::counts::Counts;
use super::row::{ActivityRow, WRITE, bind, lock_roots, rows};
use super::unsent::sent;
use crate::activity::DeliveryRecord;
use crate::activity::code::Code as _;
use crate::activity::query::{Conditions, KEYS_MAX, add_keys, of_ids};
use crate::entity::Row;
use crate::error::StoreError;

/// A post that somebody else than the activity log has made: the root of a tree, which we post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostRecord {
    /// The delivery; its id is that of the first activity, too.
    pub delivery: DeliveryId,
    /// The key that it has on the bus.
    pub key: EventKey,
    /// Whose subscription it is for.
    pub organization: Uuid,
    /// Which.
    pub subscription: SubscriptionId,
    /// Of which event; none of an activation.
    pub event: Option<EcgEventId>,
    /// What kind of post.
    pub kind: PostKind,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it; none if an event led to it.
    pub made_by: Option<Uuid>,
    /// The payload: JSON.
    pub payload: String,
    /// What led to it: JSON.
    pub raw_message: String,
}

impl PostRecord {
    /// Whether this record replaces `other` of the same delivery. There are no two that differ; if there were, one would.
    pub fn supersedes(&self, other: &Self) -> bool {
        let told = |it: &Self| (it.created_at, it.payload.clone(), it.raw_message.clone());
        told(self) < told(other)
    }
}

/// An attempt of a post and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostAttempt {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Which attempt, from 1.
    pub number: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<ErrorCode>,
    /// The first bytes of the answer's body.
    pub response: Option<Vec<u8>>,
    /// The hash that was sent along.
    pub hash: Option<String>,
}

impl PostAttempt {
    /// Whether this record replaces `other` of the same number: a success one that is none, else the later.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.precedence() > other.precedence()
    }
}

/// Chains that one statement reads. Few numbers of parameters, so that the drivers find it prepared; the last ones repeat one.
const PAIRS: [usize; 4] = [4, 16, 64, 128];

/// What a batch says of posts; one record per row.
#[derive(Debug)]
pub(crate) struct News<'a> {
    /// Deliveries of any surface, in the order of their ids.
    pub(crate) deliveries: &'a [DeliveryRecord],
    /// Posts that were made.
    pub(crate) posts: Vec<PostRecord>,
    /// Attempts of posts.
    pub(crate) attempts: Vec<PostAttempt>,
    /// The last news of each post that say that it waits for a retry; others may have superseded them.
    pub(crate) retries: BTreeMap<Uuid, DeliveryRecord>,
}

/// Writes down what is new, after the deliveries themselves; says what that adds to the counts, and which retries are not to
/// be made any more.
pub(crate) async fn record(
    transaction: &impl ConnectionTrait,
    news: News<'_>,
) -> Result<(Counts, Vec<DeliveryRecord>), StoreError> {
    let posts: BTreeMap<_, _> = news.posts.into_iter().map(|post| (post.delivery.0, post)).collect();
    let mut attempts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for attempt in news.attempts {
        attempts.entry(attempt.delivery.0).or_default().push(attempt);
    }
    let told: Vec<_> = news.deliveries.iter().filter(|it| it.surface == Surface::Ecg).collect();
    if told.is_empty() {
        return Ok((Counts::default(), Vec::new()));
    }
    let ids: Vec<_> = told.iter().map(|it| it.id.0).collect();
    let mut trees = Trees::read(transaction, &ids).await?;
    for record in &told {
        // Of one that is no replay nobody may have heard yet. A replay's activity is there before it is on the bus: without
        // it, it has been forgotten.
        let is_needed = posts.contains_key(&record.id.0) || attempts.contains_key(&record.id.0);
        if is_needed && record.replay.is_none() && !trees.chains.contains_key(&record.id.0) {
            let chain = Chain::unheard(record.id, record.subscription.0, record.event_key.as_str());
            trees.chains.insert(record.id.0, chain);
        }
    }
    let mut contents = Vec::new();
    for (id, chain) in &mut trees.chains {
        if let Some(post) = posts.get(id) {
            chain.heard_of(post);
            contents.push((*id, post.payload.clone(), post.raw_message.clone()));
        }
        attempts.remove(id).into_iter().flatten().for_each(|attempt| chain.attempted(&attempt));
    }
    contents::put(transaction, contents).await?;
    trees.write(transaction, news.retries).await
}

/// Brings the activities of deliveries in line with what `deliveries` says of them, which was just changed without a message;
/// says what that adds to the counts.
pub(crate) async fn settle(transaction: &impl ConnectionTrait, mut posts: Vec<Uuid>) -> Result<Counts, StoreError> {
    posts.sort_unstable();
    let (counts, _) = Trees::read(transaction, &posts).await?.write(transaction, BTreeMap::new()).await?;
    Ok(counts)
}

/// The chains of some deliveries, whose trees are locked.
#[derive(Debug, Default)]
struct Trees {
    chains: BTreeMap<Uuid, Chain>,
    /// As they were read.
    before: BTreeMap<Uuid, ActivityRow>,
    /// Roots of trees that had a success.
    successful: BTreeSet<Uuid>,
}

impl Trees {
    /// Locks and reads what there is of these deliveries.
    async fn read(transaction: &impl ConnectionTrait, deliveries: &[Uuid]) -> Result<Self, StoreError> {
        #[derive(FromQueryResult)]
        struct Found {
            id: Uuid,
            root: Uuid,
        }
        let backend = transaction.get_database_backend();
        let mut found = Vec::new();
        for (places, values) in of_ids(deliveries) {
            let sql = format!("SELECT id, root FROM ecg_activities WHERE id IN ({places})");
            let statement = Statement::from_sql_and_values(backend, sql, values);
            found.extend(Found::find_by_statement(statement).all(transaction).await?);
        }
        let roots: BTreeSet<_> = found.iter().map(|it| it.root).collect();
        let locked = lock_roots(transaction, &roots.into_iter().collect::<Vec<_>>()).await?;
        let successful = locked.iter().filter(|root| root.tree_success != 0).map(|root| root.id).collect();
        let mut read: BTreeMap<_, Vec<ActivityRow>> = BTreeMap::new();
        for chunk in found.chunks(PAIRS[3]) {
            let Some(last) = chunk.last() else { continue };
            let size = PAIRS.into_iter().find(|size| *size >= chunk.len()).unwrap_or(PAIRS[3]);
            let places = (1..=size).map(|number| format!("(${}, ${})", number * 2 - 1, number * 2));
            // Asked for by both, because that is what the index begins with.
            let rest = format!(" WHERE (root, delivery) IN (VALUES {})", places.collect::<Vec<_>>().join(", "));
            let padded = chunk.iter().chain(std::iter::repeat(last)).take(size);
            let values = padded.flat_map(|it| [it.root, it.id]).map(|id| Value::Uuid(Some(id))).collect();
            for row in rows(transaction, &rest, values).await? {
                read.entry(row.delivery.unwrap_or_default()).or_default().push(row);
            }
        }
        let before = read.values().flatten().map(|row| (row.id, row.clone())).collect();
        let chains = read.into_iter().filter_map(|(id, rows)| Some((id, Chain::of(DeliveryId(id), rows)?))).collect();
        Ok(Self { chains, before, successful })
    }

    /// Brings all in line with each other, and writes what is not as it was; says which of `retries` are over.
    async fn write(
        mut self,
        transaction: &impl ConnectionTrait,
        mut retries: BTreeMap<Uuid, DeliveryRecord>,
    ) -> Result<(Counts, Vec<DeliveryRecord>), StoreError> {
        let now_successful: BTreeSet<_> =
            self.chains.values().filter(|chain| chain.has_success()).map(Chain::root).collect();
        let newly: Vec<_> = now_successful.difference(&self.successful).copied().collect();
        self.successful.extend(&newly);
        let whereabouts = whereabouts(transaction, &self.chains).await?;
        let (mut counts, mut changed, mut over) = (Counts::default(), BTreeMap::new(), Vec::new());
        for (id, mut chain) in self.chains {
            let tree_success = self.successful.contains(&chain.root());
            if let Some(now) = whereabouts.get(&id) {
                chain.settle(*now, tree_success);
                let retry = retries.remove(&id).filter(|it| chain.is_over(it.updated_at, *now, tree_success));
                over.extend(retry.map(|it| DeliveryRecord { state: now.state, ..it }));
            }
            for row in chain.rows.into_values() {
                match self.before.get(&row.id) {
                    Some(before) if *before == row => continue,
                    Some(before) => counts.changed(before, &row),
                    None => counts.made(&row),
                }
                changed.insert(row.id, row);
            }
        }
        // Attempted, so it is on the bus, whether or not whoever put it there could say so.
        let on_the_bus = |row: &ActivityRow| row.number == 1 && row.took_us.is_some();
        let on_the_bus: Vec<_> = changed.values().filter(|row| on_the_bus(row)).map(|row| ActivityId(row.id)).collect();
        sent(transaction, &on_the_bus).await?;
        WRITE.run(transaction, changed.into_values().collect(), bind).await?;
        for root in newly {
            succeeded(transaction, root).await?;
        }
        Ok((counts, over))
    }
}

/// One of the tree of `root`, which is locked, was taken: nothing of it is repeated by itself any more.
pub(super) async fn succeeded(transaction: &impl ConnectionTrait, root: Uuid) -> Result<(), StoreError> {
    for sql in [
        "UPDATE ecg_activities SET tree_success = 1 WHERE id = $1",
        "UPDATE ecg_activities SET next_retry_ms = NULL WHERE root = $1 AND next_retry_ms IS NOT NULL",
    ] {
        let values = [Value::Uuid(Some(root))];
        let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
        transaction.execute_raw(statement).await?;
    }
    Ok(())
}

/// Where the deliveries of these chains are recorded to be.
async fn whereabouts(
    transaction: &impl ConnectionTrait,
    chains: &BTreeMap<Uuid, Chain>,
) -> Result<BTreeMap<Uuid, Whereabouts>, StoreError> {
    #[derive(FromQueryResult)]
    struct Found {
        id: Uuid,
        state: i16,
        reason: Option<i16>,
        next_attempt_ms: Option<i64>,
        updated_ms: i64,
    }
    let key = |chain: &Chain| (chain.delivery.accepted_at().as_millis(), Value::Uuid(Some(chain.delivery.0)));
    let keys: Vec<_> = chains.values().map(key).collect();
    let mut whereabouts = BTreeMap::new();
    for keys in keys.chunks(KEYS_MAX) {
        let mut conditions = Conditions::default();
        add_keys(&mut conditions, "(created_ms, id)", keys);
        let (condition, values) = conditions.into_where();
        let sql = format!("SELECT id, state, reason, next_attempt_ms, updated_ms FROM deliveries{condition}");
        let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
        for found in Found::find_by_statement(statement).all(transaction).await? {
            let key = found.id.to_string();
            let row = Row { table: "deliveries", key: &key };
            let reason = found.reason.map(|reason| row.name("reason", Reason::from_code(reason)));
            let now = Whereabouts {
                state: row.name("state", DeliveryState::from_code(found.state))?,
                reason: reason.transpose()?,
                next_attempt_ms: found.next_attempt_ms,
                updated_ms: found.updated_ms,
            };
            whereabouts.insert(found.id, now);
        }
    }
    Ok(whereabouts)
}
