//! `slipstream up` as whoever tries it out has it: the program, with the broker and the databases that it brings.

use std::fs::{DirBuilder, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use slipstream_test_support::eventually;
use slipstream_test_support::process::{Process, Program};

use super::Settings;
use super::port::free_port;
use super::settings::OPERATOR_TOKEN;
use crate::LIMIT;

/// A running one; killed when dropped, and its broker with it.
#[derive(Debug)]
pub(super) struct Up {
    program: Program,
    process: Process,
    pub(super) address: SocketAddr,
    pub(super) operator_address: SocketAddr,
    pub(super) data: PathBuf,
}

/// What it tells of itself.
#[derive(Deserialize)]
struct Running {
    url: String,
    operator_url: String,
}

impl Up {
    pub(super) async fn start(settings: &Settings, directory: &Path) -> Self {
        let data = directory.join("data");
        DirBuilder::new().mode(0o700).create(&data).expect("a fresh directory can be written");
        // It takes the token that it finds, and makes one only if there is none.
        let token = data.join("operator-token");
        let written = std::fs::write(&token, OPERATOR_TOKEN)
            .and_then(|()| std::fs::set_permissions(&token, Permissions::from_mode(0o600)));
        written.expect("a fresh directory can be written");
        let config = settings.write_for_up(directory);
        let program = Program::new("slipstream", directory)
            .arg("up")
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", free_port()))
            .arg("--operator-port")
            .arg(free_port().to_string())
            .arg("--data-dir")
            .arg(data.display().to_string())
            .arg("--config")
            .arg(config.display().to_string());
        let process = program.start();
        let running: Running = eventually(LIMIT, async || {
            let text =
                std::fs::read(data.join("running.json")).map_err(|error| format!("{error}: {}", process.log()))?;
            serde_json::from_slice(&text).map_err(|error| error.to_string())
        })
        .await;
        let address = |url: &str| {
            let address = url.strip_prefix("http://").and_then(|rest| rest.parse().ok());
            address.unwrap_or_else(|| panic!("{url:?} is no place on this machine"))
        };
        let (address, operator_address) = (address(&running.url), address(&running.operator_url));
        Self { program, process, address, operator_address, data }
    }

    pub(super) async fn stop(&mut self) {
        let status = self.process.terminate(LIMIT).await;
        assert!(status.success(), "it ended with {status}");
    }

    /// On the same ports.
    pub(super) async fn start_again(&mut self) {
        self.process = self.program.start();
        self.process.wait_ready(&format!("http://{}/readyz", self.operator_address), LIMIT).await;
    }

    /// The end of its log, for a failed test.
    pub(super) fn log(&self) -> String {
        let log = self.process.log();
        let lines: Vec<_> = log.lines().collect();
        format!("--- slipstream up\n{}\n", lines[lines.len().saturating_sub(60)..].join("\n"))
    }
}
