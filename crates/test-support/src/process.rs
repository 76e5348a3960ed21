//! One of our own programs as a process, for tests that kill it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::child::{Child, Signal, command, tail};
use crate::env;

/// A program about to be started.
///
/// Found by the variable `SLIPSTREAM_BIN_{NAME}` (upper case, `_` for `-`), else beside the running test program:
/// `target/{profile}/{name}`, whatever the target directory is. `make test` builds the programs before the tests.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    log: PathBuf,
}

impl Program {
    /// The program called `name`, which will write its output to a file in `log_directory`.
    ///
    /// # Panics
    ///
    /// If it is not there, telling how to build it.
    pub fn new(name: &str, log_directory: &Path) -> Self {
        let variable = format!("SLIPSTREAM_BIN_{}", name.to_uppercase().replace('-', "_"));
        let path = env::variable(&variable).map_or_else(|| beside_tests(name), PathBuf::from);
        assert!(
            path.is_file(),
            "no program {}: run `cargo build --workspace --bins`, or name it in {variable}",
            path.display()
        );
        Self::at(&path, log_directory)
    }

    /// The program at `path`.
    ///
    /// # Panics
    ///
    /// If the path has no file name.
    pub fn at(path: &Path, log_directory: &Path) -> Self {
        let name = path.file_name().expect("a program's path ends in its name").to_string_lossy().into_owned();
        let log = log_directory.join(format!("{name}.log"));
        Self { name, path: path.to_owned(), arguments: Vec::new(), variables: Vec::new(), log }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Writes the output to this file instead, for the second of two processes of the same program.
    #[must_use]
    pub fn log_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = path.into();
        self
    }

    /// Starts it. A file of the same name keeps the output of earlier starts.
    pub fn start(&self) -> Process {
        let open = || File::options().create(true).append(true).open(&self.log);
        let log = open().unwrap_or_else(|error| panic!("cannot write {}: {error}", self.log.display()));
        let mut command = command(&self.path);
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone().expect("a file handle can be doubled")).stderr(log);
        Process { child: Child::spawn(&mut command), name: self.name.clone(), log: self.log.clone() }
    }
}

/// A running program of ours; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The whole output so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill9(&mut self) {
        self.child.kill9();
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Asks for an orderly end (SIGTERM) and waits for it.
    ///
    /// # Panics
    ///
    /// If the program still runs after `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.child.signal(Signal::Terminate);
        self.child.wait_for_end(limit).await
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    ///
    /// If it still runs after `limit`.
    pub async fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        self.child.wait_for_end(limit).await
    }

    /// Waits until a GET of `url` (usually `…/readyz`) is answered with 200.
    ///
    /// # Panics
    ///
    /// If the program ends or `limit` passes first; the message holds the end of its output.
    pub async fn wait_ready(&mut self, url: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let last = match tokio::time::timeout(Duration::from_secs(2), get_status(url)).await {
                Ok(Ok(200)) => return,
                Ok(Ok(status)) => format!("answered {status}"),
                Ok(Err(error)) => error,
                Err(_) => "no answer within 2 s".to_owned(),
            };
            let ended = self.child.ended();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{} is not ready within {limit:?} (ended: {ended:?}; {url}: {last}); its output:\n{}",
                self.name,
                tail(&self.log, 60)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The status of a plain GET.
async fn get_status(url: &str) -> Result<u16, String> {
    let uri = url.parse().map_err(|error| format!("{error}"))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(uri).await.map_err(|error| format!("{error:?}"))?;
    let status = response.status().as_u16();
    response.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(status)
}

/// `target/{profile}/{name}`, seen from a test program in `target/{profile}/deps/`.
fn beside_tests(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let deps = test.parent().expect("a program is in a directory");
    // Examples and benches may stand a level higher.
    let profile = if deps.ends_with("deps") { deps.parent().expect("deps is in a directory") } else { deps };
    profile.join(name)
}

/// A loopback port that was free a moment ago, for programs that cannot tell which one they got.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    listener.local_addr().expect("a bound socket has an address").port()
}
