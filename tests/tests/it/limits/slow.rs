//! Requests that do not come to an end.

use std::time::{Duration, Instant};

use futures::future::join_all;
use slipstream_tests::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stage::Stage;

const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// How much later than its limit something may happen, on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(5);

/// So many strangers at once. One connection needs some 20 KiB; a head or body that is not there yet, no more.
const STRANGERS: usize = 300;
const GROWTH_MAX_KIB: u64 = 24 * 1024;

async fn stage() -> Stage {
    let settings = Settings { head_timeout: HEAD_TIMEOUT, body_timeout: BODY_TIMEOUT, ..Settings::default() };
    Stage::new(settings).await
}

/// Sends `first`, then a byte now and then until the server closes, and gives what it said. It must not close before
/// `timeout`, nor long after.
async fn drip(stage: &Stage, first: &[u8], timeout: Duration) -> String {
    // Before the server's clock, however late this task is told of its connection.
    let began = Instant::now();
    let mut stream = TcpStream::connect(stage.ingest).await.expect("the port is open");
    stream.write_all(first).await.expect("the server listens");
    let mut ticks = tokio::time::interval(timeout / 10);
    let mut answer = Vec::new();
    let (mut reader, mut writer) = stream.split();
    let mut dripping = true;
    loop {
        tokio::select! {
            read = reader.read_buf(&mut answer) => if matches!(read, Ok(0) | Err(_)) { break },
            _ = ticks.tick(), if dripping => dripping = writer.write_all(b"x").await.is_ok(),
        }
        assert!(began.elapsed() < timeout + SLACK, "still open: {}", String::from_utf8_lossy(&answer));
    }
    // The server's clock began at the first byte, or for a first head at the connection.
    assert!(began.elapsed() >= timeout * 9 / 10, "closed after {:?}", began.elapsed());
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_drip_are_cut_off() {
    let stage = stage().await;
    let head = stage.head();
    let silent = |first: &'static [u8]| drip(&stage, first, HEAD_TIMEOUT);
    stage
        .under("slow heads", GROWTH_MAX_KIB, async {
            for first in [head.as_bytes(), b"G", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"] {
                let answers = join_all((0..STRANGERS).map(|_| drip(&stage, first, HEAD_TIMEOUT))).await;
                // Of HTTP/2 the server says its settings first.
                assert!(answers.iter().all(|answer| !answer.contains("HTTP/1.1")), "{answers:?}");
            }
            assert_eq!(silent(b"").await, "");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_drip_are_408() {
    let stage = stage().await;
    let head = format!("{}Content-Type: application/cloudevents+json\r\nContent-Length: 1000000\r\n\r\n", stage.head());
    stage
        .under("slow bodies", GROWTH_MAX_KIB, async {
            for answer in join_all((0..STRANGERS).map(|_| drip(&stage, head.as_bytes(), BODY_TIMEOUT))).await {
                assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("application/problem+json"), "{answer}");
            }
        })
        .await;
}
