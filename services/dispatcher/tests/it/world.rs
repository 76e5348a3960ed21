//! One dispatcher with its own server, receiver and subscriptions.

use std::collections::HashMap;
use std::time::Duration;

use slipstream_bus::{Bus, BusConfig, ConfigBucket, Consumer, ConsumerName, Outgoing, Publisher, StreamName, subject};
use slipstream_core::config::Subscription;
use slipstream_core::contract::{EcgPosted, EndpointChanged, Meta, Outcome, Outcomes, Routed, RoutedEvent};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::event::json;
use slipstream_core::ids::{AccountId, DeliveryId};
use slipstream_core::slipstream::accept;
use slipstream_dispatcher::{Config, DeliveryConfig};
use slipstream_service::config::SecretsConfig;
use slipstream_service::{Context, clock};
use slipstream_test_support::builders::{self, EventBuilder};
use slipstream_test_support::nats::NatsServer;
use slipstream_test_support::receiver::Receiver;
use slipstream_test_support::secrets;
use slipstream_webhook::AddressPolicy;

pub(crate) const SITE: &str = "s8n6EzC";
/// The trace of whoever publishes.
pub(crate) const TRACE: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) receiver: Receiver,
    pub(crate) bucket: ConfigBucket,
    pub(crate) bus: Bus,
    pub(crate) ctx: Context,
    events: Publisher,
    recorded: Consumer,
    outcomes: Vec<(DeliveryId, Outcome)>,
    routed: Vec<RoutedEvent>,
    changes: Vec<EndpointChanged>,
    posted: Vec<EcgPosted>,
    subscription: Subscription,
    server: NatsServer,
    config: Config,
}

impl World {
    pub(crate) async fn new(delivery: DeliveryConfig) -> Self {
        Self::with_subscription(delivery, |_| {}).await
    }

    /// A world with one subscription, to `/hook` of the receiver.
    pub(crate) async fn with_subscription(delivery: DeliveryConfig, change: impl FnOnce(&mut Subscription)) -> Self {
        let server = NatsServer::start().await;
        let bus_config =
            BusConfig { url: server.url().into(), delivery_lease_ms: Duration::from_secs(3), ..BusConfig::default() };
        let secrets = SecretsConfig { master_key_file: Some(secrets::master_key_file()), ..SecretsConfig::default() };
        let config = Config {
            bus: bus_config.clone(),
            targets: AddressPolicy::with_loopback(),
            delivery,
            secrets,
            ..Config::default()
        };
        let bus = Bus::connect(&bus_config).await.unwrap();
        let bucket = bus.config_bucket().await.unwrap();
        let receiver = Receiver::start().await;
        let mut subscription = subscription(&receiver, "/hook");
        change(&mut subscription);
        put(&bucket, &subscription).await;
        let ctx = Context::new();
        let _probes = Box::pin(slipstream_dispatcher::start(config.clone(), &ctx)).await.unwrap();
        let recorded = bus.consume(ConsumerName::ActivityLog).await.unwrap();
        let events = bus.publisher(StreamName::Events);
        Self {
            receiver,
            bucket,
            bus,
            ctx,
            events,
            recorded,
            outcomes: Vec::new(),
            routed: Vec::new(),
            changes: Vec::new(),
            posted: Vec::new(),
            subscription,
            server,
            config,
        }
    }

    /// Publishes an event as ingest would.
    pub(crate) async fn publish(&self, event: &EventBuilder) {
        self.publish_as(event, ToOwned::to_owned).await;
    }

    /// Publishes an event as ingest would, to a broker that does not remember its first publication.
    pub(crate) async fn publish_forgotten(&self, event: &EventBuilder) {
        self.publish_as(event, |key| format!("{key}.forgotten")).await;
    }

    async fn publish_as(&self, event: &EventBuilder, id: impl Fn(&str) -> String) {
        let site = builders::site(SITE);
        let event = json::parse(&event.bytes()).unwrap();
        let accepted = accept(event, &site, slipstream_core::config::AccountKind::Internal).unwrap();
        let now = clock::now();
        let meta = Meta {
            expires_at: accepted.expires_at,
            intended_at: accepted.intended_at,
            ..Meta::new(site.slug.clone(), now)
        };
        let due = subject::event(accepted.visibility, accepted.lane, &site.slug, &accepted.event_type);
        let is_ahead = accepted.intended_at.is_some_and(|at| at > now);
        let message = if is_ahead {
            Outgoing::new(subject::later(accepted.lane, &site.slug, &accepted.key), accepted.body.into())
                .due_subject(&due)
        } else {
            Outgoing::new(due, accepted.body.into())
        };
        let trace = TRACE.parse().ok();
        self.events.publish(message.id(&id(accepted.key.as_str())).meta(&meta).trace(trace)).await.unwrap();
    }

    /// Reads what is recorded until `is_enough`; everything seen so far stays in the world.
    pub(crate) async fn recorded_until(&mut self, what: &str, is_enough: impl Fn(&Self) -> bool) {
        let read = async {
            while !is_enough(self) {
                let message = self.recorded.next().await;
                message.ack().await;
                if message.subject.starts_with("outcomes.") {
                    let Outcomes { outcomes, .. } = serde_json::from_slice(&message.payload).unwrap();
                    self.outcomes.extend(outcomes.into_iter().map(|outcome| (outcome.delivery, outcome)));
                } else if message.subject.starts_with("routed.") {
                    let Routed { events, .. } = serde_json::from_slice(&message.payload).unwrap();
                    self.routed.extend(events);
                } else if message.subject.starts_with("posts.") {
                    self.posted.push(serde_json::from_slice(&message.payload).unwrap());
                } else {
                    self.changes.push(serde_json::from_slice(&message.payload).unwrap());
                }
            }
        };
        let in_time = tokio::time::timeout(LIMIT, read).await.is_ok();
        assert!(in_time, "never recorded: {what}; outcomes: {:#?}, routed: {:#?}", self.outcomes, self.routed);
    }

    /// Waits until `count` deliveries have ended; their last outcomes.
    pub(crate) async fn ended(&mut self, count: usize) -> HashMap<DeliveryId, Outcome> {
        let last = |world: &Self| -> HashMap<_, _> {
            world.outcomes.iter().filter(|(_, outcome)| outcome.state.is_terminal()).cloned().collect()
        };
        self.recorded_until(&format!("{count} deliveries ended"), |world| last(world).len() >= count).await;
        last(self)
    }

    /// Waits until the only delivery has ended; all its outcomes.
    pub(crate) async fn only_delivery(&mut self) -> Vec<Outcome> {
        self.ended(1).await;
        self.outcomes.iter().map(|(_, outcome)| outcome.clone()).collect()
    }

    /// The first subscription.
    pub(crate) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// What has been read of ECG posts so far.
    pub(crate) fn posted(&self) -> &[EcgPosted] {
        &self.posted
    }

    /// Every outcome that has been read so far.
    pub(crate) fn seen_outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().map(|(_, outcome)| outcome)
    }

    /// What has been read of endpoints so far.
    pub(crate) fn changes(&self) -> &[EndpointChanged] {
        &self.changes
    }

    /// Every reason that has been recorded so far.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        self.outcomes.iter().filter_map(|(_, outcome)| outcome.reason).collect()
    }

    /// What has been read of events so far.
    pub(crate) fn seen_routed(&self) -> &[RoutedEvent] {
        &self.routed
    }

    pub(crate) fn states(&self) -> Vec<DeliveryState> {
        self.outcomes.iter().map(|(_, outcome)| outcome.state).collect()
    }

    pub(crate) async fn routed(&mut self, count: usize) -> Vec<RoutedEvent> {
        self.recorded_until(&format!("{count} events routed"), |world| world.routed.len() >= count).await;
        self.routed.clone()
    }

    /// What the dispatcher is started with.
    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    /// A second dispatcher on the same bus.
    pub(crate) async fn another_dispatcher(&self) -> Context {
        let ctx = Context::new();
        let _probes = Box::pin(slipstream_dispatcher::start(self.config.clone(), &ctx)).await.unwrap();
        ctx
    }

    pub(crate) async fn restart_bus(&mut self) {
        self.server.kill9();
        self.server.restart().await;
    }

    /// Stops the dispatcher and waits until it has.
    pub(crate) async fn stop(&self) {
        self.ctx.stop.cancel();
        self.ctx.drained.cancel(); // no request is being answered
        self.ctx.tasks.close();
        tokio::time::timeout(LIMIT, self.ctx.tasks.wait()).await.expect("the dispatcher stops");
    }
}

pub(crate) fn subscription(receiver: &Receiver, path: &str) -> Subscription {
    builders::subscription(SITE, AccountId(uuid::Uuid::new_v4()), receiver.url(path))
}

pub(crate) async fn put(bucket: &ConfigBucket, subscription: &Subscription) {
    for record in secrets::records(subscription) {
        bucket.put(&record).await.unwrap();
    }
}

/// Retries after 50 ms and 100 ms, and then no more.
pub(crate) fn quick_retries() -> DeliveryConfig {
    DeliveryConfig { retry_schedule_ms: vec![0, 50, 100].try_into().unwrap(), ..DeliveryConfig::default() }
}
