//! A fresh PostgreSQL database for each test, in a server shared by all.
//!
//! `make test` starts one private cluster and names it in `SLIPSTREAM_TEST_POSTGRES`. Without that variable this
//! process starts a cluster of its own with `tools/postgres hold`, which stops and deletes it when our end of a pipe
//! closes, that is, when this process ends in any way.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::env;

/// The server's URL without a database, and the cluster we hold if it is ours.
struct Server {
    url: String,
    _cluster: Option<Child>,
}

/// The URL of a fresh, empty database: `postgres://postgres@127.0.0.1:{port}/{name}`.
///
/// It lives as long as the server; nobody else gets its name.
///
/// # Panics
///
/// If there is no PostgreSQL, telling how to get it.
pub async fn database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    // Blocking work of 0.1 s, or 2 s for the first one: not on the test's own thread, which may serve others.
    tokio::task::spawn_blocking(move || create(&name)).await.expect("creating a database does not panic twice")
}

fn create(name: &str) -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(server);
    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    // A process id comes round again: within one long-lived cluster the name may have been used before.
    run(&format!("{}/postgres", server.url), &["-c", &sql, "-c", &format!("CREATE DATABASE {name}")]);
    format!("{}/{name}", server.url)
}

/// Runs SQL by `psql` in the database `url`, for tests that look from outside or cut connections.
///
/// # Panics
///
/// If a statement fails.
pub async fn execute(url: &str, sql: &str) {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    tokio::task::spawn_blocking(move || drop(run(&url, &["-c", &sql]))).await.expect("psql runs without panic");
}

/// What a query gives in the database `url`: one value as text.
///
/// # Panics
///
/// If it fails.
pub async fn query(url: &str, sql: &str) -> String {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let asked = tokio::task::spawn_blocking(move || run(&url, &["--tuples-only", "--no-align", "-c", &sql]));
    asked.await.expect("psql runs without panic").trim().to_owned()
}

fn run(url: &str, arguments: &[&str]) -> String {
    let psql = psql();
    let output = Command::new(&psql)
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", url])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}; run `make setup`", psql.display()));
    assert!(output.status.success(), "psql {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn server() -> Server {
    if let Some(url) = env::variable("SLIPSTREAM_TEST_POSTGRES") {
        return Server { url: url.trim_end_matches('/').to_owned(), _cluster: None };
    }
    let tool = env::workspace().join("tools/postgres");
    let mut cluster = Command::new(&tool)
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Not ours: it is still tidying up when this process ends, and nextest waits for open outputs.
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", tool.display()));
    let mut line = String::new();
    let stdout = cluster.stdout.take().expect("stdout is a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
    let url = line.trim_end().to_owned();
    if !url.starts_with("postgres://") {
        let mut message = String::new();
        cluster.stderr.take().expect("stderr is a pipe").read_to_string(&mut message).expect("a pipe can be read");
        panic!("`tools/postgres hold` failed: {message}");
    }
    Server { url, _cluster: Some(cluster) }
}

/// The `psql` program: the newest in Debian's versioned directories, else the one in `PATH`.
///
/// The versioned one first: Debian's `/usr/bin/psql` is a Perl script around it that takes longer than the work.
fn psql() -> PathBuf {
    let version = |directory: &PathBuf| {
        directory.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<f32>().ok()).unwrap_or(0.0)
    };
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    versions.sort_by(|a, b| version(b).total_cmp(&version(a)));
    versions
        .into_iter()
        .map(|directory| directory.join("bin/psql"))
        .find(|program| program.is_file())
        .or_else(|| env::on_path("psql"))
        .unwrap_or_else(|| panic!("no psql: run `make setup`, which installs PostgreSQL"))
}
