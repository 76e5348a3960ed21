//! Who did what: recorded from the bus, asked for, and whole.

mod acts;

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_bus::{Outgoing, StreamName, subject};
use slipstream_core::contract::{Action, AuditLink, AuditOutcome, Audited, TargetKind};
use slipstream_core::ids::AuditId;
use slipstream_store::ConnectionTrait as _;
use uuid::Uuid;

use crate::on_both_backends;
use crate::world::{World, at, site, subscription};

on_both_backends!(
    records_are_found_by_everything_that_is_asked_for,
    a_record_that_comes_again_is_kept_once,
    whether_the_chain_is_whole_is_told,
    a_change_among_fifty_thousand_records_is_found,
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
        world
            .bus
            .publisher(StreamName::Audit)
            .publish(Outgoing::new(subject::audited("tests"), payload))
            .await
            .unwrap();
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
    let place = format!("3-{head}");
    let expected = json!({
        "isIntact": true, "isComplete": true, "intact": 3, "first": 1, "brokenAt": null, "head": head, "verifyFrom": place,
    });
    assert_eq!(*chain, expected);
    let (_, page) = world.get(&format!("/audit?verify=true&verifyFrom={place}")).await;
    assert_eq!((&page["chain"]["isIntact"], &page["chain"]["intact"]), (&json!(true), &json!(0)));
    let (_, page) = world.get(&format!("/audit?verify=true&verifyFrom=4-{head}")).await;
    assert_eq!((&page["chain"]["isIntact"], &page["chain"]["brokenAt"]), (&json!(false), &json!(4)));
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

/// Puts records 1 to `count` there, a whole chain, past the recorder: it would take minutes.
async fn fill(world: &World, count: u64) {
    let mut previous = [0; 32];
    let hex = |bytes: &[u8]| {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect::<String>()
    };
    let bytes = |bytes: &[u8]| {
        if world.is_postgres() { format!("'\\x{}'::bytea", hex(bytes)) } else { format!("x'{}'", hex(bytes)) }
    };
    for first in (1..=count).step_by(500) {
        let rows: Vec<_> = (first..=count.min(first + 499))
            .map(|number| {
                let it = audited(number.try_into().unwrap());
                let link = AuditLink {
                    number,
                    id: it.id,
                    at: it.at,
                    actor: &it.actor,
                    action: it.action.as_str(),
                    kind: it.kind.as_str(),
                    target: None,
                    site: None,
                    trace: None,
                    outcome: it.outcome.as_str(),
                    status: None,
                    begun: None,
                };
                let hash = link.hash(&previous);
                let before = std::mem::replace(&mut previous, hash);
                let id = if world.is_postgres() { format!("'{}'", it.id) } else { bytes(it.id.0.as_bytes()) };
                let texts =
                    [link.actor, link.action, link.kind, link.outcome].map(|text| format!("'{text}'")).join(", ");
                let (at, before, hash) = (link.at.as_millis(), bytes(&before), bytes(&previous));
                format!("({number}, {id}, {at}, {texts}, {before}, {hash})")
            })
            .collect();
        let columns = "number, id, at_ms, actor, action, kind, outcome, previous, hash";
        let sql = format!("INSERT INTO audit ({columns}) VALUES {}", rows.join(", "));
        world.store.connection().execute_unprepared(&sql).await.unwrap();
    }
}

/// Follows the answers to the end of the chain; how many records are intact, and the last answer.
async fn check_all(world: &World) -> (u64, Value) {
    let (mut intact, mut from) = (0, String::new());
    loop {
        let (status, page) = world.get(&format!("/audit?verify=true&limit=1{from}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let chain = &page["chain"];
        intact += chain["intact"].as_u64().unwrap();
        if chain["isComplete"] == true || chain["isIntact"] == false {
            return (intact, chain.clone());
        }
        from = format!("&verifyFrom={}", chain["verifyFrom"].as_str().unwrap());
    }
}

async fn a_change_among_fifty_thousand_records_is_found(world: World) {
    fill(&world, 50_000).await;
    let (intact, chain) = check_all(&world).await;
    assert_eq!((intact, &chain["brokenAt"]), (50_000, &Value::Null), "{chain}");
    assert!(chain["verifyFrom"].as_str().unwrap().starts_with("50000-"));
    let lifted =
        if world.is_postgres() { "ALTER TABLE audit DISABLE TRIGGER USER" } else { "DROP TRIGGER audit_no_update" };
    for sql in [lifted, "UPDATE audit SET actor = 'nobody' WHERE number = 43210"] {
        world.store.connection().execute_unprepared(sql).await.unwrap();
    }
    let (intact, chain) = check_all(&world).await;
    assert_eq!((intact, &chain["brokenAt"], &chain["isComplete"]), (43_209, &json!(43_210), &json!(false)));
    world.stop().await;
}

async fn a_record_of_a_newer_release_is_put_aside(world: World) {
    let mut newer = serde_json::to_value(audited(1)).unwrap();
    newer["action"] = json!("endpoint.explode");
    let payload = newer.to_string().into_bytes().into();
    world.bus.publisher(StreamName::Audit).publish(Outgoing::new(subject::audited("tests"), payload)).await.unwrap();
    publish(&world, [audited(2)]).await;
    world.get_until("/audit", |page| numbers(page) == [1]).await;
    let aside = slipstream_store::activity::quarantined(world.store.connection(), 10).await.unwrap();
    assert_eq!(aside.iter().map(|it| it.subject.as_str()).collect::<Vec<_>>(), ["audited.tests"]);
    world.stop().await;
}
