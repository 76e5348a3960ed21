//! How many replicas of a service there are right now, to share what all of them may do together (a receiver's rate), or to
//! know whether there is one at all.
//!
//! Each tells the others that it is there, every two seconds, by plain NATS messages that nobody keeps; one that has not
//! been heard for three times as long does not count. An estimate: for a few seconds after a change it is off.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connect::{Bus, BusError};

/// How often each replica is heard.
const EVERY: Duration = Duration::from_secs(2);
/// After how long without a word it counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(6);
/// Replicas that are counted; a bound for what strangers could make us remember.
const REPLICAS_MAX: usize = 1000;

/// Who was heard, and when last.
#[derive(Debug, Default)]
struct Heard(HashMap<u64, Instant>);

impl Heard {
    /// Notes a replica that has said that it is there; other messages are none.
    fn note(&mut self, message: &[u8]) {
        if let Ok(id) = message.try_into().map(u64::from_be_bytes)
            && (self.0.len() < REPLICAS_MAX || self.0.contains_key(&id))
        {
            self.0.insert(id, Instant::now());
        }
    }

    /// How many there are, `own` counted in any case.
    fn count(&mut self, own: Option<u64>) -> usize {
        self.0.retain(|_, at| at.elapsed() < GONE_AFTER);
        self.0.extend(own.map(|own| (own, Instant::now())));
        self.0.len()
    }
}

impl Bus {
    /// Joins the replicas of `service`, a name of ours, and counts them, itself included. The future counts as long as it
    /// is polled; the receiver has the count, 1 at first.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn presence(
        &self,
        service: &'static str,
    ) -> Result<(watch::Receiver<usize>, impl Future<Output = ()> + Send + use<>), BusError> {
        let mut messages = self.hear(service).await?;
        let (count, counted) = watch::channel(1);
        let client = self.client.clone();
        let counting = async move {
            let own: u64 = rand::random();
            let mut heard = Heard::default();
            let mut tick = tokio::time::interval(EVERY);
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        // Not heard without a connection, and then there is nothing to share.
                        let _ = client.publish(subject_of(service), own.to_be_bytes().to_vec().into()).await;
                    }
                    Some(message) = messages.next() => heard.note(&message.payload),
                    else => return,
                }
                let now = heard.count(Some(own));
                count.send_if_modified(|count| std::mem::replace(count, now) != now);
            }
        };
        Ok((counted, counting))
    }

    /// Counts the replicas of `service`, a name of ours, without being one. The future counts as long as it is polled; the
    /// receiver has the count, none until one is heard or had the time to be.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn listen_for(
        &self,
        service: &'static str,
    ) -> Result<(watch::Receiver<Option<usize>>, impl Future<Output = ()> + Send + use<>), BusError> {
        let mut messages = self.hear(service).await?;
        let (count, counted) = watch::channel(None);
        let counting = async move {
            let begun = Instant::now();
            let mut heard = Heard::default();
            let mut tick = tokio::time::interval(EVERY);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    Some(message) = messages.next() => heard.note(&message.payload),
                    else => return,
                }
                let now = heard.count(None);
                let known = (now > 0 || begun.elapsed() >= GONE_AFTER).then_some(now);
                count.send_if_modified(|count| std::mem::replace(count, known) != known);
            }
        };
        Ok((counted, counting))
    }

    async fn hear(&self, service: &'static str) -> Result<Subscriber, BusError> {
        let messages = self.client.subscribe(subject_of(service)).await;
        messages.map_err(|error| BusError::jetstream("listening for other replicas", error))
    }
}

fn subject_of(service: &'static str) -> String {
    format!("presence.{service}")
}
