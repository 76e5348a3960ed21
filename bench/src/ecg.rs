//! `ecg`: what looking at the history of posts takes, with a million activities of one subscription and others beside it
//! (issue 5), on PostgreSQL and on SQLite. Unlike the other measurements it starts no platform: it uses the database as the
//! activity log does, through the same library; and then it starts the activity log on it and asks over HTTP.
//!
//! Each statement is explained first, as it is asked: one that looks at the whole big table ends the measurement as failed,
//! whatever time it took.

mod explaining;
mod figures;
mod history;
mod questions;
mod requests;

use std::time::Instant;

use anyhow::{Context as _, ensure};
use slipstream_store::{DatabaseConfig, Store};

use self::figures::{Backend, Figures, Http, Request};
use self::history::History;
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
    let (backend, history) = measure("PostgreSQL", &told.postgres, activities).await.context("on PostgreSQL")?;
    print!("{}", backend.table());
    let begun = Instant::now();
    let say = |doing: &str| eprintln!("[{:>6.1} s] HTTP: {doing}", begun.elapsed().as_secs_f64());
    let http = requests::ask(&history, &told.postgres, &say).await.context("over HTTP")?;
    print!("{}", http.table());
    let mut backends = vec![backend];
    if !told.only_postgres {
        let (backend, _) = measure("SQLite", &sqlite, activities).await.context("on SQLite")?;
        print!("{}", backend.table());
        backends.push(backend);
    }
    let postgres = &backends[0].questions;
    let p99 = |it: &figures::Question| it.latency.map(|latency| latency.p99_ms);
    let slowest = postgres.iter().max_by(|a, b| p99(a).unwrap_or(f64::MAX).total_cmp(&p99(b).unwrap_or(f64::MAX)));
    let mut wanted: Vec<_> = slowest
        .iter()
        .map(|it| Wanted::at_most(format!("slowest on PostgreSQL: {}", it.name), LIST_MS, p99(it), " ms"))
        .collect();
    wanted.extend(wanted_of(&http));
    document::conclude_of_store(&told, scratch.path(), &wanted, &Figures { activities, backends, http })
}

/// Of one caller, the slowest page. Of many, that nobody is sent away: how long they wait is their number times that.
fn wanted_of(http: &Http) -> [Wanted; 2] {
    let p99 = |it: &Request| it.latency.map_or(f64::MAX, |latency| latency.p99_ms);
    let alone = http.requests.iter().filter(|it| it.callers == 1).max_by(|a, b| p99(a).total_cmp(&p99(b)));
    let name = alone.map_or("nothing", |it| it.name.as_str());
    let busy: u64 = http.requests.iter().filter(|it| it.callers > 1).map(|it| it.busy).sum();
    [
        Wanted::at_most(format!("slowest over HTTP: {name}"), LIST_MS, alone.map(p99), " ms"),
        Wanted::at_most("sent away while many ask at once", 0.0, Some(busy as f64), " requests"),
    ]
}

async fn measure(name: &'static str, url: &str, activities: u32) -> anyhow::Result<(Backend, History)> {
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
    Ok((Backend { name, written, questions }, history))
}
