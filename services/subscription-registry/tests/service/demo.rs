//! The demo tenants of the embedded mode.

use std::os::unix::fs::PermissionsExt as _;

use http::Method;
use serde_json::json;
use slipstream_store::Store;
use slipstream_subscription_registry::seed_demo;

use crate::harness::Harness;

#[tokio::test]
async fn seeding_twice_gives_the_same_key_and_a_lost_file_a_new_one() {
    let mut service = Harness::on_sqlite().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("demo.json");
    let store = Store::connect(&service.database).await.unwrap();

    let first = seed_demo(&store, &file).await.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(seed_demo(&store, &file).await.unwrap(), first);
    assert!(!format!("{first:?}").contains(&first.api_key));
    service.restart().await;
    let path = format!("/sites/{}/webhooks/features/physicalpost", first.site);
    let body = json!({"Uri": "https://receiver.example/"});
    service.account(Method::PUT, &path, &first.api_key, body.clone()).await.expect(200);

    std::fs::remove_file(&file).unwrap();
    let second = seed_demo(&store, &file).await.unwrap();
    assert_ne!(second.api_key, first.api_key);
    service.restart().await;
    service.account(Method::PUT, &path, &first.api_key, body.clone()).await.expect(401);
    service.account(Method::PUT, &path, &second.api_key, body.clone()).await.expect(200);

    // In place of one that an operator has deleted there is another, and that one stays.
    let id = second.api_key.split_once('_').unwrap().0;
    service.operator(Method::DELETE, &format!("/admin/v1/accounts/{id}"), serde_json::Value::Null).await.expect(200);
    let third = seed_demo(&store, &file).await.unwrap();
    assert!(!third.api_key.starts_with(id));
    assert_eq!(seed_demo(&store, &file).await.unwrap(), third);
    service.restart().await;
    service.account(Method::PUT, &path, &second.api_key, body.clone()).await.expect(401);
    service.account(Method::PUT, &path, &third.api_key, body).await.expect(200);
}
