//! The whole service on a real bus and real databases.

mod acting;
mod asking;
mod auditing;
mod explaining;
mod judging;
mod outage;
mod posting;
mod reconciling;
mod recording;
mod repeating;
mod replaying;
mod rescheduling;
mod scheduled;
mod stage;
mod waits;
mod world;

/// Runs each statement on a world of its own, once per backend.
macro_rules! on_both_backends {
    ($($statement:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $statement() {
                let (_directory, url) = slipstream_test_support::sqlite::database();
                super::$statement(crate::world::World::start(url).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $statement() {
                let url = slipstream_test_support::postgres::database().await;
                super::$statement(crate::world::World::start(url).await).await;
            })*
        }
    };
}
pub(crate) use on_both_backends;
