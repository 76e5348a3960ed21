//! The platform's own broker, seen from beside: is everything done that was begun?

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::jetstream;
use futures::TryStreamExt as _;
use slipstream_bus::{ConsumerName, StreamName};

/// How often to ask. Three requests each time: a thousandth of a core.
const QUESTION_EVERY: Duration = Duration::from_millis(100);

/// A connection to the broker.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    jetstream: jetstream::Context,
}

impl Broker {
    /// Connects.
    ///
    /// # Errors
    /// If nothing answers at `url`, `nats://{token}@{host}:{port}`.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let (token, address) = url.strip_prefix("nats://").and_then(|rest| rest.split_once('@')).unwrap_or(("", url));
        let client = async_nats::ConnectOptions::with_token(token.to_owned())
            .name("slipstream-bench")
            .connect(address)
            .await
            .with_context(|| format!("cannot connect to NATS at {address}"))?;
        Ok(Self { jetstream: jetstream::new(client) })
    }

    /// For publishing beside the platform.
    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Waits until every durable consumer of the platform has acknowledged all there is: all routed, all attempted,
    /// all recorded. Returns when that was first seen.
    ///
    /// # Errors
    /// If it is not so within `limit`, or the broker does not answer.
    pub(crate) async fn wait_until_idle(&self, limit: Duration) -> anyhow::Result<Instant> {
        let begun = Instant::now();
        loop {
            let backlog = self.backlog().await?;
            if backlog.is_none() {
                return Ok(Instant::now());
            }
            ensure!(begun.elapsed() < limit, "not idle after {limit:?}: {}", backlog.unwrap_or_default());
            tokio::time::sleep(QUESTION_EVERY).await;
        }
    }

    /// Waits until these consumers of the platform have acknowledged all there is.
    ///
    /// # Errors
    /// If it is not so within `limit`, or the broker does not answer.
    pub(crate) async fn wait_until_done(&self, consumers: &[ConsumerName], limit: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        for name in consumers {
            let stream = self.jetstream.get_stream_no_info(name.stream().as_str()).await;
            let stream = stream.context("cannot find a stream")?;
            loop {
                let info = stream.consumer_info(name.durable()).await.context("cannot look at a consumer")?;
                let left = info.num_pending + info.num_ack_pending as u64;
                if left == 0 {
                    break;
                }
                ensure!(begun.elapsed() < limit, "{} has {left} left after {limit:?}", info.name);
                tokio::time::sleep(QUESTION_EVERY).await;
            }
        }
        Ok(())
    }

    /// What is not done, for people. In the order in which one stream feeds the next: whoever is idle when asked has
    /// already published all that the next one must do.
    async fn backlog(&self) -> anyhow::Result<Option<String>> {
        for name in [StreamName::Events, StreamName::Work, StreamName::Outcomes] {
            let stream = self.jetstream.get_stream_no_info(name.as_str()).await.context("cannot find a stream")?;
            let mut consumers = stream.consumers();
            while let Some(info) = consumers.try_next().await.context("cannot list the consumers")? {
                let (pending, unacknowledged) = (info.num_pending, info.num_ack_pending);
                if pending > 0 || unacknowledged > 0 {
                    return Ok(Some(format!("{} has {pending} pending, {unacknowledged} unacknowledged", info.name)));
                }
            }
        }
        Ok(None)
    }
}
