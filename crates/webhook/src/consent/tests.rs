use super::*;
use proptest::prelude::*;

const ORIGIN: HeaderValue = HeaderValue::from_static("events.slipstream.example");

fn head<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (name, value) in fields {
        head.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    head
}

/// What is granted by these values of the two fields, to a request with and to one without a rate.
fn consent(origins: &[&str], rates: &[&str]) -> [ConsentAnswer; 2] {
    let origins = origins.iter().map(|value| ("WebHook-Allowed-Origin", value.as_bytes()));
    let rates = rates.iter().map(|value| ("webhook-allowed-rate", value.as_bytes()));
    let head = head(origins.chain(rates));
    [true, false].map(|needs_rate| read_consent(&head, &ORIGIN, needs_rate))
}

fn granted(rate: Option<u32>) -> ConsentAnswer {
    ConsentAnswer { granted: true, rate }
}

const REFUSED: ConsentAnswer = ConsentAnswer { granted: false, rate: None };

#[test]
fn our_origin_or_an_asterisk_grants() {
    for origin in ["events.slipstream.example", "Events.SLIPSTREAM.example", "events.slipstream.example.", "*"] {
        assert_eq!(consent(&[origin], &["120"]), [granted(Some(120)); 2], "{origin}");
        assert_eq!(consent(&[origin], &["*"]), [granted(None); 2], "{origin}");
    }
}

#[test]
fn anything_else_in_place_of_the_origin_refuses() {
    for origin in [
        "",
        ".",
        "**",
        "other.example",
        "xevents.slipstream.example",
        "slipstream.example",
        "*.slipstream.example",
        "events.slipstream.example..",
        "https://events.slipstream.example",
        "events.slipstream.example, other.example",
        "*, *",
        "\"*\"",
        "null",
        "ёvents.slipstream.example",
    ] {
        assert_eq!(consent(&[origin], &["*"]), [REFUSED; 2], "{origin:?}");
    }
    assert_eq!(consent(&[], &["*"]), [REFUSED; 2]);
    assert_eq!(consent(&["*", "*"], &["*"]), [REFUSED; 2], "several copies");
    assert_eq!(consent(&["other.example", "*"], &["*"]), [REFUSED; 2], "several copies");
}

#[test]
fn a_rate_is_needed_by_whoever_asked_for_one() {
    assert_eq!(consent(&["*"], &[]), [REFUSED, granted(None)]);
}

#[test]
fn a_rate_is_a_positive_integer() {
    for (text, rate) in [
        ("1", 1),
        ("0060", 60),
        ("4294967295", u32::MAX),
        ("4294967296", u32::MAX),
        ("99999999999999999999999999999999999999999999", u32::MAX),
    ] {
        assert_eq!(consent(&["*"], &[text]), [granted(Some(rate)); 2], "{text}");
    }
    for text in ["", "0", "00", "-1", "+1", "1.5", "1e3", "0x10", "10 20", "10,20", "* *", "ten", "١", "1\t2"] {
        assert_eq!(consent(&["*"], &[text]), [REFUSED; 2], "{text:?}");
    }
    assert_eq!(consent(&["*"], &["60", "60"]), [REFUSED; 2], "several copies");
    assert_eq!(consent(&["*"], &["*", "1"]), [REFUSED; 2], "several copies");
}

proptest! {
    #[test]
    fn no_value_makes_it_panic_or_grants_by_accident(
        origin in prop::collection::vec(prop_oneof![Just(b'*'), 32_u8..127, 128_u8..], 0..20),
        rate in prop::collection::vec(prop_oneof![Just(b'*'), b'0'..=b'9', 32_u8..127, 128_u8..], 0..20),
    ) {
        let head = head([("webhook-allowed-origin", origin.as_slice()), ("webhook-allowed-rate", rate.as_slice())]);
        let consent = read_consent(&head, &ORIGIN, true);
        if origin != b"*" {
            prop_assert_eq!(consent, REFUSED);
        }
        let is_number = !rate.is_empty() && rate.iter().all(u8::is_ascii_digit) && rate.iter().any(|digit| *digit != b'0');
        prop_assert_eq!(consent.granted, origin == b"*" && (rate == b"*" || is_number));
        prop_assert_eq!(consent.rate.is_some(), consent.granted && is_number);
    }
}

#[test]
fn a_host_is_asked_ten_times_in_any_minute() {
    let (asked, start) = (Asked::default(), Instant::now());
    let (one, other): (Arc<str>, Arc<str>) = ("a.example".into(), "b.example".into());
    let second = |second| start + Duration::from_secs(second);
    for at in 0..10 {
        assert!(asked.may_ask(&one, second(at)), "{at}");
    }
    assert!(!asked.may_ask(&one, second(10)) && !asked.may_ask(&one, second(59)));
    assert!(asked.may_ask(&other, second(59)));
    // The first is a minute old, the second is not.
    assert!(asked.may_ask(&one, second(60)) && !asked.may_ask(&one, second(60)));
}

#[test]
fn the_table_of_hosts_is_bounded_and_forgets_after_a_minute() {
    let (asked, start) = (Asked::default(), Instant::now());
    for number in 0..HOSTS_MAX {
        assert!(asked.may_ask(&format!("{number}.example").into(), start));
    }
    assert!(!asked.may_ask(&"one-more.example".into(), start));
    assert!(asked.may_ask(&"0.example".into(), start), "a host in the table goes on by its own count");
    assert!(asked.may_ask(&"one-more.example".into(), start + WINDOW));
    assert_eq!(asked.0.lock().unwrap().len(), 1);
}
