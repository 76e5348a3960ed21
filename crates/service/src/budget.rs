//! What all callers together may hold of something of ours, and each of them alone (THREATS 7, N9).
//!
//! A limit on all together protects the process, and lets one caller shut out the others; so each has a limit of its own
//! below it. Those without a credential count as one caller: that they are many is easily said. Operators have a budget
//! apart, which no tenant can use up.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

use crate::auth::{Actor, Granted};

/// Locks, so that two callers seldom meet at one.
const SHARDS: usize = 16;

/// Who makes a request, as far as it has a credential.
pub(crate) fn actor_of(extensions: &Extensions) -> Option<Actor> {
    extensions.get::<Granted>().map(|granted| granted.principal.actor())
}

/// Why there is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// All together hold too much.
    All,
    /// The caller does.
    Own,
}

/// A budget, in whatever it counts. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tenants: Pot,
    own_max: usize,
    operators: Pot,
    hasher: RandomState,
    /// What each holds; nobody who holds nothing.
    own: [Mutex<HashMap<Option<Actor>, usize>>; SHARDS],
}

#[derive(Debug)]
struct Pot {
    max: usize,
    used: AtomicUsize,
}

impl Budget {
    /// All but operators together may hold `max`, each of them `own_max`, and operators `operators_max`.
    pub(crate) fn new(max: usize, own_max: usize, operators_max: usize) -> Self {
        let pot = |max| Pot { max, used: AtomicUsize::new(0) };
        let (tenants, operators) = (pot(max), pot(operators_max));
        let (hasher, own) = (RandomState::new(), std::array::from_fn(|_| Mutex::default()));
        Self(Arc::new(Inner { tenants, own_max, operators, hasher, own }))
    }

    /// Nothing yet, for `actor`; none is whoever has no credential.
    pub(crate) fn share(&self, actor: Option<Actor>) -> Share {
        Share { budget: self.clone(), actor, held: 0 }
    }

    /// What all hold, operators too.
    pub(crate) fn used(&self) -> usize {
        self.0.tenants.used.load(Ordering::Relaxed) + self.0.operators.used.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn own(&self, actor: Option<&Actor>) -> MutexGuard<'_, HashMap<Option<Actor>, usize>> {
        let shard = &self.own[self.hasher.hash_one(actor) as usize % SHARDS];
        // Numbers only: nothing is left half done under this lock.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pot {
    fn take(&self, amount: usize) -> Result<(), Exceeded> {
        if self.used.fetch_add(amount, Ordering::Relaxed) + amount > self.max {
            self.give_back(amount);
            return Err(Exceeded::All);
        }
        Ok(())
    }

    fn give_back(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// What one request holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    actor: Option<Actor>,
    held: usize,
}

impl Share {
    /// How much it holds.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Takes more of the budget.
    ///
    /// # Errors
    /// When there is not enough left; nothing is taken then.
    pub(crate) fn grow(&mut self, amount: usize) -> Result<(), Exceeded> {
        let budget = &self.budget.0;
        if self.actor == Some(Actor::Operator) {
            budget.operators.take(amount)?;
        } else {
            budget.tenants.take(amount)?;
            let mut own = budget.own(self.actor.as_ref());
            let used = own.get(&self.actor).copied().unwrap_or(0) + amount;
            if used > budget.own_max {
                budget.tenants.give_back(amount);
                return Err(Exceeded::Own);
            }
            own.insert(self.actor.clone(), used);
        }
        self.held += amount;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.held == 0 {
            return;
        }
        let budget = &self.budget.0;
        if self.actor == Some(Actor::Operator) {
            return budget.operators.give_back(self.held);
        }
        budget.tenants.give_back(self.held);
        let mut own = budget.own(self.actor.as_ref());
        if let Some(used) = own.get_mut(&self.actor) {
            *used -= self.held;
            if *used == 0 {
                own.remove(&self.actor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use slipstream_core::ids::AccountId;
    use uuid::Uuid;

    use super::*;

    fn actor(number: u128) -> Actor {
        Actor::Account(AccountId(Uuid::from_u128(number)))
    }

    fn taken(budget: &Budget, actor: impl Into<Option<Actor>>, amount: usize) -> Result<Share, Exceeded> {
        let mut share = budget.share(actor.into());
        share.grow(amount).map(|()| share)
    }

    #[test]
    fn nobody_uses_up_what_is_for_all() {
        let budget = Budget::new(10, 4, 5);
        let first = taken(&budget, actor(1), 3).unwrap();
        assert_eq!(taken(&budget, actor(1), 2).unwrap_err(), Exceeded::Own);
        let _more = taken(&budget, actor(1), 1).unwrap();
        let _second = taken(&budget, actor(2), 4).unwrap();
        assert_eq!(taken(&budget, actor(3), 3).unwrap_err(), Exceeded::All);
        let _third = taken(&budget, actor(3), 2).unwrap();
        drop(first);
        assert!(taken(&budget, actor(3), 2).is_ok());
        assert_eq!(budget.used(), 7);
    }

    #[test]
    fn those_without_a_credential_are_one_caller() {
        let budget = Budget::new(10, 4, 5);
        let _first = taken(&budget, None, 3).unwrap();
        assert_eq!(taken(&budget, None, 2).unwrap_err(), Exceeded::Own);
        assert!(taken(&budget, actor(1), 4).is_ok());
    }

    #[test]
    fn operators_have_a_budget_that_tenants_cannot_use_up() {
        let budget = Budget::new(4, 4, 5);
        let _all = taken(&budget, actor(1), 4).unwrap();
        let operator = taken(&budget, Actor::Operator, 5).unwrap();
        assert_eq!(taken(&budget, Actor::Operator, 1).unwrap_err(), Exceeded::All);
        assert_eq!(budget.used(), 9);
        drop(operator);
        assert!(taken(&budget, Actor::Operator, 1).is_ok());
    }

    #[test]
    fn a_share_grows_and_nothing_is_kept_of_whoever_holds_nothing() {
        let budget = Budget::new(10, 4, 5);
        let mut share = budget.share(Some(actor(1)));
        assert_eq!([share.grow(2), share.grow(2), share.grow(1)], [Ok(()), Ok(()), Err(Exceeded::Own)]);
        assert_eq!((share.held(), budget.used()), (4, 4));
        drop(share);
        assert_eq!(budget.used(), 0);
        assert!(budget.0.own.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
