//! Posts that we make: from the request to the bus, and from their outcomes to the history.

use std::time::Duration;

use serde_json::{Value, json};
use slipstream_bus::{ConsumerName, subject};
use slipstream_core::config::{EcgEvent, Record};
use slipstream_core::contract::{EcgPost, PostKind};
use slipstream_core::ecg::{canonical, hash, hashed_text};
use slipstream_core::ids::{ActivityId, DeliveryId, EcgEventId};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::ecg::activities::{self, Content, New, Post};

use super::office::{
    CALLER, CODE, ORGANIZATION, Office, SECRET, SUBSCRIPTION, activity_in, event, hsh, in_offices,
    in_offices_on_both_backends, sub, subscription, tenant,
};

in_offices_on_both_backends!(
    a_post_is_written_down_and_published,
    a_chain_that_fails_twice_and_succeeds_is_a_tree_of_three_levels,
    a_post_that_was_not_published_is_published_later,
);
in_offices!(
    what_was_configured_a_moment_ago_is_known,
    an_activation_is_a_post_of_type_0,
    a_post_of_an_event_that_is_not_known_yet_waits_and_holds_up_no_other,
    a_post_without_attempts_left_is_told_of_in_the_name_of_its_organization,
);

async fn a_post_is_written_down_and_published(mut office: Office) {
    let before = clock::now();
    let body = json!({
        "type": 1, "payload": { "b": 1, "a": ["é", 2.5] }, "rawMessage": { "from": "device" }, "eventId": event().id,
        "postedAt": "", "unknown": 1,
    });
    let made = Office::made(office.post(&sub("/activity"), &body).await);
    let created_at = made["createdAt"].as_i64().unwrap();
    assert!((before.as_millis()..=clock::now().as_millis()).contains(&created_at), "{made}");
    for (member, expected) in [
        ("type", json!(1)),
        ("dispatch", json!("platform")),
        ("level", json!(1)),
        ("subscriptionId", json!(SUBSCRIPTION)),
        ("eventId", json!(event().id)),
        ("payload", json!({ "b": 1, "a": ["é", 2.5] })),
        ("rawMessage", json!({ "from": "device" })),
    ] {
        assert_eq!(made[member], expected, "{member}");
    }
    let open = ["postedAt", "httpStatusCode", "success", "error", "rawResponse", "retryingFromPostId", "nextRetryAt"];
    for member in open {
        assert_eq!(made.get(member), Some(&Value::Null), "{member}");
    }
    let at = Timestamp::from_millis(created_at).to_string();
    assert_eq!(made["auditInfo"]["createdAt"], json!(at));
    assert_eq!(made["auditInfo"]["createdBy"], json!(CALLER));
    assert_eq!((&made["event"]["code"], &made["event"]["webhookCategory"]["code"]), (&json!(CODE), &json!("vitals")));
    let shown = &made["subscription"];
    assert_eq!((&shown["organizationId"], &shown["events"][0]["code"]), (&json!(ORGANIZATION), &json!(CODE)));
    assert!(shown.get("secretKey").is_none() && shown["events"][0].get("webhookCategory").is_none(), "{shown}");

    let message = office.due().await;
    let id: DeliveryId = made["id"].as_str().unwrap().parse().unwrap();
    let (lane, to, key) = subject::parse_delivery(&message.subject).unwrap();
    let meta = message.meta.as_ref().unwrap();
    assert_eq!((lane, to, &meta.site), (Lane::Normal, SUBSCRIPTION, &tenant()));
    assert_eq!((meta.accepted_at.as_millis(), meta.attempt, meta.replay), (created_at, 1, None));
    assert_eq!(DeliveryId::derive(meta.accepted_at, SUBSCRIPTION, &key), id);
    let post: EcgPost = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((post.kind, post.event, post.code.as_str()), (PostKind::Event, Some(event().id), CODE));
    assert_eq!((post.created_at.as_millis(), post.payload.get()), (created_at, r#"{"a":["é",2.5],"b":1}"#));
    let expected = hash(SECRET, post.created_at, post.payload.get());
    assert_eq!(made["hash"], json!(expected));

    let one = Office::shown(office.get(&hsh(&format!("/activity/{id}/get-hash"))).await);
    assert_eq!(one, json!({ "hash": expected, "createdAt": created_at }));
    let delivery = Office::shown(office.as_operator(reqwest::Method::GET, &format!("/deliveries/{id}")).await);
    assert_eq!((&delivery["state"], &delivery["surface"]), (&json!("scheduled"), &json!("ecg")));
    office.nothing_is_due().await;
    office.close().await;
}

async fn a_chain_that_fails_twice_and_succeeds_is_a_tree_of_three_levels(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let id = &made["id"];
    let message = office.due().await;
    let soon = clock::now().after(Duration::from_hours(1));
    office.attempted(&message, 1, 503, Some(soon)).await;
    let path = sub(&format!("/activity/{}?mode=nested", id.as_str().unwrap()));
    let failed = office.get_until(&path, |it| it["success"] == json!(false)).await;
    assert_eq!((&failed["nextRetryAt"], &failed["httpStatusCode"]), (&json!(soon), &json!(503)));
    assert_eq!((&failed["rawResponse"], &failed["error"]), (&json!("ok"), &json!("HTTP 503")));
    assert_eq!((&failed["posted_at"], failed["posted_at"].is_string()), (&failed["postedAt"], true));
    office.attempted(&message, 2, 500, Some(soon)).await;
    office.attempted(&message, 3, 200, None).await;
    let nested =
        office.get_until(&path, |it| it["childPostHistory"][0]["childPostHistory"][0]["success"] == json!(true)).await;
    let mut level = &nested;
    for (number, success) in [(1, false), (2, false), (3, true)] {
        assert_eq!((&level["level"], &level["success"]), (&json!(number), &json!(success)), "{level}");
        assert_eq!((&level["nextRetryAt"], &level["payload"]), (&Value::Null, &json!({ "vitals": 100 })));
        assert_eq!((&level["event"]["code"], &level["subscription"]["id"]), (&json!(CODE), &json!(SUBSCRIPTION)));
        let below = level["childPostHistory"].as_array().unwrap();
        if number < 3 {
            assert_eq!((below.len(), &below[0]["retryingFromPostId"]), (1, &level["id"]));
            level = &below[0];
        }
    }
    assert_eq!(level["childPostHistory"], json!([]));
    let flat = office.history(id, "flat").await;
    let levels: Vec<_> =
        flat["childPostHistory"].as_array().unwrap().iter().map(|it| (&it["level"], &it["childPostHistory"])).collect();
    assert_eq!(levels, [(&json!(2), &json!([])), (&json!(3), &json!([]))]);
    // The second has a hash of its own, from its attempt.
    let delivery: DeliveryId = id.as_str().unwrap().parse().unwrap();
    let second = ActivityId::of_attempt(delivery, 2);
    let hash = Office::shown(office.get(&hsh(&format!("/activity/{second}/get-hash"))).await);
    assert_eq!(hash["hash"], json!(format!("{:064}", 2)));
    let one = Office::shown(office.get(&sub(&format!("/activity/{second}?mode=flat"))).await);
    assert_eq!((&one["level"], one["childPostHistory"].as_array().unwrap().len()), (&json!(2), 1));
    office.close().await;
}

/// A post that somebody made a minute ago, and then died; says when.
async fn made_and_not_published(office: &Office, id: &str, event: EcgEventId) -> Timestamp {
    let created_at = Timestamp::from_millis(clock::now().as_millis() - 60_000);
    let key = slipstream_core::ids::EventKey::new(&tenant(), "/ecg/posts", id);
    let id = DeliveryId::derive(created_at, SUBSCRIPTION, &key);
    let payload: Box<serde_json::value::RawValue> = serde_json::from_str(r#"{"n":1.50}"#).unwrap();
    let hash = hash(SECRET, created_at, &hashed_text(&payload).unwrap());
    let new = New {
        id: ActivityId(id.0),
        repeats: None,
        organization: ORGANIZATION,
        subscription: SUBSCRIPTION,
        event: Some(event),
        kind: PostKind::Event,
        post: Post::Platform { replay: None },
        key,
        created_at,
        made_by: CALLER.parse().unwrap(),
        hash: Some(hash),
        content: Content::Own { payload: canonical(&payload).unwrap(), raw_message: payload },
    };
    let tx = office.store.begin().await.unwrap();
    activities::insert(&tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    created_at
}

async fn a_post_of_an_event_that_is_not_known_yet_waits_and_holds_up_no_other(mut office: Office) {
    let unknown = EcgEvent { id: EcgEventId(uuid::Uuid::from_u128(0xe7f)), code: "vitals.new".to_owned(), ..event() };
    made_and_not_published(&office, "1", unknown.id).await;
    made_and_not_published(&office, "2", event().id).await;
    let post: EcgPost = serde_json::from_slice(&office.due().await.payload).unwrap();
    assert_eq!(post.code, CODE);
    // Longer than it takes until somebody looks again.
    office.nothing_is_due_for(Duration::from_secs(3)).await;
    office.put(&Record::EcgEvent(unknown.clone())).await;
    let post: EcgPost = serde_json::from_slice(&office.due().await.payload).unwrap();
    assert_eq!((post.code, post.event, post.kind), (unknown.code, Some(unknown.id), PostKind::Event));
    office.nothing_is_due().await;
    office.close().await;
}

async fn a_post_without_attempts_left_is_told_of_in_the_name_of_its_organization(mut office: Office) {
    let mut events = office.bus.consume(ConsumerName::Route(Lane::Normal)).await.unwrap();
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let message = office.due().await;
    office.attempted(&message, 3, 500, None).await;
    office.attempted(&message, 3, 500, None).await;
    let told = tokio::time::timeout(crate::world::SOON, events.next()).await.expect("nothing was told");
    assert_eq!(told.subject.as_str(), format!("events.internal.normal.{}.slipstream.delivery.exhausted", tenant()));
    let event: Value = serde_json::from_slice(&told.payload).unwrap();
    assert_eq!((&event["subject"], &event["siteslug"]), (&made["id"], &json!(tenant())));
    assert_eq!((&event["data"]["surface"], &event["data"]["subscription"]), (&json!("ecg"), &json!(SUBSCRIPTION)));
    office.close().await;
}

/// Whoever made it died before it was on the bus.
async fn a_post_that_was_not_published_is_published_later(mut office: Office) {
    let created_at = made_and_not_published(&office, "1", event().id).await;
    let message = office.due().await;
    let post: EcgPost = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((post.code.as_str(), post.created_at, post.payload.get()), (CODE, created_at, r#"{"n":1.50}"#));
    assert_eq!(message.meta.as_ref().unwrap().accepted_at, created_at);
    // Once only.
    office.nothing_is_due().await;
    let unsent = activities::unsent(office.store.connection(), clock::now(), 10).await.unwrap();
    assert!(unsent.is_empty(), "{unsent:?}");
    office.close().await;
}

async fn what_was_configured_a_moment_ago_is_known(office: Office) {
    for revision in 2..22 {
        let is_active = revision % 2 == 1;
        office.change(revision, |it| it.flags.active = is_active).await;
        let (status, body) = office.post(&sub("/activity"), &activity_in()).await;
        let expected = if is_active { 201 } else { 409 };
        assert_eq!(status.as_u16(), expected, "{revision}: {body}");
    }
    // One that nobody has heard of before.
    for number in 0..10 {
        let other = slipstream_core::ids::SubscriptionId(uuid::Uuid::from_u128(0x1000 + number));
        let path = sub("/activity").replace(&SUBSCRIPTION.to_string(), &other.to_string());
        Office::refused(&office.post(&path, &activity_in()).await, 404, "subscription");
        let made = slipstream_core::config::EcgSubscription { id: other, ..subscription() };
        office.subscribe(&made).await;
        assert_eq!(Office::made(office.post(&path, &activity_in()).await)["subscriptionId"], json!(other));
    }
    office.close().await;
}

async fn an_activation_is_a_post_of_type_0(mut office: Office) {
    let body = json!({ "type": 0, "payload": {}, "rawMessage": {}, "eventId": event().id });
    let made = Office::made(office.post(&sub("/activity"), &body).await);
    let post: EcgPost = serde_json::from_slice(&office.due().await.payload).unwrap();
    assert_eq!(post.kind, PostKind::Activation);
    let path = sub(&format!("/activations/{}", made["id"].as_str().unwrap()));
    let shown = Office::shown(office.get(&path).await);
    assert_eq!((&shown["id"], &shown["type"], &shown["event"]["code"]), (&made["id"], &json!(0), &json!(CODE)));
    let list = Office::shown(office.get(&sub("/activations")).await);
    assert_eq!((&list["totalRecords"], &list["items"][0]["id"]), (&json!(1), &made["id"]));
    assert_eq!(Office::shown(office.get(&sub("/activity")).await)["totalRecords"], json!(0));
    let event = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let path = sub(&format!("/activations/{}", event["id"].as_str().unwrap()));
    Office::refused(&office.get(&path).await, 404, "activation");
    office.close().await;
}
