//! `ecg`: what looking at the history of posts takes, with a million activities of one subscription and others beside it
//! (issue 5), on PostgreSQL and on SQLite. Unlike the other measurements it starts no platform: it uses the database as the
//! activity log does, through the same library.
//!
//! Each statement is explained first, as it is asked: one that looks at the whole big table ends the measurement as failed,
//! whatever time it took.

mod explaining;
mod figures;
mod history;
mod questions;

use std::time::Instant;

use anyhow::{Context as _, ensure};
use slipstream_store::{DatabaseConfig, Store};

use self::figures::{Backend, Figures};
use crate::cli::Ecg;
use crate::document;
use crate::wanted::Wanted;

/// How long a list may take, by PostgreSQL (issue 5).
const LIST_MS: f64 = 50.0;
/// How often each question is asked.
const ROUNDS: u32 = 100;

/// Measures on both backends.
///
/// # Errors
/// If a database does not do what is asked, or would look at the whole table of activities for it.
pub(crate) async fn run(told: Ecg) -> anyhow::Result<()> {
    ensure!(!told.postgres.is_empty(), "no PostgreSQL: `make bench-ecg` starts one");
    let activities = if told.quick { told.activities / 10 } else { told.activities };
    let scratch = tempfile::tempdir_in(told.scratch.clone().unwrap_or_else(std::env::temp_dir))?;
    let sqlite = format!("sqlite://{}?mode=rwc", scratch.path().join("activities.db").display());
    let mut backends = Vec::new();
    for (name, url) in [("PostgreSQL", told.postgres.as_str()), ("SQLite", &sqlite)] {
        let backend = measure(name, url, activities).await.with_context(|| format!("on {name}"))?;
        print!("{}", backend.table());
        backends.push(backend);
    }
    let postgres = &backends[0].questions;
    let p99 = |it: &figures::Question| it.latency.map(|latency| latency.p99_ms);
    let slowest = postgres.iter().max_by(|a, b| p99(a).unwrap_or(f64::MAX).total_cmp(&p99(b).unwrap_or(f64::MAX)));
    let wanted: Vec<_> = slowest
        .iter()
        .map(|it| Wanted::at_most(format!("slowest on PostgreSQL: {}", it.name), LIST_MS, p99(it), " ms"))
        .collect();
    document::conclude_of_store(&told, scratch.path(), &wanted, &Figures { activities, backends })
}

async fn measure(name: &'static str, url: &str, activities: u32) -> anyhow::Result<Backend> {
    let begun = Instant::now();
    let say = |doing: &str| eprintln!("[{:>6.1} s] {name}: {doing}", begun.elapsed().as_secs_f64());
    // One connection, so that what it says of itself is said of all that was asked.
    let config = DatabaseConfig { url: url.into(), max_connections: 1 };
    let store = Store::connect(&config).await?;
    store.migrate().await?;
    say("writing the history");
    let (history, written) = history::write(&store, activities, &say).await?;
    say("asking");
    let questions = questions::ask(&store, &history, ROUNDS).await?;
    say("done");
    Ok(Backend { name, written, questions })
}
