//! The buckets of all actors, in shards: two actors seldom meet at a lock, and one actor's requests would meet at its
//! counter whatever we did.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Policy;
use super::bucket::Bucket;
use crate::auth::Actor;

/// Locks. A critical section is some 50 ns, so that even one lock would do for a million requests a second; this many
/// keep a thread that is put aside within one from holding up all the others.
const SHARDS: usize = 32;
/// A shard with fewer actors is not looked through.
const SWEPT_FROM: usize = 64;

/// An actor's buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    publish: Bucket,
    requests: Bucket,
}

impl Buckets {
    pub(super) const fn full(now: Instant) -> Self {
        Self { publish: Bucket::full(now), requests: Bucket::full(now) }
    }

    pub(super) const fn of(&mut self, policy: Policy) -> &mut Bucket {
        match policy {
            Policy::Publish => &mut self.publish,
            Policy::Requests => &mut self.requests,
        }
    }

    fn are_full(&self, now: Instant) -> bool {
        self.publish.is_full(now) && self.requests.is_full(now)
    }
}

/// Holds buckets of those actors only that are not known to be full again: a full bucket says nothing that its absence
/// does not. A shard is looked through whenever it has doubled, so that looking costs each newcomer two steps at most,
/// and never holds more than twice as many as had something missing when it was looked through, or [`SWEPT_FROM`].
#[derive(Debug)]
pub(super) struct Table {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug)]
struct Shard {
    actors: HashMap<Actor, Buckets>,
    sweep_at: usize,
}

impl Default for Table {
    fn default() -> Self {
        let shard = |_| Mutex::new(Shard { actors: HashMap::new(), sweep_at: SWEPT_FROM });
        Self { hasher: RandomState::new(), shards: std::array::from_fn(shard) }
    }
}

impl Table {
    /// What `work` makes of the buckets of `actor`, which are full if there were none.
    pub(super) fn with<T>(&self, actor: &Actor, now: Instant, work: impl FnOnce(&mut Buckets) -> T) -> T {
        let mut shard = self.shard(actor);
        if let Some(buckets) = shard.actors.get_mut(actor) {
            return work(buckets);
        }
        shard.make_room(now);
        work(shard.actors.entry(actor.clone()).or_insert_with(|| Buckets::full(now)))
    }

    /// What `work` makes of the buckets of `actor`, if it has any.
    pub(super) fn find<T>(&self, actor: &Actor, work: impl FnOnce(&mut Buckets) -> T) -> Option<T> {
        self.shard(actor).actors.get_mut(actor).map(work)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).actors.len()).sum()
    }

    fn shard(&self, actor: &Actor) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hasher.hash_one(actor) as usize % SHARDS])
    }
}

/// Numbers only: nothing is left half done under this lock.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn make_room(&mut self, now: Instant) {
        if self.actors.len() < self.sweep_at {
            return;
        }
        self.actors.retain(|_, buckets| !buckets.are_full(now));
        self.sweep_at = (self.actors.len() * 2).max(SWEPT_FROM);
        self.actors.shrink_to(self.sweep_at);
    }
}
