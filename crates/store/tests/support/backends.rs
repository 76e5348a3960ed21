//! The same statements over SQLite and over PostgreSQL: what all suites here share.

use slipstream_store::{DatabaseConfig, Store};

/// Runs each statement, an `async fn(Store)` beside the call, on a migrated database of its own, once per backend.
macro_rules! on_both_backends {
    ($($statement:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $statement() {
                let (_directory, url) = slipstream_test_support::sqlite::database();
                super::$statement(crate::backends::open(url).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $statement() {
                let url = slipstream_test_support::postgres::database().await;
                super::$statement(crate::backends::open(url).await).await;
            })*
        }
    };
}
pub(crate) use on_both_backends;

/// The database, migrated.
pub(crate) async fn open(url: String) -> Store {
    let store = Store::connect(&DatabaseConfig { url: url.into(), max_connections: 4 }).await.unwrap();
    store.migrate().await.unwrap();
    store
}
