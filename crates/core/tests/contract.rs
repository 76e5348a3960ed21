//! The contract in `proto-schemas/`: what is promised to strangers there is what the types here read and write.
//!
//! A failure means that the contract changed. If that was meant, `proto-schemas/README.md` says what has to change
//! with it, and in which order readers and writers are released.

#[path = "contract/schema.rs"]
mod schema;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use slipstream_core::answer::ErrorCode;
use slipstream_core::config::{
    AccountKind, DisabledReason, OpenDentalPermission, PayloadVersion, Product, Record, Site, Surface,
};
use slipstream_core::contract::{
    Action, AuditOutcome, Audited, EcgPost, EcgPosted, EndpointChanged, Meta, Outcomes, Routed, SeenAnswer,
    SeenQuestion, TargetKind,
};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ecg;
use slipstream_core::event::json::parse;
use slipstream_core::feature::FEATURES;
use slipstream_core::ids::{DeliveryId, EventKey, content_hash, id_hash};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::matching::SkipReason;
use slipstream_core::sealing::{DataKey, KEY_BYTES, MasterKey, Place, SecretText};
use slipstream_core::slipstream::{Rejection, accept};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

use self::schema::Schemas;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-schemas")
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All examples of one schema, with their names. At least one.
fn examples(of: &str) -> Vec<(String, Value)> {
    let directory = root().join("examples").join(of);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let examples: Vec<_> = paths.map(|path| (path.display().to_string(), read(&path))).collect();
    assert!(!examples.is_empty(), "{} is empty", directory.display());
    examples
}

/// Every example is what the schema says, and goes through the type unchanged; together they show every member.
fn holds<T: DeserializeOwned + Serialize>(of: &str) {
    let schemas = Schemas::read(&root().join("schemas"));
    let mut unseen = schemas.members(of);
    for (name, example) in examples(of) {
        schemas.check(of, &example, &mut unseen).unwrap_or_else(|error| panic!("{name}: {error}"));
        let read: T = serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(&read).unwrap(), example, "{name}");
    }
    assert!(unseen.is_empty(), "no example of {of} shows {unseen:?}");
}

#[test]
fn routed_messages_are_as_promised() {
    holds::<Routed>("routed");
}

#[test]
fn outcomes_messages_are_as_promised() {
    holds::<Outcomes>("outcomes");
}

#[test]
fn posts_are_as_promised() {
    holds::<EcgPost>("ecg-post");
    holds::<EcgPosted>("ecg-posted");
}

#[test]
fn endpoint_messages_are_as_promised() {
    holds::<EndpointChanged>("endpoint-changed");
}

#[test]
fn audit_messages_are_as_promised() {
    holds::<Audited>("audited");
}

#[test]
fn questions_for_repeats_and_their_answers_are_as_promised() {
    holds::<Vec<SeenQuestion>>("seen-questions");
    holds::<Vec<SeenAnswer>>("seen-answers");
}

#[test]
fn records_of_the_config_bucket_are_as_promised() {
    holds::<Record>("config-record");
}

/// The master key of the examples: 32 times 1.
fn example_master_key() -> MasterKey {
    MasterKey::from_bytes([1; KEY_BYTES])
}

/// The form of a sealed value, the places it is sealed for and how data keys are wrapped are a contract too.
#[test]
fn sealed_examples_open_as_what_they_are() {
    let records: Vec<Record> = examples("config-record")
        .into_iter()
        .map(|(name, example)| serde_json::from_value(example).unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect();
    let keys: Vec<DataKey> = records
        .iter()
        .filter_map(|record| match record {
            Record::DataKey(it) => Some(example_master_key().unwrap(&it.tenant, it.id, &it.wrapped).unwrap()),
            _ => None,
        })
        .collect();
    let mut opened = BTreeSet::new();
    for record in &records {
        assert!(record.is_sealed(), "{}", record.key());
        let open = |secret: &SecretText, place: &Place| {
            let id = secret.sealed().unwrap().key();
            secret.open(keys.iter().find(|key| key.id() == id).expect("its key is an example"), place)
        };
        let texts: Vec<_> = match record.clone() {
            Record::Subscription(it) => it.with_secrets(open).unwrap().secrets().cloned().collect(),
            Record::EcgSubscription(it) => {
                it.with_secrets(open).unwrap().secrets.into_iter().map(|it| it.secret).collect()
            }
            _ => Vec::new(),
        };
        opened.extend(texts.iter().map(|secret| secret.expose().unwrap().to_owned()));
    }
    let expected = [
        "ecg-secret-key",
        "mXh0vYQ3nD1c8JtR5sKp2wLz7fGbA9eUi6oVqN4yTdM",
        "s3cr3t",
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
    ];
    assert_eq!(opened, BTreeSet::from(expected.map(str::to_owned)));
}

#[test]
fn members_that_a_newer_writer_adds_are_skipped() {
    fn skips<T: DeserializeOwned + Serialize>(of: &str) {
        for (name, example) in examples(of) {
            let mut newer = example.clone();
            add_member(&mut newer);
            // A record is its kind and what is in it: nothing can be added beside the kind.
            if of == "config-record" {
                newer.as_object_mut().unwrap().remove("addedLater");
            }
            let read: T = serde_json::from_value(newer).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(serde_json::to_value(&read).unwrap(), example, "{name}");
        }
    }
    skips::<Routed>("routed");
    skips::<Outcomes>("outcomes");
    skips::<EcgPost>("ecg-post");
    skips::<EcgPosted>("ecg-posted");
    skips::<EndpointChanged>("endpoint-changed");
    skips::<Audited>("audited");
    skips::<Vec<SeenQuestion>>("seen-questions");
    skips::<Vec<SeenAnswer>>("seen-answers");
    skips::<Record>("config-record");
}

/// Names of members that say which of several things their object is.
const VARIANTS: [&str; 5] = ["disabled", "only", "degraded", "not_granted", "granted"];

/// Names of members that hold what somebody else wrote, which is kept as it is.
const WRITTEN_BY_OTHERS: [&str; 2] = ["payload", "raw_message"];

/// Adds a member to each object of ours, except to those that stand for one of several names (`{"disabled": "gone"}`).
fn add_member(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_member),
        Value::Object(members) => {
            let ours = members.iter_mut().filter(|(name, _)| !WRITTEN_BY_OTHERS.contains(&name.as_str()));
            ours.for_each(|(_, member)| add_member(member));
            if !VARIANTS.iter().any(|name| members.contains_key(*name)) {
                members.insert("addedLater".to_owned(), json!({ "by": "a newer writer" }));
            }
        }
        _ => {}
    }
}

#[test]
fn the_meta_header_is_as_promised() {
    let golden = read(&root().join("examples/slip-meta.json"));
    for example in golden.as_array().unwrap() {
        let text = example["text"].as_str().unwrap();
        let time = |name: &str| example[name].as_str().map(|text| text.parse::<Timestamp>().unwrap());
        let number = |name: &str| u32::try_from(example[name].as_u64().unwrap()).unwrap();
        let meta = Meta {
            site: example["site"].as_str().unwrap().parse().unwrap(),
            accepted_at: time("accepted_at").unwrap(),
            expires_at: time("expires_at"),
            intended_at: time("intended_at"),
            published_by: example["published_by"].as_str().map(|id| id.parse().unwrap()),
            attempt: number("attempt"),
            parked: number("parked"),
            is_paused: example["is_paused"].as_bool().unwrap(),
            has_place: example["has_place"].as_bool().unwrap(),
            replay: example["replay"].as_str().map(|id| id.parse().unwrap()),
            generation: number("generation"),
            changed_at: time("changed_at"),
            cancelled_at: time("cancelled_at"),
        };
        assert_eq!(text.parse().as_ref(), Ok(&meta), "{text}");
        assert_eq!(meta.to_string(), text);
    }
}

#[test]
fn keys_and_delivery_ids_are_derived_as_promised() {
    let golden = read(&root().join("examples/routed/delivered.json"));
    let routed: Routed = serde_json::from_value(golden).unwrap();
    let event = &routed.events[0];
    assert_eq!(EventKey::new(&routed.site, &event.source, &event.id), event.key);
    let matched = &event.matched[0];
    assert_eq!(DeliveryId::derive(event.accepted_at, matched.subscription, &event.key), matched.delivery);

    let outcomes: Outcomes = serde_json::from_value(read(&root().join("examples/outcomes/ends.json"))).unwrap();
    let replayed = outcomes.outcomes.iter().find(|outcome| outcome.replay.is_some()).expect("a replay is shown");
    let derived = DeliveryId::derive_replay(
        replayed.accepted_at,
        outcomes.subscription,
        &replayed.key,
        replayed.replay.expect("it has just been found by it"),
    );
    assert_eq!(derived, replayed.delivery);

    let posts: Outcomes = serde_json::from_value(read(&root().join("examples/outcomes/of-a-post.json"))).unwrap();
    let post = &posts.outcomes[0];
    assert_eq!(DeliveryId::derive(post.accepted_at, posts.subscription, &post.key), post.delivery);
    assert_eq!(post.delivery.accepted_at(), post.accepted_at);
    let posted: EcgPosted = serde_json::from_value(read(&root().join("examples/ecg-posted/activated.json"))).unwrap();
    assert_eq!(posted.site, Slug::of_organization(posted.organization));
    // From its bytes: the order of members counts.
    let sent = std::fs::read(root().join("examples/ecg-post/event.json")).unwrap();
    let sent: EcgPost = serde_json::from_slice(&sent).unwrap();
    let hashed = ecg::hashed_text(&sent.payload).unwrap();
    let hash = ecg::hash("ecg-secret-key", sent.created_at, &hashed);
    assert_eq!(post.attempt.as_ref().unwrap().hash.as_ref(), Some(&hash));
}

#[test]
fn events_and_their_ids_hash_as_promised() {
    let question = read(&root().join("examples/seen-questions/one.json"));
    let answer = read(&root().join("examples/seen-answers/one.json"));
    let published = read(&root().join("examples/event/published.json"));
    assert_eq!(question[0]["id_hash"], json!(id_hash(published["id"].as_str().unwrap())));
    let event = parse(published.to_string().as_bytes()).expect("a CloudEvent");
    let accepted = accept(event, &site(), AccountKind::Internal).expect("acceptable");
    assert_eq!(answer[0]["key"], json!(accepted.key));
    assert_eq!(answer[0]["content_hash"], json!(content_hash(&accepted.body)));
}

/// The members of a closed set as they stand in JSON. A set that grows does not compile until its list here does.
macro_rules! names {
    ($set:ident: $($member:ident),+) => {{
        let _every = |member: $set| match member { $($set::$member => ()),+ };
        [$($set::$member),+].map(|member| serde_json::to_value(member).unwrap()).to_vec()
    }};
}

#[test]
fn closed_sets_have_the_members_of_the_schemas() {
    let common = read(&root().join("schemas/common.json"));
    let record = read(&root().join("schemas/config-record.json"));
    let member = |of: &str, name: &str| record["$defs"][of]["properties"][name]["enum"].clone();
    let audited = read(&root().join("schemas/audited.json"));
    let audited = |name: &str| audited["properties"][name]["enum"].clone();
    let named = |names: Vec<&str>| Value::from(names);
    assert_eq!(audited("action"), named(Action::ALL.iter().map(|it| it.as_str()).collect()));
    assert_eq!(audited("kind"), named(TargetKind::ALL.iter().map(|it| it.as_str()).collect()));
    assert_eq!(audited("outcome"), named(AuditOutcome::ALL.iter().map(|it| it.as_str()).collect()));
    let features: Vec<Value> = FEATURES.iter().map(|feature| feature.name.into()).collect();
    let sets = [
        ("lane", &common["$defs"]["lane"]["enum"], names!(Lane: Realtime, High, Normal)),
        (
            "visibility",
            &common["$defs"]["visibility"]["enum"],
            names!(Visibility: Internal, Public, WorkQueue, Private),
        ),
        ("surface", &common["$defs"]["surface"]["enum"], names!(Surface: Slipstream, Ecg)),
        (
            "deliveryState",
            &common["$defs"]["deliveryState"]["enum"],
            names!(DeliveryState: Scheduled, RetryWait, Succeeded, Failed, Exhausted, Expired, Cancelled),
        ),
        (
            "reason",
            &common["$defs"]["reason"]["enum"],
            names!(
                Reason: EndpointGone,
                EndpointDisabled,
                SubscriptionRemoved,
                FinalAnswer,
                ExpiryTime,
                NoAttemptsLeft,
                EndpointSlowed,
                EndpointBusy,
                BreakerOpen,
                RateLimited,
                ConsentPending,
                CancelledByRequest,
                Rescheduled,
                SecretsSealed,
                EndpointPaused
            ),
        ),
        (
            "errorCode",
            &common["$defs"]["errorCode"]["enum"],
            names!(ErrorCode: Dns, TargetNotAllowed, Connect, Tls, Timeout, Protocol),
        ),
        (
            "skipReason",
            &common["$defs"]["skipReason"]["enum"],
            names!(SkipReason: Visibility, TypeNotInFeature, TypeNotSubscribed),
        ),
        ("disabledReason", &common["$defs"]["disabledReason"]["enum"], names!(DisabledReason: Gone, Operator, Failing)),
        ("product", &member("site", "product"), names!(Product: Testing, Exact, Dentally, Ascend)),
        ("kind", &member("account", "kind"), names!(AccountKind: External, Internal)),
        (
            "openDentalPermission",
            &record["$defs"]["openDentalKey"]["properties"]["permissions"]["items"]["enum"],
            names!(OpenDentalPermission: Subscriptions, UiEvents, Rows),
        ),
        ("feature", &member("subscription", "feature"), features),
        ("payloadVersion", &member("ecgSubscription", "version"), names!(PayloadVersion: V1, V2)),
    ];
    for (name, promised, ours) in sets {
        assert_eq!(promised, &Value::Array(ours), "{name}");
    }
}

fn site() -> Site {
    let golden = read(&root().join("examples/config-record/site.json"));
    match serde_json::from_value(golden).unwrap() {
        Record::Site(site) => site,
        other => panic!("{other:?} is not a site"),
    }
}

/// Publishes `event` as one of our own services.
fn published(event: &Value) -> Result<Value, Vec<String>> {
    let event = parse(event.to_string().as_bytes()).expect("a CloudEvent");
    match accept(event, &site(), AccountKind::Internal) {
        Ok(accepted) => Ok(serde_json::from_slice(&accepted.body).unwrap()),
        Err(Rejection::Invalid(errors)) => Err(errors.into_iter().map(|error| error.pointer).collect()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn an_event_is_forwarded_as_promised() {
    let directory = root().join("examples/event");
    assert_eq!(published(&read(&directory.join("published.json"))), Ok(read(&directory.join("forwarded.json"))));
}

fn letter(data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": "1", "source": "/a", "type": "communications.letter.created", "data": data })
}

#[test]
fn letters_are_held_to_their_schema() {
    let schemas = Schemas::read(&root().join("schemas"));
    let mut unseen = schemas.members("letter-data");
    let all = unseen.clone();
    for (name, data) in examples("letter-data") {
        schemas.check("letter-data", &data, &mut unseen).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(published(&letter(&data)).map(|event| event["data"].clone()), Ok(data), "{name}");
    }
    assert!(unseen.is_empty(), "no example of letter-data shows {unseen:?}");

    let valid = json!({ "recordId": "c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70" });
    for member in all {
        let name = member.rsplit('/').next().unwrap();
        for (value, is_right) in [(json!({}), false), (json!(null), true)] {
            let mut data = valid.clone();
            data[name] = value.clone();
            let by_schema = schemas.check("letter-data", &data, &mut BTreeSet::new()).is_ok();
            let by_code = published(&letter(&data)).is_ok();
            assert_eq!(by_schema, by_code, "{name}: {value}");
            assert!(is_right || !by_code, "{name} takes {value}");
        }
    }
    assert_eq!(published(&letter(&json!({ "color": true }))), Err(vec!["#/data/recordId".to_owned()]));
    assert!(published(&letter(&json!(null))).is_ok());
}
