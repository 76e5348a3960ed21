use super::*;
use std::net::IpAddr;

use proptest::prelude::*;

use crate::address::forbidden;
use crate::resolve::Lookup;

#[path = "../../tests/it/addresses/table.rs"]
mod table;

#[derive(Debug)]
struct Fixed(Vec<IpAddr>);

impl Resolve for Fixed {
    fn resolve(&self, _name: &str) -> Lookup {
        let answer = self.0.clone();
        Box::pin(async { Ok(answer) })
    }
}

fn dialer(policy: AddressPolicy, answer: Vec<IpAddr>) -> Dialer {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Dialer {
        policy: Arc::new(policy),
        resolver: Arc::new(Fixed(answer)),
        tls: Arc::new(tls),
        resolve_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        lifetime: Duration::from_secs(90),
    }
}

fn addresses(policy: AddressPolicy, answer: Vec<IpAddr>) -> Result<Vec<SocketAddr>, ErrorCode> {
    let target = Target::parse("https://receiver.example:8443/", &AddressPolicy::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(dialer(policy, answer).addresses(&target))
}

/// Any address, with those that a table of special ones is about as likely as all the others.
fn any_address() -> impl Strategy<Value = IpAddr> {
    let v4 = prop_oneof![
        any::<[u8; 4]>(),
        (prop::sample::select(vec![0_u8, 10, 100, 127, 169, 172, 192, 198, 203, 224, 255]), any::<[u8; 3]>())
            .prop_map(|(first, [b, c, d])| [first, b, c, d]),
    ];
    let v6 = prop_oneof![
        any::<[u16; 8]>(),
        any::<[u16; 7]>().prop_map(|[b, c, d, e, f, g, h]| [0x2001 | (b & 0x1fff), c, d, e, f, g, h, b]),
        any::<[u16; 2]>().prop_map(|[high, low]| [0, 0, 0, 0, 0, 0xffff, high, low]),
    ];
    prop_oneof![v4.prop_map(IpAddr::from), v6.prop_map(IpAddr::from)]
}

proptest! {
    #[test]
    fn no_forbidden_address_is_ever_connected(answer in prop::collection::vec(any_address(), 1..12)) {
        let connected = addresses(AddressPolicy::default(), answer.clone());
        if answer.iter().any(|ip| forbidden(*ip)) {
            prop_assert_eq!(connected, Err(ErrorCode::TargetNotAllowed));
        } else {
            let expected: Vec<_> = answer.into_iter().take(8).map(|ip| SocketAddr::new(ip, 8443)).collect();
            prop_assert_eq!(connected, Ok(expected));
        }
    }
}

/// With the table of `tests/it/addresses.rs`: nothing is called here, so the allowed ones can be tried as well.
#[test]
fn a_connect_takes_every_allowed_address_of_the_table_and_no_forbidden_one() {
    let allowed = table::allowed();
    for ip in &allowed {
        let expected = Ok(vec![SocketAddr::new(*ip, 8443)]);
        assert_eq!(addresses(AddressPolicy::default(), vec![*ip]), expected, "{ip}");
    }
    assert!(addresses(AddressPolicy::default(), allowed.clone()).is_ok());
    for ip in table::forbidden() {
        let answer = vec![allowed[0], ip];
        assert_eq!(addresses(AddressPolicy::default(), answer), Err(ErrorCode::TargetNotAllowed), "{ip}");
    }
}

#[test]
fn an_allow_entry_opens_no_more_than_its_port() {
    let allowing = |text: &str| AddressPolicy { allow: vec![text.parse().unwrap()], ..AddressPolicy::default() };
    let answer: Vec<IpAddr> = vec!["10.1.2.3".parse().unwrap()];
    assert!(addresses(allowing("10.1.2.0/24:8443"), answer.clone()).is_ok());
    assert_eq!(addresses(allowing("10.1.2.0/24:8444"), answer), Err(ErrorCode::TargetNotAllowed));
}
