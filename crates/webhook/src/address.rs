//! Which addresses are never called, whatever a tenant asks for (THREATS 3, "Refused addresses").
//!
//! Every other global address is allowed: blocking more than the table would cut off somebody's receiver.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

const REFUSED_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),       // this network
    v4(10, 0, 0, 0, 8),      // private
    v4(100, 64, 0, 0, 10),   // carrier-grade NAT
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link-local, with the clouds' metadata services
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 0, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 0, 24),    // documentation
    v4(192, 88, 99, 0, 24),  // 6to4 relays
    v4(192, 168, 0, 0, 16),  // private
    v4(198, 18, 0, 0, 15),   // benchmarking
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(224, 0, 0, 0, 4),     // multicast
    v4(240, 0, 0, 0, 4),     // reserved, and broadcast
];

/// Global unicast. Outside lie `::`, `::1`, IPv4-compatible, -mapped and -translated addresses, NAT64 (`64:ff9b::/96`
/// and `64:ff9b:1::/48`), `100::/64`, `5f00::/16`, ULA, link-local, site-local and multicast.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);

/// What is refused inside [`GLOBAL_V6`].
const REFUSED_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23),     // protocol assignments, with Teredo
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16),     // 6to4
    v6(0x3fff, 0, 20),     // documentation
];

/// Whether `address`, or an IPv4 address embedded in it, is on the table of refused addresses.
pub fn forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address) || embedded_v4(address).is_some_and(forbidden_v4),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> bool {
    REFUSED_V4.iter().any(|net| net.contains(&address))
}

fn forbidden_v6(address: Ipv6Addr) -> bool {
    !GLOBAL_V6.contains(&address) || REFUSED_V6.iter().any(|net| net.contains(&address))
}

/// The IPv4 address that a packet to `address` may end up at, for every form that embeds one.
///
/// All forms but ISATAP are refused whole by their prefix; they are unwrapped nonetheless, so that an operator's own
/// list of refused networks holds for them too.
#[expect(clippy::unnested_or_patterns, clippy::match_same_arms, reason = "a pattern per form reads like the RFCs")]
pub fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // Compatible, mapped, translated; NAT64 with the well-known prefix and with the local one.
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low] => Some(from(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => Some(from(high, low)),
        // Teredo: the client's address, inverted.
        [0x2001, 0, _, _, _, _, high, low] => Some(from(!high, !low)),
        // ISATAP, under any prefix.
        [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_forbidden(text: &str) -> bool {
        forbidden(text.parse().unwrap())
    }

    #[test]
    fn each_row_of_the_table_is_refused_from_its_first_address_to_its_last() {
        for net in REFUSED_V4 {
            assert!(forbidden(net.network().into()) && forbidden(net.broadcast().into()), "{net}");
        }
        for net in REFUSED_V6 {
            assert!(forbidden(net.network().into()) && forbidden(net.broadcast().into()), "{net}");
        }
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "10.1.2.3",
            "100.127.255.255",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.9",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255", //
            "::",
            "::1",
            "::7f00:1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "3fff:fff::1",
            "5f00::1",
            "100::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "1fff:ffff::1",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:127.0.0.1",
        ] {
            assert!(is_forbidden(text), "{text}");
        }
    }

    #[test]
    fn every_other_global_address_is_allowed() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.31.196.1",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255", //
            "2000::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2001:db7::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "3ffe::1",
            "3fff:1000::1",
            "2606:4700::5efe:8.8.8.8",
        ] {
            assert!(!is_forbidden(text), "{text}");
        }
    }

    proptest! {
        /// The standard library's stable predicates are an independent, smaller table.
        #[test]
        fn what_the_standard_library_calls_special_is_refused(bits: u32) {
            let address = Ipv4Addr::from(bits);
            if address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast()
                || address.is_broadcast() || address.is_documentation() || address.is_unspecified()
            {
                prop_assert!(forbidden(address.into()));
            }
        }

        #[test]
        fn wrapping_a_refused_address_never_makes_it_allowed(row in 0..REFUSED_V4.len(), bits: u32, prefix: u64) {
            let net = REFUSED_V4[row];
            let inner = u32::from(net.network()) | (bits & u32::from(net.hostmask()));
            let (high, low) = ((inner >> 16) as u16, inner as u16);
            let [p0, p1, p2, p3] = std::array::from_fn(|at| (prefix >> (16 * at)) as u16);
            for segments in [
                [0, 0, 0, 0, 0, 0, high, low],
                [0, 0, 0, 0, 0, 0xffff, high, low],
                [0, 0, 0, 0, 0xffff, 0, high, low],
                [0x64, 0xff9b, 0, 0, 0, 0, high, low],
                [0x64, 0xff9b, 1, p0, p1, p2, high, low],
                [0x2002, high, low, p0, p1, p2, p3, 1],
                [0x2001, 0, p0, p1, p2, p3, !high, !low],
                [p0, p1, p2, p3, 0, 0x5efe, high, low],
                [p0, p1, p2, p3, 0x200, 0x5efe, high, low],
            ] {
                let address = Ipv6Addr::from(segments);
                prop_assert_eq!(embedded_v4(address), Some(inner.into()), "{}", address);
                prop_assert!(forbidden(address.into()), "{}", address);
            }
        }
    }
}
