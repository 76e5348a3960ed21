//! A `slipstream up` of the test's own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use slipstream_test_support::child::{Child, Signal, command};
use slipstream_test_support::eventually;
use tempfile::TempDir;

/// How long anything may take here before a test gives up; on an idle machine all of it takes less than a second.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Runs the binary to its end: its exit status, standard output and standard error.
pub(crate) async fn run(arguments: &[&str]) -> (ExitStatus, String, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_slipstream"))
        .args(arguments)
        .env_remove("SLIPSTREAM_DATA_DIR")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(4 * LIMIT, output).await.expect("it ends").expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    (output.status, text(output.stdout), text(output.stderr))
}

/// What a running one tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) operator_url: String,
    pub(crate) site: String,
    pub(crate) api_key: String,
    pub(crate) operator_token: String,
}

/// A data directory, and perhaps a running `slipstream up` on it.
pub(crate) struct Home {
    directory: TempDir,
    /// Not in the data directory: that has to be empty or slipstream's own.
    log: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        slipstream_test_support::install_crypto();
        let made = || tempfile::tempdir().expect("a temporary directory");
        Self { directory: made(), log: made() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory as an argument.
    pub(crate) fn argument(&self) -> &str {
        self.path().to_str().expect("a temporary directory has a plain name")
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn up(&self) -> Up {
        self.up_with(&[]).await
    }

    /// As [`Home::up`], with more arguments.
    pub(crate) async fn up_with(&self, arguments: &[&str]) -> Up {
        let log = self.log.path().join("up.log");
        let mut command = command(Path::new(env!("CARGO_BIN_EXE_slipstream")));
        command.args(["up", "--listen", "127.0.0.1:0", "--data-dir", self.argument()]).args(arguments);
        let output = File::create(&log).expect("a fresh directory can be written");
        command.stdout(output.try_clone().expect("a handle can be doubled")).stderr(output);
        let began = Instant::now();
        let mut child = Child::spawn(&mut command);
        let announced = self.path().join("running.json");
        let running = eventually(LIMIT, || {
            let look = match child.ended() {
                Some(status) => panic!("it ended with {status}:\n{}", read(&log)),
                None => std::fs::read(&announced)
                    .map_err(|error| error.to_string())
                    .and_then(|text| serde_json::from_slice::<Running>(&text).map_err(|error| error.to_string())),
            };
            async move { look }
        })
        .await;
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
        let up = Up { child, running, http, log, home: self.path().to_owned(), started_in: began.elapsed() };
        assert_eq!(up.get("/readyz").await.0, 200);
        up
    }
}

/// A running one; killed when dropped.
pub(crate) struct Up {
    pub(crate) child: Child,
    pub(crate) running: Running,
    pub(crate) started_in: Duration,
    http: reqwest::Client,
    log: PathBuf,
    home: PathBuf,
}

impl Up {
    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// Ctrl-C, and the end.
    pub(crate) async fn interrupt(mut self) -> (ExitStatus, String) {
        self.child.signal(Signal::Interrupt);
        let status = self.child.wait_for_end(LIMIT).await;
        (status, self.log())
    }

    /// The process ids of the nats-servers on this data directory.
    pub(crate) fn nats_servers(&self) -> Vec<u32> {
        nats_servers(&self.home)
    }

    /// A GET with the operator's token: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let request =
            self.http.get(format!("{}{path}", self.running.operator_url)).bearer_auth(&self.running.operator_token);
        let response = request.send().await.expect("it answers");
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// Publishes a public letter event; the answer's status.
    pub(crate) async fn publish(&self, id: &str) -> u16 {
        let event = serde_json::json!({
            "specversion": "1.0", "id": id, "source": "/test", "type": "communications.letter.created", "visibility": 1
        });
        let request = self
            .http
            .post(format!("{}/sites/{}/events", self.running.url, self.running.site))
            .header("x-api-key", &self.running.api_key)
            .header("content-type", "application/cloudevents+json");
        request.body(event.to_string()).send().await.expect("it answers").status().as_u16()
    }

    /// Waits until the activity log knows the event.
    pub(crate) async fn wait_until_recorded(&self, id: &str) {
        let path = format!("/admin/v1/events/{}/%2Ftest/{id}", self.running.site);
        eventually(LIMIT, async || match self.get(&path).await {
            (200, _) => Ok(()),
            other => Err(other),
        })
        .await;
    }
}

/// The process ids of the nats-servers whose configuration lies in `home`.
pub(crate) fn nats_servers(home: &Path) -> Vec<u32> {
    let home = home.canonicalize().expect("the directory is there");
    let config = home.join("nats/nats-server.conf").display().to_string();
    let processes = std::fs::read_dir("/proc").expect("Linux has /proc");
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        // A process that has ended meanwhile, or is only waiting to be reaped, has no command line.
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"nats-server"))
            && words.any(|word| word == config.as_bytes())
    })
    .collect()
}

/// Kills a process that is not a child of ours.
pub(crate) fn kill9(id: u32) {
    let kill = std::process::Command::new("sh").args(["-c", &format!("kill -KILL {id}")]).status();
    assert!(kill.expect("sh is always there").success());
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
