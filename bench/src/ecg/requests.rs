//! The same asked over HTTP: of an activity log that is a process of its own, with a broker and tokens, by one caller and
//! by many at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use slipstream_bus::{Bus, BusConfig};
use slipstream_core::config::{EcgEvent, EcgSubscription, Record};
use slipstream_core::ids::SubscriptionId;
use slipstream_test_support::builders::ecg;
use slipstream_test_support::issuer::AUDIENCE;
use slipstream_test_support::secrets::{ecg_records, master_key_file};
use slipstream_test_support::{Issuer, NatsServer, install_crypto};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::figures::{Http, Request};
use super::history::{EVENTS, History, event, organization};
use crate::http::Inbox;
use crate::stats::Latency;
use crate::system::{ActivityLog, Settings};

/// How many callers ask at the same time, in one run after the other.
const CALLERS: [usize; 2] = [1, 16];
/// How often each page is asked for, over all callers.
const ROUNDS: usize = 160;
/// Activities of a page: the most.
const TAKE: u64 = 100;
/// How long the service may take to have what is configured, and the issuer's keys.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Asks for pages of the history in the database at `database_url`.
///
/// # Errors
/// If the service cannot be started, or answers a list by something else than a page or that it is busy.
pub(super) async fn ask(history: &History, database_url: &str, say: &impl Fn(&str)) -> anyhow::Result<Http> {
    install_crypto();
    say("starting a broker and the activity log");
    let (nats, issuer, files) = (NatsServer::start().await, Issuer::start().await, tempfile::tempdir()?);
    let (broker_url, issuer_url, master_key) = (nats.url(), issuer.url(), master_key_file());
    let settings = Settings {
        broker_url: &broker_url,
        database_url,
        master_key: &master_key,
        issuer: &issuer_url,
        audience: AUDIENCE,
    };
    let service = ActivityLog::start(&settings, files.path()).await?;
    configure(&broker_url, history).await?;
    let token = issuer.token().claim("sub", "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11");
    let token = token.claim("roles", json!(["webhookManager"])).claim("organizationIds", json!([organization()]));
    let lists = Lists { address: service.address().to_string(), token: token.sign() };
    lists.wait_until_answered(history.main).await?;
    say("asking over HTTP");
    let mut requests = Vec::new();
    for callers in CALLERS {
        for (name, path) in pages(&lists, history).await? {
            requests.push(lists.measure(name, &path, callers).await?);
        }
    }
    Ok(Http { requests, peak_mib: service.peak_mib()? })
}

/// Writes what is configured to the bucket, as the registry does.
async fn configure(broker_url: &str, history: &History) -> anyhow::Result<()> {
    let bus = Bus::connect(&BusConfig { url: broker_url.into(), ..BusConfig::default() }).await?;
    let bucket = bus.config_bucket().await?;
    bucket.put(&Record::EcgCategory(ecg::category())).await?;
    for number in 0..EVENTS {
        let code = format!("vitals.observations.number{number}");
        bucket.put(&Record::EcgEvent(EcgEvent { id: event(number), code, ..ecg::event() })).await?;
    }
    for id in [history.main, history.other] {
        let made = ecg::subscription(organization(), "https://receiver.example/ecg");
        let subscription = EcgSubscription { id, events: (0..EVENTS).map(event).collect(), ..made };
        for record in &ecg_records(&subscription) {
            bucket.put(record).await?;
        }
    }
    Ok(())
}

/// Which pages are asked for.
async fn pages(lists: &Lists, history: &History) -> anyhow::Result<Vec<(String, String)>> {
    let (rare, most) = (event(EVENTS - 1), event(0));
    let of = |list: &str, filter: &str| format!("{}?take={TAKE}{filter}", path(history.main, list));
    let kinds = [
        ("E42, all", of("activity", "")),
        ("E42, succeeded", of("activity", "&status=succeeded")),
        ("E42, failed", of("activity", "&status=failed")),
        ("E42, of an event", of("activity", &format!("&eventId={most}"))),
        ("E42, of an event, failed", of("activity", &format!("&eventId={most}&status=failed"))),
        ("E42, of a rare event", of("activity", &format!("&eventId={rare}"))),
        ("E42, subscription and event included", of("activity", "&include=subscription,event")),
        ("E42, oldest first", of("activity", "&order_by=ASC")),
        ("E42, of another subscription", format!("{}?take={TAKE}", path(history.other, "activity"))),
        ("E32, all", of("activations", "")),
        ("E32, subscription and event included", of("activations", "&include=subscription,event")),
    ];
    let mut pages = Vec::new();
    for (kind, list) in kinds {
        let first = lists.connect().await?.get(&list).await?;
        let page: Value = serde_json::from_slice(&first.body).context("a page that is not JSON")?;
        let total = page["totalRecords"].as_u64().context("a page without a total")?;
        ensure!(total > 0, "{kind}: nothing is there");
        let last = (total - 1) / TAKE;
        for (place, skip) in [("first page", 0), ("page in the middle", last / 2), ("last page", last)] {
            pages.push((format!("{kind} ({total}): {place}"), format!("{list}&skip={skip}")));
        }
    }
    Ok(pages)
}

fn path(subscription: SubscriptionId, list: &str) -> String {
    format!("/api/organizations/{}/webhook-subscriptions/{subscription}/{list}", organization())
}

/// The lists of the service.
struct Lists {
    address: String,
    token: String,
}

impl Lists {
    async fn connect(&self) -> anyhow::Result<Caller> {
        let stream = TcpStream::connect(&self.address).await.context("cannot connect to the activity log")?;
        stream.set_nodelay(true)?;
        Ok(Caller { stream, inbox: Inbox::default(), token: self.token.clone() })
    }

    async fn wait_until_answered(&self, subscription: SubscriptionId) -> anyhow::Result<()> {
        let (begun, list) = (Instant::now(), path(subscription, "activity"));
        loop {
            let answer = self.connect().await?.get(&list).await?;
            if answer.status == 200 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&answer.body);
            ensure!(begun.elapsed() < READY_WITHIN, "{list} is answered {}: {text}", answer.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Has so many callers ask for a page, again and again, each as soon as it has its answer.
    async fn measure(&self, name: String, path: &str, callers: usize) -> anyhow::Result<Request> {
        let begun = Instant::now();
        let asking = (0..callers).map(async |_| {
            let mut caller = self.connect().await?;
            let mut answers = Vec::new();
            for _ in 0..ROUNDS / callers {
                let asked = Instant::now();
                let answer = caller.get(path).await?;
                answers.push((answer, u64::try_from(asked.elapsed().as_nanos())?));
            }
            anyhow::Ok(answers)
        });
        let answers: Vec<_> = try_join_all(asking).await?.into_iter().flatten().collect();
        let seconds = begun.elapsed().as_secs_f64();
        let (mut nanos, mut busy, mut items) = (Vec::new(), 0, 0);
        for (answer, took) in &answers {
            match answer.status {
                200 => nanos.push(*took),
                503 => busy += 1,
                other => anyhow::bail!("{name}: answered {other}: {}", String::from_utf8_lossy(&answer.body)),
            }
        }
        if let Some((answer, _)) = answers.iter().find(|(answer, _)| answer.status == 200) {
            let page: Value = serde_json::from_slice(&answer.body).context("a page that is not JSON")?;
            items = page["items"].as_array().context("a page without items")?.len();
        }
        let per_second = crate::stats::rate(nanos.len() as u64, seconds);
        Ok(Request { name, callers, items, busy, per_second, latency: Latency::of(nanos) })
    }
}

/// One connection.
struct Caller {
    stream: TcpStream,
    inbox: Inbox,
    token: String,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Caller {
    async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        let token = &self.token;
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let message = self.inbox.next(&mut self.stream).await?.context("no answer")?;
        let status = message.status().context("an answer without a status")?;
        Ok(Answer { status, body: message.body.to_vec() })
    }
}
