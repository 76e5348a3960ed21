//! Switching off and putting away: two flags that do not depend on each other (SPEC 6.1, 6.4, 6.5).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::{Reply, eventually};
use slipstream_tests::{LIMIT, Shape};

use super::world::{Event, Subscription, World, activity};

slipstream_tests::journeys_of_programs![
    deactivating_pauses_what_waits_and_activating_resumes_it,
    archiving_stops_dispatch_whatever_the_active_flag_says,
    an_event_that_is_off_or_put_away_is_not_posted,
];

/// How long after a switch its effect must be there (THREATS, N13).
const SWITCHED_WITHIN: Duration = Duration::from_secs(2);
/// How soon what had waited must be posted after a switch back.
const RESUMED_WITHIN: Duration = Duration::from_secs(5);

/// A post that has failed once and waits for its second attempt.
struct Waiting {
    world: World,
    event: Event,
    subscription: Subscription,
    root: Value,
    next: Timestamp,
}

impl Waiting {
    async fn new(shape: Shape) -> Self {
        let world = World::retrying(shape, &[0, 2500, 100]).await;
        world.receiver.script_path("/post", |_, nth| if nth == 0 { Reply::status(500) } else { Reply::ok() });
        let event = world.event().await;
        let subscription = world.subscribe(&event, "/post").await;
        let root = world.post(&subscription, &event).await;
        let waits = |it: &Value| it["nextRetryAt"].is_string();
        let failed = world.activity_when(&subscription, &root["id"], waits).await;
        let next = failed["nextRetryAt"].as_str().unwrap().parse().unwrap();
        Self { world, event, subscription, root, next }
    }

    async fn act(&self, action: &str) {
        self.world.manager.act(&format!("{}/{action}", self.subscription.path)).await.expect(200);
    }

    /// How often the event was posted; activations are posts too.
    fn posts(&self) -> usize {
        self.world.receiver.received().iter().filter(|it| it.header("x-ecg-event") == self.event.code).count()
    }

    /// Waits until the second attempt was due and the switch must have had its effect; there was none.
    async fn is_not_attempted(&self) {
        let over = self.next.after(SWITCHED_WITHIN);
        eventually(LIMIT, async || clock::now() > over).await;
        assert_eq!(self.posts(), 1, "it was attempted all the same");
    }

    /// Waits for the second attempt, which must be soon.
    async fn is_attempted(&self) {
        let began = Instant::now();
        let done = |family: &[Value]| family.iter().any(|it| it["success"] == true);
        let family = self.world.family_when(&self.subscription, &self.root["id"], done).await;
        assert!(began.elapsed() < RESUMED_WITHIN, "{:?}", began.elapsed());
        assert_eq!((family.len(), self.posts()), (2, 2), "{family:#?}");
        assert!(family.iter().all(|it| it["nextRetryAt"].is_null()), "{family:#?}");
    }

    async fn takes_no_post(&self) {
        let path = format!("{}/activity", self.subscription.path);
        self.world.manager.post(&path, &activity(&self.event)).await.expect(409);
    }
}

async fn deactivating_pauses_what_waits_and_activating_resumes_it(shape: Shape) {
    let waiting = Waiting::new(shape).await;
    waiting.act("deactivate").await;
    waiting.is_not_attempted().await;
    waiting.takes_no_post().await;
    let shown: Value = waiting.world.manager.get(&waiting.subscription.path).await.parsed(200);
    assert_eq!((&shown["activeInfo"]["active"], &shown["archiveInfo"]["archived"]), (&json!(false), &json!(false)));
    waiting.act("activate").await;
    waiting.is_attempted().await;
}

async fn archiving_stops_dispatch_whatever_the_active_flag_says(shape: Shape) {
    let waiting = Waiting::new(shape).await;
    waiting.act("archive").await;
    waiting.is_not_attempted().await;
    waiting.takes_no_post().await;
    let shown: Value = waiting.world.manager.get(&waiting.subscription.path).await.parsed(200);
    assert_eq!((&shown["activeInfo"]["active"], &shown["archiveInfo"]["archived"]), (&json!(true), &json!(true)));
    // Lists hide it unless asked.
    let list = |query: &str| {
        let path = format!("/api/organizations/{}/webhook-subscriptions{query}", waiting.world.organization);
        let manager = waiting.world.manager.clone();
        async move {
            let page: Value = manager.get(&path).await.parsed(200);
            page["totalRecords"].clone()
        }
    };
    assert_eq!((list("").await, list("?status=archived").await), (json!(0), json!(1)));
    waiting.world.manager.act(&format!("{}/activate", waiting.subscription.path)).await.expect(409);
    waiting.act("restore").await;
    waiting.is_attempted().await;
}

async fn an_event_that_is_off_or_put_away_is_not_posted(shape: Shape) {
    let world = World::new(shape).await;
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let category = format!("/api/webhook-categories/{}", event.category);
    let itself = format!("{category}/webhook-events/{}", event.id);
    let path = format!("{}/activity", subscription.path);
    let post = async || world.manager.post(&path, &activity(&event)).await;
    for (off, on) in [
        (format!("{itself}/deactivate"), format!("{itself}/activate")),
        (format!("{itself}/archive"), format!("{itself}/restore")),
        (format!("{category}/deactivate"), format!("{category}/activate")),
        (format!("{category}/archive"), format!("{category}/restore")),
    ] {
        world.admin.act(&off).await.expect(200);
        // The activity log learns of it by itself, some milliseconds later.
        eventually(LIMIT, async || match post().await {
            answer if answer.status == 409 => Ok(()),
            answer => Err(answer.to_string()),
        })
        .await;
        world.admin.act(&on).await.expect(200);
        let answer = eventually(LIMIT, async || match post().await {
            answer if answer.status == 409 => Err(answer.to_string()),
            answer => Ok(answer),
        })
        .await;
        let made: Value = answer.parsed(201);
        world.activity_when(&subscription, &made["id"], |it| it["success"] == true).await;
    }
}
