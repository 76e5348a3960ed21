//! Nobody waits for somebody else's receiver (DESIGN 4 "Isolate", SPEC 9.3).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use slipstream_core::contract::Outcomes;
use slipstream_core::delivery::Reason;
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::receiver::Then;
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::{LIMIT, Mode, Settings, Shape, System};

slipstream_tests::journeys![
    a_two_second_receiver_does_not_slow_another_subscription,
    receivers_that_never_answer_do_not_slow_another_subscription,
    ten_hosts_that_never_answer_cost_forty_others_nothing,
    ten_hosts_that_drip_their_answers_cost_forty_others_nothing,
];

/// Publishes 200 events, and checks that `/fast` gets all of them within `limit` of the last one's publishing.
async fn check_that_fast_is_done_within(limit: Duration, system: &System, receiver: &Receiver) {
    let publisher = system.external().await;
    let events: Vec<EventBuilder> = (0..200).map(|_| event()).collect();
    for events in events.chunks(20) {
        publisher.publish_in(Mode::Batch, events).await;
    }
    receiver.wait_for_at("/fast", events.len(), limit).await;
}

async fn a_two_second_receiver_does_not_slow_another_subscription(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script_path("/slow", |_, _| Reply::ok().delay(Duration::from_secs(2)));
    for path in ["/slow", "/fast"] {
        system.external().await.subscribe(receiver.url(path)).await;
    }
    // The slow one, with 8 at once, needs 50 s for them.
    check_that_fast_is_done_within(Duration::from_secs(5), &system, &receiver).await;
    // Now it is known to be slow, and has a backlog. Behind any of it, an event would take 2 s and more.
    let slow = receiver.wait_for_at("/slow", 9, LIMIT).await.len();
    assert!(slow < 100, "no backlog after {slow}");
    let publisher = system.external().await;
    for number in 1..=20 {
        publisher.publish(&event()).await;
        receiver.wait_for_at("/fast", 200 + number, Duration::from_millis(1500)).await;
    }
}

async fn receivers_that_never_answer_do_not_slow_another_subscription(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    for number in 0..4 {
        let path = format!("/hangs/{number}");
        receiver.script_path(&path, |_, _| Reply::hang());
        system.external().await.subscribe(receiver.url(&path)).await;
    }
    system.external().await.subscribe(receiver.url("/fast")).await;
    // An attempt at those that hang is given up after 30 s.
    check_that_fast_is_done_within(Duration::from_secs(10), &system, &receiver).await;
}

/// Hosts of each kind.
const BAD: usize = 10;
const GOOD: usize = 40;

/// Why deliveries waited, by subscription: what is recorded of every one that is put off, read from the bus as it comes,
/// because the activity log tells of the latest only.
#[derive(Debug, Clone, Default)]
struct Waits(Arc<Mutex<HashMap<String, Vec<Reason>>>>);

impl Waits {
    async fn watch(system: &mut System) -> Self {
        let waits = Self::default();
        let client = system.nats().client().await;
        let mut messages = client.subscribe("outcomes.>").await.expect("the broker answers");
        client.flush().await.expect("the broker answers");
        let kept = waits.clone();
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let Outcomes { subscription, outcomes, .. } =
                    serde_json::from_slice(&message.payload).expect("outcomes are JSON");
                let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
                let reasons = kept.entry(subscription.to_string()).or_default();
                reasons.extend(outcomes.iter().filter_map(|outcome| outcome.reason));
            }
            drop(client);
        });
        waits
    }

    /// How often a delivery to `subscription` had to wait because of how the endpoint is.
    fn of(&self, subscription: &str) -> Vec<Reason> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reasons = kept.get(subscription).map(Vec::as_slice).unwrap_or_default();
        let is_wait = |reason: &&Reason| matches!(reason, Reason::BreakerOpen | Reason::EndpointBusy);
        reasons.iter().filter(is_wait).copied().collect()
    }
}

/// Fifty subscriptions, each at a host of its own, of which ten behave as `bad` says.
async fn forty_get_everything_while_ten_are(bad: fn() -> Reply, shape: Shape) {
    const EVENTS: usize = 50;
    // So that it is soon known who is bad, and ever more waits for them.
    let settings = Settings { attempt_timeout: Duration::from_secs(2), ..Settings::default() };
    let mut system = System::with(shape, settings).await;
    let waits = Waits::watch(&mut system).await;
    let (mut hosts, mut subscriptions) = (Vec::new(), Vec::new());
    for number in 0..BAD + GOOD {
        let receiver = Receiver::start_on([127, 0, 0, 2 + number as u8]).await;
        if number < BAD {
            receiver.script(move |_, _| bad());
        }
        let account = system.external().await;
        account.subscribe(receiver.url("/")).await;
        subscriptions.push(system.operator.endpoint_of(&account).await);
        hosts.push(receiver);
    }
    let publisher = system.external().await;
    // The first is how an endpoint shows that it answers.
    publisher.publish(&event()).await;
    for host in &hosts {
        host.wait_for(1, LIMIT).await;
    }
    for _ in 1..EVENTS {
        publisher.publish(&event()).await;
    }
    for host in &hosts[BAD..] {
        host.wait_for(EVENTS, LIMIT).await;
    }
    // What waits for the bad ones is put off: were it not, nothing would be shown, and no reason could be seen.
    for (host, subscription) in hosts.iter().zip(&subscriptions).take(BAD) {
        eventually(LIMIT, async || !waits.of(subscription).is_empty()).await;
        assert!(host.count() <= 16, "{} of {EVENTS} were sent to {}", host.count(), host.url("/"));
    }
    for (host, subscription) in hosts.iter().zip(&subscriptions).skip(BAD) {
        assert_eq!((host.count(), waits.of(subscription)), (EVENTS, vec![]), "{}", host.url("/"));
    }
}

async fn ten_hosts_that_never_answer_cost_forty_others_nothing(shape: Shape) {
    forty_get_everything_while_ten_are(Reply::hang, shape).await;
}

async fn ten_hosts_that_drip_their_answers_cost_forty_others_nothing(shape: Shape) {
    let drip = || Reply::ok().body("slowly").then(Then::Drip(Duration::from_secs(1)));
    forty_get_everything_while_ten_are(drip, shape).await;
}
