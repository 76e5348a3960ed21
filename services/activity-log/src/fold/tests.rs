use proptest::prelude::*;
use slipstream_core::config::Surface;
use slipstream_core::contract::{Attempt, Matched};
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};

use super::*;

const NOW: i64 = 1_772_443_800_000;

fn at(offset: i64) -> Timestamp {
    Timestamp::from_millis(NOW + offset)
}

fn subscription() -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(1))
}

fn routed(id: u8, routed_at: Option<i64>) -> Message {
    routed_with(id, routed_at, |_| {})
}

/// An event that is held, whose times were changed so often, and that was cancelled or not.
fn held(id: u8, changes: i64, is_cancelled: bool) -> Message {
    routed_with(id, None, |event| {
        event.changed_at = (changes > 0).then(|| at(100 + changes));
        // Two records of one moment say the same.
        event.intended_at = (changes > 0).then(|| at(1000 + changes));
        event.cancelled_at = is_cancelled.then(|| at(200 + changes));
        // New times are other bytes.
        event.content_hash = Some(i64::from(id) + 1000 * changes);
    })
}

fn routed_with(id: u8, routed_at: Option<i64>, change: impl FnOnce(&mut RoutedEvent)) -> Message {
    let site: Slug = "s8n6EzC".parse().unwrap();
    let key = EventKey::new(&site, "/letters", &id.to_string());
    let delivery = DeliveryId::derive(at(i64::from(id)), subscription(), &key);
    let matched = vec![Matched { delivery, subscription: subscription(), surface: Surface::Slipstream }];
    let mut event = RoutedEvent {
        key,
        source: "/letters".into(),
        id: id.to_string(),
        event_type: "communications.letter.created".into(),
        subject: None,
        visibility: Visibility::Public,
        lane: Lane::Normal,
        accepted_at: at(i64::from(id)),
        intended_at: None,
        expires_at: None,
        published_by: None,
        routed_at: routed_at.map(at),
        changed_at: None,
        cancelled_at: None,
        sequence: None,
        content_hash: Some(i64::from(id)),
        matched: if routed_at.is_some() { matched } else { Vec::new() },
        skipped: Vec::new(),
    };
    change(&mut event);
    ("routed.s8n6EzC".into(), serde_json::to_vec(&Routed { site, events: vec![event] }).unwrap())
}

/// An outcome of event `id`'s only delivery.
fn outcome(id: u8, state: DeliveryState, ended: i64, attempt: Option<u32>) -> Message {
    let site: Slug = "s8n6EzC".parse().unwrap();
    let key = EventKey::new(&site, "/letters", &id.to_string());
    let accepted_at = at(i64::from(id));
    let outcome = Outcome {
        delivery: DeliveryId::derive(accepted_at, subscription(), &key),
        site,
        key,
        lane: Lane::Normal,
        accepted_at,
        state,
        reason: None,
        at: at(ended),
        attempt: attempt.map(|number| Attempt {
            number,
            started_at: at(ended - 2),
            duration_us: 1999,
            status: Some(200),
            error: None,
            response: Some("b2s=".into()),
            hash: None,
        }),
        next_attempt_at: (state == DeliveryState::RetryWait).then(|| at(ended + 5000)),
        replay: None,
    };
    let outcomes = Outcomes { subscription: subscription(), surface: Surface::Slipstream, outcomes: vec![outcome] };
    (format!("outcomes.slipstream.{}", subscription()), serde_json::to_vec(&outcomes).unwrap())
}

fn post_key(id: u8) -> EventKey {
    EventKey::new(&Slug::of_organization(Uuid::nil()), "/ecg/posts", &id.to_string())
}

fn post_delivery(id: u8) -> DeliveryId {
    DeliveryId::derive(at(i64::from(id)), subscription(), &post_key(id))
}

/// A post of the ECG surface.
fn posted(id: u8) -> Message {
    let organization = Uuid::nil();
    let json = format!(
        r#"{{"delivery":"{}","key":"{}","site":"{}","lane":"normal","organization":"{organization}",
            "post":{{"type":1,"event":"{}","code":"vitals.created","created_at":"{}","payload":{{"n":1.50}}}},
            "raw_message":{{"b":2,"a":1}}}}"#,
        post_delivery(id),
        post_key(id),
        Slug::of_organization(organization),
        Uuid::from_u128(5),
        at(i64::from(id)),
    );
    (format!("posts.{}", subscription()), json.into_bytes())
}

/// An outcome of post `id`'s delivery.
fn post_outcome(id: u8, state: DeliveryState, ended: i64, attempt: Option<u32>) -> Message {
    let outcome = Outcome {
        delivery: post_delivery(id),
        site: Slug::of_organization(Uuid::nil()),
        key: post_key(id),
        lane: Lane::Normal,
        accepted_at: at(i64::from(id)),
        state,
        reason: None,
        at: at(ended),
        attempt: attempt.map(|number| Attempt {
            number,
            started_at: at(ended - 2),
            // Two that begin and last alike are one, and have one answer.
            duration_us: if state == DeliveryState::Succeeded { 1998 } else { 1999 },
            status: Some(if state == DeliveryState::Succeeded { 204 } else { 503 }),
            error: None,
            response: Some("YnVzeQ==".into()),
            hash: Some("0a".repeat(32)),
        }),
        next_attempt_at: (state == DeliveryState::RetryWait).then(|| at(ended + 5000)),
        replay: None,
    };
    let outcomes = Outcomes { subscription: subscription(), surface: Surface::Ecg, outcomes: vec![outcome] };
    (format!("outcomes.ecg.{}", subscription()), serde_json::to_vec(&outcomes).unwrap())
}

type Message = (String, Vec<u8>);

fn folded<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Batch {
    let mut batch = Batch::default();
    for (subject, payload) in messages {
        fold(&mut batch, subject, payload).unwrap();
    }
    batch.merge();
    batch
}

#[test]
fn an_event_that_was_routed_and_delivered_is_one_row_each() {
    let messages = [
        routed(7, Some(3)),
        outcome(7, DeliveryState::RetryWait, 10, Some(1)),
        outcome(7, DeliveryState::Succeeded, 5020, Some(2)),
    ];
    let batch = folded(&messages);
    assert_eq!((batch.events.len(), batch.deliveries.len(), batch.attempts.len()), (1, 1, 2));
    assert_eq!(batch.deliveries[0].state, DeliveryState::Succeeded);
    assert_eq!(batch.deliveries[0].created_at(), at(7));
    assert_eq!(batch.attempts[0].response.as_deref(), Some(&b"ok"[..]));
}

#[test]
fn an_outcome_in_the_millisecond_of_acceptance_still_follows_the_routing() {
    let messages = [outcome(7, DeliveryState::RetryWait, 7, Some(1)), routed(7, Some(9))];
    assert_eq!(folded(&messages).deliveries[0].state, DeliveryState::RetryWait);
}

#[test]
fn a_higher_attempt_supersedes_a_lower_one() {
    let messages = [
        outcome(7, DeliveryState::RetryWait, 400, Some(3)),
        outcome(7, DeliveryState::RetryWait, 100, Some(1)),
        outcome(7, DeliveryState::RetryWait, 200, Some(2)),
    ];
    assert_eq!(folded(&messages).deliveries[0].next_attempt_at, Some(at(5400)));
}

#[test]
fn of_an_event_that_is_held_the_last_change_counts_until_it_ends() {
    let folded_event = |messages: &[Message]| folded(messages).events.remove(0);
    let held_events = [held(7, 2, false), held(7, 0, false), held(7, 1, false)];
    assert_eq!(folded_event(&held_events).intended_at, Some(at(1002)));
    let cancelled = folded_event(&[held(7, 1, true), held(7, 2, false)]);
    assert_eq!((cancelled.cancelled_at, cancelled.routed_at), (Some(at(201)), None));
    assert_eq!(folded_event(&[held(7, 2, false), routed(7, Some(3000))]).routed_at, Some(at(3000)));
}

#[test]
fn what_an_event_hashed_to_when_it_was_accepted_outlasts_its_changes() {
    let changed = [held(7, 1, false), held(7, 2, true)];
    assert_eq!(folded(&changed).events[0].content_hash, None, "what was accepted is not known");
    for accepted in [held(7, 0, false), held(7, 0, true)] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let messages = [accepted.clone(), changed[0].clone(), changed[1].clone()];
            let event = folded(order.map(|place| &messages[place])).events.remove(0);
            assert_eq!((event.content_hash, event.changed_at), (Some(7), Some(at(102))), "{order:?}");
        }
    }
}

#[test]
fn a_post_is_a_delivery_and_an_activity_and_each_attempt_of_it_both() {
    let messages = [
        post_outcome(7, DeliveryState::RetryWait, 10, Some(1)),
        posted(7),
        post_outcome(7, DeliveryState::Succeeded, 5020, Some(2)),
    ];
    let batch = folded(&messages);
    assert_eq!((batch.deliveries.len(), batch.attempts.len(), batch.post_attempts.len()), (1, 2, 2));
    assert_eq!((batch.deliveries[0].state, batch.deliveries[0].surface), (DeliveryState::Succeeded, Surface::Ecg));
    let post = &batch.posts[0];
    assert_eq!((post.delivery, post.subscription, post.created_at), (post_delivery(7), subscription(), at(7)));
    assert_eq!((post.payload.as_str(), post.raw_message.as_str()), (r#"{"n":1.50}"#, r#"{"b":2,"a":1}"#));
    let first = &batch.post_attempts[0];
    assert_eq!((first.number, first.response.as_deref()), (1, Some(&b"busy"[..])));
    assert_eq!(first.hash.as_deref(), Some("0a".repeat(32).as_str()));
}

#[test]
fn what_is_said_of_other_surfaces_is_no_activity() {
    assert_eq!(folded(&[outcome(7, DeliveryState::Succeeded, 10, Some(1))]).post_attempts, []);
}

#[test]
fn a_post_of_nobody_is_not_read() {
    let (_, payload) = posted(7);
    for subject in ["posts", "posts.", "posts.x"] {
        assert!(matches!(fold(&mut Batch::default(), subject, &payload), Err(Unreadable::Subject)), "{subject}");
    }
}

#[test]
fn a_removed_subscription_is_a_removal_and_a_disabled_one_is_not() {
    let changed = |change: &str| {
        let at = at(5);
        let json = format!(r#"{{"subscription":"{}","at":"{at}","change":{change}}}"#, subscription());
        (format!("endpoints.slipstream.{}", subscription()), json.into_bytes())
    };
    let batch = folded(&[changed("\"removed\""), changed(r#"{"disabled":"gone"}"#)]);
    assert_eq!(batch.removals, [Removal { subscription: subscription(), at: at(5) }]);
    assert_eq!(batch.len(), 1);
}

#[test]
fn what_cannot_be_read_changes_nothing_and_is_put_aside_once() {
    let mut batch = Batch::default();
    assert!(matches!(fold(&mut batch, "routed.s8n6EzC", b"{"), Err(Unreadable::Payload(_))));
    assert!(matches!(fold(&mut batch, "stranger", b"{}"), Err(Unreadable::Subject)));
    assert!(batch.is_empty());
    for received in [0, 1] {
        put_aside(&mut batch, "routed.s8n6EzC", b"{", "why".into(), at(received));
    }
    put_aside(&mut batch, "routed.s8n6EzC", b"[", "why".into(), at(2));
    batch.merge();
    assert_eq!(batch.quarantined.len(), 2);
}

fn any_message() -> impl Strategy<Value = Message> {
    let any_outcome = (0_u8..3, prop::sample::select(&DeliveryState::ALL[..]), 0_i64..40, prop::option::of(1_u32..4))
        .prop_map(|(id, state, ended, attempt)| outcome(id, state, ended + 10, attempt));
    let any_routed = (0_u8..3, prop::option::of(0_i64..5)).prop_map(|(id, at)| routed(id, at));
    let any_held = (0_u8..3, 0_i64..4, any::<bool>()).prop_map(|(id, changes, ends)| held(id, changes, ends));
    let any_post_outcome =
        (0_u8..3, prop::sample::select(&DeliveryState::ALL[..]), 0_i64..40, prop::option::of(1_u32..4))
            .prop_map(|(id, state, ended, attempt)| post_outcome(id, state, ended + 10, attempt));
    let any_posted = (0_u8..3).prop_map(posted);
    prop_oneof![3 => any_outcome, 1 => any_routed, 1 => any_held, 3 => any_post_outcome, 1 => any_posted]
}

proptest! {
    /// Folding in any order, any number of times, whole or in parts, ends in the same rows; and what has succeeded
    /// stays so.
    #[test]
    fn order_and_repetition_do_not_matter(
        messages in prop::collection::vec(any_message(), 1..24),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..48),
        cut in any::<prop::sample::Index>(),
    ) {
        let expected = folded(&messages);
        let mut shuffled: Vec<_> = order.iter().map(|index| index.get(&messages)).collect();
        shuffled.extend(messages.iter().rev());
        prop_assert_eq!(&folded(shuffled.iter().copied()), &expected);

        let (first, second) = shuffled.split_at(cut.index(shuffled.len()));
        let mut parts = folded(first.iter().copied());
        let rest = folded(second.iter().copied());
        parts.events.extend(rest.events);
        parts.deliveries.extend(rest.deliveries);
        parts.attempts.extend(rest.attempts);
        parts.posts.extend(rest.posts);
        parts.post_attempts.extend(rest.post_attempts);
        parts.merge();
        prop_assert_eq!(&parts, &expected);

        for delivery in &expected.deliveries {
            let mut all = Batch::default();
            for (subject, payload) in &messages {
                fold(&mut all, subject, payload).unwrap();
            }
            let states: Vec<_> =
                all.deliveries.iter().filter(|it| it.id == delivery.id).map(|it| it.state).collect();
            let succeeded = states.contains(&DeliveryState::Succeeded);
            prop_assert_eq!(delivery.state == DeliveryState::Succeeded, succeeded);
            prop_assert_eq!(delivery.state.is_terminal(), states.iter().any(|state| state.is_terminal()));
        }
    }

    #[test]
    fn folding_never_panics(subject in "(routed|outcomes|endpoints|posts|x)\\.[a-z]{0,4}", payload in ".{0,60}") {
        let _ = fold(&mut Batch::default(), &subject, payload.as_bytes());
    }
}
