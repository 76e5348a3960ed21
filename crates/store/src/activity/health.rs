//! Whether an endpoint has done nothing but fail (SPEC 4.4).

use sea_orm::{ConnectionTrait, Statement, Value};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

use super::code::Code as _;
use super::query::{big, string};
use crate::error::StoreError;

/// How long before a failure its event may have been accepted: the schedule of attempts takes four days, and a delivery
/// that was put off for longer is not missed among the others. Bounds how many rows are looked at.
const ACCEPTED_BEFORE_MS: i64 = 7 * 24 * 3600 * 1000;

/// What is asked of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Whose endpoint.
    pub subscription: SubscriptionId,
    /// The site of all its events.
    pub site: Slug,
    /// Since when.
    pub since: Timestamp,
    /// Fewer attempts than this prove nothing.
    pub attempts_min: u32,
}

/// Whether at least so many attempts started in this time, and none of the endpoint's deliveries has succeeded in it.
pub async fn is_failing(connection: &impl ConnectionTrait, asked: &Failing) -> Result<bool, StoreError> {
    let Failing { subscription, site, since, attempts_min } = asked;
    let since = since.as_millis();
    let ours = || {
        [
            string(site.as_str()),
            big(since.saturating_sub(ACCEPTED_BEFORE_MS)),
            Value::Uuid(Some(subscription.0)),
            big(since),
        ]
    };
    let ask = async |sql: &str, last: Value| {
        let values = ours().into_iter().chain([last]);
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        connection.query_one_raw(statement).await
    };
    // Attempts are looked for one delivery after the other, and no further than is needed: this is asked every minute of
    // every endpoint that has been degraded for days. A delivery that was last touched before has none.
    let enough = "SELECT 1 AS found FROM deliveries d JOIN attempts a ON a.delivery_id = d.id \
                  WHERE d.site = $1 AND d.created_ms >= $2 AND d.subscription = $3 AND d.updated_ms >= $4 \
                  AND a.started_ms >= $4 LIMIT 1 OFFSET $5";
    let skipped = i64::from(attempts_min.saturating_sub(1));
    if ask(enough, big(skipped)).await?.is_none() {
        return Ok(false);
    }
    let success = "SELECT 1 AS found FROM deliveries d WHERE d.site = $1 AND d.created_ms >= $2 \
                   AND d.subscription = $3 AND d.updated_ms >= $4 AND d.state = $5 LIMIT 1";
    Ok(ask(success, Value::SmallInt(Some(DeliveryState::Succeeded.code()))).await?.is_none())
}
