//! Who did what: recorded from the bus, asked for, and whole.

mod acts;

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_bus::{Outgoing, subject};
use slipstream_core::contract::{Action, AuditOutcome, Audited, TargetKind};
use slipstream_core::ids::AuditId;
use slipstream_store::ConnectionTrait as _;
use uuid::Uuid;

use crate::on_both_backends;
use crate::world::{World, at, site, subscription};

on_both_backends!(
    records_are_found_by_everything_that_is_asked_for,
    a_record_that_comes_again_is_kept_once,
    whether_the_chain_is_whole_is_told,
    a_record_of_a_newer_release_is_put_aside,
);

fn audited(number: u32) -> Audited {
    Audited {
        id: AuditId(Uuid::from_u128(u128::from(number) << 64)),
        at: at(number.into()),
        actor: "operator".into(),
        action: Action::EndpointDisable,
        kind: TargetKind::Endpoint,
        target: Some(subscription(1).to_string()),
        site: Some(site()),
        trace: Some("84c1fd4063c38d9f3900d06e56542d48".into()),
        outcome: AuditOutcome::Done,
        status: Some(200),
        begun: None,
    }
}

async fn publish(world: &World, records: impl IntoIterator<Item = Audited>) {
    for record in records {
        let payload = serde_json::to_vec(&record).unwrap().into();
        world.publish(Outgoing::new(subject::audited("tests"), payload)).await;
    }
}

fn numbers(page: &Value) -> Vec<u64> {
    page["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect()
}

async fn records_are_found_by_everything_that_is_asked_for(world: World) {
    let others = [
        Audited { actor: "account:018f2b1e-0000-7000-8000-000000000001".into(), ..audited(2) },
        Audited { action: Action::SecretRead, ..audited(3) },
        Audited { site: Some("s1234".parse().unwrap()), target: Some("o'ther".into()), ..audited(4) },
        Audited { begun: Some(audited(1).id), outcome: AuditOutcome::Refused, status: Some(409), ..audited(5) },
    ];
    publish(&world, [audited(1)].into_iter().chain(others)).await;
    let page = world.get_until("/audit", |page| numbers(page) == [5, 4, 3, 2, 1]).await;
    let newest = json!({
        "number": 5, "id": audited(5).id, "at": at(5).to_string(), "actor": "operator", "action": "endpoint.disable",
        "kind": "endpoint", "target": subscription(1), "site": site(), "traceId": "84c1fd4063c38d9f3900d06e56542d48",
        "outcome": "refused", "status": 409, "begun": audited(1).id,
    });
    assert_eq!((&page["items"][0], &page["next"], page.get("chain")), (&newest, &Value::Null, None));
    for (query, expected) in [
        ("actor=account:018f2b1e-0000-7000-8000-000000000001", &[2][..]),
        ("action=secret.read", &[3]),
        ("target=o%27ther", &[4]),
        ("site=s1234", &[4]),
        (&format!("since={}&until={}", at(2), at(4)), &[3, 2]),
        ("actor=operator&site=s8n6EzC&limit=100", &[5, 3, 1]),
        ("target=nobody", &[]),
    ] {
        let (status, page) = world.get(&format!("/audit?{query}")).await;
        assert_eq!((status, numbers(&page)), (StatusCode::OK, expected.to_vec()), "{query}");
    }
    assert_eq!(world.pages("/audit?limit=2").await.len(), 5);
    // To read the audit leaves none.
    assert_eq!(numbers(&world.get("/audit").await.1).len(), 5);
    for (query, name) in [("actor=", "actor"), ("action=x", "action"), ("verify=1", "verify"), ("before=1", "before")] {
        let (status, problem) = world.get(&format!("/audit?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(problem["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{problem}");
    }
    assert_eq!(world.request("/audit", None).await.0, StatusCode::UNAUTHORIZED);
    world.stop().await;
}

async fn a_record_that_comes_again_is_kept_once(world: World) {
    publish(&world, [audited(1), audited(1), audited(2)]).await;
    world.get_until("/audit", |page| numbers(page) == [2, 1]).await;
    publish(&world, [audited(1), audited(3), audited(2)]).await;
    world.get_until("/audit", |page| numbers(page) == [3, 2, 1]).await;
    world.stop().await;
}

async fn whether_the_chain_is_whole_is_told(world: World) {
    publish(&world, (1..=3).map(audited)).await;
    let page = world.get_until("/audit?verify=true&limit=1", |page| numbers(page) == [3]).await;
    let chain = &page["chain"];
    let head = chain["head"].as_str().unwrap().to_owned();
    assert_eq!(head.len(), 64);
    assert_eq!(*chain, json!({ "isIntact": true, "intact": 3, "first": 1, "brokenAt": null, "head": head }),);
    let lifted =
        if world.is_postgres() { "ALTER TABLE audit DISABLE TRIGGER USER" } else { "DROP TRIGGER audit_no_update" };
    for sql in [lifted, "UPDATE audit SET actor = 'nobody' WHERE number = 2"] {
        world.store.connection().execute_unprepared(sql).await.unwrap();
    }
    let (_, page) = world.get("/audit?verify=true").await;
    let chain = &page["chain"];
    assert_eq!((&chain["isIntact"], &chain["intact"], &chain["brokenAt"]), (&json!(false), &json!(1), &json!(2)));
    world.stop().await;
}

async fn a_record_of_a_newer_release_is_put_aside(world: World) {
    let mut newer = serde_json::to_value(audited(1)).unwrap();
    newer["action"] = json!("endpoint.explode");
    let payload = newer.to_string().into_bytes().into();
    world.publish(Outgoing::new(subject::audited("tests"), payload)).await;
    publish(&world, [audited(2)]).await;
    world.get_until("/audit", |page| numbers(page) == [1]).await;
    let aside = slipstream_store::activity::quarantined(world.store.connection(), 10).await.unwrap();
    assert_eq!(aside.iter().map(|it| it.subject.as_str()).collect::<Vec<_>>(), ["audited.tests"]);
    world.stop().await;
}
