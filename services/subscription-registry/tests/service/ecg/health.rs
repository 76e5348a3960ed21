//! The health check: E1.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use slipstream_store::ConnectionTrait as _;
use slipstream_test_support::eventually;

use super::{World, done};
use crate::harness::Harness;

const PATH: &str = "/healthcheck";
/// Longer than anything here may take to be seen.
const LONG: Duration = Duration::from_secs(15);

crate::on_both_databases!(a_dispatcher_and_the_database_are_seen_by_everybody);

async fn a_dispatcher_and_the_database_are_seen_by_everybody(service: Harness) {
    let world = World::on(service).await;
    let down = world.anybody(Method::GET, PATH).await;
    done(&down, 503);
    let absent = json!({ "status": "down", "message": "no dispatcher has been heard for 6 s" });
    let expected = json!({
        "status": "error",
        "info": { "database": { "status": "up" } },
        "error": { "dispatcher": absent },
        "details": { "database": { "status": "up" }, "dispatcher": absent },
    });
    assert_eq!(down.body, expected);
    assert_eq!(down.headers["cache-control"], "no-store");

    let (_, counting) = world.service.bus.presence("dispatcher").await.unwrap();
    let dispatcher = tokio::spawn(counting);
    let both = json!({ "database": { "status": "up" }, "dispatcher": { "status": "up" } });
    let up = eventually(LONG, || async {
        let answer = world.anybody(Method::GET, PATH).await;
        (answer.status == 200).then_some(answer)
    });
    let up = up.await;
    done(&up, 200);
    assert_eq!(up.body, json!({ "status": "ok", "info": both, "error": {}, "details": both }));
    assert_eq!(up.headers["cache-control"], "no-store");
    // A token, of whatever worth, changes nothing.
    done(&world.ask("nonsense", Method::GET, PATH, Value::Null).await, 200);
    dispatcher.abort();
}

#[tokio::test]
async fn a_database_that_is_gone_is_told() {
    let world = World::on(Harness::on_postgres().await).await;
    let (_, counting) = world.service.bus.presence("dispatcher").await.unwrap();
    let dispatcher = tokio::spawn(counting);
    // What the query reads is away, which is as near to a database that fails as one can get from here.
    let store = world.service.store().await;
    store.connection().execute_unprepared("ALTER TABLE ecg_seeds RENAME TO ecg_seeds_away").await.unwrap();
    let down = world.anybody(Method::GET, PATH).await;
    done(&down, 503);
    let failed = json!({ "status": "down", "message": "the database failed" });
    assert_eq!(down.body["error"], json!({ "database": failed }));
    assert_eq!(down.body["info"], json!({ "dispatcher": { "status": "up" } }));
    // One that holds the table for itself lets the question wait.
    store.connection().execute_unprepared("ALTER TABLE ecg_seeds_away RENAME TO ecg_seeds").await.unwrap();
    let holding = store.begin().await.unwrap();
    holding.execute_unprepared("LOCK TABLE ecg_seeds IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (first, second) = tokio::join!(world.anybody(Method::GET, PATH), world.anybody(Method::GET, PATH));
    for late in [first, second] {
        done(&late, 503);
        assert_eq!(late.body["error"]["database"]["message"], "the database did not answer within 2 s");
    }
    drop(holding);
    let up = eventually(LONG, || async {
        let answer = world.anybody(Method::GET, PATH).await;
        (answer.status == 200).then_some(answer)
    });
    done(&up.await, 200);
    dispatcher.abort();
}
