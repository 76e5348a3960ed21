//! With an `Idempotency-Key`: an account that was made, and whose maker never heard of it, is not made twice.

use http::{Method, Request};
use serde_json::{Value, json};
use slipstream_store::ConnectionTrait as _;

use crate::harness::{Answer, Harness, PATH, TOKEN, with_body};

crate::on_both_databases!(an_account_that_nobody_heard_of_is_not_made_twice);

async fn create(service: &Harness) -> Answer {
    let request = Request::post("/admin/v1/accounts").header("authorization", format!("Bearer {TOKEN}"));
    let body = json!({"displayName": "Post", "sites": "all", "permissions": ["Webhooks.Manage"]});
    service.send(with_body(request.header("idempotency-key", r#""k""#), &body)).await
}

async fn an_account_that_nobody_heard_of_is_not_made_twice(service: Harness) {
    service.tenants().await;
    let first = create(&service).await;
    first.expect(201);
    create(&service).await.expect(409);
    // As after an answer of 503: what was asked for is done, and nobody knows.
    let store = service.store().await;
    let sql = "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL, lease_until_ms = 0";
    assert_eq!(store.connection().execute_unprepared(sql).await.unwrap().rows_affected(), 1);
    let again = create(&service).await;
    again.expect(201);
    assert_eq!(again.body["id"], first.body["id"]);
    let accounts = service.operator(Method::GET, "/admin/v1/accounts", Value::Null).await;
    assert_eq!(accounts.body["items"].as_array().unwrap().len(), 2, "the tenants' own, and this one");
    // The keys that are heard of are the ones.
    for slot in ["primary", "secondary"] {
        let key = |answer: &Answer| answer.body["keys"][slot].as_str().unwrap().to_owned();
        service.account(Method::GET, PATH, &key(&again), Value::Null).await.expect(404);
        service.account(Method::GET, PATH, &key(&first), Value::Null).await.expect(401);
    }
}
