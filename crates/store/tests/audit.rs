//! One suite of statements about the audit, run over SQLite and over PostgreSQL.

#[path = "support/backends.rs"]
mod backends;

use slipstream_core::contract::{Action, AuditOutcome, Audited, TargetKind};
use slipstream_core::ids::AuditId;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::activity::{Batch, record};
use slipstream_store::audit::{self, Chain, Filter, Link, Verification};
use slipstream_store::{ConnectionTrait as _, Store};
use uuid::Uuid;

use self::backends::on_both_backends;

on_both_backends!(
    records_are_found_newest_first_by_everything_that_is_asked_for,
    a_record_that_comes_again_is_kept_once,
    several_writers_make_one_chain,
    nobody_changes_or_removes_a_record_that_is_not_six_years_old,
    whatever_is_changed_all_the_same_is_found,
    the_oldest_records_may_go_and_the_rest_is_still_a_chain,
    a_long_chain_is_gone_through_in_steps,
    what_was_noted_elsewhere_must_still_stand,
);

/// 2026-03-02: not old for as long as these tests live.
const NOW: i64 = 1_772_443_800_000;

fn at(offset: i64) -> Timestamp {
    Timestamp::from_millis(NOW + offset)
}

/// Record number `number`, `number` ms after the beginning.
fn audited(number: u16) -> Audited {
    Audited {
        id: AuditId(Uuid::from_u128(u128::from(number) << 64)),
        at: at(number.into()),
        actor: "operator".into(),
        action: Action::SecretRead,
        kind: TargetKind::Endpoint,
        target: Some("a".into()),
        site: Some("s8n6EzC".parse().unwrap()),
        trace: None,
        outcome: AuditOutcome::Done,
        status: Some(200),
        begun: None,
    }
}

async fn append(store: &Store, audited: Vec<Audited>) {
    record(store, Batch { audited, ..Batch::default() }).await.unwrap();
}

async fn numbers(store: &Store, filter: Filter) -> Vec<u64> {
    let page = audit::list(store.connection(), &filter, 100, None).await.unwrap();
    assert_eq!(page.next, None);
    page.items.iter().map(|it| it.number).collect()
}

async fn verify(store: &Store) -> Chain {
    audit::verify(store.connection()).await.unwrap()
}

async fn records_are_found_newest_first_by_everything_that_is_asked_for(store: Store) {
    let begun = Audited { outcome: AuditOutcome::Begun, status: None, site: None, target: None, ..audited(3) };
    let records = [
        audited(1),
        Audited { actor: "account:1".into(), ..audited(2) },
        begun.clone(),
        Audited { action: Action::EndpointDisable, begun: Some(begun.id), trace: Some("0".repeat(32)), ..audited(4) },
        Audited { target: Some("b\0".into()), ..audited(5) },
        Audited { site: Some("s1234".parse().unwrap()), ..audited(6) },
    ];
    append(&store, records[..2].to_vec()).await;
    append(&store, records[2..].to_vec()).await;

    let first = audit::list(store.connection(), &Filter::default(), 4, None).await.unwrap();
    assert_eq!(first.items.iter().map(|it| it.number).collect::<Vec<_>>(), [6, 5, 4, 3]);
    let after = first.next.unwrap().parse().unwrap();
    let second = audit::list(store.connection(), &Filter::default(), 4, Some(after)).await.unwrap();
    assert_eq!(second.items.iter().map(|it| it.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(second.next, None);
    let found: Vec<_> = first.items.into_iter().chain(second.items).map(|it| it.record).collect();
    let mut expected = records.to_vec();
    expected[4].target = Some("b\u{fffd}".into());
    expected.reverse();
    assert_eq!(found, expected);

    let all = Filter::default;
    assert_eq!(numbers(&store, Filter { actor: Some("account:1".into()), ..all() }).await, [2]);
    assert_eq!(numbers(&store, Filter { action: Some(Action::EndpointDisable), ..all() }).await, [4]);
    assert_eq!(numbers(&store, Filter { target: Some("a".into()), ..all() }).await, [6, 4, 2, 1]);
    assert_eq!(numbers(&store, Filter { site: Some("s1234".parse().unwrap()), ..all() }).await, [6]);
    assert_eq!(numbers(&store, Filter { since: Some(at(2)), until: Some(at(4)), ..all() }).await, [3, 2]);
    let both = Filter { actor: Some("operator".into()), target: Some("a".into()), since: Some(at(4)), ..all() };
    assert_eq!(numbers(&store, both).await, [6, 4]);
    assert_eq!(verify(&store).await.broken_at, None);
}

async fn a_record_that_comes_again_is_kept_once(store: Store) {
    append(&store, vec![audited(1), audited(1), audited(2)]).await;
    let before = verify(&store).await;
    append(&store, vec![audited(2), audited(1)]).await;
    assert_eq!(numbers(&store, Filter::default()).await, [2, 1]);
    assert_eq!(verify(&store).await, before);
    assert_eq!((before.intact, before.first, before.broken_at), (2, Some((1, at(1))), None));
}

async fn several_writers_make_one_chain(store: Store) {
    let writer = |first: u16| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in first..first + 10 {
                // Every record comes from two of them.
                append(&store, vec![audited(number), audited(number + 10)]).await;
            }
        })
    };
    for writer in [writer(0), writer(10), writer(20)] {
        writer.await.unwrap();
    }
    let chain = verify(&store).await;
    assert_eq!((chain.intact, chain.first.map(|(number, _)| number), chain.broken_at), (40, Some(1), None));
    assert_eq!(numbers(&store, Filter::default()).await, (1..=40).rev().collect::<Vec<_>>());
}

async fn refused(store: &Store, sql: &str) {
    let error = store.connection().execute_unprepared(sql).await.expect_err(sql);
    assert!(format!("{error:?}").contains("append-only"), "{sql}: {error:?}");
}

async fn nobody_changes_or_removes_a_record_that_is_not_six_years_old(store: Store) {
    append(&store, vec![audited(1), audited(2)]).await;
    let before = verify(&store).await;
    refused(&store, "UPDATE audit SET actor = 'nobody' WHERE number = 1").await;
    refused(&store, "UPDATE audit SET hash = previous").await;
    refused(&store, "DELETE FROM audit WHERE number = 2").await;
    refused(&store, "DELETE FROM audit").await;
    if store.connection().get_database_backend() == slipstream_store::DbBackend::Sqlite {
        let columns = "id, at_ms, actor, action, kind, target, site, trace, outcome, status, begun, previous, hash";
        let replace = |number: u8| format!("REPLACE INTO audit SELECT {number}, {columns} FROM audit WHERE number = 1");
        refused(&store, &replace(1)).await;
        refused(&store, &replace(3)).await;
    } else {
        refused(&store, "TRUNCATE audit").await;
    }
    assert_eq!(verify(&store).await, before);
}

/// Takes away what stands before the table, as somebody with the database's password may.
async fn without_guards(store: &Store, sql: &str) {
    let guards = ["audit_no_update", "audit_no_delete", "audit_only_append"];
    let statements: Vec<_> = match store.connection().get_database_backend() {
        slipstream_store::DbBackend::Postgres => vec!["ALTER TABLE audit DISABLE TRIGGER USER".to_owned()],
        _ => guards.iter().map(|guard| format!("DROP TRIGGER IF EXISTS {guard}")).collect(),
    };
    for statement in statements.iter().map(String::as_str).chain([sql]) {
        store.connection().execute_unprepared(statement).await.unwrap();
    }
}

async fn whatever_is_changed_all_the_same_is_found(store: Store) {
    append(&store, (1..=9).map(audited).collect()).await;
    assert_eq!(verify(&store).await.intact, 9);
    // From the newest to the oldest, so that each is the first that is broken.
    for (number, sql) in [
        (9, "UPDATE audit SET status = NULL WHERE number = 9"),
        (8, "UPDATE audit SET hash = previous WHERE number = 8"),
        (7, "DELETE FROM audit WHERE number = 6"),
        (5, "UPDATE audit SET actor = 'nobody' WHERE number = 5"),
        (4, "UPDATE audit SET previous = (SELECT hash FROM audit WHERE number = 1) WHERE number = 4"),
        (3, "UPDATE audit SET at_ms = at_ms + 1 WHERE number = 3"),
        (2, "UPDATE audit SET site = 's1234' WHERE number = 2"),
        (1, "UPDATE audit SET previous = hash WHERE number = 1"),
    ] {
        without_guards(&store, sql).await;
        let chain = verify(&store).await;
        assert_eq!(chain.broken_at, Some(number), "{sql}");
        // Number 7 is the first after a gap, number 6 being gone.
        let before = if number == 7 { 5 } else { number - 1 };
        assert_eq!(chain.intact, before, "{sql}");
    }
}

async fn the_oldest_records_may_go_and_the_rest_is_still_a_chain(store: Store) {
    let old = |number| Audited { at: Timestamp::from_millis(0), ..audited(number) };
    append(&store, vec![old(1), old(2), audited(3), audited(4)]).await;
    let whole = verify(&store).await;
    store.connection().execute_unprepared("DELETE FROM audit WHERE number <= 2").await.unwrap();
    let rest = verify(&store).await;
    assert_eq!(rest, Chain { intact: 2, first: Some((3, at(3))), ..whole });
    append(&store, vec![audited(5)]).await;
    assert_eq!((verify(&store).await.intact, numbers(&store, Filter::default()).await), (3, vec![5, 4, 3]));
}

async fn a_long_chain_is_gone_through_in_steps(store: Store) {
    // One more than a step, and one less.
    for last in [999, 1000, 1001, 2000] {
        let next = u16::try_from(verify(&store).await.intact).unwrap() + 1;
        append(&store, (next..=last).map(audited).collect()).await;
        let chain = verify(&store).await;
        assert_eq!((chain.intact, chain.broken_at), (u64::from(last), None));
    }
}

async fn what_was_noted_elsewhere_must_still_stand(store: Store) {
    let from = async |link: Link| {
        let mut verification = Verification::new(Some(link));
        verification.step(store.connection()).await.unwrap();
        assert!(verification.has_ended());
        verification.chain()
    };
    append(&store, (1..=3).map(audited).collect()).await;
    let noted = verify(&store).await.head.unwrap();
    append(&store, (4..=5).map(audited).collect()).await;
    let head = verify(&store).await.head;
    let expected = Chain { intact: 2, first: Some((3, at(3))), broken_at: None, head };
    assert_eq!(from(noted).await, expected);
    // The whole chain made anew is whole, and not what was noted.
    for other in [Link { hash: [7; 32], ..noted }, Link { number: 2, ..noted }, Link { number: 9, ..noted }] {
        assert_eq!(from(other).await, Chain { broken_at: Some(other.number), ..Chain::default() });
    }
    // The newest are gone: nothing that is there shows it.
    without_guards(&store, "DELETE FROM audit WHERE number >= 3").await;
    assert_eq!(verify(&store).await.broken_at, None);
    assert_eq!(from(noted).await.broken_at, Some(3));
    without_guards(&store, "DELETE FROM audit").await;
    assert_eq!((verify(&store).await, from(noted).await.broken_at), (Chain::default(), Some(3)));
}
