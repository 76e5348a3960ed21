//! Floods of HTTP/2 frames, written by hand: no client library sends them.

use std::time::Duration;

use slipstream_service::config::HttpConfig;

use crate::server::{Client, LIMIT, Server, config};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://x/hold`: method, scheme from the static table, authority and path as literals (RFC 7541, 6.2.2).
const GET_HOLD: &[u8] = b"\x82\x86\x01\x01x\x04\x05/hold";
/// `GET http://x/`.
const GET: &[u8] = b"\x82\x86\x84\x01\x01x";
/// `POST http://x/read`.
const POST_READ: &[u8] = b"\x83\x86\x01\x01x\x04\x05/read";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection that has said what HTTP/2 begins with.
async fn connect(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.write_bytes(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    client
}

/// Whether the server ends the connection while these are written to it, one after another, as often as it takes.
async fn is_ended_by(server: &Server, mut next: impl FnMut(u32) -> Vec<u8>) -> bool {
    let mut client = connect(server).await;
    let (mut reader, mut writer) = client.0.split();
    let writing = async {
        for number in 0..200_000 {
            if tokio::io::AsyncWriteExt::write_all(&mut writer, &next(number)).await.is_err() {
                return true;
            }
        }
        false
    };
    // What comes back is read meanwhile: a server that could not write would stop to read, and not by its limit.
    let reading = async { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await };
    let flood = async {
        tokio::select! {
            ended = writing => ended,
            _ = reading => true,
        }
    };
    tokio::time::timeout(LIMIT, flood).await.expect("it ends or it does not")
}

async fn is_served(server: &Server) -> bool {
    server.connect().await.get("/").await.ends_with("hello")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_that_carry_nothing_ends_its_connection_and_no_other() {
    let server = Server::start(config()).await;
    let mut idle = server.connect().await;
    assert!(idle.get("/").await.ends_with("hello"));
    let ping = |_| frame(PING, 0, 0, &[0; 8]).repeat(100);
    assert!(is_ended_by(&server, ping).await, "PING");
    let settings = |_| frame(SETTINGS, 0, 0, &[]).repeat(100);
    assert!(is_ended_by(&server, settings).await, "SETTINGS");
    let update = |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(100);
    assert!(is_ended_by(&server, update).await, "WINDOW_UPDATE");
    let unknown = |_| frame(0xbb, 0, 0, &[]).repeat(100);
    assert!(is_ended_by(&server, unknown).await, "an unknown kind");
    let empty = |number| match number {
        0 => frame(HEADERS, END_HEADERS, 1, POST_READ),
        _ => frame(DATA, 0, 1, &[]).repeat(100),
    };
    assert!(is_ended_by(&server, empty).await, "empty DATA");
    assert!(idle.get("/").await.ends_with("hello"), "others stay");
    assert!(is_served(&server).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_goes_on_for_ever_ends_its_connection() {
    let server = Server::start(config()).await;
    // A field that is never indexed, 1 KiB long.
    let field = [b"\x00\x03x-a\x7f\x81\x07".as_slice(), &[b'x'; 1024]].concat();
    let long = |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &field),
    };
    assert!(is_ended_by(&server, long).await);
    let empty = |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &[]).repeat(100),
    };
    assert!(is_ended_by(&server, empty).await);
    assert!(is_served(&server).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_ends_its_connection() {
    let server = Server::start(config()).await;
    let pair = |number: u32| {
        let stream = 2 * number + 1;
        let cancel = 8_u32.to_be_bytes();
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, GET_HOLD), frame(RST_STREAM, 0, stream, &cancel)].concat()
    };
    assert!(is_ended_by(&server, pair).await);
    assert!(is_served(&server).await);
}

#[tokio::test]
async fn a_peer_that_pings_is_idle_all_the_same() {
    let idle_timeout = Duration::from_millis(400);
    let server = Server::start(HttpConfig { idle_timeout, head_timeout: idle_timeout / 2, ..config() }).await;
    let mut client = connect(&server).await;
    client.write_bytes(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let began = tokio::time::Instant::now();
    let (mut reader, mut writer) = client.0.split();
    let pinging = async {
        loop {
            ticks.tick().await;
            if tokio::io::AsyncWriteExt::write_all(&mut writer, &frame(PING, 0, 0, &[0; 8])).await.is_err() {
                // The reader tells when it was closed.
                std::future::pending::<()>().await;
            }
        }
    };
    let ending = async { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await };
    tokio::select! {
        () = pinging => {}
        _ = tokio::time::timeout(LIMIT, ending) => {}
    }
    let lasted = began.elapsed();
    assert!((idle_timeout..LIMIT).contains(&lasted), "it was open for {lasted:?}");
}

#[tokio::test]
async fn a_hundred_streams_are_served_at_once_and_one_more_is_refused() {
    let server = Server::start(config()).await;
    let mut client = connect(&server).await;
    let open = |number: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, GET_HOLD);
    client.write_bytes(&(0..101).flat_map(open).collect::<Vec<_>>()).await.unwrap();
    let (refused, reason) = loop {
        let (kind, stream, payload) = tokio::time::timeout(LIMIT, client.frame()).await.expect("an answer in time");
        assert_ne!(kind, HEADERS, "they are held");
        if kind == RST_STREAM {
            break (stream, payload);
        }
    };
    // REFUSED_STREAM (RFC 9113, 7): nothing was done, and it may be tried again.
    assert_eq!((refused, reason), (201, 7_u32.to_be_bytes().to_vec()));
    assert!(is_served(&server).await);
}

#[tokio::test]
async fn a_peer_may_send_little_ahead_of_us() {
    let server = Server::start(config()).await;
    let mut client = connect(&server).await;
    let (mut stream, mut connection) = (None, None);
    while stream.is_none() || connection.is_none() {
        match tokio::time::timeout(LIMIT, client.frame()).await.expect("the settings in time") {
            (SETTINGS, 0, payload) if !payload.is_empty() => {
                // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, 6.5.2).
                let window = payload.chunks(6).find(|setting| setting[..2] == [0, 4]);
                stream = Some(window.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap())));
            }
            (WINDOW_UPDATE, 0, payload) => connection = Some(65_535 + u32::from_be_bytes(payload.try_into().unwrap())),
            _ => {}
        }
    }
    assert_eq!((stream.unwrap(), connection.unwrap()), (Some(64 * 1024), 1024 * 1024));
}
