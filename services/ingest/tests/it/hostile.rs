//! Any bytes may come: the answer is 204 or 400, never 5xx, and repeats nothing of the data (SPEC 4.8, THREATS 7, 9).

use serde_json::json;
use slipstream_bus::StreamName;
use slipstream_test_support::builders;

use crate::answer::Answer;
use crate::world::{BATCHED, CANARY, STRUCTURED, World, event};

/// The event of [`event`] with `members` added in front of its own.
fn with_text(members: &str) -> Vec<u8> {
    let event = String::from_utf8(event().bytes()).unwrap();
    event.replacen('{', &format!("{{{members},"), 1).into_bytes()
}

#[tokio::test]
async fn what_is_not_json_is_400() {
    let world = World::new().await;
    let valid = event().bytes();
    let cut = &valid[..valid.len() - 1];
    let not_utf8 = [&valid[..20], b"\xff\xfe", &valid[20..]].concat();
    let inside_data = String::from_utf8(valid.clone()).unwrap();
    let at = inside_data.find(CANARY).unwrap();
    let bytes_in_data = [&valid[..at], b"\xc0\xa0", &valid[at..]].concat();
    let nul_in_data = [&valid[..at], b"\0", &valid[at..]].concat();
    let bodies: [&[u8]; 15] = [
        b"",
        b" ",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"{",
        b"nul",
        b"'",
        CANARY.as_bytes(),
        cut,
        &not_utf8,
        &bytes_in_data,
        &nul_in_data,
        &[&valid[..], b"}"].concat(),
        &[&valid[..], &valid[..]].concat(),
    ];
    for body in bodies {
        for (content_type, body) in [(STRUCTURED, body.to_vec()), (BATCHED, [b"[", body, b",]"].concat())] {
            world.publish_bytes(content_type, body).await.expect_invalid(&["#"]);
        }
    }
    for body in ["null", "1", "1e999", "\"x\"", "[]", "[{}]"] {
        world.publish_bytes(STRUCTURED, body).await.expect_invalid(&["#"]);
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn a_member_that_occurs_twice_is_400_at_any_depth() {
    let world = World::new().await;
    for (members, pointer) in [
        (r#""id":"1""#, "#/id"),
        (r#""\u0069d":"1""#, "#/id"),
        (r#""data":1"#, "#/data"),
        (r#""custom":1,"custom":1"#, "#/custom"),
        (r#""visibility":null"#, "#/visibility"),
    ] {
        world.publish_bytes(STRUCTURED, with_text(members)).await.expect_invalid(&[pointer]);
    }
    for data in [
        format!(r#"{{"{CANARY}":1,"{CANARY}":2}}"#),
        format!(r#"[[{{"a":{{"{CANARY}":1,"\u0063{}":2}}}}]]"#, &CANARY[1..]),
    ] {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{data}}}"#);
        world.publish_bytes(STRUCTURED, body).await.expect_invalid(&["#/data"]);
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn attributes_of_other_types_are_400_and_named() {
    let world = World::new().await;
    for value in ["{}", "[]", "1.5", "1e3", "2147483648", "-2147483649", "99999999999999999999", r#"{"a":{"a":[1]}}"#] {
        world.publish_bytes(STRUCTURED, with_text(&format!(r#""custom":{value}"#))).await.expect_invalid(&["#/custom"]);
    }
    for name in ["specversion", "id", "source", "type"] {
        for value in [json!(null), json!(""), json!(1), json!(true), json!({}), json!([]), json!(1.5)] {
            world.publish(&event().with(name, value)).await.expect_invalid(&[&format!("#/{name}")]);
        }
        world.publish(&event().without(name)).await.expect_invalid(&[&format!("#/{name}")]);
    }
    for version in ["0.3", "1", "1.1", "2.0", " 1.0"] {
        world.publish(&event().with("specversion", version)).await.expect_invalid(&["#/specversion"]);
    }
    world.publish(&event().with("data_base64", "AA==")).await.expect_invalid(&["#/data_base64"]);
    world.publish(&event().without("data").with("data_base64", "A")).await.expect_invalid(&["#/data_base64"]);
    let text = event().with("datacontenttype", "text/plain");
    world.publish(&text).await.expect_invalid(&["#/data"]);
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn control_characters_are_refused_in_attributes_and_kept_in_data() {
    let world = World::new().await;
    for text in ["a\0b", "a\r\nX-Evil: 1", "\u{7f}", "\u{85}", "\u{ffff}", "\u{fdd0}"] {
        for name in ["id", "type", "subject", "custom", "traceparent"] {
            world.publish(&event().with(name, text)).await.expect_invalid(&[&format!("#/{name}")]);
        }
    }
    // A lone surrogate is no text at all.
    world.publish_bytes(STRUCTURED, with_text(r#""custom":"\ud800""#)).await.expect_invalid(&["#"]);
    world.expect_nothing_stored().await;

    let data = json!({"nul": "\0", "lines": "a\r\nb", "script": "\u{202e}א\u{feff}"});
    world.publish(&event().with("data", data.clone())).await.expect(204);
    world.publish(&event().with("datacontenttype", "text/plain").with("data", "\0\u{1}\n")).await.expect(204);
    let stored = world.stored(StreamName::Events).await;
    assert_eq!(stored[0].json()["data"], data);
    assert_eq!(stored[1].json()["data"], "\0\u{1}\n");
}

#[tokio::test]
async fn header_values_that_cannot_be_decoded_are_400() {
    let world = World::new().await;
    let head = |field: &[u8]| {
        let required = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: T\r\n";
        [world.raw_head(0).as_bytes(), required.as_bytes(), field, b"\r\n\r\n"].concat()
    };
    let fields: [&[u8]; 9] = [
        b"ce-subject: %C0%A0",
        b"ce-subject: %",
        b"ce-subject: %zz",
        b"ce-subject: \xff\xfe",
        b"ce-subject: %00",
        b"ce-subject: %0d%0aX-Evil: 1",
        b"ce-subject: ",
        b"ce-custom: a\x00b",
        b"ce-: x",
    ];
    for field in fields {
        let answer = world.send_raw(&head(field)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{}: {answer}", field.escape_ascii());
    }
    let answer = world.send_raw(&head(b"Content-Type: text/\xffplain")).await;
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
    world.expect_nothing_stored().await;
    let answer = world.send_raw(&head(b"ce-subject: \xe2\x82\xac")).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(world.only(StreamName::Events).await.json()["subject"], "€");
}

#[tokio::test]
async fn errors_repeat_nothing_of_the_data() {
    let world = World::new().await;
    // Every answer of this suite is searched for the canary; here it stands where errors are about the data itself.
    for event in [
        builders::event().with("data", json!({ "recordId": CANARY, "status": CANARY, "occurredAt": CANARY })),
        builders::event().with("data", CANARY),
        builders::event().with("data", json!([CANARY])),
        event().with("datacontenttype", "text/plain").with("data", json!({ CANARY: CANARY })),
        event().without("data").with("data_base64", format!("{CANARY}=")),
        event().with("data_base64", CANARY),
        event().with("datacontenttype", "application/json").without("id"),
    ] {
        world.publish(&event).await.expect(400);
        world.publish_batch(&[event]).await.expect(400);
    }
    for (content_type, body) in [
        ("application/json", format!("{{\"{CANARY}\": {CANARY}")),
        ("application/json", format!("\"{CANARY}\" {CANARY}")),
        ("application/x+json", format!("{{\"{CANARY}\":1,\"{CANARY}\":2}}")),
    ] {
        let request = world.post().header("content-type", content_type).header("ce-specversion", "1.0");
        let request = request.header("ce-id", "1").header("ce-source", "/s").header("ce-type", "T");
        Answer::to(request.body(body)).await.expect_invalid(&["#/data"]);
    }
    world.expect_nothing_stored().await;
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        // SplitMix64 (Steele, Lea and Flood 2014).
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[tokio::test]
async fn events_with_random_damage_are_accepted_or_refused_and_nothing_else() {
    let world = World::new().await;
    let mut numbers = Numbers(1);
    let pieces: [&[u8]; 12] =
        [b"\"", b"{", b"}", b"[", b"]", b"\\", b"\0", b"\xff", b":", b",", b"\\ud800", b"99999999999999999999"];
    let mut accepted = 0;
    for _ in 0..400 {
        let is_batch = numbers.below(2) == 0;
        let mut body = if is_batch { builders::batch(&[event(), event()]) } else { event().bytes() };
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(body.len());
            let until = (at + numbers.below(4)).min(body.len());
            let piece = pieces[numbers.below(pieces.len())];
            body.splice(at..until, piece.iter().copied());
        }
        let answer = world.publish_bytes(if is_batch { BATCHED } else { STRUCTURED }, body.clone()).await;
        let shown = body.escape_ascii();
        assert!(matches!(answer.status, 204 | 400), "{}: {shown}", answer.text);
        // Damage may move the data into an attribute's name, which errors do repeat; what stays data is not told.
        accepted += u64::from(answer.status == 204);
    }
    assert!(accepted < 400, "the damage does something");
}
