//! The OpenAPI documents: they have what the access table has, are what is committed, and are what is served.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use slipstream_service::access::{Entry, TABLE};
use slipstream_service::openapi::{Documents, Written, documented};
use slipstream_tests::System;

/// Set, the test writes the documents where they are committed, in place of comparing.
const UPDATE: &str = "SLIPSTREAM_UPDATE_OPENAPI";

/// What all services together have.
fn written() -> Written {
    let services = [
        slipstream_ingest::documents(),
        slipstream_subscription_registry::documents(),
        slipstream_activity_log::documents(),
    ];
    let all = services.into_iter().fold(Documents::of_every_process(), Documents::merge);
    all.finish().unwrap()
}

/// JSON as it is committed, by name.
fn documents() -> [(&'static str, String); 3] {
    let Written { slipstream, ecg, operator, .. } = written();
    [("slipstream", slipstream), ("ecg", ecg), ("operator", operator)]
}

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto-schemas/openapi").join(format!("{name}.json"))
}

/// Every operation: method, path, itself.
fn operations(document: &Value) -> Vec<(String, &str, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // A path may say where it is served, too.
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "servers") {
            operations.push((method.to_uppercase(), path.as_str(), operation));
        }
    }
    operations
}

#[test]
fn every_entry_of_the_access_table_is_an_operation_of_its_document_and_the_reverse() {
    let Written { public, operator, .. } = written();
    let documents = [(false, public), (true, operator)].map(|(is_for_operators, json)| {
        let document: Value = serde_json::from_str(&json).unwrap();
        (is_for_operators, document)
    });
    let mut found = 0;
    for (is_for_operators, document) in &documents {
        let entries: Vec<&Entry> = TABLE.iter().filter(|entry| entry.is_for_operators() == *is_for_operators).collect();
        for (method, path, _) in operations(document) {
            let fitting = entries.iter().filter(|entry| entry.method.as_str() == method && documented(entry, path));
            assert_eq!(fitting.count(), 1, "{method} {path} has another number of entries");
            found += 1;
        }
        for entry in entries {
            let is_it = |(method, path, _): &(String, &str, &Value)| {
                *method == entry.method.as_str() && documented(entry, path)
            };
            assert_eq!(
                operations(document).iter().filter(|it| is_it(it)).count(),
                1,
                "{} {}",
                entry.method,
                entry.path
            );
        }
    }
    assert_eq!(found, TABLE.len());
}

#[test]
fn operations_say_what_a_client_needs() {
    for (name, json) in documents() {
        let document: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert!(document["info"]["license"]["identifier"].is_string() && document["info"]["description"].is_string());
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations(&document) {
            let at = format!("{name}: {method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}: its id is taken");
            assert!(operation["summary"].as_str().is_some_and(|it| !it.is_empty()), "{at}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{at}");
            let no_parameters = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&no_parameters);
            let named: BTreeSet<&str> =
                parameters.iter().filter(|it| it["in"] == "path").map(|it| it["name"].as_str().unwrap()).collect();
            let in_path = path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}')).collect();
            assert_eq!(named, in_path, "{at}");
            for response in operation["responses"].as_object().unwrap().values() {
                assert_ne!(response["description"], "", "{at}");
            }
        }
    }
}

#[test]
fn references_lead_somewhere_and_nothing_is_there_that_none_leads_to() {
    for (name, json) in documents() {
        let document: Value = serde_json::from_str(&json).unwrap();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        let mut there = BTreeSet::new();
        for kind in ["schemas", "headers"] {
            let names = document["components"][kind].as_object().unwrap().keys();
            there.extend(names.map(|name| format!("#/components/{kind}/{name}")));
        }
        assert_eq!(used, there, "{name}");
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(elements) => {
            for element in elements {
                references(element, found);
            }
        }
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            for member in members.values() {
                references(member, found);
            }
        }
        _ => {}
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a switch for whoever changes the API, and no setting of a service")]
fn the_committed_documents_are_what_the_code_says() {
    for (name, json) in documents() {
        let path = committed(name);
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, &json).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == json,
            "{} is not what the code says; `{UPDATE}=1 cargo nextest run -p slipstream-tests openapi` writes it",
            path.display()
        );
    }
}

async fn ask(base: SocketAddr, path: &str) -> String {
    let response = reqwest::get(format!("http://{base}{path}")).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "application/json");
    response.text().await.unwrap()
}

/// `GET /path` and so on, of a document.
fn names(json: &str) -> BTreeSet<String> {
    let document: Value = serde_json::from_str(json).unwrap();
    operations(&document).into_iter().map(|(method, path, _)| format!("{method} {path}")).collect()
}

#[tokio::test]
async fn one_process_serves_what_is_committed() {
    let system = System::one_process().await;
    let bases = system.bases();
    let Written { public, operator, .. } = written();
    assert_eq!(ask(bases.ingest, "/openapi.json").await, public);
    assert_eq!(ask(bases.ingest, "/api/v1/openapi.json").await, public);
    assert_eq!(ask(bases.operator.ingest, "/openapi.json").await, operator);
}

#[tokio::test]
async fn each_of_four_processes_serves_its_part() {
    let system = System::four_processes().await;
    let bases = system.bases();
    let Written { public, operator, .. } = written();
    let mut served = BTreeSet::new();
    for base in [bases.ingest, bases.registry, bases.activity_log] {
        served.extend(names(&ask(base, "/openapi.json").await));
    }
    assert_eq!(served, names(&public));
    let probes = names(&ask(bases.operator.ingest, "/openapi.json").await);
    assert_eq!(Vec::from_iter(&probes), ["GET /livez", "GET /metrics", "GET /openapi.json", "GET /readyz"]);
    let mut served = probes;
    for base in [bases.operator.registry, bases.operator.activity_log] {
        served.extend(names(&ask(base, "/openapi.json").await));
    }
    assert_eq!(served, names(&operator));
}
