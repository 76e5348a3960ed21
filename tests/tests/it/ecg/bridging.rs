//! The bridge from Slipstream's events to ECG subscriptions (SPEC 6.8, Bridge).

use std::time::Duration;

use serde_json::{Value, json};
use slipstream_service::clock;
use slipstream_test_support::builders::{EventBuilder, SITE, event};
use slipstream_test_support::eventually;
use slipstream_tests::{LIMIT, Mode, Shape};

use super::world::World;

slipstream_tests::journeys_of_programs![an_event_of_a_linked_site_is_posted_to_the_organizations_subscriptions];

/// How long after a link is taken away nothing may come over it (THREATS, N13).
const SWITCHED_WITHIN: Duration = Duration::from_secs(2);
/// The type of the events that are published.
const CODE: &str = "communications.letter.created";

async fn an_event_of_a_linked_site_is_posted_to_the_organizations_subscriptions(shape: Shape) {
    let world = World::new(shape).await;
    let letter = world.event_called(CODE).await;
    let other = world.event().await;
    let subscribe = async |path: &str, version: &str, event: &str| {
        let url = world.receiver.url(path);
        let body = json!({ "postUri": url, "events": [event], "version": version, "isDevelopment": true });
        world.subscribe_by(&body).await
    };
    let first = subscribe("/v1", "v1", &letter.id).await;
    let second = subscribe("/v2", "v2", &letter.id).await;
    subscribe("/other", "v1", &other.id).await;
    let account = world.system.external().await;
    let publish = async |event: &EventBuilder| account.publish_in(Mode::Structured, std::slice::from_ref(event)).await;

    // Off, as long as nobody has linked the site.
    let unlinked = event().with("data", json!({ "letter": "unlinked" }));
    publish(&unlinked).await;
    world.system.operator.explained(&account, &unlinked, |it| it.state == "routed").await;
    world.system.operator.link_site(SITE, Some(world.organization)).await;

    // The dispatcher learns of the link by itself; from the first that came on, all come.
    eventually(LIMIT, async || {
        let linked = event().with("data", json!({ "letter": "linked", "pages": 2 }));
        publish(&linked).await;
        let arrived = || world.receiver.received_at("/v1").iter().any(|it| data(&it.json()["payload"]) == "linked");
        let routed = world.system.operator.explained(&account, &linked, |it| it.state == "routed").await;
        // What was routed is posted at once, if at all.
        let came = tokio::time::timeout(Duration::from_secs(1), eventually(LIMIT, async || arrived())).await;
        came.map_err(|_| format!("{routed:?}"))
    })
    .await;
    let first_posted = world.receiver.wait_for_at("/v1", 1, LIMIT).await.remove(0);
    let v1 = first_posted.json();
    assert_eq!(
        v1["payload"],
        json!({ "eventType": CODE, "version": "v1", "data": { "letter": "linked", "pages": 2 } })
    );
    let second_posted = world.receiver.wait_for_at("/v2", 1, LIMIT).await.remove(0);
    let v2 = second_posted.json();
    let payload = &v2["payload"];
    let expected = [
        ("specversion", json!("1.0")),
        ("source", json!(format!("/organizations/{}", world.organization))),
        ("type", json!(CODE)),
        ("subject", json!(second.id)),
        ("datacontenttype", json!("application/json")),
        ("data", json!({ "letter": "linked", "pages": 2 })),
    ];
    for (name, value) in expected {
        assert_eq!(payload[name], value, "{name}: {v2}");
    }

    // Each is the root of a tree in the history of its subscription, and its hash is good.
    for (subscription, posted) in [(&first, &first_posted), (&second, &second_posted)] {
        let path = format!("{}/activity?status=succeeded", subscription.path);
        let page: Value = eventually(LIMIT, async || {
            let page: Value = world.manager.get(&path).await.parsed(200);
            if page["totalRecords"] == 0 { Err(page) } else { Ok(page) }
        })
        .await;
        let activity = page["items"].as_array().unwrap().last().unwrap();
        assert_eq!((&activity["level"], &activity["eventId"]), (&json!(1), &json!(letter.id)));
        assert_eq!((&activity["payload"], &activity["dispatch"]), (&posted.json()["payload"], &json!("platform")));
        assert!(world.is_good(subscription, posted.body.to_vec()).await);
    }
    let root = world.receiver.received_at("/v2").remove(0).header("x-ecg-activity-id").to_owned();
    assert_eq!(payload["id"], root);

    // What is not public is not for webhooks, and a link can be taken away.
    let internal = event().with("visibility", 0).with("data", json!({ "letter": "internal" }));
    publish(&internal).await;
    world.system.operator.explained(&account, &internal, |it| it.state == "routed").await;
    world.system.operator.link_site(SITE, None).await;
    let over = clock::now().after(SWITCHED_WITHIN);
    eventually(LIMIT, async || clock::now() > over).await;
    let after = event().with("data", json!({ "letter": "after" }));
    publish(&after).await;
    world.system.operator.explained(&account, &after, |it| it.state == "routed").await;
    // What is posted now comes after whatever these might have become.
    let marker = world.post(&first, &letter).await;
    world.activity_when(&first, &marker["id"], |it| it["success"] == true).await;
    let all = world.receiver.received();
    for never in ["unlinked", "internal", "after"] {
        assert!(all.iter().all(|it| data(&it.json()["payload"]) != never), "{never} was posted");
    }
    assert_eq!(world.receiver.received_at("/other").len(), 0);
}

/// What the letter of a payload is called.
fn data(payload: &Value) -> &str {
    payload["data"]["letter"].as_str().unwrap_or_default()
}
