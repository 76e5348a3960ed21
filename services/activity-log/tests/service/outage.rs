//! The database goes away and comes back; nothing is lost, and somebody can see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipstream_core::delivery::DeliveryState;
use slipstream_store::ConnectionTrait as _;
use slipstream_store::activity::quarantined;
use slipstream_test_support::{NatsServer, eventually, postgres, sqlite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::world::{SOON, World, delivery_id, outcome, routed_event};

/// A cable to a server that can be cut and mended.
struct Cable {
    port: u16,
    whole: watch::Sender<bool>,
    used: Arc<AtomicBool>,
}

impl Cable {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (whole, state) = watch::channel(true);
        let used = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&used);
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let (server, mut state, seen) = (server.clone(), state.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    seen.store(true, Ordering::Relaxed);
                    if !*state.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { port, whole, used }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_is_waited_for_and_then_everything_is_recorded() {
    let own_url = postgres::database().await;
    // postgres://user@host:port/name
    let (scheme, rest) = own_url.split_once("://").unwrap();
    let (authority, name) = rest.split_once('/').unwrap();
    let (user, server) = match authority.rsplit_once('@') {
        Some((user, server)) => (format!("{user}@"), server),
        None => (String::new(), authority),
    };
    let cable = Cable::to(server.to_owned()).await;
    let url = format!("{scheme}://{user}127.0.0.1:{}/{name}", cable.port);
    let world = World::start_on(NatsServer::start().await, url, own_url.clone()).await;
    eventually(SOON, async || world.ctx.health.is_ready()).await;
    assert!(cable.used.load(Ordering::Relaxed));

    world.publish_routed(vec![routed_event("before", 0)]).await;
    world.get_until("/deliveries?eventId=before", |page| page["items"][0]["id"].is_string()).await;
    cable.whole.send_replace(false);
    world.publish_routed(vec![routed_event("meanwhile", 10)]).await;
    eventually(SOON, async || !world.ctx.health.is_ready()).await;
    // Publishing goes on: nobody waits for this service.
    for number in 0..100 {
        world.publish_outcomes(vec![outcome("meanwhile", 10, DeliveryState::RetryWait, number + 1, 503)]).await;
    }
    let (status, problem) = world.get("/deliveries").await;
    assert_eq!(status, 503, "{problem}");

    cable.whole.send_replace(true);
    let path = format!("/deliveries/{}", delivery_id("meanwhile", 10));
    world.get_until(&path, |delivery| delivery["attemptCount"] == 100 && delivery["eventId"] == "meanwhile").await;
    eventually(SOON, async || world.ctx.health.is_ready()).await;
    assert!(quarantined(world.store.connection(), 10).await.unwrap().is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_everything_puts_nothing_aside() {
    let (_directory, url) = sqlite::database();
    let world = World::start(url).await;
    eventually(SOON, async || world.ctx.health.is_ready()).await;
    let connection = world.store.connection();
    connection.execute_unprepared("ALTER TABLE attempts RENAME TO away").await.unwrap();
    world.publish_outcomes(vec![outcome("1", 0, DeliveryState::Succeeded, 1, 200)]).await;
    eventually(SOON, async || !world.ctx.health.is_ready()).await;
    connection.execute_unprepared("ALTER TABLE away RENAME TO attempts").await.unwrap();
    let path = format!("/deliveries/{}", delivery_id("1", 0));
    world.get_until(&path, |delivery| delivery["attemptCount"] == 1).await;
    eventually(SOON, async || world.ctx.health.is_ready()).await;
    assert!(quarantined(connection, 10).await.unwrap().is_empty());
    world.stop().await;
}

/// What is not recorded then is not acknowledged, so the bus hands it out again when its lease has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_during_an_outage_does_not_wait_for_its_end() {
    let (_directory, url) = sqlite::database();
    let world = World::start(url).await;
    eventually(SOON, async || world.ctx.health.is_ready()).await;
    world.store.connection().execute_unprepared("ALTER TABLE attempts RENAME TO away").await.unwrap();
    world.publish_outcomes(vec![outcome("1", 0, DeliveryState::Succeeded, 1, 200)]).await;
    eventually(SOON, async || !world.ctx.health.is_ready()).await;
    let tasks = world.ctx.tasks.clone();
    world.stop().await;
    assert!(tasks.is_empty(), "a task was cut at the end of the drain");
}
