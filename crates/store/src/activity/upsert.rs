//! Many rows by one statement.
//!
//! The statements are written here and not by sea-orm's builder: building one takes longer than SQLite needs to run
//! it, and with a few fixed row counts the drivers find them prepared.

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};

use crate::error::StoreError;

/// Rows per statement, largest first. 256 rows of 19 columns are 4,864 parameters, below SQLite's limit of 32,766;
/// more rows per statement measured no better.
const CHUNKS: [usize; 5] = [256, 64, 16, 4, 1];

/// An `INSERT … ON CONFLICT` into one table.
pub(crate) struct Upsert {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [&'static str],
    /// What follows `ON CONFLICT`.
    pub(crate) on_conflict: &'static str,
}

impl Upsert {
    /// Writes `rows`, no two of which may have the same key. `bind` gives a row's values in the order of the columns.
    pub(crate) async fn run<R>(
        &self,
        connection: &impl ConnectionTrait,
        rows: Vec<R>,
        bind: impl Fn(R, &mut Vec<Value>),
    ) -> Result<(), StoreError> {
        for statement in self.statements(connection.get_database_backend(), rows, bind, "") {
            connection.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// The same; says of each row that was made or changed what stands in the columns `returning` now.
    pub(crate) async fn run_returning<R>(
        &self,
        connection: &impl ConnectionTrait,
        rows: Vec<R>,
        bind: impl Fn(R, &mut Vec<Value>),
        returning: &str,
    ) -> Result<Vec<QueryResult>, StoreError> {
        let mut written = Vec::with_capacity(rows.len());
        for statement in self.statements(connection.get_database_backend(), rows, bind, returning) {
            written.extend(connection.query_all_raw(statement).await?);
        }
        Ok(written)
    }

    /// One statement per chunk of `rows`, each made when it is asked for.
    fn statements<R>(
        &self,
        backend: DbBackend,
        rows: Vec<R>,
        bind: impl Fn(R, &mut Vec<Value>),
        returning: &str,
    ) -> impl Iterator<Item = Statement> {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        let mut prepared: Option<(usize, String)> = None;
        std::iter::from_fn(move || {
            let chunk = CHUNKS.into_iter().find(|chunk| *chunk <= left)?;
            left -= chunk;
            let mut values = Vec::with_capacity(chunk * self.columns.len());
            rows.by_ref().take(chunk).for_each(|row| bind(row, &mut values));
            let sql = match prepared.take() {
                Some((rows, sql)) if rows == chunk => sql,
                _ => self.sql(backend, chunk, returning),
            };
            prepared = Some((chunk, sql.clone()));
            Some(Statement::from_sql_and_values(backend, sql, values))
        })
    }

    fn sql(&self, backend: DbBackend, rows: usize, returning: &str) -> String {
        use std::fmt::Write as _;
        let mut sql = String::with_capacity(256 + rows * self.columns.len() * 6);
        write!(sql, "INSERT INTO {} (\"{}\") VALUES ", self.table, self.columns.join("\", \""))
            .expect("a String takes all that is written to it");
        let mut parameter = 0;
        for row in 0..rows {
            sql.push_str(if row == 0 { "(" } else { "), (" });
            for column in 0..self.columns.len() {
                if column > 0 {
                    sql.push(',');
                }
                parameter += 1;
                match backend {
                    DbBackend::Postgres => {
                        write!(sql, "${parameter}").expect("a String takes all that is written to it");
                    }
                    _ => sql.push('?'),
                }
            }
        }
        sql.push_str(") ON CONFLICT ");
        sql.push_str(self.on_conflict);
        if !returning.is_empty() {
            sql.push_str(" RETURNING ");
            sql.push_str(returning);
        }
        sql
    }
}

/// A text as a value. NUL, which PostgreSQL does not take in text, becomes U+FFFD; attributes cannot hold it
/// (SPEC 3.1), so this guards against a writer that did not check.
pub(crate) fn text(text: String) -> Value {
    Value::String(Some(without_nul(text)))
}

/// A text that may be missing as a value.
pub(crate) fn optional_text(text: Option<String>) -> Value {
    Value::String(text.map(without_nul))
}

fn without_nul(text: String) -> String {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSERT: Upsert = Upsert { table: "t", columns: &["a", "b"], on_conflict: "DO NOTHING" };

    #[test]
    fn each_backend_gets_its_own_parameters() {
        assert_eq!(
            UPSERT.sql(DbBackend::Postgres, 2, "a"),
            r#"INSERT INTO t ("a", "b") VALUES ($1,$2), ($3,$4) ON CONFLICT DO NOTHING RETURNING a"#
        );
        let sqlite = UPSERT.sql(DbBackend::Sqlite, 1, "");
        assert_eq!(sqlite, r#"INSERT INTO t ("a", "b") VALUES (?,?) ON CONFLICT DO NOTHING"#);
    }

    #[test]
    fn every_row_is_in_one_statement() {
        for rows in [0, 1, 5, 256, 1365] {
            let bind = |row: i64, values: &mut Vec<Value>| values.extend([row.into(), 0.into()]);
            let statements: Vec<_> = UPSERT.statements(DbBackend::Sqlite, (0..rows).collect(), bind, "").collect();
            let bound: Vec<_> =
                statements.iter().flat_map(|it| it.values.as_ref().unwrap().0.clone()).step_by(2).collect();
            assert_eq!(bound, (0..rows).map(Value::from).collect::<Vec<_>>());
            let places: usize = statements.iter().map(|it| it.sql.matches('?').count()).sum();
            assert_eq!(places, 2 * rows as usize);
        }
    }

    #[test]
    fn nul_never_reaches_the_database() {
        assert_eq!(text("a\0b".into()), Value::String(Some("a\u{fffd}b".into())));
        assert_eq!(optional_text(None), Value::String(None));
    }
}
