//! Scheduled events: who sees which.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use slipstream_bus::ConsumerName;
use slipstream_core::config::Permission;
use slipstream_core::lane::Visibility;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::builders;

use crate::on_both_backends;
use crate::waits::{
    PATH, Waits, ask, ask_as, detail, in_ms, key, listed, next_change, patch, patch_as, put_account, recorded,
};
use crate::world::{SOURCE, World, answer};

on_both_backends!(
    only_who_may_publish_for_the_site_is_answered,
    strangers_see_public_events_only,
    a_publisher_from_outside_sees_and_manages_its_own_events_and_no_others,
    what_waits_is_listed_in_pages_the_next_one_first,
    filters_of_the_list_hold,
    one_event_is_shown_without_its_data,
);

async fn only_who_may_publish_for_the_site_is_answered(world: World) {
    let waits = Waits::until("1", in_ms(3_600_000));
    waits.hold(&world).await;
    let publishes_not = builders::account().permissions(&[Permission::WebhooksManage]);
    let elsewhere = builders::account().only_sites(&["sUkLWZg"]);
    put_account(&world, &publishes_not).await;
    put_account(&world, &elsewhere).await;
    let one = waits.path();
    let now = format!("{one}/deliver-now");
    for (method, path) in [("GET", PATH), ("GET", &one), ("PATCH", &one), ("DELETE", &one), ("POST", &now)] {
        for base in ["", "/api/v1"] {
            let path = format!("{base}{path}");
            let (status, problem) = answer(world.to(method, &path)).await;
            assert_eq!((status, &problem["status"]), (StatusCode::UNAUTHORIZED, &401.into()), "{method} {path}");
            for account in [&publishes_not, &elsewhere] {
                assert_eq!(ask_as(&world, account, method, &path).await.0, StatusCode::FORBIDDEN, "{method} {path}");
            }
            let unknown_site = path.replace("s8n6EzC", "sgbHJdm");
            assert_eq!(ask(&world, method, &unknown_site).await.0, StatusCode::FORBIDDEN, "{method} {path}");
            let no_site = path.replace("s8n6EzC", "x");
            let (status, problem) = ask(&world, method, &no_site).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path}");
            assert!(problem["type"].as_str().unwrap().ends_with("slug-malformed"), "{problem}");
        }
    }
    assert_eq!(ask(&world, "GET", &format!("/api/v1{one}")).await.0, StatusCode::OK, "it still waits");
    world.stop().await;
}

async fn strangers_see_public_events_only(world: World) {
    let stranger = builders::account().external();
    put_account(&world, &stranger).await;
    let at = in_ms(3_600_000);
    let public = Waits::until("public", at);
    let internal = Waits { visibility: Visibility::Internal, ..Waits::until("internal", at) };
    let queue = Waits { visibility: Visibility::WorkQueue, ..Waits::until("queue", at) };
    for waits in [&public, &internal, &queue] {
        waits.hold(&world).await;
    }
    recorded(&world, 3).await;
    let (_, page) = ask_as(&world, &stranger, "GET", PATH).await;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["id"]), (1, &"public".into()));
    for hidden in [&internal, &queue] {
        let unknown = ask(&world, "DELETE", &format!("{PATH}/{}", key("nothing"))).await;
        let answered = ask_as(&world, &stranger, "DELETE", &hidden.path()).await;
        assert_eq!(
            (answered.0, detail(&answered.1)),
            (StatusCode::NOT_FOUND, detail(&unknown.1)),
            "as if there were none"
        );
        assert_eq!(ask_as(&world, &stranger, "GET", &hidden.path()).await.0, StatusCode::NOT_FOUND);
    }
    // Nor does the time an answer takes tell the two apart. The shortest of three: a busy machine only makes them longer.
    let fastest = async |path: String| {
        let mut took = Duration::MAX;
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(ask_as(&world, &stranger, "DELETE", &path).await.0, StatusCode::NOT_FOUND);
            took = took.min(asked.elapsed());
        }
        took
    };
    let (unknown, hidden) = (fastest(format!("{PATH}/{}", key("nothing"))).await, fastest(internal.path()).await);
    assert!(hidden < unknown + Duration::from_millis(150), "{hidden:?}, of what is not there {unknown:?}");
    assert_eq!(ask_as(&world, &stranger, "DELETE", &public.path()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(listed(&world, "").await.len(), 2, "our own services see the others");
    world.stop().await;
}

async fn a_publisher_from_outside_sees_and_manages_its_own_events_and_no_others(world: World) {
    let mut changes = world.bus.consume(ConsumerName::Hold).await.unwrap();
    let (publisher, other) = (builders::account().external(), builders::account().external());
    put_account(&world, &publisher).await;
    put_account(&world, &other).await;
    let at = in_ms(3_600_000);
    // Internal is what an event is that says nothing of its visibility.
    let own = |id: &str| Waits {
        visibility: Visibility::Internal,
        published_by: Some(publisher.account.id),
        ..Waits::until(id, at)
    };
    let ours = Waits { published_by: Some(world.account.account.id), ..own("ours") };
    let (moved, cancelled, hurried) = (own("moved"), own("cancelled"), own("hurried"));
    for waits in [&moved, &cancelled, &hurried, &ours] {
        waits.hold(&world).await;
    }
    recorded(&world, 4).await;

    let later = json!({"intendeddeliverytime": in_ms(7_200_000).to_string()});
    let now = |waits: &Waits| format!("{}/deliver-now", waits.path());
    let (_, unknown) = ask(&world, "DELETE", &format!("{PATH}/{}", key("nothing"))).await;
    for (who, waits) in [(&other, &moved), (&publisher, &ours)] {
        for (status, problem) in [
            ask_as(&world, who, "GET", &waits.path()).await,
            patch_as(&world, who, &waits.path(), &later).await,
            ask_as(&world, who, "DELETE", &waits.path()).await,
            ask_as(&world, who, "POST", &now(waits)).await,
        ] {
            assert_eq!(status, StatusCode::NOT_FOUND, "{}: {problem}", waits.id);
            assert_eq!(detail(&problem), detail(&unknown), "as if there were none");
        }
    }
    let ids = async |who| {
        let (_, page) = ask_as(&world, who, "GET", PATH).await;
        let ids = page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned());
        ids.collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&other).await, BTreeSet::new());
    assert_eq!(ids(&publisher).await, ["moved", "cancelled", "hurried"].map(String::from).into());

    assert_eq!(ask_as(&world, &publisher, "GET", &moved.path()).await.1["visibility"], "Internal");
    assert_eq!(patch_as(&world, &publisher, &moved.path(), &later).await.0, StatusCode::OK);
    assert_eq!(ask_as(&world, &publisher, "DELETE", &cancelled.path()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask_as(&world, &publisher, "POST", &now(&hurried)).await.0, StatusCode::ACCEPTED);
    assert_eq!(patch_as(&world, &publisher, &moved.path(), &json!({"expirytime": null})).await.0, StatusCode::OK);
    for _ in 0..4 {
        let change = next_change(&mut changes).await;
        assert_eq!(change.meta.as_ref().unwrap().published_by, Some(publisher.account.id), "it stays its publisher's");
        change.ack().await;
    }
    assert!(ids(&publisher).await.contains("moved") && ids(&other).await.is_empty());
    // What has ended is told to its publisher only.
    let (status, problem) = ask_as(&world, &publisher, "DELETE", &cancelled.path()).await;
    assert_eq!((status, detail(&problem)), (StatusCode::CONFLICT, "the event was cancelled already"));
    let (status, problem) = ask_as(&world, &other, "DELETE", &cancelled.path()).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    world.stop().await;
}

async fn what_waits_is_listed_in_pages_the_next_one_first(world: World) {
    let soon = clock::now().after(Duration::from_hours(1));
    // Four of each time, so that pages end between equal ones; published last to first.
    for number in (0..30_u64).rev() {
        Waits::until(number.to_string(), soon.after(Duration::from_secs(number / 4))).hold(&world).await;
    }
    recorded(&world, 30).await;
    let ids = listed(&world, "limit=7").await;
    let numbers: Vec<u64> = ids.iter().map(|id| id.parse().unwrap()).collect();
    assert!(numbers.iter().map(|number| number / 4).is_sorted(), "{numbers:?}");
    let mut once = numbers.clone();
    once.sort_unstable();
    assert_eq!(once, (0..30).collect::<Vec<_>>());

    // Cancel one of three, and move one of three behind all others: the list shows it at once, page by page.
    for number in 0..30 {
        let path = format!("{PATH}/{}", key(&number.to_string()));
        if number % 3 == 0 {
            assert_eq!(ask(&world, "DELETE", &path).await.0, StatusCode::NO_CONTENT);
        } else if number % 3 == 1 {
            let at = soon.after(Duration::from_secs(100 + 30 - number));
            assert_eq!(patch(&world, &path, &json!({"intendeddeliverytime": at.to_string()})).await.0, StatusCode::OK);
        }
    }
    let mut expected: Vec<u64> = (0..30).filter(|number| number % 3 == 2).collect();
    let moved = (0..30).rev().filter(|number| number % 3 == 1);
    let left: Vec<u64> = listed(&world, "limit=7").await.iter().map(|id| id.parse().unwrap()).collect();
    assert!(left[..10].iter().map(|number| number / 4).is_sorted());
    let mut stayed = left[..10].to_vec();
    stayed.sort_unstable();
    assert_eq!(stayed, expected);
    expected.splice(.., moved);
    assert_eq!(left[10..], expected);
    world.stop().await;
}

async fn filters_of_the_list_hold(world: World) {
    let at = |hours: u64| "2126-03-02T00:00:00Z".parse::<Timestamp>().unwrap().after(Duration::from_hours(hours));
    let other = Waits { event_type: "communications.letter.ready", ..Waits::until("2", at(2)) };
    for waits in [Waits::until("1", at(1)), other, Waits::until("3", at(3))] {
        waits.hold(&world).await;
    }
    recorded(&world, 3).await;
    assert_eq!(listed(&world, "type=communications.letter.created").await, ["1", "3"]);
    assert_eq!(listed(&world, &format!("from={}", at(2))).await, ["2", "3"]);
    assert_eq!(listed(&world, &format!("until={}", at(2))).await, ["1"]);
    assert_eq!(listed(&world, &format!("type=communications.letter.created&from={}&limit=1", at(1))).await, ["1", "3"]);
    for (query, name) in [("state=held", "state"), ("limit=0", "limit"), ("cursor=x", "cursor"), ("from=now", "from")] {
        let (status, problem) = ask(&world, "GET", &format!("{PATH}?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(detail(&problem).contains(&format!("`{name}`")), "{query}: {problem}");
    }
    world.stop().await;
}

async fn one_event_is_shown_without_its_data(world: World) {
    let at = in_ms(3_600_000);
    let waits = Waits { expires_at: Some(in_ms(7_200_000)), ..Waits::until("1", at) };
    let queue = Waits { visibility: Visibility::WorkQueue, ..Waits::until("queue", at) };
    waits.hold(&world).await;
    queue.hold(&world).await;
    recorded(&world, 2).await;
    let (status, shown) = ask(&world, "GET", &waits.path()).await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "key": waits.key(), "source": SOURCE, "id": "1", "type": "communications.letter.created", "priority": 1,
        "visibility": "Public", "acceptedAt": shown["acceptedAt"], "intendedDeliveryTime": at.to_string(),
        "expiryTime": waits.expires_at.unwrap().to_string(),
    });
    assert_eq!(shown, expected);
    let (_, page) = ask(&world, "GET", PATH).await;
    assert!(page["items"].as_array().unwrap().contains(&shown), "the list shows the same: {page}");
    assert_eq!(ask(&world, "GET", &queue.path()).await.1["visibility"], "WorkQueue");
    for path in [format!("{PATH}/{}", key("nothing")), format!("{PATH}/short"), format!("{PATH}/%FF")] {
        assert_eq!(ask(&world, "GET", &path).await.0.as_u16() / 100, 4, "{path}");
    }
    assert_eq!(ask(&world, "GET", &format!("{PATH}/{}", key("nothing"))).await.0, StatusCode::NOT_FOUND);
    world.stop().await;
}
