//! Ten thousand activities, page by page, while more are made, posted, and posted again (SPEC 6.1).
//!
//! Those that arrive may move while somebody pages: one that is still to be posted has the place of its making, and then that
//! of its posting. Those that were there do not.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::{Reply, eventually};
use slipstream_tests::{Answer, Ecg, LIMIT, Shape};

use super::world::{Event, World, activity};

slipstream_tests::journeys_of_programs![
    ten_thousand_activities_page_through_with_no_repeat_and_no_gap_while_new_ones_arrive
];

const ACTIVITIES: usize = 10_000;
/// Who has the platform post something, again and again.
const POSTING: usize = 4;
/// Between two of them, so that the pages are not read beside nothing but posts.
const POSTING_PAUSE: Duration = Duration::from_millis(20);
/// Requests at once.
const AT_ONCE: usize = 32;
/// The most that a page may have.
const TAKE: usize = 100;
/// How many share a time, so that ties occur on every page.
const SAME_TIME: usize = 7;

async fn ten_thousand_activities_page_through_with_no_repeat_and_no_gap_while_new_ones_arrive(shape: Shape) {
    let world = World::retrying(shape, &[0, 50, 50]).await;
    // Not 503: that would slow down the whole endpoint for longer than this takes.
    world.receiver.script(|_, nth| if nth % 2 == 0 { Reply::status(500) } else { Reply::ok() });
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let path = format!("{}/activity", subscription.path);
    let began = clock::now();
    let numbered = |number: usize| {
        let posted_at = Timestamp::from_millis(began.as_millis() - 3_600_000 + (number / SAME_TIME) as i64);
        make(world.manager.clone(), path.clone(), event.clone(), posted_at)
    };
    let made: Vec<String> =
        futures::stream::iter((0..ACTIVITIES).map(numbered)).buffer_unordered(AT_ONCE).collect().await;
    let made: HashSet<String> = made.into_iter().collect();
    assert_eq!(made.len(), ACTIVITIES);

    // From now on more arrive, each later than all before.
    let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let arriving = {
        let (stop, arrived) = (Arc::clone(&stop), Arc::clone(&arrived));
        let (manager, path, event) = (world.manager.clone(), path.clone(), event.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                make(manager.clone(), path.clone(), event.clone(), clock::now()).await;
                arrived.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    // Posts of the platform, too, which fail, wait, and are made again.
    let posting: Vec<_> = (0..POSTING)
        .map(|_| {
            let stop = Arc::clone(&stop);
            let (manager, path, event) = (world.manager.clone(), path.clone(), event.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    manager.post(&path, &activity(&event)).await.expect(201);
                    tokio::time::sleep(POSTING_PAUSE).await;
                }
            })
        })
        .collect();
    let upwards = upwards(&world.manager, &path).await;
    let downwards = downwards(&world.manager, &path).await;
    stop.store(true, Ordering::Relaxed);
    arriving.await.unwrap();
    for posting in posting {
        posting.await.unwrap();
    }
    let arrived = arrived.load(Ordering::Relaxed);
    println!("{shape:?}: {} upwards, {} downwards, while {arrived} arrived", upwards.len(), downwards.len());
    assert!(arrived > 0);
    for (way, seen) in [("upwards", &upwards), ("downwards", &downwards)] {
        // Of those that were there; the others may have moved.
        let there: Vec<&Seen> = seen.iter().filter(|it| made.contains(&it.id)).collect();
        let ids: HashSet<&str> = there.iter().map(|it| it.id.as_str()).collect();
        assert_eq!((there.len(), ids.len()), (ACTIVITIES, ACTIVITIES), "{way}: each once");
        let in_order = if way == "upwards" { there.is_sorted() } else { there.iter().rev().is_sorted() };
        assert!(in_order, "{way}: not in order");
    }
    let total = async |query: &str| {
        let page: Value = world.manager.get(&format!("{path}?take=1{query}")).await.parsed(200);
        page["totalRecords"].as_u64().expect("it is a number") as usize
    };
    // Each attempt is an activity, and all are counted.
    let failed = eventually(LIMIT, async || {
        let all = (total("").await, total("&status=failed").await, total("&status=succeeded").await);
        let attempts = world.receiver.count();
        if (all.0, all.1 + all.2) == (ACTIVITIES + arrived + attempts, attempts) {
            Ok(all.1)
        } else {
            Err((all, attempts))
        }
    })
    .await;
    assert!(failed > 0, "some were made again");
    let page: Value = world.manager.get(&format!("{path}?take=1")).await.parsed(200);
    assert_eq!(page["totalPages"], page["totalRecords"]);
}

/// What is sorted by: when it was posted, else made, and its id.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    posted_at: String,
    id: String,
}

async fn make(manager: Ecg, path: String, event: Event, posted_at: Timestamp) -> String {
    let mut body = activity(&event);
    body["postedAt"] = json!(posted_at.to_string());
    let made: Value = manager.post(&path, &body).await.parsed(201);
    made["id"].as_str().expect("an id is a text").to_owned()
}

#[track_caller]
fn items(answer: &Answer) -> Vec<Seen> {
    let page: Value = answer.parsed(200);
    let text = |it: &Value, name: &str| it[name].as_str().expect("it is a text").to_owned();
    let items = page["items"].as_array().expect("a page has items").iter();
    let posted_at =
        |it: &Value| it["postedAt"].as_str().map_or_else(|| text(&it["auditInfo"], "createdAt"), Into::into);
    items.map(|it| Seen { posted_at: posted_at(it), id: text(it, "id") }).collect()
}

/// The oldest first, by numbers of pages: what comes comes at the end.
async fn upwards(manager: &Ecg, path: &str) -> Vec<Seen> {
    let mut all = Vec::new();
    for skip in 0.. {
        let page = items(&manager.get(&format!("{path}?order_by=ASC&take={TAKE}&skip={skip}")).await);
        let is_last = page.len() < TAKE;
        all.extend(page);
        if is_last || all.len() >= 2 * ACTIVITIES {
            break;
        }
    }
    all
}

/// The newest first, as the `Link` of each page leads on: what comes meanwhile moves nothing.
async fn downwards(manager: &Ecg, path: &str) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut next = Some(format!("{path}?order_by=DESC&take={TAKE}"));
    while let Some(path) = next {
        let answer = manager.get(&path).await;
        all.extend(items(&answer));
        next = next_of(answer.header("link"));
        assert!(all.len() < 2 * ACTIVITIES, "it has no end");
    }
    all
}

/// Where `rel="next"` leads (RFC 8288), as a path of this server.
fn next_of(link: &str) -> Option<String> {
    let links = link.split(", <").map(|it| it.trim_start_matches('<'));
    let next = links.filter_map(|it| it.split_once('>')).find(|(_, parameters)| parameters.contains("rel=\"next\""));
    let (target, _) = next?;
    // A reference of any form: with a place or without.
    let after_place = target.split_once("://").map(|(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    Some(after_place.unwrap_or(target).to_owned())
}
