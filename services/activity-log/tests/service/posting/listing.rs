//! Lists of activities: pages by number, pages by link, filters (E32, E42).

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use slipstream_core::config::{EcgEvent, Record};
use slipstream_core::ids::EcgEventId;
use uuid::Uuid;

use super::office::{ORGANIZATION, Office, activity_in, event, in_offices, in_offices_on_both_backends, sub};

in_offices_on_both_backends!(
    pages_by_link_are_complete_while_new_ones_arrive,
    pages_are_counted,
    a_page_that_is_too_much_to_be_held_at_once_is_sent_in_parts,
);
in_offices!(a_list_shows_what_is_asked_for);

/// Writes down what somebody has posted at a time: `seconds` into an hour long ago.
async fn posted(office: &Office, seconds: u32) -> String {
    let mut body = activity_in();
    body["postedAt"] = json!(format!("2022-08-18T10:{:02}:{:02}Z", seconds / 60, seconds % 60));
    Office::made(office.post(&sub("/activity"), &body).await)["id"].as_str().unwrap().to_owned()
}

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

/// A page, and where its header says that the next one is.
async fn page(office: &Office, path: &str) -> (Value, Option<String>) {
    let token = office.token_of("webhookManager", ORGANIZATION);
    let response = office.to(Method::GET, path).bearer_auth(token).send().await.unwrap();
    let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
    let next = link.map(|link| link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned());
    (Office::shown(super::office::read(response).await), next)
}

async fn pages_by_link_are_complete_while_new_ones_arrive(office: Office) {
    let mut before = BTreeSet::new();
    for number in 0..25 {
        before.insert(posted(&office, 600 + number * 10).await);
    }
    let mut new = 0;
    for order in ["ASC", "DESC"] {
        let mut seen = Vec::new();
        let mut path = sub(&format!("/activity?take=4&order_by={order}"));
        let mut number = 0;
        loop {
            let (shown, next) = page(&office, &path).await;
            assert_eq!((&shown["currentPageNumber"], &shown["recordsPerPage"]), (&json!(number), &json!(4)));
            seen.extend(ids(&shown));
            // At both ends: by numbers, every page would begin somewhere else.
            new += 2;
            posted(&office, new).await;
            posted(&office, 3000 + new).await;
            let Some(next) = next else { break };
            (path, number) = (next, number + 1);
        }
        let distinct: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len(), "{order}: something is shown twice");
        assert!(distinct.is_superset(&before), "{order}: something is left out");
    }
    office.close().await;
}

async fn pages_are_counted(office: Office) {
    let mut oldest_first = Vec::new();
    for number in 0..7 {
        oldest_first.push(posted(&office, number).await);
    }
    let newest_first: Vec<_> = oldest_first.iter().rev().cloned().collect();
    let (shown, next) = page(&office, &sub("/activity")).await;
    assert_eq!((ids(&shown), next), (newest_first.clone(), None));
    for (member, expected) in [("currentPageNumber", 0), ("recordsPerPage", 10), ("totalRecords", 7), ("totalPages", 1)]
    {
        assert_eq!(shown[member], json!(expected), "{member}");
    }
    for (number, expected) in [(0, 0..3), (1, 3..6), (2, 6..7), (3, 7..7)] {
        let (shown, next) = page(&office, &sub(&format!("/activity?take=3&skip={number}"))).await;
        assert_eq!(ids(&shown), newest_first[expected.clone()]);
        assert_eq!((&shown["totalPages"], &shown["currentPageNumber"]), (&json!(3), &json!(number)));
        assert_eq!(next.is_some(), number < 2, "{next:?}");
        let (shown, _) = page(&office, &sub(&format!("/activity?take=3&skip={number}&order_by=ASC"))).await;
        assert_eq!(ids(&shown), oldest_first[expected]);
    }
    let far = Office::shown(office.get(&sub("/activity?skip=18446744073709551615")).await);
    assert_eq!((&far["items"], &far["totalRecords"]), (&json!([]), &json!(7)));
    for wrong in
        ["take=0", "take=101", "skip=-1", "order_by=up", "status=pending", "include=secrets", "eventId=7", "cursor=x"]
    {
        let name = wrong.split('=').next().unwrap();
        Office::refused(&office.get(&sub(&format!("/activity?{wrong}"))).await, 400, name);
        Office::refused(&office.get(&sub(&format!("/activations?{wrong}"))).await, 400, name);
    }
    office.close().await;
}

async fn a_list_shows_what_is_asked_for(office: Office) {
    let other = EcgEventId(Uuid::from_u128(0xe2));
    office.put(&Record::EcgEvent(EcgEvent { id: other, code: "other.created".into(), ..event() })).await;
    office.change(2, |it| it.events.push(other)).await;
    let mut of_other = activity_in();
    (of_other["eventId"], of_other["postedAt"]) = (json!(other), json!("2022-08-18T10:00:00Z"));
    let first = Office::made(office.post(&sub("/activity"), &of_other).await);
    let second = posted(&office, 60).await;
    let list = async |query: &str| Office::shown(office.get(&sub(&format!("/activity?{query}"))).await);
    assert_eq!(ids(&list(&format!("eventId={other}")).await), [first["id"].as_str().unwrap()]);
    assert_eq!(ids(&list(&format!("eventId={}", event().id)).await), [second]);
    assert_eq!(list(&format!("eventId={}", Uuid::nil())).await["totalRecords"], json!(0));

    let plain = list("order_by=ASC").await;
    assert!(plain["items"][0].get("event").is_none() && plain["items"][0].get("subscription").is_none(), "{plain}");
    let both = list("order_by=ASC&include=subscription,event").await;
    assert_eq!(both["items"][0]["event"], first["event"]);
    let subscription = &both["items"][0]["subscription"];
    assert_eq!(subscription["events"].as_array().unwrap().len(), 2);
    assert!(subscription.get("secretKey").is_none(), "{subscription}");
    let repeated = list("order_by=ASC&include=subscription&include=event").await;
    assert_eq!(repeated["items"], both["items"]);
    let one = list("include=event").await;
    assert!(one["items"][0].get("event").is_some() && one["items"][0].get("subscription").is_none(), "{one}");
    office.close().await;
}

async fn a_page_that_is_too_much_to_be_held_at_once_is_sent_in_parts(office: Office) {
    let texts = [10, 240_000, 240_000, 240_000, 10, 240_000];
    for (number, length) in texts.into_iter().enumerate() {
        let mut body = activity_in();
        body["postedAt"] = json!(format!("2022-08-18T10:00:0{number}Z"));
        body["payload"] = json!({ "text": "x".repeat(length) });
        body["rawMessage"] = json!({ "text": "y".repeat(length) });
        Office::made(office.post(&sub("/activity"), &body).await);
    }
    // One by one, each as a whole.
    let mut expected = Vec::new();
    for (skip, length) in texts.into_iter().enumerate() {
        let path = sub(&format!("/activity?take=1&skip={skip}&order_by=ASC&include=event"));
        let shown = Office::shown(office.get(&path).await);
        assert_eq!(shown["items"][0]["payload"]["text"].as_str().unwrap().len(), length);
        expected.push(shown["items"][0].clone());
    }
    let token = office.token_of("webhookManager", ORGANIZATION);
    let all = office.to(Method::GET, &sub("/activity?take=100&order_by=ASC&include=event")).bearer_auth(token);
    let all = all.send().await.unwrap();
    assert_eq!((all.headers()["content-type"].as_bytes(), all.content_length()), (&b"application/json"[..], None));
    let all = Office::shown(super::office::read(all).await);
    assert_eq!(all["items"], json!(expected));
    assert_eq!((&all["totalRecords"], &all["recordsPerPage"], &all["totalPages"]), (&json!(6), &json!(100), &json!(1)));
    let (half, next) = page(&office, &sub("/activity?take=4&order_by=ASC&include=event")).await;
    assert_eq!(half["items"], json!(expected[..4]));
    let (rest, _) = page(&office, &next.unwrap()).await;
    assert_eq!(rest["items"], json!(expected[4..]));
    office.close().await;
}
