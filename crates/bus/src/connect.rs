//! The connection, and the check that the server is what we need (DESIGN 3).

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use serde::Deserialize;
use slipstream_core::sealing::SecretUrl;

use crate::consume::Consumer;
use crate::publish::Publisher;
use crate::servers::{Credentials, Servers};
use crate::streams::{ConsumerName, Lease, StreamLimits, StreamName};

/// The oldest server whose schedules and atomic batches we trust.
const SERVER_VERSION_MIN: (i64, i64, i64) = (2, 15, 1);

/// How to reach NATS, and what its streams are allowed.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// `nats://host:port`, several separated by commas; with a name and password (`nats://user:password@host:port`), which
    /// are then for all of them. Default: `nats://127.0.0.1:4222`.
    pub url: SecretUrl,
    /// File with NATS credentials. Default: none.
    pub credentials: Option<PathBuf>,
    /// Copies of each stream: 1 or 3. Default: 1.
    pub replicas: usize,
    /// Bytes at which `EVENTS`, `QUEUE`, `OUTCOMES` and `AUDIT` refuse. Default: 1 GiB each. The server reserves
    /// them, and as much for `DEAD_LETTERS`: its own `max_file_store` must be larger than the five together.
    pub stream_max_bytes: i64,
    /// The server's `sync_interval` as its operator set it: `always` or a duration. Shown in `/readyz`; the server
    /// tells it to nobody but its system account. Default: `always`.
    pub sync: String,
    /// Longest time a publish may take, retries included, before the caller hears 503. Default: 5 s.
    #[serde(with = "millis")]
    pub publish_deadline_ms: Duration,
    /// How long an unacknowledged delivery stays with the dispatcher that has it. Default: 90 s (SPEC 4.1).
    #[serde(with = "millis")]
    pub delivery_lease_ms: Duration,
    /// How long an unacknowledged outcome stays with the activity log that has it. Default: 60 s.
    #[serde(with = "millis")]
    pub record_lease_ms: Duration,
}

/// Durations as whole milliseconds: this crate stays free of a format for people.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            credentials: None,
            replicas: 1,
            stream_max_bytes: 1 << 30,
            sync: "always".to_owned(),
            publish_deadline_ms: Duration::from_secs(5),
            delivery_lease_ms: Duration::from_secs(90),
            record_lease_ms: Duration::from_mins(1),
        }
    }
}

/// The bus cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The credentials file cannot be read.
    #[error("cannot read the NATS credentials file {path:?}")]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No connection.
    #[error("cannot connect to NATS at {url}")]
    Connect {
        /// Where to; shown without its password.
        url: SecretUrl,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server is too old.
    #[error("nats-server {version} is too old: at least 2.15.1 is needed")]
    ServerTooOld {
        /// Its version.
        version: String,
    },
    /// A stream cannot be made or changed.
    #[error("cannot declare stream {stream}")]
    Declare {
        /// Which one.
        stream: &'static str,
        /// Why.
        #[source]
        source: async_nats::Error,
    },
    /// A stream is not what was declared.
    #[error("stream {stream} differs from its declaration in {setting}")]
    Mismatch {
        /// Which one.
        stream: &'static str,
        /// In what.
        setting: &'static str,
    },
    /// A replica does not have yet what the stream has; later it does.
    #[error("a replica of stream {stream} is behind")]
    Behind {
        /// Which stream.
        stream: &'static str,
    },
    /// Another request to JetStream failed.
    #[error("{doing} failed")]
    JetStream {
        /// What was asked.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: async_nats::Error,
    },
    /// A record holds a secret that is not sealed, and is not written.
    #[error("the record {key} holds a secret that is not sealed")]
    NotSealed {
        /// Which key.
        key: String,
    },
    /// A record of the `config` bucket is not one of ours.
    #[error("the config bucket holds no valid record under {key}")]
    BadRecord {
        /// Which key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl BusError {
    pub(crate) fn jetstream(doing: &'static str, source: impl Into<async_nats::Error>) -> Self {
        Self::JetStream { doing, source: source.into() }
    }
}

/// A connection to NATS with all streams in place. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    config: BusConfig,
}

impl Bus {
    /// Connects, makes or updates the streams, and compares what the server then says with the declaration.
    ///
    /// # Errors
    /// If the server cannot be reached, is older than 2.15.1, or does not have the streams as declared.
    pub async fn connect(config: &BusConfig) -> Result<Self, BusError> {
        let mut options = async_nats::ConnectOptions::new()
            .name("slipstream")
            .connection_timeout(Duration::from_secs(5))
            // Sooner than the default, which grows to seconds: a restarted server is used again at once.
            .reconnect_delay_callback(|attempts| Duration::from_millis(20 * attempts.min(10) as u64))
            .client_capacity(4096)
            .subscription_capacity(8192);
        if let Some(path) = &config.credentials {
            options = options
                .credentials_file(path)
                .await
                .map_err(|source| BusError::Credentials { path: path.clone(), source })?;
        }
        let Servers { addresses, credentials } = Servers::of(&config.url);
        options = match credentials {
            Some(Credentials::Password { user, password }) => options.user_and_password(user, password.to_string()),
            Some(Credentials::Token(token)) => options.token(token.to_string()),
            None => options,
        };
        let servers: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let client =
            options.connect(servers).await.map_err(|source| BusError::Connect { url: config.url.clone(), source })?;
        let (major, minor, patch) = SERVER_VERSION_MIN;
        if !client.is_server_compatible(major, minor, patch) {
            return Err(BusError::ServerTooOld { version: client.server_info().version });
        }
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(Duration::from_secs(10));
        let bus = Self { client, jetstream, config: config.clone() };
        for name in StreamName::ALL {
            bus.declare(name).await?;
        }
        Ok(bus)
    }

    async fn declare(&self, name: StreamName) -> Result<(), BusError> {
        let stream = name.as_str();
        let declared = name.config(self.limits());
        let is_there = self.jetstream.get_stream(stream).await.is_ok();
        let info = if is_there {
            self.jetstream
                .update_stream(declared.clone())
                .await
                .map_err(|e| BusError::Declare { stream, source: e.into() })?
        } else {
            self.jetstream
                .create_stream(declared.clone())
                .await
                .map_err(|e| BusError::Declare { stream, source: e.into() })?
                .cached_info()
                .clone()
        };
        match difference(&declared, &info.config) {
            None => Ok(()),
            Some(setting) => Err(BusError::Mismatch { stream, setting }),
        }
    }

    fn limits(&self) -> StreamLimits {
        StreamLimits { replicas: self.config.replicas, max_bytes: self.config.stream_max_bytes }
    }

    pub(crate) fn replicas(&self) -> usize {
        self.config.replicas
    }

    pub(crate) fn stream_max_bytes(&self) -> i64 {
        self.config.stream_max_bytes
    }

    /// Whether the connection stands right now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// How many connections there have been: another number than before is another connection.
    pub fn connections(&self) -> u64 {
        self.client.statistics().connects.load(std::sync::atomic::Ordering::Acquire)
    }

    /// What `/readyz` tells of the bus: server version, replicas, sync setting.
    pub fn facts(&self) -> String {
        let version = self.client.server_info().version;
        format!("nats-server {version}, replicas {}, sync {}", self.config.replicas, self.config.sync)
    }

    /// A publisher to `stream`, with its own queue. Cheap to clone afterwards; make one per use.
    pub fn publisher(&self, stream: StreamName) -> Publisher {
        let each_costs_a_sync = self.config.replicas == 1 && self.config.sync == "always";
        Publisher::start(self.client.clone(), stream, self.config.publish_deadline_ms, each_costs_a_sync)
    }

    /// Opens the durable consumer `name`, making or updating it.
    ///
    /// # Errors
    /// If JetStream refuses.
    pub async fn consume(&self, name: ConsumerName) -> Result<Consumer, BusError> {
        let mut lease = name.default_lease();
        match name {
            ConsumerName::Deliver(_) => lease.ack_wait = self.config.delivery_lease_ms,
            ConsumerName::ActivityLog | ConsumerName::Audit => lease.ack_wait = self.config.record_lease_ms,
            _ => {}
        }
        Consumer::open(self, name, lease).await
    }

    /// Makes the durable consumer, or brings it up to date.
    pub(crate) async fn ensure_durable(&self, name: ConsumerName, lease: Lease) -> Result<(), BusError> {
        self.jetstream
            .create_consumer_on_stream(name.config(lease), name.stream().as_str())
            .await
            .map(drop)
            .map_err(|error| BusError::jetstream("opening a consumer", error))
    }

    /// Drops every waiting delivery under a subject (see [`crate::subject::waiting_of`]): purging a schedule cancels it.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub async fn cancel_schedules(&self, subjects: &str) -> Result<u64, BusError> {
        self.purge_subjects(StreamName::Work, subjects).await
    }

    /// Drops every message under a subject.
    pub(crate) async fn purge_subjects(&self, stream: StreamName, subjects: &str) -> Result<u64, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("taking messages away", error);
        let stream = self.jetstream.get_stream_no_info(stream.as_str()).await.map_err(|error| failed(error.into()))?;
        let purged = stream.purge().filter(subjects).await.map_err(|error| failed(error.into()))?;
        Ok(purged.purged)
    }

    /// The sequence of the last message of a stream.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub(crate) async fn last_sequence(&self, stream: StreamName) -> Result<u64, BusError> {
        let stream = self.jetstream.get_stream(stream.as_str()).await;
        let stream = stream.map_err(|error| BusError::jetstream("asking for a stream's state", error))?;
        Ok(stream.cached_info().state.last_sequence)
    }

    /// How many waiting deliveries there are under a subject with wildcards.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn count_schedules(&self, subjects: &str) -> Result<u64, BusError> {
        use futures::TryStreamExt as _;
        let failed = |error: async_nats::Error| BusError::jetstream("counting schedules", error);
        let stream =
            self.jetstream.get_stream_no_info(StreamName::Work.as_str()).await.map_err(|error| failed(error.into()))?;
        let counts = stream.info_with_subjects(subjects).await.map_err(|error| failed(error.into()))?;
        let total = counts.try_fold(0, async |total, (_, count)| Ok(total + count as u64)).await;
        total.map_err(|error| failed(error.into()))
    }

    /// Messages that `name` has not yet acknowledged: those to come and those handed out.
    ///
    /// # Errors
    /// If JetStream does not answer, or the consumer is not there.
    pub async fn backlog(&self, name: ConsumerName) -> Result<u64, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("looking at a consumer", error);
        let stream = self.jetstream.get_stream_no_info(name.stream().as_str()).await;
        let stream = stream.map_err(|error| failed(error.into()))?;
        let info = stream.consumer_info(name.durable()).await.map_err(|error| failed(error.into()))?;
        Ok(info.num_pending + info.num_ack_pending as u64)
    }

    /// Sends what is buffered, so that acknowledgements given so far leave this process.
    pub async fn flush(&self) {
        // Only fails when the connection is gone for good; then nothing is left to send.
        let _ = self.client.flush().await;
    }
}

/// The first setting in which a stream is not as declared. Settings that only narrow how a stream may be used by
/// others are the operator's own.
fn difference(declared: &stream::Config, actual: &stream::Config) -> Option<&'static str> {
    [
        ("subjects", declared.subjects == actual.subjects),
        ("retention", declared.retention == actual.retention),
        ("storage", declared.storage == actual.storage),
        ("replicas", declared.num_replicas == actual.num_replicas),
        ("discard", declared.discard == actual.discard),
        ("max_bytes", declared.max_bytes == actual.max_bytes),
        ("max_msgs", declared.max_messages == actual.max_messages),
        ("max_age", declared.max_age == actual.max_age),
        ("duplicate_window", declared.duplicate_window == actual.duplicate_window),
        ("allow_atomic", declared.allow_atomic_publish == actual.allow_atomic_publish),
        ("allow_msg_schedules", declared.allow_message_schedules == actual.allow_message_schedules),
        ("allow_rollup_hdrs", declared.allow_rollup == actual.allow_rollup),
        ("allow_msg_ttl", declared.allow_message_ttl == actual.allow_message_ttl),
        ("max_msgs_per_subject", declared.max_messages_per_subject == actual.max_messages_per_subject),
    ]
    .into_iter()
    .find_map(|(setting, is_equal)| (!is_equal).then_some(setting))
}
