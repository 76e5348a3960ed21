//! The one binary: everything in one process on an embedded NATS and SQLite, and the command line.

mod api;
mod broker;
mod cli;
mod console;
mod credentials;
mod data_dir;
mod demo;
mod ecg_issuer;
mod ecg_token;
mod embedded;
mod environment;
mod events;
mod listen;
mod migrate;
mod publish;
mod receiver;
mod rotate;
mod settings;
mod up;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

/// How long blocking work (a look-up of a name) may hold up the end of the process.
const END_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Without it every TLS client panics when it is built (DEPENDENCIES 5.3).
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        // On this very thread, which lives as long as the process: children die with the thread that forked them.
        let result = runtime.block_on(cli.run());
        runtime.shutdown_timeout(END_WITHIN);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", console::Style::Bad.paint_error("error:"));
            ExitCode::FAILURE
        }
    }
}

/// Half the cores, the broker beside us has the other half. More threads than work for them cost CPU time (every
/// message wakes a sleeping one) and memory, and bring nothing.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2)
}
