//! The activity log alone: a process of its own, on a broker and a database that others have made.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::child::Child;
use super::{QUESTION_EVERY, READY_WITHIN, free_address, tail};
use crate::api::Api;
use crate::cli::ensure_built;
use crate::procfs;

/// What it is told.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    /// Where the broker is.
    pub(crate) broker_url: &'a str,
    /// Where the records are.
    pub(crate) database_url: &'a str,
    /// What opens secrets.
    pub(crate) master_key: &'a Path,
    /// Whose tokens it takes.
    pub(crate) issuer: &'a str,
    /// For whom these are.
    pub(crate) audience: &'a str,
}

impl Settings<'_> {
    /// As a file. Nothing is forgotten: what is measured is of a month long ago.
    fn text(&self, address: SocketAddr, operator_address: SocketAddr) -> String {
        let Self { broker_url, database_url, master_key, issuer, audience } = self;
        let master_key = master_key.display();
        format!(
            "[http]\nlisten = \"{address}\"\noperator_listen = \"{operator_address}\"\ndrain_min = \"0s\"\n\
             [bus]\nurl = \"{broker_url}\"\n\
             [database]\nurl = \"{database_url}\"\n\
             [secrets]\nmaster_key_file = \"{master_key}\"\n\
             [operator]\ntoken = \"operator-token-of-the-benchmark\"\n\
             [retention]\nrecords = \"876000h\"\nresponses = \"876000h\"\n\
             [[auth.ecg]]\nname = \"ecg\"\nissuer = \"{issuer}\"\naudiences = [\"{audience}\"]\n\
             [telemetry]\nfilter = \"warn\"\n"
        )
    }
}

/// A running activity log. Stops when dropped.
#[derive(Debug)]
pub(crate) struct ActivityLog {
    child: Child,
    address: SocketAddr,
}

impl ActivityLog {
    /// Starts the program beside this one, with its files in `directory`, and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready in time; with the end of its log.
    pub(crate) async fn start(settings: &Settings<'_>, directory: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let program = program.with_file_name("slipstream-activity-log");
        ensure_built(&program)?;
        let (config, log): (PathBuf, PathBuf) =
            (directory.join("activity-log.toml"), directory.join("activity-log.log"));
        let (address, operator_address) = (free_address()?, free_address()?);
        std::fs::write(&config, settings.text(address, operator_address)).context("cannot write the settings")?;
        let begun = Instant::now();
        let arguments = ["--config".to_owned(), config.display().to_string()];
        let mut child = Child::spawn(&program, &arguments, &log)?;
        while !Api::is_ready(operator_address).await {
            if let Some(status) = child.ended()? {
                bail!("{} ended with {status}:\n{}", program.display(), tail(&log));
            }
            if begun.elapsed() > READY_WITHIN {
                bail!("the activity log is not ready after {READY_WITHIN:?}:\n{}", tail(&log));
            }
            tokio::time::sleep(QUESTION_EVERY).await;
        }
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The most memory that it ever held, in MiB.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        Ok(procfs::memory(self.child.pid())?.peak_mib)
    }
}
