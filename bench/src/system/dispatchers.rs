//! More dispatchers beside the platform's own: processes of their own on the same broker, as more replicas are.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::child::Child;
use super::{Launch, QUESTION_EVERY, READY_WITHIN, free_address, tail};
use crate::api::Api;

/// The master key, which the platform made in its data directory.
const MASTER_KEY: &str = "data/master.key";

/// The settings of dispatcher number `number`, which differ from those by default only where one machine asks for it:
/// targets on loopback, no waiting for load balancers, warnings only, as `slipstream up` has it.
fn settings(listen: &str, broker_url: &str, sync: &str, master_key: &Path) -> String {
    let master_key = master_key.display();
    format!(
        "[http]\noperator_listen = \"{listen}\"\ndrain_min = \"0s\"\n\
         [bus]\nurl = \"{broker_url}\"\nsync = \"{sync}\"\n\
         [secrets]\nmaster_key_file = \"{master_key}\"\n\
         [targets]\nallow = [\"127.0.0.0/8:*\"]\n\
         [telemetry]\nfilter = \"warn\"\n"
    )
}

/// Starts `launch.dispatchers - 1` of them, and waits until each is ready.
///
/// # Errors
/// If one cannot be started, ends, or is not ready in time; with the end of its log.
pub(super) async fn start(launch: &Launch, directory: &Path, broker_url: &str) -> anyhow::Result<Vec<Child>> {
    let mut running = Vec::new();
    for number in 1..launch.dispatchers {
        let files = directory.join(format!("dispatcher-{number}"));
        running.push(start_one(launch, &files, broker_url, &directory.join(MASTER_KEY)).await?);
    }
    Ok(running)
}

/// `files` is the path of its files, to which their endings are added.
async fn start_one(launch: &Launch, files: &Path, broker_url: &str, master_key: &Path) -> anyhow::Result<Child> {
    let (config, log): (PathBuf, PathBuf) = (files.with_extension("toml"), files.with_extension("log"));
    let address = free_address()?;
    std::fs::write(&config, settings(&address.to_string(), broker_url, &launch.sync, master_key))
        .with_context(|| format!("cannot write {}", config.display()))?;
    let arguments = ["--config".to_owned(), config.display().to_string()];
    let begun = Instant::now();
    let mut child = Child::spawn(&launch.dispatcher, &arguments, &log)?;
    while !Api::is_ready(address).await {
        if let Some(status) = child.ended()? {
            bail!("{} ended with {status}:\n{}", launch.dispatcher.display(), tail(&log));
        }
        if begun.elapsed() > READY_WITHIN {
            bail!("a dispatcher is not ready after {READY_WITHIN:?}:\n{}", tail(&log));
        }
        tokio::time::sleep(QUESTION_EVERY).await;
    }
    Ok(child)
}
