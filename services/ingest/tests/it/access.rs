//! Who may publish where (SPEC 5.1, THREATS 6).

use std::time::{Duration, Instant};

use slipstream_bus::StreamName;
use slipstream_core::config::{KeyHash, Permission, Record};
use slipstream_test_support::{builders, eventually};

use crate::answer::Answer;
use crate::world::{LIMIT, OTHER_SITE, PATH, SITE, STRUCTURED, World, event};

impl World {
    async fn publish_to(&self, path: &str, key: &str) -> Answer {
        let request = self.request("POST", path).header("x-api-key", key).header("content-type", STRUCTURED);
        Answer::to(request.body(event().bytes())).await
    }
}

#[tokio::test]
async fn callers_without_a_valid_key_are_401_and_leave_nothing() {
    let world = World::new().await;
    let valid = world.account.primary_key.clone();
    let id = world.account.account.id;
    let unknown = builders::account().primary_key;
    let wrong = [
        String::new(),
        "nonsense".to_owned(),
        id.to_string(),
        format!("{id}_"),
        format!("{id}_{}", "x".repeat(32)),
        format!("{valid}x"),
        valid[..valid.len() - 1].to_owned(),
        format!("{id}_{}", "x".repeat(8000)),
        unknown,
    ];
    let without_key = world.request("POST", PATH).header("content-type", STRUCTURED).body(event().bytes());
    let mut answers = vec![Answer::to(without_key).await];
    for key in &wrong {
        answers.push(world.publish_to(PATH, key).await);
    }
    let two = world.post().header("x-api-key", &world.account.secondary_key).header("content-type", STRUCTURED);
    answers.push(Answer::to(two.body(event().bytes())).await);
    let bearer = world.request("POST", PATH).bearer_auth(&valid).header("content-type", STRUCTURED);
    answers.push(Answer::to(bearer.body(event().bytes())).await);
    let in_query = world.request("POST", &format!("{PATH}?x-api-key={valid}&access_token={valid}"));
    answers.push(Answer::to(in_query.header("content-type", STRUCTURED).body(event().bytes())).await);
    for answer in answers {
        assert_eq!(answer.expect(401).headers["www-authenticate"], "Bearer");
        assert!(!answer.text.contains(&valid[37..]), "a key in an answer: {}", answer.text);
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn both_keys_of_an_account_are_valid() {
    let world = World::new().await;
    world.publish_to(PATH, &world.account.primary_key).await.expect(204);
    world.publish_to(PATH, &world.account.secondary_key).await.expect(204);
    assert_eq!(world.count_stored(StreamName::Events).await, 2);
}

#[tokio::test]
async fn foreign_and_unknown_sites_are_told_apart_by_nothing() {
    let world = World::new().await;
    let restricted = builders::account().only_sites(&[SITE]);
    world.add(&restricted).await;
    let foreign = world.publish_to(&format!("/sites/{OTHER_SITE}/events"), &restricted.primary_key).await;
    let unknown = world.publish_to("/sites/sgbHJdm/events", &restricted.primary_key).await;
    foreign.expect(403);
    unknown.expect(403);
    assert_eq!((foreign.kind(), &foreign.body["detail"]), (unknown.kind(), &unknown.body["detail"]));
    world.publish_to("/sites/sgbHJdm/events", &world.account.primary_key).await.expect(403);
    world.publish_to("/sites/o4fKq2/events", &world.account.primary_key).await.expect(403);
    world.expect_nothing_stored().await;
    world.publish_to(PATH, &restricted.primary_key).await.expect(204);
}

#[tokio::test]
async fn publishing_needs_its_permission() {
    let world = World::new().await;
    let manager = builders::account().permissions(&[Permission::WebhooksManage]);
    world.add(&manager).await;
    world.publish_to(PATH, &manager.primary_key).await.expect(403);
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn malformed_slugs_are_400_for_those_who_have_a_key() {
    let world = World::new().await;
    let too_long = format!("s{}", "x".repeat(20));
    for slug in
        ["", "s", "sab", "x8n6EzC", "S8n6EzC", "s8n6-zC", "s8n6EzC%20", "%73%FF", "s%C3%A9aa", "s%2F..%2F", &too_long]
    {
        for path in [format!("/sites/{slug}/events"), format!("/api/v1/sites/{slug}/events")] {
            let answer = world.publish_to(&path, &world.account.primary_key).await;
            assert_eq!(answer.expect(400).kind(), "slug-malformed", "{slug}");
            world.publish_to(&path, "nonsense").await.expect(401);
        }
    }
    world.expect_nothing_stored().await;
    // An escaped slug is the same slug.
    world.publish_to("/sites/%738n6EzC/events", &world.account.primary_key).await.expect(204);
}

#[tokio::test]
async fn both_mount_points_lead_to_the_same_place() {
    let world = World::new().await;
    for path in [PATH.to_owned(), format!("/api/v1{PATH}")] {
        world.publish_to(&path, &world.account.primary_key).await.expect(204);
        let options = world.request("OPTIONS", &path).header("x-api-key", &world.account.primary_key);
        Answer::to(options).await.expect(204);
    }
    let subjects = world.subjects(StreamName::Events).await;
    assert_eq!(subjects, ["events.public.normal.s8n6EzC.Test.Canary.Sang"; 2]);
}

#[tokio::test]
async fn other_methods_are_405_and_other_paths_404() {
    let world = World::new().await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let request = world.request(method, PATH).header("x-api-key", &world.account.primary_key);
        let answer = Answer::to(request).await;
        let allow = answer.expect(405).headers["allow"].to_str().unwrap();
        assert!(allow.contains("POST") && allow.contains("OPTIONS"), "{allow}");
    }
    for path in ["/", "/sites", "/sites/s8n6EzC", "/sites/s8n6EzC/events/", "/api/v1/sites/s8n6EzC"] {
        world.publish_to(path, &world.account.primary_key).await.expect(404);
    }
}

#[tokio::test]
async fn a_new_key_and_a_removed_account_are_in_force_within_a_second() {
    let world = World::new().await;
    let mut rotated = world.account.account.clone();
    let new_key = format!("{}_{}", rotated.id, "n".repeat(32));
    rotated.primary_key = KeyHash::of(&new_key);
    rotated.revision += 1;
    let answered_as = async |key: &str, status: u16| {
        let began = Instant::now();
        eventually(LIMIT, || async {
            let answer = world.publish_to(PATH, key).await;
            if answer.status == status { Ok(()) } else { Err(answer.text) }
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    };
    world.bucket.put(&Record::Account(rotated.clone())).await.unwrap();
    answered_as(&new_key, 204).await;
    answered_as(&world.account.primary_key, 401).await;
    answered_as(&world.account.secondary_key, 204).await;

    world.bucket.delete(&Record::Account(rotated).key()).await.unwrap();
    answered_as(&new_key, 401).await;

    // And a site that is new.
    let site = Record::Site(builders::site("sNEW123"));
    world.bucket.put(&site).await.unwrap();
    let account = builders::account();
    world.add(&account).await;
    world.publish_to("/sites/sNEW123/events", &account.primary_key).await.expect(204);
}
