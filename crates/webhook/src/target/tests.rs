use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Target, TargetRefused> {
    Target::parse(text, &AddressPolicy::default())
}

fn refusal(text: &str) -> TargetRefused {
    parse(text).expect_err(text)
}

#[test]
fn ordinary_targets_are_taken() {
    for text in [
        "https://receiver.example/post",
        "https://receiver.example",
        "https://receiver.example:8443/a/b?c=d&e=%20",
        "HTTPS://Receiver.Example/",
        "https://receiver.example./post",
        "https://a_b.receiver.example/",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/größe?ä=ö",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]:8443/x",
        "https://receiver.example:65535/",
        "https://receiver.example:80/",
        "https://example.com/a|b^c`d{e}\"f\"?g|h^i`j{k}\"l'm",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
    }
}

#[test]
fn every_spelling_of_a_refused_address_is_refused() {
    for host in [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "192.168.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.000.000.001",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "１２７.0.0.1",
        "127.0.0.%31",
        "255.255.255.255",
        "224.0.0.1",
        "192.0.2.1", //
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001:0:1::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[::ffff:8.8.8.8]",
    ] {
        assert_eq!(refusal(&format!("https://{host}/post")), TargetRefused::Address, "{host}");
    }
}

#[test]
fn local_names_are_refused_with_or_without_a_final_dot() {
    for host in [
        "localhost",
        "LocalHost",
        "receiver",
        "a.localhost",
        "printer.local",
        "metadata.google.internal",
        "api.ns.svc",
        "api.ns.svc.cluster.local",
        "router.home.arpa",
        "ｌｏｃａｌｈｏｓｔ",
        "localhost.localdomain",
    ] {
        assert_eq!(refusal(&format!("https://{host}/")), TargetRefused::Name, "{host}");
        assert_eq!(refusal(&format!("https://{host}./")), TargetRefused::Name, "{host}.");
    }
    assert!(parse("https://mylocalhost.example/").is_ok() && parse("https://local.example/").is_ok());
}

#[test]
fn what_is_no_dns_name_is_refused() {
    let label = format!("https://{}.example/", "a".repeat(64));
    let name = format!("https://{}example/", "a.".repeat(130));
    for text in [
        "https://a..example/",
        "https://a.example../",
        "https://localhost../",
        "https://*.example/",
        "https://a$b.example/",
        "https://-a.example/",
        &label,
        &name,
    ] {
        assert!(matches!(refusal(text), TargetRefused::BadName | TargetRefused::NotAUrl), "{text}");
    }
    assert_eq!(refusal("https://./"), TargetRefused::Name);
}

#[test]
fn each_check_has_its_own_refusal() {
    let long = format!("https://receiver.example/{}", "a".repeat(2049 - 25));
    assert_eq!(long.len(), 2049);
    assert_eq!(refusal(&long), TargetRefused::TooLong);
    assert!(parse(&long[..2048]).is_ok());
    for (text, expected) in [
        ("", TargetRefused::NotAUrl),
        ("receiver.example", TargetRefused::NotAUrl),
        ("/post", TargetRefused::NotAUrl),
        ("//receiver.example/", TargetRefused::NotAUrl),
        ("https://", TargetRefused::NotAUrl),
        ("https://receiver.example:65536/", TargetRefused::NotAUrl),
        ("https://1.2.3.4.5/", TargetRefused::NotAUrl),
        ("https://[::1%25eth0]/", TargetRefused::NotAUrl),
        ("http://receiver.example/", TargetRefused::Scheme),
        ("http://127.0.0.1/", TargetRefused::Scheme),
        ("ftp://receiver.example/", TargetRefused::Scheme),
        ("file:///etc/passwd", TargetRefused::Scheme),
        ("javascript:alert(1)", TargetRefused::Scheme),
        ("gopher://receiver.example:6379/_x", TargetRefused::Scheme),
        ("https://user@receiver.example/", TargetRefused::UserInfo),
        ("https://user:password@receiver.example/", TargetRefused::UserInfo),
        ("https://:password@receiver.example/", TargetRefused::UserInfo),
        ("https://receiver.example@127.0.0.1/", TargetRefused::UserInfo),
        ("https://receiver.example/#", TargetRefused::Fragment),
        ("https://receiver.example/#part", TargetRefused::Fragment),
        ("https://receiver.example:0/", TargetRefused::Port),
        ("https://receiver.example:22/", TargetRefused::Port),
        ("https://receiver.example:5432/", TargetRefused::Port),
        ("https://127.0.0.1:6379/", TargetRefused::Port),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn characters_that_hide_are_refused_before_the_parser_drops_them() {
    for character in
        "\0\t\n\r \u{7f}\u{85}\u{a0}\u{ad}\u{200b}\u{200d}\u{200e}\u{202e}\u{2066}\u{2060}\u{3000}\u{feff}\u{fe0f}\u{e0041}"
            .chars()
    {
        for text in [
            format!("https://receiver.example/{character}"),
            format!("https://rece{character}iver.example/"),
            format!("{character}https://receiver.example/"),
            format!("ht{character}tps://receiver.example/"),
        ] {
            assert_eq!(refusal(&text), TargetRefused::BadCharacter, "{text:?}");
        }
    }
}

#[test]
fn loopback_over_http_takes_an_allow_entry_of_the_operator() {
    let loopback = AddressPolicy::with_loopback();
    for text in ["http://127.0.0.1:8080/", "http://localhost:8080/", "http://[::1]:8080/x", "https://localhost/"] {
        assert!(Target::parse(text, &loopback).is_ok(), "{text}");
    }
    for (text, expected) in [
        ("http://10.0.0.1/", TargetRefused::Scheme),
        ("http://receiver.example/", TargetRefused::Scheme),
        ("https://10.0.0.1/", TargetRefused::Address),
        ("https://a.localhost/", TargetRefused::Name),
        ("https://receiver/", TargetRefused::Name),
        ("http://[::ffff:127.0.0.1]/", TargetRefused::Scheme),
        ("https://[::ffff:127.0.0.1]/", TargetRefused::Address),
        ("http://127.0.0.1:5432/", TargetRefused::Port),
    ] {
        assert_eq!(Target::parse(text, &loopback).unwrap_err(), expected, "{text}");
    }
    let one = AddressPolicy { allow: vec!["127.0.0.1/32:8080".parse().unwrap()], ..AddressPolicy::default() };
    assert!(Target::parse("http://127.0.0.1:8080/", &one).is_ok());
    assert!(Target::parse("http://localhost:8080/", &one).is_ok());
    assert_eq!(Target::parse("http://127.0.0.1:8081/", &one).unwrap_err(), TargetRefused::Scheme);
    assert_eq!(Target::parse("https://localhost:8081/", &one).unwrap_err(), TargetRefused::Name);
    assert_eq!(Target::parse("https://127.0.0.2:8080/", &one).unwrap_err(), TargetRefused::Address);
    let http = AddressPolicy { allow_http: true, ..AddressPolicy::default() };
    assert!(Target::parse("http://receiver.example/", &http).is_ok());
    assert_eq!(Target::parse("http://127.0.0.1/", &http).unwrap_err(), TargetRefused::Address);
}

#[test]
fn the_platforms_own_names_and_listed_ports_follow_the_policy() {
    let policy = AddressPolicy {
        refuse_hosts: vec!["Api.Slipstream.Example.".to_owned()],
        allow_ports: vec![9200],
        ..AddressPolicy::default()
    };
    for text in ["https://api.slipstream.example/", "https://API.slipstream.example./x"] {
        assert_eq!(Target::parse(text, &policy).unwrap_err(), TargetRefused::Name, "{text}");
    }
    assert!(Target::parse("https://receiver.example:9200/", &policy).is_ok());
}

#[test]
fn a_target_is_sent_as_parsed() {
    let target = parse("https://Receiver.Example:443//a/../b c".replace(' ', "%20").as_str()).unwrap();
    assert_eq!(target.origin_form(), "//b%20c");
    assert_eq!(target.absolute_form(), "https://receiver.example//b%20c");
    assert_eq!(target.host_header(), "receiver.example");
    let target = parse("https://[2606:4700::1111]:8443?x=1").unwrap();
    assert_eq!(target.origin_form(), "/?x=1");
    assert_eq!(target.host_header(), "[2606:4700::1111]:8443");
    assert_eq!((&**target.host(), target.port()), ("2606:4700::1111", 8443));
}

#[test]
fn every_spelling_of_one_place_has_one_key() {
    let loopback = AddressPolicy::with_loopback();
    for (texts, key) in [
        (
            ["https://Receiver.Example/a", "https://receiver.example.:443/b?c=d", "https://receiver.%65xample/"]
                .as_slice(),
            "receiver.example:443",
        ),
        (&["https://receiver.example:8443/"], "receiver.example:8443"),
        (&["http://127.0.0.1/", "http://127.1:80/x", "http://0x7f000001/"], "127.0.0.1:80"),
        (&["https://[2606:4700::00AB]/", "https://[2606:4700:0:0:0:0:0:ab]:443/"], "[2606:4700::ab]:443"),
        (&["http://localhost:8080/", "https://LocalHost:8080/"], "localhost:8080"),
    ] {
        for text in texts {
            assert_eq!(&**Target::parse(text, &loopback).unwrap().host_key(), key, "{text}");
        }
    }
}

#[test]
fn a_target_prints_without_its_query() {
    let target = parse("https://receiver.example:8443/post?access_token=canary").unwrap();
    assert_eq!(target.to_string(), "https://receiver.example:8443/post?***");
    assert!(!format!("{target:?}").contains("canary"));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,80}", host in "[0-9a-fxA-F.:\\[\\]%]{1,30}") {
        for text in [text.clone(), format!("https://{text}"), format!("https://{host}/")] {
            let _ = Target::parse(&text, &AddressPolicy::with_loopback());
        }
    }

    /// Whatever the spelling, a literal that gets through is an address that the table does not refuse.
    #[test]
    fn no_spelling_of_a_literal_gets_a_refused_address_through(bits: u32, form in 0..6) {
        let [a, b, c, d] = bits.to_be_bytes();
        let host = match form {
            0 => format!("{a}.{b}.{c}.{d}"),
            1 => format!("{bits}"),
            2 => format!("{bits:#x}"),
            3 => format!("0{bits:o}"),
            4 => format!("{a:#x}.0{b:o}.{}", u16::from_be_bytes([c, d])),
            _ => format!("[::ffff:{a}.{b}.{c}.{d}]"),
        };
        let taken = parse(&format!("https://{host}/"));
        let is_refused = form == 5 || crate::address::forbidden(Ipv4Addr::from(bits).into());
        prop_assert_eq!(taken.is_err(), is_refused, "{}", host);
    }
}
