//! A connection that has each statement explained before it is run.

use std::sync::Mutex;

use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement};

/// The table that nothing may look at as a whole.
const BIG: &str = "ecg_activities";

/// A connection that remembers how its statements are run.
#[derive(Debug)]
pub(super) struct Explaining<'a> {
    connection: &'a DatabaseConnection,
    plans: Mutex<Vec<String>>,
}

impl<'a> Explaining<'a> {
    pub(super) const fn new(connection: &'a DatabaseConnection) -> Self {
        Self { connection, plans: Mutex::new(Vec::new()) }
    }

    /// What looks at a table, of all statements, in order.
    pub(super) fn into_plans(self) -> Vec<String> {
        self.plans.into_inner().expect("nobody panics with it in hand")
    }

    async fn explain(&self, statement: &Statement) -> Result<(), DbErr> {
        let (explain, column) = match statement.db_backend {
            DbBackend::Postgres => ("EXPLAIN (COSTS OFF)", "QUERY PLAN"),
            _ => ("EXPLAIN QUERY PLAN", "detail"),
        };
        let explained = Statement { sql: format!("{explain} {}", statement.sql), ..statement.clone() };
        let lines = self.connection.query_all_raw(explained).await?;
        let lines: Result<Vec<String>, _> = lines.iter().map(|line| line.try_get("", column)).collect();
        let at_tables = lines?.into_iter().filter(|line| looks_at_a_table(line)).map(|line| shortened(&line));
        self.plans.lock().expect("nobody panics with it in hand").extend(at_tables);
        Ok(())
    }
}

/// Whether a line of a plan says how a table is looked at.
fn looks_at_a_table(line: &str) -> bool {
    ["Scan", "SCAN", "SEARCH"].iter().any(|word| line.contains(word))
}

fn shortened(line: &str) -> String {
    line.trim_start_matches([' ', '-', '>']).trim_end().to_owned()
}

/// Whether a plan looks at the whole of the big table: row by row, or through an index from end to end.
pub(super) fn is_of_all_rows(plan: &str) -> bool {
    let is_big = plan.contains(BIG);
    // SQLite says SCAN where it begins at one end, and SEARCH where it is led by a key.
    is_big && (plan.contains("Seq Scan") || plan.starts_with("SCAN"))
}

#[async_trait]
impl ConnectionTrait for Explaining<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.explain(&statement).await?;
        self.connection.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.connection.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.explain(&statement).await?;
        self.connection.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.explain(&statement).await?;
        self.connection.query_all_raw(statement).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_all_of_the_big_table_is_found() {
        for plan in [
            "Seq Scan on ecg_activities",
            "Parallel Seq Scan on ecg_activities a",
            "SCAN ecg_activities",
            "SCAN a USING COVERING INDEX ecg_activities_list",
        ] {
            assert!(is_of_all_rows(plan), "{plan}");
        }
        for plan in [
            "Seq Scan on ecg_contents",
            "Index Only Scan using ecg_activities_list on ecg_activities",
            "SEARCH ecg_activities USING COVERING INDEX ecg_activities_list (subscription=? AND kind=?)",
            "SCAN counted",
        ] {
            assert!(!is_of_all_rows(plan), "{plan}");
        }
        assert_eq!(shortened("  ->  Index Scan using x on y "), "Index Scan using x on y");
    }
}
