//! One ingest on a port of its own, with a nats-server of its own.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::json;
use slipstream_bus::{Bus, BusConfig, ConfigBucket};
use slipstream_core::config::Record;
use slipstream_ingest::Config;
use slipstream_service::Context;
use slipstream_service::config::HttpConfig;
use slipstream_service::lifecycle::Listeners;
use slipstream_test_support::builders::{self, AccountWithKeys, EventBuilder};
use slipstream_test_support::{NatsServer, eventually, install_crypto};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::answer::Answer;

pub(crate) const SITE: &str = builders::SITE;
/// A site of the same organisation; the usual account may publish there too.
pub(crate) const OTHER_SITE: &str = "sUkLWZg";
pub(crate) const PATH: &str = "/sites/s8n6EzC/events";
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
pub(crate) const BATCHED: &str = "application/cloudevents-batch+json";
/// Nothing takes longer, unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Stands in the data of every event of [`event`], and in no answer.
pub(crate) const CANARY: &str = "canary-of-the-payload";

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) bucket: ConfigBucket,
    pub(crate) account: AccountWithKeys,
    address: SocketAddr,
    ctx: Context,
    client: reqwest::Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_bus(|_| {}).await
    }

    /// A world whose bus is configured otherwise than by default.
    pub(crate) async fn with_bus(change: impl FnOnce(&mut BusConfig)) -> Self {
        let nats = NatsServer::start().await;
        let mut config = BusConfig { url: nats.url().into(), ..BusConfig::default() };
        change(&mut config);
        let bus = Bus::connect(&config).await.unwrap();
        let bucket = bus.config_bucket().await.unwrap();
        let account = builders::account();
        for site in [SITE, OTHER_SITE] {
            bucket.put(&Record::Site(builders::site(site))).await.unwrap();
        }
        bucket.put(&Record::Account(account.account.clone())).await.unwrap();

        let ctx = Context::new();
        let any_port = ([127, 0, 0, 1], 0).into();
        let http = HttpConfig {
            listen: any_port,
            operator_listen: any_port,
            drain_min: Duration::ZERO,
            ..HttpConfig::default()
        };
        let config = Config { http: http.clone(), bus: config, ..Config::default() };
        let routers = slipstream_ingest::start(config, &ctx).await.unwrap();
        let listeners = Listeners::bind(&http).await.unwrap();
        let address = listeners.public_address().unwrap();
        tokio::spawn({
            let ctx = ctx.clone();
            async move { ctx.serve(listeners, routers, &http).await.unwrap() }
        });
        install_crypto();
        let client = reqwest::Client::builder().timeout(LIMIT).build().unwrap();
        Self { nats, bus, bucket, account, address, ctx, client }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("http://{}{path}", self.address))
    }

    /// A publishing request to the usual site with the usual account's key, and nothing else yet.
    pub(crate) fn post(&self) -> RequestBuilder {
        self.request("POST", PATH).header("x-api-key", &self.account.primary_key)
    }

    pub(crate) async fn publish_bytes(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::to(self.post().header("content-type", content_type).body(body)).await
    }

    /// Publishes in structured mode.
    pub(crate) async fn publish(&self, event: &EventBuilder) -> Answer {
        self.publish_bytes(STRUCTURED, event.bytes()).await
    }

    pub(crate) async fn publish_batch(&self, events: &[EventBuilder]) -> Answer {
        self.publish_bytes(BATCHED, builders::batch(events)).await
    }

    /// Publishes in structured mode as another account.
    pub(crate) async fn publish_as(&self, account: &AccountWithKeys, event: &EventBuilder) -> Answer {
        let request = self.request("POST", PATH).header("x-api-key", &account.primary_key);
        Answer::to(request.header("content-type", STRUCTURED).body(event.bytes())).await
    }

    /// Puts an account in the bucket and waits until ingest knows it.
    pub(crate) async fn add(&self, account: &AccountWithKeys) {
        self.bucket.put(&Record::Account(account.account.clone())).await.unwrap();
        eventually(LIMIT, || async {
            let request = self.request("OPTIONS", PATH).header("x-api-key", &account.primary_key);
            Answer::to(request).await.status != 401
        })
        .await;
    }

    /// Stops the nats-server's threads and waits until the last of them stands: the signal alone returns sooner.
    pub(crate) async fn pause_bus(&mut self) {
        self.nats.pause();
        let threads = format!("/proc/{}/task", self.nats.id());
        eventually(LIMIT, || async {
            // The state follows the name, which is in parentheses.
            let stands = |stat: &str| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
            std::fs::read_dir(&threads).unwrap().all(|thread| {
                std::fs::read_to_string(thread.unwrap().path().join("stat")).is_ok_and(|stat| stands(&stat))
            })
        })
        .await;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ctx.health.is_ready()
    }

    /// What comes back for these bytes, sent as they are on a connection of their own.
    pub(crate) async fn send_raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses may close before it has taken everything.
        let _ = stream.write_all(bytes).await;
        let mut text = Vec::new();
        let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut text)).await.expect("the end in time");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The head of a publishing request up to its last line, for [`World::send_raw`].
    pub(crate) fn raw_head(&self, body_len: usize) -> String {
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-KEY: {}\r\nContent-Length: {body_len}\r\n",
            self.account.primary_key
        )
    }
}

/// A valid event with [`CANARY`] in its data, for any account.
pub(crate) fn event() -> EventBuilder {
    builders::event().kind("Test.Canary.Sang").with("data", json!({ "note": CANARY }))
}
