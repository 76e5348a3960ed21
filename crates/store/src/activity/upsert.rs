//! Many rows by one statement.
//!
//! The statements are written here and not by sea-orm's builder: building one takes longer than SQLite needs to run
//! it, and with a few fixed row counts the drivers find them prepared.

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use crate::error::StoreError;

/// Rows per statement, largest first. 256 rows of 19 columns are 4,864 parameters, below SQLite's limit of 32,766;
/// more rows per statement measured no better.
const CHUNKS: [usize; 5] = [256, 64, 16, 4, 1];

/// An `INSERT … ON CONFLICT` into one table.
pub(super) struct Upsert {
    pub(super) table: &'static str,
    pub(super) columns: &'static [&'static str],
    /// What follows `ON CONFLICT`.
    pub(super) on_conflict: &'static str,
}

impl Upsert {
    /// Writes `rows`, no two of which may have the same key. `bind` gives a row's values in the order of the columns.
    pub(super) async fn run<R>(
        &self,
        connection: &impl ConnectionTrait,
        rows: Vec<R>,
        bind: impl Fn(R, &mut Vec<Value>),
    ) -> Result<(), StoreError> {
        let backend = connection.get_database_backend();
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        for chunk in CHUNKS {
            if left < chunk {
                continue;
            }
            let sql = self.sql(backend, chunk);
            while left >= chunk {
                let mut values = Vec::with_capacity(chunk * self.columns.len());
                rows.by_ref().take(chunk).for_each(|row| bind(row, &mut values));
                left -= chunk;
                connection.execute_raw(Statement::from_sql_and_values(backend, sql.clone(), values)).await?;
            }
        }
        Ok(())
    }

    fn sql(&self, backend: DbBackend, rows: usize) -> String {
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
        sql
    }
}

/// A text as a value. NUL, which PostgreSQL does not take in text, becomes U+FFFD; attributes cannot hold it
/// (SPEC 3.1), so this guards against a writer that did not check.
pub(super) fn text(text: String) -> Value {
    Value::String(Some(without_nul(text)))
}

/// A text that may be missing as a value.
pub(super) fn optional_text(text: Option<String>) -> Value {
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
            UPSERT.sql(DbBackend::Postgres, 2),
            r#"INSERT INTO t ("a", "b") VALUES ($1,$2), ($3,$4) ON CONFLICT DO NOTHING"#
        );
        assert_eq!(UPSERT.sql(DbBackend::Sqlite, 1), r#"INSERT INTO t ("a", "b") VALUES (?,?) ON CONFLICT DO NOTHING"#);
    }

    #[test]
    fn nul_never_reaches_the_database() {
        assert_eq!(text("a\0b".into()), Value::String(Some("a\u{fffd}b".into())));
        assert_eq!(optional_text(None), Value::String(None));
    }
}
