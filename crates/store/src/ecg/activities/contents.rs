//! What activities say: once per post, however often it is repeated.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::row::ActivityRow;
use super::{Activity, Json};
use crate::activity::query::of_ids;
use crate::activity::upsert::{Upsert, text};
use crate::entity::Row;
use crate::error::StoreError;

/// The first holds: there is one per id.
const CONTENTS: Upsert =
    Upsert { table: "ecg_contents", columns: &["id", "payload", "raw_message"], on_conflict: "(id) DO NOTHING" };

/// A content to be written: its id, the payload, and what led to it.
pub(super) type New = (Uuid, String, String);

/// Writes contents, no two of which have one id.
pub(super) async fn put(connection: &impl ConnectionTrait, contents: Vec<New>) -> Result<(), StoreError> {
    let bind = |(id, payload, raw_message): New, values: &mut Vec<Value>| {
        values.extend([Value::Uuid(Some(id)), text(payload), text(raw_message)]);
    };
    CONTENTS.run(connection, contents, bind).await
}

/// Contents that were read: each once, whoever shares it.
#[derive(Debug, Default)]
pub(super) struct Contents(HashMap<Uuid, (Json, Json)>);

#[derive(FromQueryResult)]
struct ContentRow {
    id: Uuid,
    payload: String,
    raw_message: String,
}

impl Contents {
    /// The payload, and what led to it.
    pub(super) fn get(&self, id: Uuid) -> Option<(Json, Json)> {
        self.0.get(&id).cloned()
    }

    async fn read(connection: &impl ConnectionTrait, ids: &[Uuid]) -> Result<Self, StoreError> {
        let mut contents = HashMap::with_capacity(ids.len());
        for (places, values) in of_ids(ids) {
            let sql = format!("SELECT id, payload, raw_message FROM ecg_contents WHERE id IN ({places})");
            let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
            for row in ContentRow::find_by_statement(statement).all(connection).await? {
                let key = row.id.to_string();
                let place = Row { table: "ecg_contents", key: &key };
                let json = |column, text| {
                    RawValue::from_string(text).map(Json::from).map_err(|error| place.corrupt(column, error))
                };
                contents.insert(row.id, (json("payload", row.payload)?, json("raw_message", row.raw_message)?));
            }
        }
        Ok(Self(contents))
    }
}

/// What these rows stand for, in their order.
pub(super) async fn activities(
    connection: &impl ConnectionTrait,
    rows: Vec<ActivityRow>,
) -> Result<Vec<Activity>, StoreError> {
    let ids: BTreeSet<_> = rows.iter().map(|row| row.content).collect();
    let contents = Contents::read(connection, &ids.into_iter().collect::<Vec<_>>()).await?;
    rows.into_iter().map(|row| row.activity(&contents)).collect()
}
