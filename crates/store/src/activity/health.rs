//! Whether an endpoint has done nothing but fail (SPEC 4.4).
//!
//! Asked every minute of every endpoint that has been degraded for days, of however large a site, so neither question
//! looks at more than a bounded number of rows: when an endpoint last took something is kept beside its subscription, and
//! attempts are looked for among what it has not taken.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::batch::DeliveryRecord;
use super::query::{big, of_ids};
use super::upsert::{Upsert, text};
use crate::error::StoreError;

/// How long before a failure its event may have been accepted: the schedule of attempts takes four days, and a delivery
/// that was put off for longer is not missed among the others.
const ACCEPTED_BEFORE_MS: i64 = 7 * 24 * 3600 * 1000;
/// Deliveries whose attempts are counted, the oldest in front: they were tried most.
const DELIVERIES_MAX: i64 = 5000;
/// How much later than the noted success one has to be to be noted: else every batch would write a row for every
/// subscription, and those who write at the same time would wait for each other.
const NOTED_EVERY_MS: i64 = 60_000;

/// What is asked of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Whose endpoint.
    pub subscription: SubscriptionId,
    /// Since when nothing may have succeeded.
    pub since: Timestamp,
    /// Since when attempts count: from when on it is known to fail, which may be longer ago.
    pub attempts_since: Timestamp,
    /// Fewer attempts than this prove nothing.
    pub attempts_min: u32,
}

/// Whether at least so many attempts have started, and none of the endpoint's deliveries has succeeded, each since then.
///
/// A success up to a minute before counts as one in it: which of two within a minute was the last is not kept.
pub async fn is_failing(connection: &impl ConnectionTrait, asked: &Failing) -> Result<bool, StoreError> {
    let Failing { subscription, since, attempts_since, attempts_min } = asked;
    let (since, attempts_since) = (since.as_millis(), attempts_since.as_millis());
    let ask = async |sql: &str, values: Vec<Value>| {
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        connection.query_one_raw(statement).await
    };
    let id = || Value::Uuid(Some(subscription.0));
    let took = "SELECT 1 AS found FROM delivery_subscriptions WHERE subscription = $1 AND succeeded_ms > $2";
    if ask(took, vec![id(), big(since.saturating_sub(NOTED_EVERY_MS))]).await?.is_some() {
        return Ok(false);
    }
    // None was taken, so all are in the partial index. One that was last touched before has no attempt since.
    let enough = "SELECT 1 AS found FROM (SELECT id FROM deliveries WHERE subscription = $1 AND state <> 60 \
                  AND created_ms >= $2 AND updated_ms >= $3 ORDER BY created_ms LIMIT $4) d \
                  JOIN attempts a ON a.delivery_id = d.id AND a.started_ms >= $3 LIMIT 1 OFFSET $5";
    let accepted = big(attempts_since.saturating_sub(ACCEPTED_BEFORE_MS));
    let skipped = big(i64::from(attempts_min.saturating_sub(1)));
    Ok(ask(enough, vec![id(), accepted, big(attempts_since), big(DELIVERIES_MAX), skipped]).await?.is_some())
}

const NOTED: Upsert = Upsert {
    table: "delivery_subscriptions",
    columns: &["subscription", "site", "succeeded_ms"],
    on_conflict: "(subscription) DO UPDATE SET succeeded_ms = excluded.succeeded_ms \
                  WHERE delivery_subscriptions.succeeded_ms IS NULL \
                  OR delivery_subscriptions.succeeded_ms < excluded.succeeded_ms",
};

/// The latest success of each subscription among `deliveries`, in the order of the subscriptions.
pub(super) fn successes(deliveries: &[DeliveryRecord]) -> Vec<(Uuid, String, i64)> {
    let taken = deliveries.iter().filter(|delivery| delivery.state == DeliveryState::Succeeded);
    let mut latest: Vec<_> = taken.map(|it| (it.subscription.0, it.site.as_str(), it.updated_at.as_millis())).collect();
    latest.sort_unstable_by_key(|(subscription, _, at)| (*subscription, std::cmp::Reverse(*at)));
    latest.dedup_by_key(|(subscription, ..)| *subscription);
    latest.into_iter().map(|(subscription, site, at)| (subscription, site.to_owned(), at)).collect()
}

/// Notes successes that are a minute or more later than what is noted.
pub(super) async fn note(
    connection: &impl ConnectionTrait,
    mut successes: Vec<(Uuid, String, i64)>,
) -> Result<(), StoreError> {
    #[derive(FromQueryResult)]
    struct Noted {
        subscription: Uuid,
        succeeded_ms: i64,
    }
    let mut noted = Vec::new();
    let ids: Vec<_> = successes.iter().map(|(subscription, ..)| *subscription).collect();
    for (places, values) in of_ids(&ids) {
        let sql = format!(
            "SELECT subscription, succeeded_ms FROM delivery_subscriptions \
             WHERE succeeded_ms IS NOT NULL AND subscription IN ({places})"
        );
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        noted.extend(Noted::find_by_statement(statement).all(connection).await?);
    }
    noted.sort_unstable_by_key(|it| it.subscription);
    successes.retain(|(subscription, _, at)| {
        let found = noted.binary_search_by_key(subscription, |it| it.subscription);
        found.map_or(true, |found| *at >= noted[found].succeeded_ms + NOTED_EVERY_MS)
    });
    let bind = |(subscription, site, at), values: &mut Vec<Value>| {
        values.extend([Value::Uuid(Some(subscription)), text(site), big(at)]);
    };
    NOTED.run(connection, successes, bind).await
}
