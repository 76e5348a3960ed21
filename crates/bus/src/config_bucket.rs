//! The `config` bucket: what people configure, from the registry to every service (DESIGN 3).

use async_nats::jetstream::kv::{self, Operation};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use slipstream_core::config::Record;

use crate::connect::{Bus, BusError};

/// The bucket's name.
const BUCKET: &str = "config";

/// The bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConfigBucket {
    store: kv::Store,
    jetstream: async_nats::jetstream::Context,
}

/// One thing that a watcher sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// A record is new or changed. Compare its revision with what you have.
    Put(Record),
    /// The record under this key is gone.
    Deleted {
        /// Which key; see [`Record::key`].
        key: String,
    },
    /// Everything that was there when the watch began has been seen.
    Initialised,
}

impl Bus {
    /// Opens the bucket, making it if it is not there.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub async fn config_bucket(&self) -> Result<ConfigBucket, BusError> {
        let config = kv::Config {
            bucket: BUCKET.to_owned(),
            history: 1,
            num_replicas: self.replicas(),
            ..kv::Config::default()
        };
        let store = match self.jetstream.get_key_value(BUCKET).await {
            Ok(store) => store,
            Err(_) => self
                .jetstream
                .create_key_value(config)
                .await
                .map_err(|error| BusError::jetstream("opening the config bucket", error))?,
        };
        Ok(ConfigBucket { store, jetstream: self.jetstream.clone() })
    }
}

impl ConfigBucket {
    /// Writes a record under its key.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer, or the record holds a secret that is not sealed.
    pub async fn put(&self, record: &Record) -> Result<(), BusError> {
        if !record.is_sealed() {
            return Err(BusError::NotSealed { key: record.key() });
        }
        let value = serde_json::to_vec(record).expect("records serialise once their secrets are sealed");
        self.store
            .put(record.key(), value.into())
            .await
            .map(drop)
            .map_err(|error| BusError::jetstream("writing the config bucket", error))
    }

    /// Removes what stands under `key`; nothing there is fine.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub async fn delete(&self, key: &str) -> Result<(), BusError> {
        // A purge, so that the marker does not keep the old value's bytes on disk.
        self.store.purge(key).await.map_err(|error| BusError::jetstream("removing from the config bucket", error))
    }

    /// All keys. One whose record is replaced while the listing runs may be missing: the server lists what was the
    /// last message of each key when it began, and skips one that is no longer there.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub async fn keys(&self) -> Result<Vec<String>, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("listing the config bucket", error);
        let keys = self.store.keys().await.map_err(|error| failed(error.into()))?;
        keys.try_collect().await.map_err(|error| failed(error.into()))
    }

    /// The record under `key`.
    ///
    /// # Errors
    /// If JetStream does not answer, or what stands there is not a record.
    pub async fn get(&self, key: &str) -> Result<Option<Record>, BusError> {
        let value =
            self.store.get(key).await.map_err(|error| BusError::jetstream("reading the config bucket", error))?;
        value.map(|value| parse(key, &value)).transpose()
    }

    /// Asks for a sign of life: when it comes, changes come too, over the same connection.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub async fn check(&self) -> Result<(), BusError> {
        let asked = self.jetstream.get_stream(&self.store.stream_name).await;
        asked.map(drop).map_err(|error| BusError::jetstream("asking the config bucket", error))
    }

    /// What is there now, then [`ConfigChange::Initialised`], then every change. When the connection is lost it tells
    /// nothing ([`ConfigBucket::check`]) and goes on some time after there is one again, unless the server is not the
    /// same any more: better watch again then.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub async fn watch(&self) -> Result<impl Stream<Item = Result<ConfigChange, BusError>> + Send + use<>, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("watching the config bucket", error);
        // The store's own status is as old as the store; an empty bucket must be known to be empty now.
        let stream = self.jetstream.get_stream(&self.store.stream_name).await.map_err(|error| failed(error.into()))?;
        let is_empty = stream.cached_info().state.messages == 0;
        let watch = self.store.watch_with_history(">").await.map_err(|error| failed(error.into()))?;
        let mut is_initialised = false;
        let changes = watch.flat_map(move |entry| {
            let mut changes = Vec::with_capacity(2);
            match entry {
                Ok(entry) => {
                    let change = match entry.operation {
                        Operation::Put => parse(&entry.key, &entry.value).map(ConfigChange::Put),
                        Operation::Delete | Operation::Purge => Ok(ConfigChange::Deleted { key: entry.key }),
                    };
                    changes.push(change);
                    if entry.seen_current && !is_empty && !std::mem::replace(&mut is_initialised, true) {
                        changes.push(Ok(ConfigChange::Initialised));
                    }
                }
                Err(error) => changes.push(Err(BusError::jetstream("watching the config bucket", error))),
            }
            futures::stream::iter(changes)
        });
        let at_once = is_empty.then_some(Ok(ConfigChange::Initialised));
        Ok(futures::stream::iter(at_once).chain(changes))
    }
}

fn parse(key: &str, value: &[u8]) -> Result<Record, BusError> {
    serde_json::from_slice(value).map_err(|source| BusError::BadRecord { key: key.to_owned(), source })
}
