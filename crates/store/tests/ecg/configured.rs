//! Categories, events, sample payloads and reference data.

use slipstream_core::config::{EcgCategory, EcgEvent, Flags, Stamps};
use slipstream_core::ids::{EcgCategoryId, EcgEventId, EcgSampleId};
use slipstream_store::ecg::samples::Sample;
use slipstream_store::ecg::seeds::Seed;
use slipstream_store::ecg::{Listed, Order, Slice, Status, categories, events, samples, seeds};
use slipstream_store::{Store, StoreError};
use uuid::Uuid;

use crate::{NOW, later};

crate::on_both_backends!(
    what_is_made_survives_unchanged,
    a_code_is_unique_among_the_living_whatever_its_case,
    changes_raise_the_revision_and_tombstones_change_no_more,
    lists_go_by_last_change_and_have_every_row_once,
    lists_show_what_their_status_says,
    an_event_needs_a_category_and_is_found_by_its_code,
    whoever_makes_an_event_keeps_its_category_from_being_deleted_meanwhile,
    an_event_has_one_sample_of_each_version,
    reference_data_is_applied_once,
);

const ALICE: Uuid = Uuid::from_u128(0xa11ce);
const BOB: Uuid = Uuid::from_u128(0xb0b);
const SOME: Slice = Slice { order: Order::Desc, offset: 0, limit: 100 };

fn category(n: u128, code: &str) -> EcgCategory {
    EcgCategory {
        id: EcgCategoryId(Uuid::from_u128(n)),
        name: "Vitals, 'quoted' é".into(),
        code: code.into(),
        description: n.is_multiple_of(2).then(|| "What a watch measures\nand sends".into()),
        flags: Flags::new(true, NOW),
        stamps: Stamps::new(ALICE, NOW),
        deleted: false,
        revision: 1,
    }
}

fn event(n: u128, category: u128, code: &str, version: &str) -> EcgEvent {
    EcgEvent {
        id: EcgEventId(Uuid::from_u128(n)),
        category: EcgCategoryId(Uuid::from_u128(category)),
        name: "Observation".into(),
        code: code.into(),
        version: version.into(),
        description: n.is_multiple_of(2).then(|| "One".into()),
        flags: Flags::new(true, NOW),
        stamps: Stamps::new(ALICE, NOW),
        deleted: false,
        revision: 1,
    }
}

fn sample(n: u128, event: u128, version: &str, payload: &str) -> Sample {
    Sample {
        id: EcgSampleId(Uuid::from_u128(n)),
        event: EcgEventId(Uuid::from_u128(event)),
        version: version.into(),
        payload: serde_json::from_str(payload).unwrap(),
        stamps: Stamps::new(ALICE, NOW),
    }
}

/// Makes a change as callers do: to the one that stands, which is locked.
async fn change(
    store: &Store,
    id: EcgCategoryId,
    change: impl FnOnce(&mut EcgCategory),
) -> Result<EcgCategory, StoreError> {
    let transaction = store.begin().await?;
    let mut changed = categories::lock(&transaction, id).await?.unwrap();
    change(&mut changed);
    let changed = categories::replace(&transaction, &changed).await?.unwrap();
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(changed)
}

async fn change_event(
    store: &Store,
    id: EcgEventId,
    change: impl FnOnce(&mut EcgEvent),
) -> Result<EcgEvent, StoreError> {
    let transaction = store.begin().await?;
    let mut changed = events::lock(&transaction, id).await?.unwrap();
    change(&mut changed);
    let changed = events::replace(&transaction, &changed).await?.unwrap();
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(changed)
}

async fn what_is_made_survives_unchanged(store: Store) {
    let connection = store.connection();
    for (n, code) in [(1, "vitals"), (2, "Phone.Log-1")] {
        let made = category(n, code);
        categories::create(connection, &made).await.unwrap();
        assert_eq!(categories::get(connection, made.id).await.unwrap(), Some(made.clone()));
        let made = event(n, n, code, "v1");
        events::create(connection, &made).await.unwrap();
        assert_eq!(events::get(connection, made.id).await.unwrap(), Some(made));
    }
    assert_eq!(categories::get(connection, EcgCategoryId(Uuid::nil())).await.unwrap(), None);
    assert_eq!(events::get(connection, EcgEventId(Uuid::nil())).await.unwrap(), None);
    assert_eq!(
        (categories::all(connection).await.unwrap().len(), events::all(connection).await.unwrap().len()),
        (2, 2)
    );
}

async fn a_code_is_unique_among_the_living_whatever_its_case(store: Store) {
    let connection = store.connection();
    let is_conflict = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Conflict(_)));
    categories::create(connection, &category(1, "vitals")).await.unwrap();
    categories::create(connection, &category(2, "calls")).await.unwrap();
    assert!(is_conflict(categories::create(connection, &category(3, "VITALS")).await));
    assert!(is_conflict(categories::create(connection, &category(1, "other")).await), "its id is taken");
    let renamed = change(&store, category(2, "").id, |it| it.code = "Vitals".into()).await;
    assert!(is_conflict(renamed.map(drop)));
    change(&store, category(1, "").id, |it| it.code = "ViTaLs".into()).await.unwrap();

    // An event's code is compared over all categories, together with its version.
    events::create(connection, &event(1, 1, "created", "v1")).await.unwrap();
    events::create(connection, &event(2, 1, "created", "v2")).await.unwrap();
    assert!(is_conflict(events::create(connection, &event(3, 2, "Created", "v1")).await));
    let moved = change_event(&store, event(2, 1, "", "").id, |it| it.version = "v1".into()).await;
    assert!(is_conflict(moved.map(drop)));

    // What a deleted one had may be had again.
    change_event(&store, event(1, 1, "", "").id, |it| it.deleted = true).await.unwrap();
    events::create(connection, &event(3, 2, "CREATED", "v1")).await.unwrap();
    change(&store, category(1, "").id, |it| it.deleted = true).await.unwrap();
    categories::create(connection, &category(4, "vitals")).await.unwrap();
    change(&store, category(4, "").id, |it| it.deleted = true).await.unwrap();
    categories::create(connection, &category(5, "vitals")).await.unwrap();
}

async fn changes_raise_the_revision_and_tombstones_change_no_more(store: Store) {
    let connection = store.connection();
    let made = category(1, "vitals");
    categories::create(connection, &made).await.unwrap();
    events::create(connection, &event(1, 1, "created", "v1")).await.unwrap();
    let archived = change(&store, made.id, |it| {
        it.flags = Flags { archived: true, archived_changed_at: later(5), ..it.flags };
        it.stamps = it.stamps.changed(BOB, later(5));
        // What does not change is not written, whatever it says.
        it.stamps.created_by = BOB;
    });
    let archived = archived.await.unwrap();
    let flags = Flags { archived: true, archived_changed_at: later(5), ..made.flags };
    let expected = EcgCategory { flags, stamps: made.stamps.changed(BOB, later(5)), revision: 2, ..made.clone() };
    assert_eq!(archived, expected);
    assert_eq!(categories::get(connection, made.id).await.unwrap().as_ref(), Some(&expected));

    let deleted = change(&store, made.id, |it| it.deleted = true).await.unwrap();
    assert_eq!((deleted.deleted, deleted.revision), (true, 3));
    assert_eq!(categories::get(connection, made.id).await.unwrap(), None);
    assert_eq!(categories::get_any(connection, made.id).await.unwrap(), Some(deleted.clone()));
    assert_eq!(categories::all(connection).await.unwrap(), std::slice::from_ref(&deleted));
    let transaction = store.begin().await.unwrap();
    assert_eq!(categories::lock(&transaction, made.id).await.unwrap(), None);
    assert_eq!(categories::hold(&transaction, made.id).await.unwrap(), None);
    let back = EcgCategory { deleted: false, ..deleted.clone() };
    assert_eq!(categories::replace(&transaction, &back).await.unwrap(), None);
    drop(transaction);

    let event_id = event(1, 1, "", "").id;
    let deleted = change_event(&store, event_id, |it| it.deleted = true).await.unwrap();
    assert_eq!(events::get(connection, event_id).await.unwrap(), None);
    assert_eq!(events::get_any(connection, event_id).await.unwrap(), Some(deleted.clone()));
    let transaction = store.begin().await.unwrap();
    assert_eq!(events::lock(&transaction, event_id).await.unwrap(), None);
    assert_eq!(events::hold(&transaction, &[event_id]).await.unwrap(), []);
    assert_eq!(events::replace(&transaction, &EcgEvent { deleted: false, ..deleted }).await.unwrap(), None);
}

async fn lists_go_by_last_change_and_have_every_row_once(store: Store) {
    let connection = store.connection();
    for n in 1..=7 {
        categories::create(connection, &category(n, &format!("c{n}"))).await.unwrap();
        events::create(connection, &event(n, 1, &format!("e{n}"), "v1")).await.unwrap();
    }
    events::create(connection, &event(8, 2, "e8", "v1")).await.unwrap();
    // The third was changed last; all others at once, so that their ids decide.
    change(&store, category(3, "").id, |it| it.stamps = it.stamps.changed(BOB, later(1))).await.unwrap();
    change_event(&store, event(3, 1, "", "").id, |it| it.stamps = it.stamps.changed(BOB, later(1))).await.unwrap();

    for (order, expected) in [(Order::Desc, [3, 7, 6, 5, 4, 2, 1]), (Order::Asc, [1, 2, 4, 5, 6, 7, 3])] {
        let (mut listed, mut listed_events) = (Vec::new(), Vec::new());
        for page in 0..4 {
            let slice = Slice { order, offset: page * 2, limit: 2 };
            let Listed { items, total } = categories::page(connection, Status::default(), slice).await.unwrap();
            assert_eq!((total, items.len() <= 2), (7, true));
            listed.extend(items.iter().map(|it| it.id.0.as_u128()));
            let of = category(1, "").id;
            let Listed { items, total } = events::page(connection, of, Status::default(), slice).await.unwrap();
            assert_eq!((total, items.len() <= 2), (7, true), "those of its category");
            listed_events.extend(items.iter().map(|it| it.id.0.as_u128()));
        }
        assert_eq!((listed.as_slice(), listed_events.as_slice()), (&expected[..], &expected[..]));
        let beyond = Slice { order, offset: 700, limit: 2 };
        let none = categories::page(connection, Status::default(), beyond).await.unwrap();
        assert_eq!(none, Listed { items: vec![], total: 7 });
    }
}

async fn lists_show_what_their_status_says(store: Store) {
    let connection = store.connection();
    for (n, active, archived, deleted) in [
        (1, true, false, false),
        (2, false, false, false),
        (3, true, true, false),
        (4, false, true, false),
        (5, true, false, true),
    ] {
        let flags = Flags { active, archived, ..Flags::new(true, NOW) };
        let made = EcgCategory { flags, deleted, ..category(n, &format!("c{n}")) };
        categories::create(connection, &made).await.unwrap();
        let made = EcgEvent { flags, deleted, ..event(n, 1, &format!("e{n}"), "v1") };
        events::create(connection, &made).await.unwrap();
    }
    for (status, expected) in [
        (Status::Restored, &[2_u128, 1][..]),
        (Status::Active, &[1]),
        (Status::Inactive, &[2]),
        (Status::Archived, &[4, 3]),
    ] {
        let listed = categories::page(connection, status, SOME).await.unwrap();
        assert_eq!(listed.total, expected.len() as u64, "{status:?}");
        assert_eq!(listed.items.iter().map(|it| it.id.0.as_u128()).collect::<Vec<_>>(), expected, "{status:?}");
        let listed = events::page(connection, category(1, "").id, status, SOME).await.unwrap();
        assert_eq!(listed.total, expected.len() as u64, "{status:?}");
        assert_eq!(listed.items.iter().map(|it| it.id.0.as_u128()).collect::<Vec<_>>(), expected, "{status:?}");
    }
}

async fn an_event_needs_a_category_and_is_found_by_its_code(store: Store) {
    let connection = store.connection();
    let orphan = events::create(connection, &event(1, 1, "created", "v1")).await;
    assert!(matches!(orphan, Err(StoreError::Conflict(_))), "{orphan:?}");
    for n in [1, 2] {
        categories::create(connection, &category(n, &format!("c{n}"))).await.unwrap();
    }
    assert_eq!(events::count_of_category(connection, category(1, "").id).await.unwrap(), 0);
    for event in [event(1, 1, "a.created", "v1"), event(2, 2, "A.Created", "v2"), event(3, 1, "a.changed", "v1")] {
        events::create(connection, &event).await.unwrap();
    }
    assert_eq!(events::count_of_category(connection, category(1, "").id).await.unwrap(), 2);
    let of = async |code: &str| {
        let found = events::of_code(connection, code).await.unwrap();
        found.iter().map(|it| it.id.0.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!((of("A.CREATED").await, of("a.change").await), (vec![1, 2], vec![]));
    change_event(&store, event(1, 1, "", "").id, |it| it.deleted = true).await.unwrap();
    assert_eq!(of("a.created").await, [2]);
    assert_eq!(events::count_of_category(connection, category(1, "").id).await.unwrap(), 1);
    let transaction = store.begin().await.unwrap();
    let ids = [3, 1, 2, 9].map(|n| EcgEventId(Uuid::from_u128(n)));
    let held = events::hold(&transaction, &ids).await.unwrap();
    assert_eq!(held.iter().map(|it| it.id.0.as_u128()).collect::<Vec<_>>(), [2, 3]);
}

async fn whoever_makes_an_event_keeps_its_category_from_being_deleted_meanwhile(store: Store) {
    let id = category(1, "").id;
    categories::create(store.connection(), &category(1, "vitals")).await.unwrap();
    let making = store.begin().await.unwrap();
    assert!(categories::hold(&making, id).await.unwrap().is_some());
    let deleting = tokio::spawn({
        let store = store.clone();
        async move {
            let transaction = store.begin().await.unwrap();
            categories::lock(&transaction, id).await.unwrap().unwrap();
            // Waits for the other one, so that this sees what that has made.
            events::count_of_category(&transaction, id).await.unwrap()
        }
    });
    events::create(&making, &event(1, 1, "created", "v1")).await.unwrap();
    making.commit().await.unwrap();
    assert_eq!(deleting.await.unwrap(), 1);
}

async fn an_event_has_one_sample_of_each_version(store: Store) {
    let connection = store.connection();
    let is_conflict = |result: &Result<(), StoreError>| matches!(result, Err(StoreError::Conflict(_)));
    let orphan = samples::create(connection, &sample(1, 1, "v1", "{}")).await;
    assert!(is_conflict(&orphan), "{orphan:?}");
    categories::create(connection, &category(1, "vitals")).await.unwrap();
    for n in [1, 2] {
        events::create(connection, &event(n, 1, &format!("e{n}"), "v1")).await.unwrap();
    }
    // Order, numbers and spaces stay as they were given.
    let text = r#"{"z": 1.50, "a":"é","e":1e400,"nul":"\u0000"}"#;
    for (n, of, version) in [(1, 1, "v1"), (2, 1, "v2"), (3, 2, "v1")] {
        samples::create(connection, &sample(n, of, version, text)).await.unwrap();
    }
    assert!(is_conflict(&samples::create(connection, &sample(4, 1, "v2", "{}")).await));
    let id = event(1, 1, "", "").id;
    let found = samples::get(connection, id, "v2").await.unwrap().unwrap();
    let made = sample(2, 1, "v2", text);
    assert_eq!((found.payload.get(), found.id, found.event, found.stamps), (text, made.id, made.event, made.stamps));
    assert!(samples::get(connection, id, "v3").await.unwrap().is_none());

    let transaction = store.begin().await.unwrap();
    let locked = samples::lock(&transaction, id, "v2").await.unwrap().unwrap();
    let changed = Sample {
        version: "v3".into(),
        payload: serde_json::from_str("{}").unwrap(),
        stamps: locked.stamps.changed(BOB, later(1)),
        ..locked
    };
    samples::replace(&transaction, &changed).await.unwrap();
    transaction.commit().await.unwrap();
    let found = samples::get(connection, id, "v3").await.unwrap().unwrap();
    assert_eq!((found.payload.get(), found.stamps), ("{}", made.stamps.changed(BOB, later(1))));
    let transaction = store.begin().await.unwrap();
    let clash = samples::replace(&transaction, &Sample { version: "v1".into(), ..found }).await;
    assert!(is_conflict(&clash), "{clash:?}");
    drop(transaction);

    assert!(samples::delete(connection, id, "v3").await.unwrap());
    assert!(!samples::delete(connection, id, "v3").await.unwrap());
    // With its event every sample goes, and no other's.
    change_event(&store, id, |it| it.deleted = true).await.unwrap();
    assert!(samples::get(connection, id, "v1").await.unwrap().is_none());
    assert!(samples::get(connection, event(2, 1, "", "").id, "v1").await.unwrap().is_some());
}

async fn reference_data_is_applied_once(store: Store) {
    let connection = store.connection();
    assert_eq!(seeds::all(connection).await.unwrap(), []);
    let seed = |version: &str, at| Seed {
        version: version.into(),
        description: "Examples".into(),
        applied_at: later(at),
        checksum: "ab".repeat(32),
    };
    seeds::apply(connection, &seed("v2", 5)).await.unwrap();
    seeds::apply(connection, &seed("v1", 2)).await.unwrap();
    let again = Seed { checksum: "cd".repeat(32), ..seed("v1", 9) };
    seeds::apply(connection, &again).await.unwrap();
    assert_eq!(seeds::all(connection).await.unwrap(), [seed("v1", 2), seed("v2", 5)]);
}
