//! A system under attack: strangers at its publishing API, somebody who publishes meanwhile, and its memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use slipstream_test_support::builders::event;
use slipstream_tests::{Account, LIMIT, Replica, Service, Settings, Shape, System};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How long an honest request may take while the system is attacked.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Stage {
    pub(crate) system: System,
    pub(crate) account: Account,
    pub(crate) ingest: SocketAddr,
    process_id: u32,
    /// The process, where it is not the system's own.
    fresh: Option<Replica>,
}

impl Stage {
    /// Four processes, so that the memory of ingest is nobody else's.
    pub(crate) async fn new(settings: Settings) -> Self {
        let mut system = System::with(Shape::FourProcesses, settings).await;
        let account = system.external().await;
        warm_up(&account).await;
        let process_id = system.process_id(Service::Ingest);
        Self { ingest: system.bases().ingest, system, account, process_id, fresh: None }
    }

    /// Goes on with another process of ingest, which holds nothing of what was done before.
    pub(crate) async fn take_fresh_ingest(&mut self) {
        let replica = self.system.replica(Service::Ingest).await;
        (self.ingest, self.process_id) = (replica.address(), replica.process_id());
        self.account = self.account.at_ingest(self.ingest);
        warm_up(&self.account).await;
        self.fresh = Some(replica);
    }

    /// Does `attack` while somebody else publishes. Checks that every one of those events is taken, in time, and that the
    /// process has at no time held more than `growth_max_kib` more than it ever had before.
    pub(crate) async fn under(&self, what: &str, growth_max_kib: u64, attack: impl Future<Output = ()>) {
        let put_off = self.under_want(what, growth_max_kib, attack).await;
        assert_eq!(put_off, 0, "{what}: others were put off");
    }

    /// As [`Stage::under`], where there may be too little for everybody for a while: others may be told to come back a
    /// little later. Gives how often they were.
    pub(crate) async fn under_want(&self, what: &str, growth_max_kib: u64, attack: impl Future<Output = ()>) -> usize {
        let before = peak_kib(self.process_id);
        let others = Others::start(&self.account);
        let began = Instant::now();
        attack.await;
        let lasted = began.elapsed();
        let Served { count: served, slowest, put_off } = others.stop().await;
        let growth = peak_kib(self.process_id).saturating_sub(before);
        eprintln!(
            "{what}: {lasted:.1?}, {served} others served, the slowest in {slowest:.0?}, put off {put_off} times; \
             memory {before} KiB + {growth} KiB"
        );
        assert!(served > 0 && slowest < SERVED_WITHIN, "{what}: {served} others served, the slowest in {slowest:?}");
        assert!(growth <= growth_max_kib, "{what}: memory grew from {before} KiB by {growth} KiB");
        put_off
    }

    /// The head of a publishing request with a valid key, up to its last line.
    pub(crate) fn head(&self) -> String {
        Self::head_of(&self.account)
    }

    /// As [`Stage::head`], of this account.
    pub(crate) fn head_of(account: &Account) -> String {
        let Account { site, key, .. } = account;
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

/// What a process needs for serving at all it takes with its first requests.
async fn warm_up(account: &Account) {
    join_all((0..50).map(|_| async { account.publish(&event()).await })).await;
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
    publishing: tokio::task::JoinHandle<Served>,
}

/// What has become of their events.
#[derive(Debug, Default)]
struct Served {
    count: usize,
    slowest: Duration,
    /// Answers that say when to come back.
    put_off: usize,
}

impl Others {
    fn start(account: &Account) -> Self {
        let stop = CancellationToken::new();
        let publishing = tokio::spawn({
            let (account, stop) = (account.clone(), stop.clone());
            async move {
                let mut served = Served::default();
                // Once at least, however short the attack was.
                while served.count == 0 || !stop.is_cancelled() {
                    served.publish(&account).await;
                }
                served
            }
        });
        Self { stop, publishing }
    }

    async fn stop(self) -> Served {
        self.stop.cancel();
        self.publishing.await.expect("every event is taken")
    }
}

impl Served {
    /// One event, again and again until it is taken.
    async fn publish(&mut self, account: &Account) {
        let (began, event) = (Instant::now(), event());
        loop {
            let answer = account.try_publish(&event).await;
            if answer.status != 503 {
                answer.expect(204);
                break;
            }
            assert_eq!(answer.header("retry-after"), "1", "{answer}");
            self.put_off += 1;
            // Sooner than it was asked to, so as to see more.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.slowest = self.slowest.max(began.elapsed());
        self.count += 1;
    }
}
