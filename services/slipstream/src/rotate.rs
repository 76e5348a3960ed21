//! `slipstream rotate-master-key`: another master key takes the place of the one in the data directory.
//!
//! The new key stands beside the old one, as `master.key.next`, until every data key is wrapped by it. `slipstream up`
//! opens what either has wrapped, so a crash at any point leaves a directory that starts, and a repeat of this command
//! finishes what was begun.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use slipstream_bus::BusConfig;
use slipstream_service::config::SecretsConfig;
use slipstream_subscription_registry::rotate_master_key;

use crate::broker::{Broker, BrokerOptions, Sync};
use crate::cli::DataDirArgument;
use crate::console::{Style, say};
use crate::credentials::master_key;
use crate::data_dir::DataDir;
use crate::embedded::sqlite;
use crate::settings::BrokerSettings;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// File with the new key: 32 random bytes as Base64 or hex. Default: a new key is made
    #[arg(long, value_name = "FILE")]
    new: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDirArgument,
    /// The NATS server that `slipstream up` was told to use in place of the embedded one
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
}

/// Wraps every data key anew. Needs the data directory for itself: `slipstream up` has to be stopped.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let data = DataDir::open(&arguments.data_dir.path()?).await?;
    anyhow::ensure!(
        data.file("registry.db").exists() && master_key::file(&data).exists(),
        "{} holds no data that a master key belongs to",
        data.root().display()
    );
    let next = master_key::prepare_next(&data, arguments.new.as_deref())?;
    let mut broker = None;
    let nats_url = if let Some(url) = arguments.nats_url {
        url.into()
    } else {
        let max_file_store_bytes = BrokerSettings::default().max_file_store_bytes;
        let options = BrokerOptions { sync: Sync::Always, max_file_store_bytes };
        broker.insert(Broker::start(&data, &options).await?).url()
    };
    let secrets =
        SecretsConfig { master_key_file: Some(next), previous_master_key_file: Some(master_key::file(&data)) };
    let bus = BusConfig { url: nats_url, ..BusConfig::default() };
    let rotated = rotate_master_key(&secrets, &sqlite(&data, "registry.db"), &bus).await;
    if let Some(broker) = broker {
        broker.stop().await;
    }
    let rotated = rotated.context("nothing is lost: both keys are in the data directory, and this can be repeated")?;
    master_key::finish_next(&data)?;
    say(format_args!(
        "{}  {} of {} data keys are wrapped by the new master key, which is in {}.",
        Style::Good.paint("rotated"),
        rotated.rewrapped,
        rotated.total,
        master_key::file(&data).display()
    ));
    Ok(())
}
