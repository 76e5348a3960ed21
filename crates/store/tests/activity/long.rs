//! Pages of rows with texts as long as they may be (N9).

use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::EventKey;
use slipstream_store::Store;
use slipstream_store::activity::{Batch, EventRecord, Filter, HeldFilter, Range, event, held, list, reconcile};

use crate::{at, delivery_record, event_record, on_both_backends, site, write};

on_both_backends!(a_page_ends_at_about_a_mebibyte_and_the_next_one_goes_on_behind_it);

const LONG: usize = 250 * 1024;
const COUNT: usize = 12;

async fn a_page_ends_at_about_a_mebibyte_and_the_next_one_goes_on_behind_it(store: Store) {
    for number in 0..COUNT {
        // Every third is an ordinary one. They are held and have a delivery at once, so that all three lists have them.
        let length = if number % 3 == 0 { 10 } else { LONG };
        let (source, id) = (format!("/{}", "s".repeat(length)), format!("{number:02}{}", "i".repeat(length)));
        let event = EventRecord {
            key: EventKey::new(&site(), &source, &id),
            source,
            id,
            subject: Some("é".repeat(length / 2)),
            routed_at: None,
            intended_at: Some(at(1000 + number as i64)),
            ..event_record("", number as i64)
        };
        let deliveries = vec![delivery_record(&event, 1, DeliveryState::Scheduled, 0)];
        write(&store, Batch { events: vec![event], deliveries, ..Batch::default() }).await;
    }
    let connection = store.connection();

    // Two texts of a delivery's event are shown, three of an event's.
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = list(connection, &Filter::default(), 100, after).await.unwrap();
        pages.push(page.items.iter().map(|it| it.event.as_ref().unwrap().id[..2].to_owned()).collect());
        let Some(next) = page.next else { break };
        after = Some(next.parse().unwrap());
    }
    check(&pages, true, 4);

    // Of one event they do not repeat its name if it is long.
    let page = list(connection, &Filter::default(), 3, None).await.unwrap();
    for delivery in page.items {
        let name = delivery.event.unwrap();
        let found = event(connection, &site(), &name.source, &name.id).await.unwrap().unwrap();
        assert_eq!(found.deliveries[0].event.is_none(), name.id.len() > 1000);
    }

    let filter = HeldFilter { site: site(), event_type: None, visible_to: None, from: None, until: None };
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = held(connection, &filter, 100, after).await.unwrap();
        pages.push(page.items.iter().map(|event| event.id[..2].to_owned()).collect());
        let Some(next) = page.next else { break };
        after = Some(next.parse().unwrap());
    }
    check(&pages, false, 3);

    let range = Range { since: at(0), until: at(100), site: None };
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = reconcile(connection, &range, 100, after).await.unwrap();
        assert!(page.items.iter().all(|item| item.deliveries.len() == 1));
        pages.push(page.items.iter().map(|item| item.event.id[..2].to_owned()).collect());
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    check(&pages, false, 3);
}

/// All are there once and in order; and no page has more long ones than fit.
fn check(pages: &[Vec<String>], newest_first: bool, long_max: usize) {
    let mut expected: Vec<_> = (0..COUNT).map(|number| format!("{number:02}")).collect();
    if newest_first {
        expected.reverse();
    }
    assert_eq!(pages.concat(), expected);
    for page in pages {
        let long = page.iter().filter(|id| id.parse::<usize>().unwrap() % 3 != 0).count();
        assert!(long <= long_max, "{long} in {pages:?}");
    }
    assert!(pages.len() > 1, "{pages:?}");
}
