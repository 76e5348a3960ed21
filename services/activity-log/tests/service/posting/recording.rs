//! What becomes of a tree of posts when outcomes are recorded; what operators may not do with posts.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use slipstream_service::clock;

use super::office::{Office, activity_in, in_offices_on_both_backends, sub};

in_offices_on_both_backends!(a_post_that_was_taken_ends_what_else_of_its_tree_waits, operators_do_not_repeat_posts,);

fn retry(activity: &Value) -> String {
    sub(&format!("/activity/{}/retry", activity["id"].as_str().unwrap()))
}

fn history(activity: &Value) -> String {
    sub(&format!("/activity/{}?mode=flat", activity["id"].as_str().unwrap()))
}

async fn a_post_that_was_taken_ends_what_else_of_its_tree_waits(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let first = office.due().await;
    office.attempted(&first, 1, 503, None).await;
    office.get_until(&history(&made), |it| it["success"] == json!(false)).await;
    let waits = Office::made(office.post(&retry(&made), &Value::Null).await);
    let second = office.due().await;
    let later = clock::now().after(Duration::from_hours(1));
    office.waits(&second, 2, later).await;
    office.attempted(&second, 1, 503, Some(later)).await;
    office.get_until(&history(&waits), |it| it["nextRetryAt"].is_string()).await;
    let taken = Office::made(office.post(&retry(&made), &Value::Null).await);
    assert_eq!(office.waiting().await, 1);

    let third = office.due().await;
    office.attempted(&third, 1, 204, None).await;
    office.get_until(&history(&taken), |it| it["success"] == json!(true)).await;
    let failed = office.get_until(&history(&waits), |it| it["nextRetryAt"].is_null()).await;
    assert_eq!(failed["success"], json!(false));
    let path = format!("/deliveries/{}", waits["id"].as_str().unwrap());
    slipstream_test_support::eventually(crate::world::SOON, async || {
        let (_, told) = office.as_operator(Method::GET, &path).await;
        if told["state"] == "cancelled" { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    assert_eq!(office.waiting().await, 0);
    office.nothing_is_due().await;
    office.close().await;
}

async fn operators_do_not_repeat_posts(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let first = office.due().await;
    office.attempted(&first, 1, 503, None).await;
    office.get_until(&history(&made), |it| it["success"] == json!(false)).await;
    let id = made["id"].as_str().unwrap();
    let (status, problem) = office.as_operator(Method::POST, &format!("/deliveries/{id}/replay")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("/activity/{activityId}/retry"), "{problem}");
    office.nothing_is_due().await;
    office.close().await;
}
