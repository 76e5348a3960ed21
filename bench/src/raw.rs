//! The ceiling: how fast the same server acknowledges plain JetStream publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use serde::Serialize;
use slipstream_bus::StreamName;
use slipstream_bus::streams::StreamLimits;
use tokio::task::JoinSet;

use crate::event::EVENT_BYTES;
use crate::stats::{Latency, rate, rounded};

/// The scratch stream; gone afterwards.
const STREAM: &str = "BENCH_RAW";
/// Room for the longest run: 50,000 messages of 1 KiB with their headers are 60 MiB. The server reserves it.
const STREAM_BYTES_MAX: i64 = 128 << 20;

/// What plain publishing reached.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Raw {
    /// Messages acknowledged.
    pub(crate) messages: u64,
    /// How many were in flight.
    pub(crate) in_flight: usize,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Acknowledged messages per second.
    pub(crate) per_second: f64,
    /// Processor time of the server per message, in microseconds; filled in by who watches its process.
    pub(crate) nats_server_us: f64,
    /// How long an acknowledgement took.
    pub(crate) acknowledgement: Option<Latency>,
}

/// Publishes to a scratch stream with the settings of `EVENTS`: `in_flight` tasks, each awaiting its acknowledgement
/// before the next, until `messages_max` or `limit`.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn measure(
    jetstream: &jetstream::Context,
    in_flight: usize,
    messages_max: u64,
    limit: Duration,
) -> anyhow::Result<Raw> {
    let settings = StreamName::Events.config(StreamLimits { replicas: 1, max_bytes: STREAM_BYTES_MAX });
    let settings = stream::Config { name: STREAM.to_owned(), subjects: vec!["bench.raw.>".to_owned()], ..settings };
    jetstream.create_stream(settings).await.context("cannot make the scratch stream")?;
    let measured = publish_all(jetstream, in_flight, messages_max, limit).await;
    jetstream.delete_stream(STREAM).await.context("cannot delete the scratch stream")?;
    measured
}

async fn publish_all(
    jetstream: &jetstream::Context,
    in_flight: usize,
    messages_max: u64,
    limit: Duration,
) -> anyhow::Result<Raw> {
    let (next, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (jetstream, next) = (jetstream.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let (payload, mut times) = (Bytes::from(vec![b'x'; EVENT_BYTES]), Vec::new());
            while begun.elapsed() < limit {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages_max {
                    break;
                }
                let message = PublishMessage::build().message_id(format!("raw-{number:016}")).payload(payload.clone());
                let sent = Instant::now();
                jetstream.send_publish("bench.raw.normal.site", message).await?.await?;
                times.push(sent.elapsed().as_nanos() as u64);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(part) = tasks.join_next().await {
        times.extend(part.context("a publishing task failed")?.context("JetStream refused a publish")?);
    }
    let (messages, seconds) = (times.len() as u64, begun.elapsed().as_secs_f64());
    Ok(Raw {
        messages,
        in_flight,
        seconds: rounded(seconds, 3),
        per_second: rate(messages, seconds),
        nats_server_us: 0.0,
        acknowledgement: Latency::of(times),
    })
}
