//! The keys of requests that may be sent again (SPEC 2.3), as [`Keys`] promises: each function is one statement, so of
//! several requests at once one is the first, on both backends and over all replicas.

use sea_orm::{ConnectionTrait as _, FromQueryResult, Statement, Value};
use slipstream_core::idempotency::{Answer, Claim, Claimed, Kept, Keys};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use crate::entity::{Row, to_json};
use crate::error::StoreError;
use crate::store::Store;

/// A key whose time is over is as good as none. So is one whose request is not finished when its lease is over, for the same
/// request; for another one it is still taken. One that was given back (its lease ended at 0) is free for any. Only the same
/// request keeps the id that it makes things under.
const CLAIM: &str = "INSERT INTO idempotency_keys (scope, fingerprint, token, made_id, lease_until_ms, expires_ms) \
                     VALUES ($1, $2, $3, $3, $4, $5) ON CONFLICT (scope) DO UPDATE SET \
                     fingerprint = excluded.fingerprint, token = excluded.token, \
                     made_id = CASE WHEN idempotency_keys.expires_ms <= $6 \
                     OR idempotency_keys.fingerprint <> excluded.fingerprint THEN excluded.made_id \
                     ELSE COALESCE(idempotency_keys.made_id, excluded.made_id) END, \
                     lease_until_ms = excluded.lease_until_ms, expires_ms = excluded.expires_ms, \
                     status = NULL, headers = NULL, body = NULL \
                     WHERE idempotency_keys.expires_ms <= $6 OR (idempotency_keys.status IS NULL \
                     AND idempotency_keys.lease_until_ms <= $6 \
                     AND (idempotency_keys.fingerprint = excluded.fingerprint OR idempotency_keys.lease_until_ms = 0)) \
                     RETURNING made_id";

#[derive(FromQueryResult)]
struct ClaimedRow {
    made_id: Uuid,
}

#[derive(FromQueryResult)]
struct KeyRow {
    fingerprint: Vec<u8>,
    made_id: Option<Uuid>,
    status: Option<i16>,
    headers: Option<String>,
    body: Option<Vec<u8>>,
}

impl Keys for Store {
    type Error = StoreError;

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let values = [
            text(claim.scope.as_str()),
            Value::Bytes(Some(claim.fingerprint.as_bytes().to_vec())),
            Value::Uuid(Some(claim.token)),
            millis(claim.lease_until),
            millis(claim.expires_at),
            millis(claim.now),
        ];
        let backend = self.connection().get_database_backend();
        let statement = Statement::from_sql_and_values(backend, CLAIM, values);
        // All there are, which is one: SQLite is done with a statement when there are no more rows.
        let claimed = ClaimedRow::find_by_statement(statement).all(self.connection()).await?;
        if let Some(row) = claimed.first() {
            return Ok(Claimed::First(row.made_id));
        }
        let sql = "SELECT fingerprint, made_id, status, headers, body FROM idempotency_keys WHERE scope = $1";
        let statement = Statement::from_sql_and_values(backend, sql, [text(claim.scope.as_str())]);
        // Gone: forgotten between the two statements. Whoever comes again finds it free.
        let Some(row) = KeyRow::find_by_statement(statement).one(self.connection()).await? else {
            return Ok(Claimed::Running);
        };
        if row.fingerprint != claim.fingerprint.as_bytes() {
            return Ok(Claimed::Reused);
        }
        let place = Row { table: "idempotency_keys", key: claim.scope.as_str() };
        let Some(status) = row.status else { return Ok(Claimed::Running) };
        let status = u16::try_from(status).map_err(|error| place.corrupt("status", error))?;
        let kept = match row.headers {
            None => Kept::Status(status),
            Some(headers) => Kept::Answer(Answer {
                status,
                headers: place.json("headers", &headers)?,
                body: row.body.unwrap_or_default(),
            }),
        };
        Ok(Claimed::Finished(kept, row.made_id))
    }

    async fn finish(&self, claim: &Claim, kept: &Kept) -> Result<(), StoreError> {
        let (headers, body) = match kept {
            Kept::Status(_) => (None, None),
            Kept::Answer(answer) => (Some(to_json(&answer.headers)), Some(answer.body.clone())),
        };
        let sql = "UPDATE idempotency_keys SET status = $1, headers = $2, body = $3 WHERE scope = $4 AND token = $5";
        let status = Value::SmallInt(Some(kept.status().cast_signed()));
        let (scope, token) = (text(claim.scope.as_str()), Value::Uuid(Some(claim.token)));
        run(self, sql, [status, Value::String(headers), Value::Bytes(body), scope, token]).await.map(drop)
    }

    async fn release(&self, claim: &Claim) -> Result<(), StoreError> {
        let sql = "UPDATE idempotency_keys SET lease_until_ms = 0 WHERE scope = $1 AND token = $2 AND status IS NULL";
        run(self, sql, [text(claim.scope.as_str()), Value::Uuid(Some(claim.token))]).await.map(drop)
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let sql = "DELETE FROM idempotency_keys WHERE scope IN (SELECT scope FROM idempotency_keys \
                   WHERE expires_ms <= $1 LIMIT $2)";
        run(self, sql, [millis(now), Value::BigInt(Some(limit as i64))]).await
    }
}

async fn run<const N: usize>(store: &Store, sql: &str, values: [Value; N]) -> Result<u64, StoreError> {
    let connection = store.connection();
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(connection.execute_raw(statement).await?.rows_affected())
}

fn text(text: &str) -> Value {
    Value::String(Some(text.to_owned()))
}

fn millis(at: Timestamp) -> Value {
    Value::BigInt(Some(at.as_millis()))
}
