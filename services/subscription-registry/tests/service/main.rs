//! The service as its callers see it, on a real nats-server and on SQLite or PostgreSQL.

mod accounts;
mod again;
mod audited;
mod bucket;
mod callback;
mod consent;
mod demo;
mod ecg;
mod harness;
mod health;
mod moving;
mod operator;
mod refusals;
mod room;
mod secrets;
mod signing;
mod subscribing;
mod unasked;
mod unheard;

/// Runs each statement on a service of its own, once per database.
macro_rules! on_both_databases {
    ($($statement:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $statement() {
                super::$statement(crate::harness::Harness::on_sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $statement() {
                super::$statement(crate::harness::Harness::on_postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both_databases;
