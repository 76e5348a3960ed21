//! A system under attack: strangers at its publishing API, somebody who publishes meanwhile, and its memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use slipstream_test_support::builders::event;
use slipstream_tests::{Account, LIMIT, Service, Settings, Shape, System};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How long an honest request may take while the system is attacked.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Stage {
    // Lives as long as what happens on it.
    _system: System,
    pub(crate) account: Account,
    pub(crate) ingest: SocketAddr,
    process_id: u32,
}

impl Stage {
    /// Four processes, so that the memory of ingest is nobody else's.
    pub(crate) async fn new(settings: Settings) -> Self {
        let mut system = System::with(Shape::FourProcesses, settings).await;
        let account = system.external().await;
        // What a process needs for serving at all it takes with its first requests.
        join_all((0..50).map(|_| async { account.publish(&event()).await })).await;
        let process_id = system.process_id(Service::Ingest);
        Self { ingest: system.bases().ingest, _system: system, account, process_id }
    }

    /// Does `attack` while somebody else publishes. Checks that every one of those events is taken, in time, and that the
    /// process has at no time held more than `growth_max_kib` more than it ever had before.
    pub(crate) async fn under(&self, what: &str, growth_max_kib: u64, attack: impl Future<Output = ()>) {
        let before = peak_kib(self.process_id);
        let others = Others::start(&self.account);
        let began = Instant::now();
        attack.await;
        let lasted = began.elapsed();
        let (served, slowest) = others.stop().await;
        let growth = peak_kib(self.process_id).saturating_sub(before);
        eprintln!(
            "{what}: {lasted:.1?}, {served} others served, the slowest in {slowest:.0?}; memory {before} KiB + {growth} KiB"
        );
        assert!(served > 0 && slowest < SERVED_WITHIN, "{what}: {served} others served, the slowest in {slowest:?}");
        assert!(growth <= growth_max_kib, "{what}: memory grew from {before} KiB by {growth} KiB");
    }

    /// The head of a publishing request with a valid key, up to its last line.
    pub(crate) fn head(&self) -> String {
        let Account { site, key, .. } = &self.account;
        format!("POST /sites/{site}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-KEY: {key}\r\n")
    }

    /// What comes back for these bytes on a connection of their own; empty if it was closed without a word.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.ingest).await.expect("the port is open");
        // A server that refuses may close before it has taken everything.
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }
}

/// Everything until the server closes.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end like another; what came before it counts.
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut text)).await.expect("the end in time");
    String::from_utf8_lossy(&text).into_owned()
}

/// The most memory that the process ever had resident.
fn peak_kib(process_id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}

/// Somebody who publishes one event after another, each of which must be taken.
struct Others {
    stop: CancellationToken,
    served: Arc<AtomicUsize>,
    publishing: tokio::task::JoinHandle<Duration>,
}

impl Others {
    fn start(account: &Account) -> Self {
        let (stop, served) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let publishing = tokio::spawn({
            let (account, stop, served) = (account.clone(), stop.clone(), Arc::clone(&served));
            async move {
                let mut slowest = Duration::ZERO;
                // Once at least, however short the attack was.
                loop {
                    let began = Instant::now();
                    account.publish(&event()).await;
                    slowest = slowest.max(began.elapsed());
                    served.fetch_add(1, Ordering::Relaxed);
                    if stop.is_cancelled() {
                        return slowest;
                    }
                }
            }
        });
        Self { stop, served, publishing }
    }

    async fn stop(self) -> (usize, Duration) {
        self.stop.cancel();
        let slowest = self.publishing.await.expect("every event is taken");
        (self.served.load(Ordering::Relaxed), slowest)
    }
}
