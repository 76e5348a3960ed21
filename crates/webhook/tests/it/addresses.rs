//! The address policy against its list: every class of THREATS 3, in every spelling, when a URL is registered and when a
//! connection would be made, also after a name has changed.
//!
//! `cargo nextest run -p slipstream-webhook --no-capture addresses` shows the counts. What a connect makes of the allowed
//! ones without calling anybody is tested beside the dialer, with the same table.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use slipstream_core::answer::ErrorCode;
use slipstream_webhook::{AddressPolicy, Client, ClientConfig, Target, TargetRefused};

use crate::support::{Changing, client_under, move_clock, post};
use listeners::Listeners;

mod listeners;
mod spelling;
mod table;

/// Stands for an address that is allowed and connected to. Not on the table's list of loopback addresses.
const ALLOWED: &str = "127.0.0.77";

/// How many wrong cases end the test.
const WRONG_MAX: usize = 20;

/// What was tried, and what went wrong.
#[derive(Default)]
struct Tally {
    cases: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn note(&mut self, is_right: bool, case: impl FnOnce() -> String) {
        self.cases += 1;
        if !is_right {
            self.wrong.push(case());
            // Each may have cost a deadline, and the first ones tell enough.
            assert!(self.wrong.len() < WRONG_MAX, "too much is wrong: {:#?}", self.wrong);
        }
    }

    /// Calls a target that leads to a forbidden address. Not even a broken policy makes this test call anything outside
    /// of loopback.
    async fn call(&mut self, client: &Client, target: &Target, ip: IpAddr, case: impl FnOnce() -> String) {
        let address = SocketAddr::new(ip, target.port());
        if !ip.is_loopback() && AddressPolicy::default().judge(address).is_ok() {
            return self.note(false, || format!("judging {address}"));
        }
        let result = post(client, target).await.result;
        self.note(result == Err(ErrorCode::TargetNotAllowed), || format!("{}: {result:?}", case()));
    }
}

#[tokio::test]
async fn no_forbidden_address_gets_a_connection_and_no_allowed_one_is_refused() {
    let (forbidden, allowed) = (table::forbidden(), table::allowed());
    let mut refusing = Tally::default();
    let connections = as_literals(&forbidden, &mut refusing).await + after_a_change(&forbidden, &mut refusing).await;
    let mut allowing = Tally::default();
    accepted(&allowed, &mut allowing);
    println!(
        "forbidden: {} cases, {connections} connections; allowed: {} cases, {} refusals",
        refusing.cases,
        allowing.cases,
        allowing.wrong.len()
    );
    assert_eq!(refusing.wrong, [""; 0]);
    assert_eq!(allowing.wrong, [""; 0]);
    assert_eq!(connections, 0);
}

/// Each spelling is refused when it is registered; a target that was taken under another policy is refused by the
/// client. Returns how many connections there were.
async fn as_literals(forbidden: &[IpAddr], tally: &mut Tally) -> usize {
    let listeners = Listeners::start().await;
    let port = listeners.port;
    let (strict, lenient) = (AddressPolicy::default(), everything(port));
    let client = client_under(strict.clone(), hasty());
    for ip in forbidden {
        for url in spelling::urls(*ip, port) {
            let refusal = Target::parse(&url, &strict).err();
            tally.note(refusal == Some(TargetRefused::Address), || format!("registering {url}: {refusal:?}"));
            let target = Target::parse(&url, &lenient).unwrap_or_else(|refused| panic!("{url}: {refused}"));
            assert_eq!(**target.host_key(), *SocketAddr::new(*ip, port).to_string(), "{url} is a spelling of {ip}");
            tally.call(&client, &target, *ip, || format!("calling {url}")).await;
        }
        for url in spelling::no_urls(*ip, port) {
            tally.note(Target::parse(&url, &lenient).is_err(), || format!("registering {url}"));
        }
    }
    listeners.connections().await.values().sum()
}

/// A name that led to an allowed address, and got a delivery there, leads to a forbidden one a minute later: alone, or
/// among allowed ones. Returns how many connections there were beside those before the change.
async fn after_a_change(forbidden: &[IpAddr], tally: &mut Tally) -> usize {
    let listeners = Listeners::start().await;
    let port = listeners.port;
    let policy = AddressPolicy {
        allow: vec![format!("{ALLOWED}/32:{port}").parse().unwrap()],
        allow_http: true,
        ..AddressPolicy::default()
    };
    let target = Target::parse(&format!("http://receiver.example:{port}/"), &policy).unwrap();
    let allowed: IpAddr = ALLOWED.parse().unwrap();
    let name = Arc::new(Changing::default());
    let client = client_under(policy, ClientConfig { resolver: name.clone(), ..hasty() });
    for ip in forbidden {
        name.becomes(&[allowed]);
        assert_eq!(post(&client, &target).await.result, Ok(200));
        move_clock(61).await; // no connection is left over
        // The last has more than are tried: the forbidden one would never be connected to, and refuses nonetheless.
        for answer in
            [vec![*ip], vec![*ip, allowed], vec![allowed, *ip, allowed], [vec![allowed; 8], vec![*ip]].concat()]
        {
            name.becomes(&answer);
            tally.call(&client, &target, *ip, || format!("calling {answer:?}")).await;
        }
    }
    let mut connections = listeners.connections().await;
    let wanted = connections.get_mut(&allowed).unwrap();
    *wanted = wanted.checked_sub(forbidden.len()).expect("one connection for each delivery before the change");
    connections.values().sum()
}

/// Each spelling is taken when it is registered, and the address itself by what judges at connect time.
fn accepted(allowed: &[IpAddr], tally: &mut Tally) {
    let (policy, port) = (AddressPolicy::default(), 8443);
    for ip in allowed {
        let address = SocketAddr::new(*ip, port);
        for url in spelling::urls(*ip, port) {
            let key = Target::parse(&url, &policy).map(|target| target.host_key().to_string());
            tally.note(key == Ok(address.to_string()), || format!("registering {url}: {key:?}"));
        }
        tally.note(policy.judge(address).is_ok(), || format!("connecting to {ip}"));
    }
}

/// Short deadlines, for whatever is called although it should not be.
fn hasty() -> ClientConfig {
    ClientConfig {
        timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_millis(200),
        ..ClientConfig::default()
    }
}

/// A policy that allows every address on this port, as no operator should: one entry may not do so, these together do.
fn everything(port: u16) -> AddressPolicy {
    let halves = ["0.0.0.0/1", "128.0.0.0/1", "[::/1]", "[8000::/1]"];
    let allow = halves.map(|half| format!("{half}:{port}").parse().unwrap()).to_vec();
    AddressPolicy { allow, allow_http: true, ..AddressPolicy::default() }
}

#[tokio::test]
async fn the_listeners_notice_a_connection() {
    let listeners = Listeners::start().await;
    let policy = everything(listeners.port);
    let client = client_under(policy.clone(), ClientConfig::default());
    for address in listeners.addresses() {
        let target = Target::parse(&format!("http://{address}/"), &policy).unwrap();
        assert_eq!(post(&client, &target).await.result, Ok(200), "{address}");
    }
    let connections = listeners.connections().await;
    assert!(connections.values().all(|count| *count == 1), "{connections:?}");
    assert!(connections.len() >= 5, "{connections:?}");
}

#[test]
fn the_table_is_read_as_it_stands() {
    let (forbidden, allowed) = (table::forbidden(), table::allowed());
    let (is_forbidden, is_allowed) = (
        |text: &str| forbidden.contains(&text.parse().unwrap()),
        |text: &str| allowed.contains(&text.parse().unwrap()),
    );
    for text in ["10.0.0.0", "10.255.255.255", "10.127.255.255", "255.255.255.255", "::1", "::a00:0", "2002:a00:0::1"] {
        assert!(is_forbidden(text) && !is_allowed(text), "{text}");
    }
    for text in [
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "223.255.255.255",
        "2000::",
        "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:200::",
        "2001:db9::",
        "2003::",
        "3fff:1000::",
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        assert!(is_allowed(text) && !is_forbidden(text), "{text}");
    }
}
