//! Connections that nobody uses.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use slipstream_tests::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stage::Stage;

const CONNECTIONS: usize = 2000;
/// A connection with its buffers and its task: 32 KiB at most.
const GROWTH_MAX_KIB: u64 = CONNECTIONS as u64 * 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_connections_cost_little_and_serve_on() {
    let settings = Settings { head_timeout: Duration::from_secs(1), ..Settings::default() };
    let stage = Stage::new(settings).await;
    stage
        .under("2,000 idle connections", GROWTH_MAX_KIB, async {
            let open = async |_| {
                let mut stream = TcpStream::connect(stage.ingest).await.expect("the port is open");
                assert!(ask(&mut stream).await.starts_with("HTTP/1.1 404"), "nothing is at this path");
                stream
            };
            let mut idle: Vec<_> = stream::iter(0..CONNECTIONS).map(open).buffer_unordered(50).collect().await;
            assert_eq!(idle.len(), CONNECTIONS);
            // Longer than a head may take: an idle connection is not a slow head.
            tokio::time::sleep(Duration::from_secs(2)).await;
            for stream in &mut idle {
                assert!(ask(stream).await.starts_with("HTTP/1.1 404"), "it serves on");
            }
        })
        .await;
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the connection is open");
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}
