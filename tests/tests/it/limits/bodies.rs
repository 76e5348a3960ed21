//! Bodies that do not come to an end, and are more together than a process will hold.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use slipstream_service::http::{BODIES_BYTES_MAX, BODIES_BYTES_MAX_OF_ONE};
use slipstream_service::names;
use slipstream_test_support::builders::event;
use slipstream_test_support::eventually;
use slipstream_tests::{Account, LIMIT, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::stage::Stage;

/// What each stranger sends of its body before it begins to drip, a byte a second.
const SENT: usize = 1_000_000;
static BODY: [u8; SENT] = [b' '; SENT];
/// What it says that its body has: never reached, and within the limit of one.
const SAID: usize = SENT + 10_000;

/// Of one account: far more than it may have in memory.
const BODIES_OF_ONE: usize = 40;
const BODIES_HELD_OF_ONE: usize = BODIES_BYTES_MAX_OF_ONE / SENT;

/// Of many: each within what it may have, and far more than the process will hold.
const CALLERS: usize = 14;
const BODIES_EACH: usize = 15;
const BODIES_HELD: usize = BODIES_BYTES_MAX / SENT;
const _: () = assert!(BODIES_EACH < BODIES_HELD_OF_ONE && CALLERS * BODIES_EACH > BODIES_HELD + 50);

/// Beside the bytes that are counted: connections, and what the allocator keeps of bodies that were refused.
const BESIDE_KIB: u64 = 32 * 1024;

const fn kib(bytes: usize) -> u64 {
    bytes as u64 / 1024
}

/// Strangers who drip until they are told to stop.
struct Flood<'a> {
    stage: &'a Stage,
    strangers: usize,
    refused: AtomicUsize,
    stop: CancellationToken,
}

impl<'a> Flood<'a> {
    const fn new(stage: &'a Stage, strangers: usize, stop: CancellationToken) -> Self {
        Self { stage, strangers, refused: AtomicUsize::new(0), stop }
    }

    /// A body that never ends; what was answered, if it was before the stop.
    async fn drip(&self, account: &Account) -> Option<String> {
        let fields = "Content-Type: application/cloudevents+json\r\n";
        let head = format!("{}{fields}Content-Length: {SAID}\r\n\r\n", Stage::head_of(account));
        let mut stream = TcpStream::connect(self.stage.ingest).await.expect("the port is open");
        let (mut reader, mut writer) = stream.split();
        let sending = async {
            // A server that refuses may close before it has taken everything.
            let _ = writer.write_all(head.as_bytes()).await;
            let _ = writer.write_all(&BODY).await;
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                let _ = writer.write_all(b" ").await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            () = sending => None,
            () = self.stop.cancelled() => None,
            _ = reader.read_to_end(&mut answer) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Some(String::from_utf8_lossy(&answer).into_owned())
            }
        }
    }

    /// Waits until every stranger is refused or held with all that it has sent, and gives how many are held.
    async fn settled(&self) -> usize {
        eventually(LIMIT, async || {
            let held = self.strangers - self.refused.load(Ordering::Relaxed);
            let bytes = bytes_held(self.stage).await;
            // Beyond that, what has dripped meanwhile.
            if held > 0 && (held * SENT..held * SAID).contains(&bytes) { Ok(held) } else { Err((held, bytes)) }
        })
        .await
    }
}

/// The bytes of all bodies in memory, as the process itself tells.
async fn bytes_held(stage: &Stage) -> usize {
    let url = format!("http://{}/metrics", stage.system.bases().operator.ingest);
    let text = stage.account.http().get(url).send().await.expect("an answer").text().await.expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(names::HTTP_SERVER_BODY_BYTES)?.strip_prefix(' '));
    line.and_then(|value| value.parse::<f64>().ok()).map_or(0, |value| value as usize)
}

fn is_told_to_come_back(answer: &str) -> bool {
    let text = answer.to_ascii_lowercase();
    text.starts_with("http/1.1 503 ") && text.contains("\r\nretry-after: 1\r\n") && text.contains("problem+json")
}

async fn stage() -> Stage {
    // The bodies must not time out before everything has been looked at.
    Stage::new(Settings { body_timeout: Duration::from_mins(5), ..Settings::default() }).await
}

/// After the strangers have gone, so has what they sent.
async fn everything_is_given_back(stage: &Stage, accounts: &[Account]) {
    eventually(LIMIT, async || match bytes_held(stage).await {
        0 => Ok(()),
        bytes => Err(bytes),
    })
    .await;
    for account in accounts {
        account.publish(&event()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dripping_bodies_of_one_account_are_503_for_it_and_nobody_else() {
    let stage = stage().await;
    let flooding = stage.system.external().await;
    let flood = Flood::new(&stage, BODIES_OF_ONE, CancellationToken::new());
    stage
        .under("dripping bodies of one", kib(BODIES_BYTES_MAX_OF_ONE) + BESIDE_KIB, async {
            let looking = async {
                let held = flood.settled().await;
                assert!(held <= BODIES_HELD_OF_ONE, "{held} bodies of {SENT} bytes of one account are in memory");
                flood.stop.cancel();
            };
            let (answers, ()) = tokio::join!(join_all((0..BODIES_OF_ONE).map(|_| flood.drip(&flooding))), looking);
            for answer in answers.into_iter().flatten() {
                assert!(is_told_to_come_back(&answer), "{answer:?}");
            }
        })
        .await;
    everything_is_given_back(&stage, &[flooding]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dripping_bodies_beyond_what_a_process_holds_are_503_and_others_are_served() {
    let stage = stage().await;
    let accounts = join_all((0..CALLERS).map(|_| stage.system.external())).await;
    let flood = Flood::new(&stage, CALLERS * BODIES_EACH, CancellationToken::new());
    let put_off = stage
        .under_want("dripping bodies of many", kib(BODIES_BYTES_MAX) + BESIDE_KIB, async {
            let looking = async {
                let held = flood.settled().await;
                assert!(held <= BODIES_HELD, "{held} bodies of {SENT} bytes are in memory");
                // They stay where they are, and there is room beside them: nobody is put off any more.
                for _ in 0..100 {
                    stage.account.publish(&event()).await;
                }
                assert_eq!(flood.settled().await, held);
                flood.stop.cancel();
            };
            let everybody = accounts.iter().flat_map(|account| (0..BODIES_EACH).map(|_| flood.drip(account)));
            let (answers, ()) = tokio::join!(join_all(everybody), looking);
            for answer in answers.into_iter().flatten() {
                assert!(is_told_to_come_back(&answer), "{answer:?}");
            }
        })
        .await;
    println!("others were put off {put_off} times");
    everything_is_given_back(&stage, &accounts).await;
}
