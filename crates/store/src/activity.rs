//! What happened: events, their deliveries, and every attempt. Written in batches, read by people.
//!
//! Writing happens at the speed of delivering and shares the machine with it, so the tables are made for few and
//! cheap writes (SQLite's own share, batches of 2,000 events with one delivery each: about 11 µs of CPU per event):
//!
//! - One row per event, delivery and attempt, however many messages spoke of it: a [`Batch`] merges first.
//! - Keys begin with the time of acceptance (a delivery's id holds it, [`DeliveryRecord::created_at`]), so that new
//!   rows go to the end of their trees.
//! - Closed sets are small numbers (module `code`); the API speaks in names.
//! - A delivery does not repeat what its event says; reading joins them by (`created_ms`, `event_key`).
//!
//! | question | index |
//! | --- | --- |
//! | newest deliveries; a delivery; an event's deliveries | primary key (`created_ms`, `id`) |
//! | of a site, of a subscription (its site is in `delivery_subscriptions`) | (`site`, `created_ms`) |
//! | in a state other than `succeeded`; what to cancel | (`state`, `created_ms`), partial |
//! | what an endpoint has not taken | (`subscription`, `created_ms`), partial |
//! | deliveries of an event, by its key alone | `deliveries.event_key`, on PostgreSQL only |
//! | an event by `id` and key; what was seen before | `events.id_hash`, 32 bits of hash |
//! | what waits for its time, by site | `events` (`site`, `intended_ms`, `key`), partial |
//! | an event that was scheduled, by its key alone | `events.key`, partial |
//! | everything accepted in a time, and what became of it | the primary keys of both |
//! | old response bytes | `attempts.started_ms`, partial |
//! | what an endpoint's deliveries amount to | none: the rows of `endpoint_hours` are few |
//! | jobs to work on | `replay_jobs.lease_until_ms`, partial |
//!
//! Every write is idempotent and order does not matter: see [`EventRecord::supersedes`] and
//! [`DeliveryRecord::supersedes`].

mod batch;
pub(crate) mod code;
pub(crate) mod counting;
mod health;
mod quarantine;
pub(crate) mod query;
mod reconcile;
pub(crate) mod record;
mod removal;
pub mod replay;
mod retention;
mod row;
mod scheduled;
mod seen;
mod statistics;
pub(crate) mod upsert;

pub use self::batch::{AttemptRecord, Batch, DeliveryRecord, EventRecord, Removal};
pub use self::health::{Failing, is_failing};
pub use self::quarantine::{Quarantined, quarantined};
pub use self::query::{Delivery, EventName, ExplainedEvent, Filter, delivery, event, list};
pub use self::reconcile::{
    AcceptedPlace, ByState, RECONCILED_DELIVERIES_MAX, Range, Reconciled, ReconciledDelivery, ReconciledPage, Totals,
    reconcile, totals,
};
pub use self::record::{is_about_the_rows, record};
pub use self::retention::{Retention, expire};
pub use self::scheduled::{HeldFilter, HeldPlace, held, scheduled};
pub use self::seen::seen;
pub use self::statistics::{Statistics, statistics};
