//! How many replicas of a service there are right now, to share what all of them may do together (a receiver's rate).
//!
//! Each tells the others that it is there, every two seconds, by plain NATS messages that nobody keeps; one that has not
//! been heard for three times as long does not count. An estimate: for a few seconds after a change it is off.

use std::collections::HashMap;
use std::time::Duration;

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
        let subject = format!("presence.{service}");
        let heard = self.client.subscribe(subject.clone()).await;
        let mut heard = heard.map_err(|error| BusError::jetstream("listening for other replicas", error))?;
        let (count, counted) = watch::channel(1);
        let client = self.client.clone();
        let counting = async move {
            let own: u64 = rand::random();
            let mut seen: HashMap<u64, Instant> = HashMap::new();
            let mut tick = tokio::time::interval(EVERY);
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        // Not heard without a connection, and then there is nothing to share.
                        let _ = client.publish(subject.clone(), own.to_be_bytes().to_vec().into()).await;
                    }
                    Some(message) = heard.next() => {
                        if let Ok(id) = message.payload.as_ref().try_into().map(u64::from_be_bytes)
                            && (seen.len() < REPLICAS_MAX || seen.contains_key(&id))
                        {
                            seen.insert(id, Instant::now());
                        }
                    }
                    else => return,
                }
                seen.retain(|id, at| *id == own || at.elapsed() < GONE_AFTER);
                seen.insert(own, Instant::now());
                count.send_if_modified(|count| std::mem::replace(count, seen.len()) != seen.len());
            }
        };
        Ok((counted, counting))
    }
}
