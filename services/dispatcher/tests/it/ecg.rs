//! ECG posts (SPEC 6.5, 6.7, 6.8): deliveries whose attempts are activities.

use slipstream_bus::{Outgoing, StreamName, subject};
use slipstream_core::config::{EcgCategory, EcgEvent, EcgSecret, EcgSubscription, Flags, PayloadVersion, Record, Site};
use slipstream_core::contract::{EcgPost, Meta, PostKind};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{ActivityId, DeliveryId, EcgSecretId, EventKey};
use slipstream_core::lane::Lane;
use slipstream_core::signing::verify;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_core::{config::EndpointState, ecg};
use slipstream_service::clock;
use slipstream_test_support::builders::{self, ecg as made};
use slipstream_test_support::receiver::{Received, Reply};
use slipstream_test_support::secrets;
use uuid::Uuid;

use crate::world::{LIMIT, SITE, World, quick_retries};

const ORGANIZATION: Uuid = Uuid::from_u128(0x0e_c6);
const PAYLOAD: &str = r#"{"eventType":"vitals.observations.created","version":"v1","data":{"vitals":1.50}}"#;

async fn put(world: &World, records: impl IntoIterator<Item = Record>) {
    for record in records {
        world.bucket.put(&record).await.unwrap();
    }
}

/// A world with a category, an event and a subscription to it.
async fn world(change: impl FnOnce(&mut EcgSubscription)) -> (World, EcgSubscription) {
    let world = World::new(quick_retries()).await;
    let mut subscription = made::subscription(ORGANIZATION, world.receiver.url("/ecg"));
    change(&mut subscription);
    put(&world, [Record::EcgCategory(made::category()), Record::EcgEvent(made::event())]).await;
    put(&world, secrets::ecg_records(&subscription)).await;
    (world, subscription)
}

/// Publishes a post as the activity log would.
async fn post(world: &World, subscription: &EcgSubscription, kind: PostKind, created_at: Timestamp) -> DeliveryId {
    let site = Slug::of_organization(ORGANIZATION);
    let key = EventKey::new(&site, "/ecg/posts", &Uuid::new_v4().to_string());
    let delivery = DeliveryId::derive(created_at, subscription.id, &key);
    let body = EcgPost {
        kind,
        event: (kind == PostKind::Event).then(|| made::event().id),
        code: if kind == PostKind::Event { made::CODE.to_owned() } else { ecg::ACTIVATED.to_owned() },
        created_at,
        payload: serde_json::from_str(PAYLOAD).unwrap(),
    };
    let message = Outgoing::new(
        subject::delivery(Lane::Normal, subscription.id, &key),
        serde_json::to_vec(&body).unwrap().into(),
    );
    let message = message.id(&delivery.to_string()).meta(&Meta::new(site, created_at));
    world.bus.publisher(StreamName::Work).publish(message).await.unwrap();
    delivery
}

/// The hash of the body is that of its payload at its own time, under `secret`.
fn assert_hashed(received: &Received, secret: &str) {
    let body = received.json();
    let created_at = Timestamp::from_millis(body["createdAt"].as_i64().unwrap());
    assert_eq!(body["hash"], ecg::hash(secret, created_at, PAYLOAD), "{body}");
}

#[tokio::test]
async fn a_post_arrives_hashed_and_signed_with_the_headers_of_its_surface() {
    let (mut world, subscription) = world(|_| {}).await;
    let created_at = clock::now();
    let delivery = post(&world, &subscription, PostKind::Event, created_at).await;
    let received = world.receiver.wait_for(1, LIMIT).await.remove(0);
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("x-ecg-event"), made::CODE);
    assert_eq!(received.header("x-ecg-activity-id"), delivery.to_string());
    let hash = ecg::hash(made::SECRET, created_at, PAYLOAD);
    let expected = format!(r#"{{"payload":{PAYLOAD},"hash":"{hash}","createdAt":{}}}"#, created_at.as_millis());
    assert_eq!(std::str::from_utf8(&received.body).unwrap(), expected, "numbers and order stay");
    verify(
        &[ecg::signing_key(made::SECRET)],
        received.header("webhook-id"),
        received.header("webhook-timestamp"),
        received.header("webhook-signature"),
        &received.body,
        clock::now().as_seconds(),
    )
    .unwrap();
    let outcomes = world.only_delivery().await;
    assert_eq!((outcomes[0].state, outcomes[0].delivery), (DeliveryState::Succeeded, delivery));
    assert_eq!(outcomes[0].attempt.as_ref().unwrap().hash, Some(hash));
}

#[tokio::test]
async fn each_attempt_is_an_activity_of_its_own_under_one_webhook_id() {
    let (mut world, subscription) = world(|_| {}).await;
    world.receiver.script(|_, nth| if nth < 2 { Reply::status(404) } else { Reply::ok() });
    let delivery = post(&world, &subscription, PostKind::Event, clock::now()).await;
    let received = world.receiver.wait_for(3, LIMIT).await;
    let activities: Vec<_> = received.iter().map(|it| it.header("x-ecg-activity-id").to_owned()).collect();
    let expected: Vec<_> = (1..=3).map(|number| ActivityId::of_attempt(delivery, number).to_string()).collect();
    assert_eq!(activities, expected);
    assert!(received.iter().all(|it| it.header("webhook-id") == delivery.webhook_id()));
    let times: Vec<_> = received.iter().map(|it| it.json()["createdAt"].as_i64().unwrap()).collect();
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
    for it in &received {
        assert_hashed(it, made::SECRET);
    }
    let outcomes = world.only_delivery().await;
    let last = outcomes.last().unwrap();
    assert_eq!((last.state, last.attempt.as_ref().unwrap().number), (DeliveryState::Succeeded, 3));
}

#[tokio::test]
async fn a_development_subscription_gets_three_attempts_and_an_activation_one() {
    let delivery_config = slipstream_dispatcher::DeliveryConfig {
        retry_schedule_ms: vec![0, 10, 10, 10, 10].try_into().unwrap(),
        ..slipstream_dispatcher::DeliveryConfig::default()
    };
    let mut world = World::new(delivery_config).await;
    let subscription = made::subscription(ORGANIZATION, world.receiver.url("/ecg"));
    put(&world, [Record::EcgCategory(made::category()), Record::EcgEvent(made::event())]).await;
    put(&world, secrets::ecg_records(&subscription)).await;
    world.receiver.script(|_, _| Reply::status(500));
    let of_event = post(&world, &subscription, PostKind::Event, clock::now()).await;
    let of_activation = post(&world, &subscription, PostKind::Activation, clock::now()).await;
    let ended = world.ended(2).await;
    for (delivery, attempts) in [(of_event, 3), (of_activation, 1)] {
        let last = &ended[&delivery];
        assert_eq!((last.state, last.attempt.as_ref().unwrap().number), (DeliveryState::Exhausted, attempts));
    }
}

#[tokio::test]
async fn a_secret_of_its_time_hashes_what_was_made_then_and_goes_on_signing() {
    let rotated_at = clock::now();
    let before = Timestamp::from_millis(rotated_at.as_millis() - 1000);
    let (world, subscription) = world(|subscription| {
        subscription.secrets[0].valid_to = Some(rotated_at);
        let id = EcgSecretId(Uuid::new_v4());
        subscription
            .secrets
            .insert(0, EcgSecret { id, secret: "the-next-secret".into(), valid_from: rotated_at, valid_to: None });
    })
    .await;
    post(&world, &subscription, PostKind::Event, before).await;
    post(&world, &subscription, PostKind::Event, rotated_at).await;
    let mut received = world.receiver.wait_for(2, LIMIT).await;
    received.sort_by_key(|it| it.json()["createdAt"].as_i64());
    assert_hashed(&received[0], made::SECRET);
    assert_hashed(&received[1], "the-next-secret");
    for key in [made::SECRET, "the-next-secret"] {
        verify(
            &[ecg::signing_key(key)],
            received[1].header("webhook-id"),
            received[1].header("webhook-timestamp"),
            received[1].header("webhook-signature"),
            &received[1].body,
            clock::now().as_seconds(),
        )
        .unwrap();
    }
}

/// What can hold a post back.
#[derive(Debug, Clone, Copy)]
enum Off {
    Inactive,
    Archived,
    EventInactive,
    CategoryArchived,
}

async fn held_back_until_it_goes_on(off: Off) {
    let (mut world, subscription) = world(|_| {}).await;
    let flags = subscription.flags;
    let (inactive, archived) = (Flags { active: false, ..flags }, Flags { archived: true, ..flags });
    let records = |is_off: bool, revision: i64| -> Vec<Record> {
        let pick = |off: Flags| if is_off { off } else { flags };
        match off {
            Off::Inactive | Off::Archived => {
                let off = if matches!(off, Off::Inactive) { inactive } else { archived };
                secrets::ecg_records(&EcgSubscription { flags: pick(off), revision, ..subscription.clone() }).into()
            }
            Off::EventInactive => {
                vec![Record::EcgEvent(EcgEvent { flags: pick(inactive), revision, ..made::event() })]
            }
            Off::CategoryArchived => {
                vec![Record::EcgCategory(EcgCategory { flags: pick(archived), revision, ..made::category() })]
            }
        }
    };
    put(&world, records(true, 2)).await;
    // What was accepted earlier may still be under way to whoever has not heard of it: so another post goes first.
    let delivery = loop {
        let delivery = post(&world, &subscription, PostKind::Event, clock::now()).await;
        let known = |world: &World| world.seen_outcomes().any(|it| it.delivery == delivery);
        world.recorded_until("the post is put off, or was not", known).await;
        if world.seen_outcomes().any(|it| it.delivery == delivery && it.reason == Some(Reason::EndpointPaused)) {
            break delivery;
        }
    };
    let before = world.receiver.count();
    put(&world, records(false, 3)).await;
    world
        .recorded_until("the post is delivered", |world| {
            world.seen_outcomes().any(|it| it.delivery == delivery && it.state == DeliveryState::Succeeded)
        })
        .await;
    assert_eq!(world.receiver.count(), before + 1, "{off:?}");
}

#[tokio::test]
async fn a_post_waits_while_its_subscription_is_inactive() {
    Box::pin(held_back_until_it_goes_on(Off::Inactive)).await;
}

#[tokio::test]
async fn a_post_waits_while_its_subscription_is_archived() {
    Box::pin(held_back_until_it_goes_on(Off::Archived)).await;
}

#[tokio::test]
async fn a_post_waits_while_its_event_is_inactive() {
    Box::pin(held_back_until_it_goes_on(Off::EventInactive)).await;
}

#[tokio::test]
async fn a_post_waits_while_the_category_of_its_event_is_archived() {
    Box::pin(held_back_until_it_goes_on(Off::CategoryArchived)).await;
}

#[tokio::test]
async fn what_was_put_off_long_is_woken_when_it_goes_on() {
    let (mut world, subscription) = world(|subscription| subscription.flags.active = false).await;
    let delivery = post(&world, &subscription, PostKind::Event, clock::now()).await;
    // Put off five times, it would wait for more than 16 s.
    world
        .recorded_until("it is put off for long", |world| {
            world.seen_outcomes().filter(|it| it.delivery == delivery && it.attempt.is_none()).count() >= 4
        })
        .await;
    let due_at = world.seen_outcomes().filter_map(|it| it.next_attempt_at).max().unwrap();
    let flags = Flags { active: true, ..subscription.flags };
    put(&world, secrets::ecg_records(&EcgSubscription { flags, revision: 2, ..subscription })).await;
    world.receiver.wait_for(1, LIMIT).await;
    assert!(clock::now() < due_at, "it was not waited for");
}

#[tokio::test]
async fn a_deleted_subscription_ends_what_waits_for_it() {
    let (mut world, subscription) = world(|subscription| subscription.deleted = true).await;
    post(&world, &subscription, PostKind::Event, clock::now()).await;
    let outcomes = world.only_delivery().await;
    let last = outcomes.last().unwrap();
    assert_eq!((last.state, last.reason), (DeliveryState::Cancelled, Some(Reason::SubscriptionRemoved)));
    assert_eq!(world.receiver.count(), 0);
}

#[tokio::test]
async fn an_event_of_a_linked_site_is_posted_to_the_organization_in_the_version_it_wants() {
    let (mut world, first) = world(|_| {}).await;
    let second = EcgSubscription {
        version: PayloadVersion::V2,
        ..made::subscription(ORGANIZATION, world.receiver.url("/second"))
    };
    put(&world, secrets::ecg_records(&second)).await;
    let site = Site { ecg_organization: Some(ORGANIZATION), ..builders::site(SITE) };
    put(&world, [Record::Site(site)]).await;
    let code = EcgEvent { code: "communications.letter.created".into(), revision: 2, ..made::event() };
    put(&world, [Record::EcgEvent(code)]).await;
    // Until it has heard of all that, an event goes to the site's own subscription only.
    let routed = loop {
        let seen = world.seen_routed().len();
        world.publish(&builders::event()).await;
        let routed = world.routed(seen + 1).await.pop().unwrap();
        if routed.matched.len() == 3 {
            break routed;
        }
    };
    let of = |id| routed.matched.iter().find(|it| it.subscription == id).unwrap().delivery;
    let (v1, v2) = (of(first.id), of(second.id));
    world
        .recorded_until("both posts are recorded and taken", |world| {
            [v1, v2].iter().all(|id| {
                let is_taken =
                    world.seen_outcomes().any(|it| it.delivery == *id && it.state == DeliveryState::Succeeded);
                is_taken && world.posted().iter().any(|it| it.delivery == *id)
            })
        })
        .await;
    let all = world.receiver.wait_for(3, LIMIT).await;
    let body = |id: DeliveryId| {
        let activity = id.to_string();
        all.iter().find(|it| it.header("x-ecg-activity-id") == activity).unwrap().json()["payload"].clone()
    };
    let (v1_body, v2_body) = (body(v1), body(v2));
    assert_eq!((&v1_body["version"], &v1_body["eventType"]), (&"v1".into(), &"communications.letter.created".into()));
    assert_eq!((&v2_body["specversion"], &v2_body["id"]), (&"1.0".into(), &v2.to_string().into()));
    assert_eq!(v2_body["source"], format!("/organizations/{ORGANIZATION}"));
    let posted = world.posted().iter().find(|it| it.delivery == v1).unwrap();
    assert_eq!((posted.organization, posted.site.as_str()), (ORGANIZATION, SITE));
    let event: serde_json::Value = serde_json::from_str(posted.raw_message.get()).unwrap();
    assert_eq!(event["type"], "communications.letter.created");
    assert_eq!((&v1_body["data"], &v2_body["data"]), (&event["data"], &event["data"]));
}

#[tokio::test]
async fn a_410_leaves_what_waits_waiting_and_tells_the_registry() {
    let (mut world, subscription) = world(|_| {}).await;
    world.receiver.script(|_, _| Reply::status(410));
    post(&world, &subscription, PostKind::Event, clock::now()).await;
    world.recorded_until("the registry is told", |world| !world.changes().is_empty()).await;
    assert_eq!(world.changes()[0].subscription, subscription.id);
    let next = post(&world, &subscription, PostKind::Event, clock::now()).await;
    world
        .recorded_until("the next one is put off", |world| {
            world.seen_outcomes().any(|it| it.delivery == next && it.reason == Some(Reason::EndpointPaused))
        })
        .await;
    assert_eq!((world.receiver.count(), subscription.endpoint().state), (1, EndpointState::Active));
}
