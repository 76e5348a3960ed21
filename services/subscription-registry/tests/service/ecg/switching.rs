//! Switching subscriptions on and off, putting them away, and what deliveries find of their endpoints.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use slipstream_bus::{Consumer, ConsumerName, Outgoing, StreamName, subject};
use slipstream_core::config::{DisabledReason, EcgSubscription, Health, PayloadVersion, Surface};
use slipstream_core::contract::{EcgPost, EcgPosted, EndpointChange, EndpointChanged, Meta, PostKind, header};
use slipstream_core::ecg;
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::outbox::posts;
use slipstream_test_support::eventually;

use super::subscriptions::wanted;
use super::{MANAGER, ORGANIZATION, World, done, refused};
use crate::harness::Harness;

crate::on_both_databases!(
    a_repeat_of_an_action_changes_nothing,
    each_activation_is_told_by_one_post,
    without_a_target_or_put_away_nothing_is_activated,
    an_endpoint_that_is_gone_or_failing_is_deactivated_until_its_owner_activates_it,
    what_was_noted_before_a_crash_is_posted_at_the_next_start,
);

const LIMIT: Duration = Duration::from_secs(10);

async fn act(world: &World, path: &str, verb: &str) {
    let answer = world.manager(Method::POST, &format!("{path}/{verb}"), Value::Null).await;
    done(&answer, 200);
    assert_eq!(answer.body, json!({ "value": true }));
}

async fn a_repeat_of_an_action_changes_nothing(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    // Active as it is made.
    let made = world.get(&path).await;
    act(&world, &path, "activate").await;
    assert_eq!(world.get(&path).await, made);
    for (verb, active, archived) in [
        ("archive", true, true),
        ("deactivate", false, true),
        ("restore", false, false),
        ("activate", true, false),
        ("archive", true, true),
        ("restore", true, false),
        ("deactivate", false, false),
    ] {
        let mut seen = Vec::new();
        for _ in 0..2 {
            act(&world, &path, verb).await;
            seen.push((world.get(&path).await, world.in_bucket(&path).await));
        }
        assert_eq!(seen[0], seen[1], "{verb}");
        let (shown, stands) = &seen[0];
        assert_eq!(shown["activeInfo"]["active"], active, "{verb}");
        assert_eq!(shown["archiveInfo"]["archived"], archived, "{verb}");
        assert_eq!((stands.flags.active, stands.flags.archived), (active, archived));
        assert_eq!(json!(stands.flags.active_changed_at), shown["activeInfo"]["activeStatusChangedAt"]);
    }
}

async fn without_a_target_or_put_away_nothing_is_activated(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let path = world.subscribed(json!({ "isDevelopment": false })).await;
    let activate = async || refused(&world.manager(Method::POST, &format!("{path}/activate"), Value::Null).await, 409);
    assert!(activate().await[0].contains("postUri"));
    let target = json!([{ "op": "add", "path": "/postUri", "value": "https://receiver.example/" }]);
    done(&world.manager(Method::PATCH, &path, target).await, 200);
    act(&world, &path, "archive").await;
    assert!(activate().await[0].contains("archived"));
    assert!(!world.in_bucket(&path).await.flags.active);
    assert_eq!(unpublished(&world).await, 0);
    act(&world, &path, "restore").await;
    act(&world, &path, "activate").await;
}

/// How many posts are noted and not published yet.
async fn unpublished(world: &World) -> usize {
    posts::oldest(world.service.store().await.connection(), 100).await.unwrap().len()
}

/// The next post that the activity log is told of.
async fn next_post(recorded: &mut Consumer) -> EcgPosted {
    loop {
        let message = tokio::time::timeout(LIMIT, recorded.next()).await.expect("a message comes");
        message.ack().await;
        if message.subject.starts_with("posts.") {
            return serde_json::from_slice(&message.payload).unwrap();
        }
    }
}

/// The deliveries on the bus, in order: with their subjects.
async fn deliveries(world: &World) -> Vec<(String, Meta, EcgPost)> {
    let jetstream = async_nats::jetstream::new(world.service.nats.client().await);
    let mut stream = jetstream.get_stream(StreamName::Work.as_str()).await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    let mut found = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let meta = message.headers.get(header::META).unwrap().as_str().parse().unwrap();
        found.push((message.subject.to_string(), meta, serde_json::from_slice(&message.payload).unwrap()));
    }
    found
}

async fn each_activation_is_told_by_one_post(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let mut body = wanted();
    body["version"] = "v2".into();
    let path = world.subscribed(body).await;
    let mut recorded = world.service.bus.consume(ConsumerName::ActivityLog).await.unwrap();
    for round in 1..=2 {
        act(&world, &path, "deactivate").await;
        for _ in 0..2 {
            act(&world, &path, "activate").await;
        }
        let stands = world.in_bucket(&path).await;
        let posted = next_post(&mut recorded).await;
        assert_eq!(
            (posted.organization.to_string(), posted.made_by),
            (ORGANIZATION.to_owned(), Some(MANAGER.parse().unwrap()))
        );
        assert_eq!((&posted.site, posted.lane), (&stands.site(), Lane::Normal));
        let post = &posted.post;
        assert_eq!((post.kind, post.event, post.code.as_str()), (PostKind::Activation, None, ecg::ACTIVATED));
        assert_eq!(post.created_at, stands.flags.active_changed_at);
        assert_eq!(posted.delivery.accepted_at(), post.created_at);
        let payload: Value = serde_json::from_str(post.payload.get()).unwrap();
        assert_eq!((stands.version, &payload["type"]), (PayloadVersion::V2, &ecg::ACTIVATED.into()));
        assert_eq!(payload["id"], posted.delivery.to_string());
        let raw: Value = serde_json::from_str(posted.raw_message.get()).unwrap();
        assert_eq!((&raw["action"], &raw["by"]), (&"activate".into(), &MANAGER.into()));

        let sent = deliveries(&world).await;
        assert_eq!(sent.len(), round, "one for each activation");
        let (subject, meta, delivered) = sent.last().unwrap();
        assert_eq!(subject, subject::delivery(Lane::Normal, stands.id, &posted.key).as_str());
        assert_eq!(*meta, Meta::new(stands.site(), post.created_at));
        assert_eq!(serde_json::to_value(delivered).unwrap(), serde_json::to_value(post).unwrap());
    }
    assert_eq!(unpublished(&world).await, 0);
}

async fn what_was_noted_before_a_crash_is_posted_at_the_next_start(service: Harness) {
    let (mut world, _) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    act(&world, &path, "deactivate").await;
    let stands = world.in_bucket(&path).await;
    world.service.stop().await;
    // As a crash after the commit leaves it: on in SQL, noted, and neither in force nor published.
    let store = world.service.store().await;
    let transaction = store.begin().await.unwrap();
    let now = clock::now();
    let noted = noted(&stands, now);
    posts::put(&transaction, &noted).await.unwrap();
    let mut on = stands.clone();
    (on.flags.active, on.flags.active_changed_at) = (true, now);
    slipstream_store::ecg::subscriptions::replace(&transaction, &on, true).await.unwrap();
    transaction.commit().await.unwrap();
    let mut recorded = world.service.bus.consume(ConsumerName::ActivityLog).await.unwrap();
    world.service.restart().await;
    assert!(world.in_bucket(&path).await.flags.active);
    assert_eq!(next_post(&mut recorded).await.delivery, noted.posted.delivery);
    assert_eq!(deliveries(&world).await.len(), 1);
    assert_eq!(unpublished(&world).await, 0);
}

fn noted(subscription: &EcgSubscription, now: Timestamp) -> posts::Noted {
    let site = subscription.site();
    let key = slipstream_core::ids::EventKey::new(&site, "/ecg/posts", "one");
    let payload = serde_json::value::to_raw_value(&json!({})).unwrap();
    let posted = EcgPosted {
        delivery: slipstream_core::ids::DeliveryId::derive(now, subscription.id, &key),
        key,
        site,
        lane: Lane::Normal,
        organization: subscription.organization,
        made_by: None,
        raw_message: payload.clone(),
        post: EcgPost {
            kind: PostKind::Activation,
            event: None,
            code: ecg::ACTIVATED.into(),
            created_at: now,
            payload,
        },
    };
    posts::Noted { subscription: subscription.id, posted }
}

/// Says what a delivery found, as the dispatcher does.
async fn report(world: &World, stands: &EcgSubscription, at: Timestamp, change: EndpointChange) {
    let changed = EndpointChanged { subscription: stands.id, at, change, revision: Some(stands.revision) };
    let message =
        Outgoing::new(subject::endpoint(Surface::Ecg, stands.id), serde_json::to_vec(&changed).unwrap().into());
    world.service.bus.publisher(StreamName::Outcomes).publish(message).await.unwrap();
}

async fn becomes(world: &World, path: &str, is_so: impl Fn(&EcgSubscription) -> bool) -> EcgSubscription {
    eventually(LIMIT, async || {
        let stands = world.in_bucket(path).await;
        if is_so(&stands) { Ok(stands) } else { Err(stands) }
    })
    .await
}

async fn an_endpoint_that_is_gone_or_failing_is_deactivated_until_its_owner_activates_it(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    let made = world.in_bucket(&path).await;
    let at = |millis| Timestamp::from_millis(clock::now().as_millis() + millis);

    report(&world, &made, at(0), EndpointChange::Disabled(DisabledReason::Gone)).await;
    let off = becomes(&world, &path, |it| !it.flags.active).await;
    assert_eq!((off.stamps, off.secrets.clone()), (made.stamps, made.secrets.clone()));
    assert_eq!(world.get(&path).await["activeInfo"]["active"], false);
    act(&world, &path, "activate").await;
    let on = world.in_bucket(&path).await;
    assert!(on.flags.active);

    // Comes too late: it is of the revision before. Then one that does not.
    report(&world, &made, at(0), EndpointChange::Disabled(DisabledReason::Gone)).await;
    let since = at(0);
    report(&world, &on, at(1), EndpointChange::Degraded(since)).await;
    let degraded = becomes(&world, &path, |it| it.health != Health::Healthy).await;
    assert!(degraded.flags.active && matches!(degraded.health, Health::Degraded(_)));
    report(&world, &degraded, at(2), EndpointChange::Recovered).await;
    let well = becomes(&world, &path, |it| it.health == Health::Healthy).await;
    report(&world, &well, at(3), EndpointChange::Degraded(at(3))).await;
    report(&world, &well, at(10), EndpointChange::Disabled(DisabledReason::Failing)).await;
    let off = becomes(&world, &path, |it| !it.flags.active).await;
    act(&world, &path, "activate").await;
    let on = world.in_bucket(&path).await;
    assert!(on.revision > off.revision && on.health == Health::Healthy && on.flags.active);

    // What its owner did is not told; of what was found, each once, as an event of the organization.
    let expected = ["disabled gone", "recovered ", "disabled failing"];
    eventually(LIMIT, async || {
        let told = told(&world, &made).await;
        if told == expected { Ok(()) } else { Err(told) }
    })
    .await;
}

/// What was told of the endpoint so far, in order.
async fn told(world: &World, of: &EcgSubscription) -> Vec<String> {
    let jetstream = async_nats::jetstream::new(world.service.nats.client().await);
    let mut stream = jetstream.get_stream(StreamName::Events.as_str()).await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    let mut told = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        slipstream_core::event::json::parse(&message.payload).expect("a CloudEvent");
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        let (site, event_type) = (of.site(), event["type"].as_str().unwrap());
        assert_eq!(message.subject.as_str(), format!("events.internal.normal.{site}.{event_type}"));
        let meta: Meta = message.headers.get(header::META).unwrap().as_str().parse().unwrap();
        assert_eq!((&meta.site, &event["siteslug"]), (&site, &json!(site)));
        let data = &event["data"];
        assert_eq!((&data["subscription"], &data["surface"]), (&json!(of.id), &json!(Surface::Ecg)));
        let name = event_type.strip_prefix("slipstream.endpoint.").unwrap();
        told.push(format!("{name} {}", data["reason"].as_str().unwrap_or_default()));
    }
    told
}
