//! Acceptance by a site: each rule of SPEC 5.2 once kept and once broken.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::event::envelope::Envelope;

fn site() -> Site {
    Site {
        slug: "s8n6EzC".parse().unwrap(),
        name: "Demo".into(),
        organisation: "o4fKq2".parse().unwrap(),
        billing_organisation: "o9bill".parse().unwrap(),
        product: Product::Testing,
        pms_specific_id: None,
        ecg_organization: None,
        revision: 1,
    }
}

/// An event of the type `t` with these members besides the required ones, as it came over the wire.
fn event(members: &Json) -> Event {
    let mut object = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    for (name, value) in members.as_object().unwrap() {
        object[name] = value.clone();
    }
    json::parse(object.to_string().as_bytes()).unwrap()
}

fn external(members: &Json) -> Result<Accepted, Rejection> {
    accept(event(members), &site(), AccountKind::External)
}

fn internal(members: &Json) -> Result<Accepted, Rejection> {
    accept(event(members), &site(), AccountKind::Internal)
}

fn pointers(rejection: &Rejection) -> Vec<&str> {
    match rejection {
        Rejection::Invalid(errors) | Rejection::VisibilityNotAllowed(errors) => {
            errors.iter().map(|error| error.pointer.as_str()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn forwarded(accepted: &Accepted) -> Json {
    serde_json::from_slice(&accepted.body).unwrap()
}

#[test]
fn the_forwarded_form_holds_what_came_and_what_the_site_knows() {
    let accepted = external(&json!({
        "subject": null, "time": "2026-03-02T09:30:00+01:00", "visibility": 1, "priority": 2, "custom": true,
        "data": {"b": 1, "a": 2}
    }))
    .unwrap();
    assert_eq!(
        forwarded(&accepted),
        json!({
            "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "time": "2026-03-02T09:30:00+01:00",
            "visibility": 1, "priority": 2, "custom": true, "siteslug": "s8n6EzC", "organisationslug": "o4fKq2",
            "billingorganisationslug": "o9bill", "datacontenttype": "application/slipstreamevent+json",
            "data": {"b": 1, "a": 2}
        })
    );
    assert_eq!((accepted.visibility, accepted.lane), (Visibility::Public, Lane::Realtime));
    assert_eq!(accepted.key, EventKey::new(&site().slug, "/s", "1"));
    let envelope = Envelope::read(&accepted.body).unwrap();
    assert_eq!((&*envelope.id, &*envelope.event_type, envelope.subject), ("1", "t", None));
}

#[test]
fn absent_attributes_have_their_defaults() {
    let accepted = external(&json!({})).unwrap();
    assert_eq!((accepted.visibility, accepted.lane), (Visibility::Internal, Lane::Normal));
    assert_eq!((accepted.intended_at, accepted.expires_at), (None, None));
    assert_eq!(forwarded(&accepted).get("datacontenttype"), None);
}

#[test]
fn the_default_content_type_goes_with_json_data_only() {
    let content_type = |members| forwarded(&external(&members).unwrap())["datacontenttype"].clone();
    assert_eq!(content_type(json!({"data": null})), "application/slipstreamevent+json");
    assert_eq!(content_type(json!({"data": 1, "datacontenttype": "application/json"})), "application/json");
    assert_eq!(content_type(json!({"data_base64": "AP8="})), Json::Null);
}

#[test]
fn each_broken_rule_names_its_attribute() {
    for (name, bad) in [
        ("siteslug", json!("s8n6EzD")),
        ("siteslug", json!("S8N6EZC")),
        ("siteslug", json!(5)),
        ("organisationslug", json!("o4fKq3")),
        ("billingorganisationslug", json!("o4fKq2")),
        ("product", json!("Unknown")),
        ("product", json!("exact")),
        ("product", json!(true)),
        ("priority", json!(3)),
        ("priority", json!(-1)),
        ("priority", json!("1")),
        ("priority", json!(true)),
        ("visibility", json!(4)),
        ("visibility", json!(-1)),
        ("visibility", json!("0")),
        ("billingpax", json!(0)),
        ("billingpax", json!("1")),
        ("billingsku", json!(1)),
        ("pmsspecificid", json!(7)),
        ("intendeddeliverytime", json!("soon")),
        ("intendeddeliverytime", json!(5)),
    ] {
        let mut members = json!({});
        members[name] = bad.clone();
        for refused in [external(&members), internal(&members)] {
            let refused = refused.expect_err(name);
            assert!(matches!(refused, Rejection::Invalid(_)));
            assert_eq!(pointers(&refused), [format!("#/{name}")], "{bad}");
        }
    }
}

#[test]
fn matching_slugs_products_and_numbers_are_accepted() {
    let accepted = external(&json!({
        "siteslug": "s8n6EzC", "organisationslug": "o4fKq2", "billingorganisationslug": "o9bill", "product": "Exact",
        "priority": 1, "billingpax": 2, "billingsku": "", "pmsspecificid": "x", "dataref": "/some/dataref",
        "traceparent": "not a traceparent"
    }))
    .unwrap();
    assert_eq!(forwarded(&accepted)["traceparent"], "not a traceparent");
}

#[test]
fn the_intended_time_lies_before_expiry() {
    let at = |intended: &str, expiry: &str| external(&json!({"intendeddeliverytime": intended, "expirytime": expiry}));
    let accepted = at("2026-03-02T10:00:00+01:00", "2026-03-02T09:00:01Z").unwrap();
    assert_eq!(accepted.intended_at, "2026-03-02T09:00:00Z".parse().ok());
    assert_eq!(accepted.expires_at, "2026-03-02T09:00:01Z".parse().ok());
    let refused = at("2026-03-02T09:00:00Z", "2026-03-02T10:00:00+01:00").unwrap_err();
    assert_eq!(pointers(&refused), ["#/intendeddeliverytime"]);
}

#[test]
fn external_publishers_send_visibility_0_and_1_only() {
    for visibility in [2, 3] {
        let refused = external(&json!({"visibility": visibility})).unwrap_err();
        assert!(matches!(refused, Rejection::VisibilityNotAllowed(_)));
        let problem = Problem::from(refused);
        assert_eq!(problem.kind, ProblemKind::VisibilityNotAllowed);
        assert_eq!(problem.errors[0].pointer, "#/visibility");
        let accepted = internal(&json!({"visibility": visibility})).unwrap();
        assert_eq!(accepted.visibility.number(), visibility);
    }
    let both = external(&json!({"visibility": 2, "priority": 9})).unwrap_err();
    assert!(matches!(both, Rejection::Invalid(_)));
    assert_eq!(pointers(&both), ["#/priority", "#/visibility"]);
}

#[test]
fn letters_of_internal_accounts_obey_the_schema() {
    let letter = |data: Json| json!({"type": "communications.letter.created", "data": data});
    let id = "C3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70";
    for good in [
        json!(null),
        json!({"recordId": id}),
        json!({"recordId": id, "color": false, "express": true, "more": [1]}),
        json!({"recordId": id, "status": "InTransit", "pageCount": 2, "expectedDeliveryDate": "2026-03-02",
               "occurredAt": "2026-03-02T09:30:00Z", "failureCode": "quota", "letterId": null}),
    ] {
        assert!(internal(&letter(good.clone())).is_ok(), "{good}");
    }
    for (bad, pointer) in [
        (json!([]), "#/data"),
        (json!("x"), "#/data"),
        (json!(5), "#/data"),
        (json!({}), "#/data/recordId"),
        (json!({"recordId": null}), "#/data/recordId"),
        (json!({"recordId": "1"}), "#/data/recordId"),
        (json!({"recordId": id.replace('-', "")}), "#/data/recordId"),
        (json!({"recordId": id, "color": "yes"}), "#/data/color"),
        (json!({"recordId": id, "express": null}), "#/data/express"),
        (json!({"recordId": id, "status": "Lost"}), "#/data/status"),
        (json!({"recordId": id, "pageCount": 0}), "#/data/pageCount"),
        (json!({"recordId": id, "expectedDeliveryDate": "2026-02-30"}), "#/data/expectedDeliveryDate"),
        (json!({"recordId": id, "failureReason": "x".repeat(501)}), "#/data/failureReason"),
    ] {
        let refused = internal(&letter(bad.clone())).expect_err(&bad.to_string());
        assert_eq!(pointers(&refused), [pointer], "{bad}");
        assert!(external(&letter(bad)).is_ok(), "strangers' letters pass through");
    }
    let text = json!({"type": "communications.letter.created", "datacontenttype": "text/plain", "data": "x"});
    assert_eq!(pointers(&internal(&text).unwrap_err()), ["#/data"]);
    assert!(internal(&json!({"type": "communications.letter.created"})).is_ok());
    assert!(internal(&json!({"data": {"recordId": 1}})).is_ok(), "other types have no schema");
}

#[test]
fn events_up_to_the_limit_are_accepted_and_larger_ones_are_not() {
    assert!(external(&json!({"data": "x".repeat(64 * 1024)})).is_ok());
    let overhead = external(&json!({"data": ""})).unwrap().body.len();
    assert_eq!(external(&json!({"data": "x".repeat(EVENT_BYTES_MAX - overhead)})).unwrap().body.len(), EVENT_BYTES_MAX);
    let refused = external(&json!({"data": "x".repeat(EVENT_BYTES_MAX - overhead + 1)})).unwrap_err();
    assert_eq!(refused, Rejection::EventTooLarge { index: None, bytes: EVENT_BYTES_MAX + 1 });
    assert_eq!(Problem::from(refused).kind, ProblemKind::TooLarge);
}

#[test]
fn a_batch_keeps_the_first_of_equal_events() {
    let events = vec![event(&json!({"n": 1})), event(&json!({"id": "2"})), event(&json!({"n": 2}))];
    let accepted = accept_batch(events, &site(), AccountKind::External).unwrap();
    assert_eq!(accepted.len(), 2);
    assert_eq!(forwarded(&accepted[0])["n"], 1);
    assert_eq!(accept_batch(vec![], &site(), AccountKind::External), Ok(vec![]));
}

#[test]
fn one_bad_event_refuses_the_batch_with_its_index() {
    let batch = |members: &[Json]| {
        accept_batch(members.iter().map(event).collect(), &site(), AccountKind::External).unwrap_err()
    };
    let large = json!({"id": "3", "data": "x".repeat(EVENT_BYTES_MAX)});
    let refused = batch(&[json!({}), json!({"priority": 7}), json!({"visibility": 2}), large.clone()]);
    assert!(matches!(refused, Rejection::Invalid(_)));
    assert_eq!(pointers(&refused), ["#/1/priority", "#/2/visibility"]);
    let refused = batch(&[json!({}), json!({"visibility": 3})]);
    assert!(matches!(refused, Rejection::VisibilityNotAllowed(_)));
    assert_eq!(pointers(&refused), ["#/1/visibility"]);
    let problem = Problem::from(batch(&[json!({}), large]));
    assert_eq!((problem.kind, problem.errors[0].pointer.as_str()), (ProblemKind::TooLarge, "#/1"));
    let many = vec![event(&json!({})); BATCH_EVENTS_MAX + 1];
    let refused = accept_batch(many, &site(), AccountKind::External).unwrap_err();
    assert_eq!(refused, Rejection::BatchTooLarge { events: BATCH_EVENTS_MAX + 1 });
}

proptest! {
    #[test]
    fn the_forwarded_form_is_an_event_again(event in crate::event::events()) {
        let accepted = accept(event.clone(), &site(), AccountKind::External).unwrap();
        let again = json::parse(&accepted.body).unwrap();
        prop_assert_eq!((&again.id, &again.source, &again.data), (&event.id, &event.source, &event.data));
        for (name, value) in &event.extensions {
            prop_assert_eq!(again.extension(name), Some(value));
        }
        // Accepting what was accepted changes nothing.
        prop_assert_eq!(accept(again, &site(), AccountKind::External), Ok(accepted));
    }
}
