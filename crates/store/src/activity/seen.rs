//! Which events were accepted before (SPEC 4.7): asked on the way of delivering, so quick, and one statement for many.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::contract::{SeenAnswer, SeenQuestion};
use slipstream_core::ids::EventKey;
use slipstream_core::limits::DEDUPLICATION_MILLIS;
use slipstream_core::timestamp::Timestamp;

use super::query::string;
use crate::error::StoreError;

/// Questions of one statement, largest first. A few fixed sizes, so that the drivers find the statement prepared.
const CHUNKS: [usize; 4] = [256, 64, 16, 4];

#[derive(FromQueryResult)]
struct SeenRow {
    key: String,
    accepted_ms: i64,
    content_hash: Option<i64>,
}

/// For each question whose event was accepted before, within [`DEDUPLICATION_MILLIS`], its first acceptance in that time.
///
/// Found by the hash of the `id`: where very many events share one `id` the search is as long as there are of them, and
/// the caller should not wait for it without a limit.
pub async fn seen(
    connection: &impl ConnectionTrait,
    questions: &[SeenQuestion],
) -> Result<Vec<SeenAnswer>, StoreError> {
    let mut answers = Vec::new();
    let mut rest = questions;
    while !rest.is_empty() {
        let size = CHUNKS.into_iter().rev().find(|size| *size >= rest.len()).unwrap_or(CHUNKS[0]);
        let (chunk, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        let mut accepted: HashMap<EventKey, Vec<(i64, Option<i64>)>> = HashMap::new();
        for row in rows(connection, chunk, size).await? {
            if let Ok(key) = row.key.parse() {
                accepted.entry(key).or_default().push((row.accepted_ms, row.content_hash));
            }
        }
        answers.extend(chunk.iter().filter_map(|question| answer(question, accepted.get(&question.key)?)));
    }
    Ok(answers)
}

/// The earliest of the acceptances that are before the one asked about, and not too long before.
fn answer(question: &SeenQuestion, accepted: &[(i64, Option<i64>)]) -> Option<SeenAnswer> {
    let at = question.accepted_at.as_millis();
    let earlier = accepted.iter().filter(|(millis, _)| (at - DEDUPLICATION_MILLIS..at).contains(millis));
    let (millis, content_hash) = *earlier.min_by_key(|(millis, _)| *millis)?;
    Some(SeenAnswer { key: question.key, accepted_at: Timestamp::from_millis(millis), content_hash })
}

/// All acceptances of the events asked for; `size` places for questions, the last of which repeat one.
async fn rows(
    connection: &impl ConnectionTrait,
    questions: &[SeenQuestion],
    size: usize,
) -> Result<Vec<SeenRow>, StoreError> {
    let Some(last) = questions.last() else { return Ok(Vec::new()) };
    let padded = || questions.iter().chain(std::iter::repeat(last)).take(size);
    let list = |from: usize| (from..from + size).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT key, accepted_ms, content_hash FROM events WHERE id_hash IN ({}) AND key IN ({})",
        list(1),
        list(size + 1)
    );
    let hashes = padded().map(|question| Value::Int(Some(question.id_hash)));
    let keys = padded().map(|question| string(question.key.as_str()));
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, hashes.chain(keys));
    Ok(SeenRow::find_by_statement(statement).all(connection).await?)
}
