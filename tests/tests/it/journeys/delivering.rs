//! The main journey: subscribe, publish in every mode, receive, see the record.

use serde_json::json;
use slipstream_core::delivery::DeliveryState;
use slipstream_test_support::builders::{EventBuilder, SITE, event};
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::{LIMIT, Mode, Shape, System, signature};

slipstream_tests::journeys![
    a_letter_published_in_any_mode_arrives_signed_and_its_record_explains_it,
    a_subscriber_sees_what_it_subscribed_but_not_its_secrets,
    a_subscription_for_one_type_gets_that_type_only,
    a_subscription_gets_events_of_its_own_site_only,
];

async fn a_letter_published_in_any_mode_arrives_signed_and_its_record_explains_it(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::status(202).body("taken"));
    let account = system.external().await;
    let webhook =
        json!({ "Uri": receiver.url("/post?practice=7"), "Headers": [{ "Name": "X-API-KEY", "Value": "s3cr3t" }] });
    account.put_webhook(webhook).await.expect(200);

    let letters: Vec<EventBuilder> = (0..4)
        .map(|number| event().id(format!("letter {number}")).with("subject", format!("Zoë's „letter“ {number}% 🦷")))
        .collect();
    account.publish_in(Mode::Structured, &letters[..1]).await;
    account.publish_in(Mode::Binary, &letters[1..2]).await;
    account.publish_in(Mode::Batch, &letters[2..]).await;

    let received = receiver.wait_for(letters.len(), LIMIT).await;
    let secrets = system.operator.secrets_of(&account).await;
    for request in &received {
        signature::check(request, &secrets);
        assert_eq!((request.path.as_str(), request.query.as_deref()), ("/post", Some("practice=7")));
        assert_eq!(request.header("content-type"), "application/cloudevent+json");
        assert_eq!(request.header("x-api-key"), "s3cr3t");
        assert!(request.header("webhook-id").starts_with("msg_"), "{}", request.header("webhook-id"));
        assert!(!request.header("traceparent").is_empty());
        let body = request.json();
        let letter = letters.iter().find(|letter| letter.text("id") == body["id"]).expect("it is one of ours");
        for (name, value) in letter.json().as_object().expect("an event is an object") {
            assert_eq!(&body[name], value, "{name}");
        }
        assert_eq!(body["siteslug"], SITE);
        // Binary mode has to name the type of its body; the other two leave it out, and get the surface's own.
        let is_binary = body["id"] == letters[1].text("id");
        let content_type = if is_binary { "application/json" } else { "application/slipstreamevent+json" };
        assert_eq!(body["datacontenttype"], content_type);
    }

    let recorded = system.operator.ended(letters.len()).await;
    assert_eq!(recorded.len(), letters.len());
    for delivery in recorded {
        assert_eq!(delivery.state, DeliveryState::Succeeded);
        assert!(received.iter().any(|request| request.header("webhook-id") == delivery.webhook_id));
        let delivery = system.operator.delivery(&delivery.webhook_id).await;
        let attempts: Vec<_> =
            delivery.attempts.iter().map(|it| (it.number, it.status, it.response.as_deref())).collect();
        assert_eq!(attempts, [(1, Some(202), Some("taken"))]);
    }
    for letter in &letters {
        let explained = system.operator.explained(&account, letter, |it| it.matched.len() == 1).await;
        assert_eq!(explained.summary, "The event goes to 1 subscription.");
        assert!(explained.not_matched.is_empty());
    }
    assert!(system.operator.dead_letters().await.is_empty());
}

async fn a_subscriber_sees_what_it_subscribed_but_not_its_secrets(shape: Shape) {
    let system = System::start(shape).await;
    let account = system.external().await;
    account.get_webhook().await.expect(404);
    account.unsubscribe().await.expect(404);
    let types = ["communications.letter.created", "communications.letter.status_updated"];
    let webhook = json!({ "Uri": "https://receiver.example/post", "Headers": [{ "Name": "X-API-KEY", "Value": "s3cr3t" }],
        "EventTypes": types });
    let stored = account.put_webhook(webhook.clone()).await.expect(200).json();
    assert_eq!(stored, webhook);
    let details = account.get_webhook().await.expect(200).json();
    let expected = json!({ "Uri": "https://receiver.example/post", "Headers": ["X-API-KEY"], "EventTypes": types,
        "Labels": ["state:active"] });
    assert_eq!(details, expected);
    // One per account: another sees nothing of it.
    system.external().await.get_webhook().await.expect(404);
    account.unsubscribe().await.expect(204);
    account.get_webhook().await.expect(404);
}

async fn a_subscription_for_one_type_gets_that_type_only(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    let updated = "communications.letter.status_updated";
    account.put_webhook(json!({ "Uri": receiver.url("/"), "EventTypes": [updated] })).await.expect(200);
    let (created, other, wanted) = (event(), event().kind("Slipstream.UrlShortener.UrlCreated"), event().kind(updated));
    account.publish_in(Mode::Batch, &[created.clone(), other.clone(), wanted.clone()]).await;
    let received = receiver.wait_for(1, LIMIT).await.remove(0);
    assert_eq!(received.json()["id"], wanted.text("id"));
    for (event, reason) in [(&created, "type_not_subscribed"), (&other, "type_not_in_feature")] {
        let explained = system.operator.explained(&account, event, |it| it.state == "routed").await;
        assert_eq!(explained.not_matched[0].reason.as_str(), reason, "{explained:?}");
        assert!(explained.matched.is_empty());
    }
    assert_eq!(receiver.count(), 1);
}

async fn a_subscription_gets_events_of_its_own_site_only(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let other = "sgbHJdm";
    system.operator.put_site(other).await;
    let here = system.external().await;
    let there = here.at_site(other);
    eventually(LIMIT, async || there.empty_batch().await.status == 204).await;
    here.subscribe(receiver.url("/here")).await;
    there.subscribe(receiver.url("/there")).await;
    // One source and id at two sites are two events.
    let letter = event();
    there.publish(&letter).await;
    here.publish(&letter).await;
    system.operator.ended(2).await;
    for (path, site) in [("/here", SITE), ("/there", other)] {
        let sites: Vec<_> = receiver.received_at(path).iter().map(|it| it.json()["siteslug"].clone()).collect();
        assert_eq!(sites, [site]);
    }
    let [here, there] = [SITE, other].map(|site| [("site", site)]);
    assert_eq!(system.operator.deliveries(&here).await.len(), 1);
    assert_eq!(system.operator.deliveries(&there).await.len(), 1);
}
