use proptest::prelude::*;

use super::*;
use crate::ids::SubscriptionId;

const ID: KeyId = KeyId::new([7; 16]);
const NONCE: Nonce = [9; NONCE_BYTES];

fn key(byte: u8) -> DataKey {
    DataKey::new(ID, [byte; KEY_BYTES])
}

fn place(number: u128, name: &str) -> Place {
    Place::header(SubscriptionId(uuid::Uuid::from_u128(number)), name)
}

fn site(slug: &str) -> Tenant {
    Tenant::Site(slug.parse().unwrap())
}

proptest! {
    #[test]
    fn what_is_sealed_opens_again_in_its_place(text in ".{0,200}", nonce: Nonce, bytes: [u8; KEY_BYTES]) {
        let key = DataKey::new(ID, bytes);
        let sealed: Sealed = key.seal(&place(1, "X-Key"), nonce, &text).to_string().parse().unwrap();
        let opened = key.open(&place(1, "X-Key"), &sealed).unwrap();
        prop_assert_eq!(opened.expose().unwrap(), text.as_str());
    }

    #[test]
    fn one_changed_byte_is_refused(text in ".{0,50}", at: prop::sample::Index, flip in 1_u8..) {
        let sealed = key(1).seal(&place(1, "X-Key"), NONCE, &text);
        let mut bytes = [sealed.nonce.as_slice(), &sealed.text].concat();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let (nonce, rest) = bytes.split_first_chunk().unwrap();
        let changed = Sealed { nonce: *nonce, text: rest.to_vec(), ..sealed };
        prop_assert_eq!(key(1).open(&place(1, "X-Key"), &changed), Err(OpenError::Refused));
    }

    #[test]
    fn another_place_is_refused(text in ".{0,50}", one: u128, other: u128, name in "[A-Za-z-]{1,8}", named in "[A-Za-z-]{1,8}") {
        let (sealed_for, opened_in) = (place(one, &name), place(other, &named));
        prop_assume!(sealed_for != opened_in);
        let sealed = key(1).seal(&sealed_for, NONCE, &text);
        prop_assert_eq!(key(1).open(&opened_in, &sealed), Err(OpenError::Refused));
    }

    #[test]
    fn another_key_is_refused(text in ".{0,50}", bytes: [u8; KEY_BYTES], id: [u8; 16]) {
        prop_assume!(bytes != [1; KEY_BYTES] && id != [7; 16]);
        let sealed = key(1).seal(&place(1, "X-Key"), NONCE, &text);
        prop_assert_eq!(DataKey::new(ID, bytes).open(&place(1, "X-Key"), &sealed), Err(OpenError::Refused));
        // The right bytes under another name are another key, whether or not the value is told to be of that name.
        let renamed = DataKey::new(KeyId::new(id), [1; KEY_BYTES]);
        let other = OpenError::OtherKey { named: ID, given: renamed.id() };
        prop_assert_eq!(renamed.open(&place(1, "X-Key"), &sealed), Err(other));
        let relabelled = Sealed { key: renamed.id(), ..sealed };
        prop_assert_eq!(renamed.open(&place(1, "X-Key"), &relabelled), Err(OpenError::Refused));
    }

    #[test]
    fn reading_a_sealed_value_never_panics(text in "(sealed\\.v1\\.)?([0-9a-f]{32})?\\.?[A-Za-z0-9_-]{0,80}") {
        if let Ok(sealed) = text.parse::<Sealed>() {
            prop_assert_eq!(sealed.to_string(), text);
        }
    }
}

#[test]
fn a_data_key_opens_only_as_what_it_was_wrapped_as() {
    let (master, other) = (MasterKey::from_bytes([1; KEY_BYTES]), MasterKey::from_bytes([2; KEY_BYTES]));
    let wrapped = master.wrap(&site("s8n6EzC"), &key(3), NONCE);
    assert_eq!(wrapped.key(), master.id());
    let unwrapped = master.unwrap(&site("s8n6EzC"), ID, &wrapped).unwrap();
    let sealed = key(3).seal(&place(1, "X"), NONCE, "text");
    assert_eq!(unwrapped.open(&place(1, "X"), &sealed).unwrap(), SecretText::new("text"));
    let refusals = [
        (&other, site("s8n6EzC"), ID, OpenError::OtherKey { named: master.id(), given: other.id() }),
        (&master, site("sUkLWZg"), ID, OpenError::Refused),
        (&master, Tenant::System, ID, OpenError::Refused),
        (&master, site("s8n6EzC"), KeyId::new([8; 16]), OpenError::Refused),
    ];
    for (master, tenant, id, expected) in refusals {
        assert_eq!(master.unwrap(&tenant, id, &wrapped).unwrap_err(), expected, "{tenant}");
    }
}

#[test]
fn a_master_key_is_read_from_base64_and_from_hex() {
    let bytes: [u8; KEY_BYTES] = std::array::from_fn(|at| 0xf8 + (at as u8 % 8));
    let expected = MasterKey::from_bytes(bytes).id();
    let hex = "F8F9FAFBFCFDFEFF".repeat(4);
    let base64 = "+Pn6+/z9/v/4+fr7/P3+//j5+vv8/f7/+Pn6+/z9/v8=";
    let url_safe = base64.replace('+', "-").replace('/', "_");
    for text in [&hex, &hex.to_lowercase(), base64, base64.trim_end_matches('='), &url_safe, &format!(" {base64}\n")] {
        assert_eq!(MasterKey::parse(text).unwrap().id(), expected, "{text}");
    }
    for text in ["", "short", &hex[2..], &base64[4..], &format!("{hex}00"), &format!("{base64} {base64}")] {
        assert_eq!(MasterKey::parse(text).unwrap_err(), BadMasterKey, "{text}");
    }
}

#[test]
fn nothing_of_it_prints() {
    let secret = SecretText::new("canary");
    let printed = format!(
        "{secret:?} {:?} {:?} {:?}",
        MasterKey::from_bytes([b'c'; KEY_BYTES]),
        DataKey::new(ID, [b'c'; KEY_BYTES]),
        key(1).seal(&place(1, "X"), NONCE, "canary"),
    );
    assert!(!printed.contains("canary") && !printed.contains("cccc") && !printed.contains("636363"), "{printed}");
}

#[test]
fn an_open_secret_is_not_written_and_a_sealed_one_is_read_back() {
    let open = SecretText::new("canary");
    let error = serde_json::to_string(&open).unwrap_err().to_string();
    assert!(error.contains("not sealed") && !error.contains("canary"), "{error}");
    let sealed = open.seal(&key(1), &place(1, "X"), NONCE);
    assert_eq!((sealed.is_sealed(), sealed.expose()), (true, Err(StillSealed)));
    let json = serde_json::to_string(&sealed).unwrap();
    assert!(json.starts_with("\"sealed.v1.07070707070707070707070707070707."), "{json}");
    let read: SecretText = serde_json::from_str(&json).unwrap();
    assert_eq!(read, sealed);
    assert_eq!(read.open(&key(1), &place(1, "X")).unwrap(), open);
    // What an older release wrote, and what only looks sealed.
    for clear in ["whsec_abc", "", "sealed.v1.", "sealed.v1.07.AAAA"] {
        let read: SecretText = serde_json::from_str(&format!("\"{clear}\"")).unwrap();
        assert_eq!(read.expose(), Ok(clear));
    }
}

#[test]
fn tenants_are_read_as_they_are_written() {
    for tenant in [Tenant::System, site("s8n6EzC")] {
        assert_eq!(tenant.to_string().parse(), Ok(tenant));
    }
    for text in ["", "site/", "site/x y", "System", "organisation/o4fKq2"] {
        assert_eq!(text.parse::<Tenant>(), Err(NotATenant), "{text}");
    }
}
