//! `slipstream migrate`: brings a database's tables up to date, before the services of a new release start.

use anyhow::Context as _;
use clap::Args;
use slipstream_store::{DatabaseConfig, Store};

use crate::console::{Style, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// postgres://user:password@host/database, or sqlite://path?mode=rwc
    #[arg(long, env = "SLIPSTREAM_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

/// Migrates and says which migrations that were. A repeat does nothing.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = DatabaseConfig { url: arguments.database_url.into(), ..DatabaseConfig::default() };
    let store = Store::connect(&config).await.context("cannot open the database")?;
    let read = "cannot read which migrations the database has";
    let before = store.applied_migrations().await.context(read)?;
    store.migrate().await.context("cannot bring the tables up to date; nothing was changed")?;
    let after = store.applied_migrations().await.context(read)?;
    for name in after.iter().filter(|name| !before.contains(name)) {
        say(format_args!("{}  {name}", Style::Good.paint("applied")));
    }
    match after.len() - before.len() {
        0 => say(format_args!("The tables are up to date already ({} migrations).", after.len())),
        new => say(format_args!("The tables are up to date: {new} applied, {} in all.", after.len())),
    }
    Ok(())
}
