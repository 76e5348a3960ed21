//! The forwarded form: what came, and what the site knows (SPEC 5.2, 3.2).

use serde_json::{Value, json};
use slipstream_bus::StreamName;

use crate::world::{STRUCTURED, World, event};

#[tokio::test]
async fn the_site_fills_in_what_it_knows() {
    let world = World::new().await;
    let sent = event().id("e1");
    world.publish(&sent).await.expect(204);
    let mut expected = sent.json();
    expected["siteslug"] = "s8n6EzC".into();
    expected["organisationslug"] = "o4fKq2".into();
    expected["billingorganisationslug"] = "o4fKq2".into();
    expected["datacontenttype"] = "application/slipstreamevent+json".into();
    assert_eq!(world.only(StreamName::Events).await.json(), expected);
}

#[tokio::test]
async fn what_the_publisher_says_alike_is_kept_and_nulls_are_dropped() {
    let world = World::new().await;
    let mut sent = event().with("datacontenttype", "application/json; a=b").with("product", "Exact");
    for name in ["subject", "time", "dataschema", "traceparent", "billingsku", "custom"] {
        sent = sent.with(name, Value::Null);
    }
    let slugs = [("siteslug", "s8n6EzC"), ("organisationslug", "o4fKq2"), ("billingorganisationslug", "o4fKq2")];
    let sent = slugs.into_iter().fold(sent, |sent, (name, slug)| sent.with(name, slug));
    world.publish(&sent).await.expect(204);
    let Value::Object(mut expected) = sent.json() else { panic!("an event is an object") };
    expected.retain(|_, value| !value.is_null());
    assert_eq!(world.only(StreamName::Events).await.json(), Value::Object(expected));
}

#[tokio::test]
async fn slugs_of_others_are_refused() {
    let world = World::new().await;
    for name in ["siteslug", "organisationslug", "billingorganisationslug"] {
        for value in [json!("sUkLWZg"), json!("oXXXXXX"), json!(""), json!(5), json!("S8N6EZC")] {
            world.publish(&event().with(name, value)).await.expect_invalid(&[&format!("#/{name}")]);
        }
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn slipstreams_own_attributes_are_judged() {
    let world = World::new().await;
    for (name, value) in [
        ("product", json!("Unknown")),
        ("product", json!("exact")),
        ("billingpax", json!(0)),
        ("billingpax", json!("2")),
        ("billingsku", json!(7)),
        ("traceparent", json!(1)),
        ("tracestate", json!(true)),
        ("pmsspecificid", json!(12)),
        ("dataschema", json!("/relative")),
        ("dataref", json!("a b")),
        ("sampledrate", json!(0)),
        ("Upper", json!("x")),
        ("with_underscore", json!("x")),
        ("with.dot", json!("x")),
    ] {
        world.publish(&event().with(name, value)).await.expect_invalid(&[&format!("#/{name}")]);
    }
    world.expect_nothing_stored().await;
    for (name, value) in [
        ("product", json!("Dentally")),
        ("billingpax", json!(1)),
        ("billingsku", json!("letter/2nd class")),
        ("dataref", json!("/some/dataref")),
        ("dataschema", json!("urn:a:b")),
        ("source", json!("#fragment")),
        ("source", json!("1-555-123-4567")),
        ("custom1", json!(-5)),
        ("custom2", json!(true)),
        ("custom3", json!("Euro € 😀")),
    ] {
        world.publish(&event().with(name, value.clone())).await.expect(204);
        assert_eq!(world.stored(StreamName::Events).await.last().unwrap().json()[name], value, "{name}");
    }
}

#[tokio::test]
async fn data_is_forwarded_as_it_was_written() {
    let world = World::new().await;
    let data = r#"{"z":1.10,"a":123456789012345678901234567890,"e":1E5,"s":"\u0041\u0000\/","n":{"b":[ ]}}"#;
    let body = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{data}}}"#);
    world.publish_bytes(STRUCTURED, body).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    assert!(stored.text().contains(data), "{}", stored.text());
    assert_eq!(stored.json()["datacontenttype"], "application/slipstreamevent+json");
}

#[tokio::test]
async fn only_json_data_gets_the_default_type() {
    let world = World::new().await;
    let cases = [
        (event().without("data"), Value::Null),
        (event().without("data").with("data_base64", "AAE="), Value::Null),
        (event().with("data", Value::Null), "application/slipstreamevent+json".into()),
        (event().with("data", "text"), "application/slipstreamevent+json".into()),
        (event().with("data", "text").with("datacontenttype", "text/plain"), "text/plain".into()),
        (event().without("data").with("datacontenttype", "text/plain"), "text/plain".into()),
    ];
    for (event, expected) in cases {
        world.publish(&event).await.expect(204);
        let json = world.stored(StreamName::Events).await.last().unwrap().json();
        assert_eq!(json["datacontenttype"], expected, "{json}");
        for member in ["data", "data_base64"] {
            assert_eq!(json.get(member), event.json().get(member), "{json}");
        }
    }
}
