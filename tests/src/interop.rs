//! Other people's libraries, run as they would run them: `tests/interop` holds the scripts.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use slipstream_test_support::{Received, env};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::api::Account;
use crate::system::System;

/// A CloudEvents SDK that publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// The npm package `cloudevents`.
    JavaScript,
    /// The PyPI package `cloudevents`.
    Python,
}

/// What a script published.
#[derive(Debug, Deserialize)]
pub struct Published {
    /// The events' ids.
    pub ids: Vec<String>,
    /// The status of each request.
    pub statuses: Vec<u16>,
    /// The body of each answer.
    pub bodies: Vec<String>,
}

/// Publishes `count` events in `mode` (`structured`, `binary`, `batch`), with ids that begin with the SDK's name.
pub async fn publish(sdk: Sdk, system: &System, account: &Account, mode: &str, count: usize) -> Published {
    let (program, script) = match sdk {
        Sdk::JavaScript => ("node", "publish.mjs"),
        Sdk::Python => ("python3", "publish.py"),
    };
    let url = format!("http://{}", system.bases().ingest);
    let (count, prefix) = (count.to_string(), format!("{sdk:?}-{mode}-"));
    let arguments = [script, &url, &account.key, &account.site, mode, &count, &prefix];
    let output = run(program, &arguments, Vec::new()).await;
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

/// A library of Standard Webhooks that verifies `v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verifier {
    /// The PyPI package `standardwebhooks`.
    Python,
    /// The npm package `standardwebhooks`.
    JavaScript,
}

impl Verifier {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Python, Self::JavaScript];

    /// Verifies requests, each with a secret: `ok` for each, or what is wrong with it.
    pub async fn verify(self, requests: &[(&Received, &str)]) -> Vec<String> {
        let (program, script) = match self {
            Self::Python => ("python3", "verify.py"),
            Self::JavaScript => ("node", "verify.mjs"),
        };
        let lines = requests.iter().map(|(request, secret)| line(request, Some(secret)));
        told(program, &[script], lines.collect()).await
    }
}

/// Verifies the `v1a` signatures of requests with Node's own cryptography and the keys at `key_set_url`: `ok` and the ids
/// of the keys that made them for each, or what is wrong with it.
pub async fn verify_v1a(key_set_url: &str, requests: &[&Received]) -> Vec<String> {
    let lines = requests.iter().map(|request| line(request, None));
    told("node", &["verify-v1a.mjs", key_set_url], lines.collect()).await
}

fn line(request: &Received, secret: Option<&str>) -> String {
    let headers = request.headers.iter();
    let headers: serde_json::Map<_, _> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into())).collect();
    let line = json!({ "headers": headers, "body_base64": STANDARD.encode(&request.body), "secret": secret });
    format!("{line}\n")
}

/// The lines that a script prints for those it reads, one each.
async fn told(program: &str, arguments: &[&str], lines: Vec<String>) -> Vec<String> {
    let count = lines.len();
    let output = run(program, arguments, lines.concat().into_bytes()).await;
    let told = String::from_utf8(output.stdout).expect("the script prints text");
    let told: Vec<_> = told.lines().map(str::to_owned).collect();
    assert_eq!(told.len(), count, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    told
}

/// A script of `tests/interop`, with its packages: killed when what comes of it is dropped.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let workspace = env::workspace();
    let mut command = Command::new(program_path(program));
    command
        .args(arguments)
        .current_dir(workspace.join("tests/interop"))
        .env("PYTHONPATH", workspace.join(".run/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    command
}

/// Runs a script to its end.
pub async fn run(program: &str, arguments: &[&str], input: Vec<u8>) -> Output {
    let mut child = command(program, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}; run `make setup`"));
    let mut stdin = child.stdin.take().expect("it is a pipe");
    stdin.write_all(&input).await.expect("the script reads its input");
    drop(stdin);
    child.wait_with_output().await.expect("a child of ours can be waited for")
}

fn program_path(program: &str) -> PathBuf {
    env::on_path(program).unwrap_or_else(|| panic!("no {program} in PATH: run `make setup`"))
}
