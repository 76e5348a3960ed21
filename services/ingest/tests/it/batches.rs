//! A batch is all or nothing (SPEC 5.2, N2).

use futures::future::join_all;
use slipstream_bus::StreamName;
use slipstream_test_support::builders::EventBuilder;

use crate::world::{BATCHED, World, event};

fn events(count: usize) -> Vec<EventBuilder> {
    (0..count).map(|number| event().id(format!("e{number}"))).collect()
}

#[tokio::test]
async fn one_bad_event_names_its_index_and_nothing_is_stored() {
    let world = World::new().await;
    for at in [0, 1, 4] {
        let mut batch = events(5);
        batch[at] = batch[at].clone().without("source");
        world.publish_batch(&batch).await.expect_invalid(&[&format!("#/{at}/source")]);
        batch[at] = event().with("priority", 9);
        world.publish_batch(&batch).await.expect_invalid(&[&format!("#/{at}/priority")]);
    }
    world.expect_nothing_stored().await;
    world.publish_batch(&events(5)).await.expect(204);
    assert_eq!(world.count_stored(StreamName::Events).await, 5);
}

#[tokio::test]
async fn every_bad_event_is_named_and_the_list_is_cut_at_100() {
    let world = World::new().await;
    let mut batch = events(3);
    batch[0] = batch[0].clone().id("");
    batch[2] = batch[2].clone().with("time", "soon").without("type");
    world.publish_batch(&batch).await.expect_invalid(&["#/0/id", "#/2/time", "#/2/type"]);

    for broken in [event().id(""), event().with("visibility", 9)] {
        let batch: Vec<_> = (0..150).map(|_| broken.clone()).collect();
        let answer = world.publish_batch(&batch).await;
        assert_eq!(answer.expect(400).pointers().len(), 100);
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn a_thousand_events_are_taken_and_one_more_is_413() {
    let world = World::new().await;
    world.publish_batch(&events(1001)).await.expect(413);
    world.expect_nothing_stored().await;
    world.publish_batch(&events(1000)).await.expect(204);
    let stored = world.stored(StreamName::Events).await;
    assert_eq!(stored.len(), 1000);
    for (number, message) in stored.iter().enumerate() {
        assert_eq!(message.json()["id"], format!("e{number}"), "the order is the batch's");
    }
}

#[tokio::test]
async fn what_is_no_list_of_events_is_refused_where_it_stands() {
    let world = World::new().await;
    let fine = String::from_utf8(event().bytes()).unwrap();
    for (body, pointer) in [
        (fine.clone(), "#"),
        ("null".to_owned(), "#"),
        ("\"x\"".to_owned(), "#"),
        ("7".to_owned(), "#"),
        (String::new(), "#"),
        ("[".to_owned(), "#"),
        (format!("[{fine}"), "#"),
        (format!("[{fine},]"), "#"),
        (format!("[{fine}] x"), "#"),
        ("[null]".to_owned(), "#/0"),
        (format!("[{fine},[{fine}]]"), "#/1"),
        (format!("[{fine},7,{fine}]"), "#/1"),
    ] {
        world.publish_bytes(BATCHED, body).await.expect_invalid(&[pointer]);
    }
    world.expect_nothing_stored().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_many_callers_do_not_mix_and_do_not_tear() {
    let world = World::new().await;
    let requests = (0..40).map(|caller: usize| {
        let world = &world;
        async move {
            // Every third caller has a bad event at the end of its batch.
            let is_broken = caller.is_multiple_of(3);
            let mut batch: Vec<_> = (0..30).map(|number| event().id(format!("{caller}-{number}"))).collect();
            if is_broken {
                batch.push(event().without("type"));
            }
            world.publish_batch(&batch).await.expect(if is_broken { 400 } else { 204 });
        }
    });
    join_all(requests).await;
    let mut per_caller = std::collections::BTreeMap::<String, usize>::new();
    for message in world.stored(StreamName::Events).await {
        let json = message.json();
        let (caller, _) = json["id"].as_str().unwrap().split_once('-').unwrap();
        *per_caller.entry(caller.to_owned()).or_default() += 1;
    }
    let expected =
        (0..40_usize).filter(|caller| !caller.is_multiple_of(3)).map(|caller| (caller.to_string(), 30)).collect();
    assert_eq!(per_caller, expected);
}
