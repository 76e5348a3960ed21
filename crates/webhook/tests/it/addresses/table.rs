//! The table of THREATS 3, written down a second time, and the addresses that follow from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const FORBIDDEN_V4: [&str; 15] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

const FORBIDDEN_V6: [&str; 20] = [
    "::/128",
    "::1/128",
    "::/96",           // IPv4-compatible
    "::ffff:0:0/96",   // IPv4-mapped
    "::ffff:0:0:0/96", // IPv4-translated
    "64:ff9b::/96",    // NAT64
    "64:ff9b:1::/48",  // NAT64, local
    "2002::/16",       // 6to4
    "2001::/23",       // with Teredo
    "2001:db8::/32",   // documentation
    "3fff::/20",       // documentation
    "5f00::/16",       // segment routing
    "100::/64",        // discard
    "fc00::/7",        // unique local
    "fe80::/10",       // link-local
    "fec0::/10",       // site-local, as it was
    "ff00::/8",        // multicast
    "::/3",            // outside of what is global: below …
    "4000::/2",        // … and above
    "8000::/1",
];

/// Addresses that people are likely to try, beside the ends of each range.
const FORBIDDEN_KNOWN: [&str; 15] = [
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "10.1.2.3",
    "169.254.169.254", // the metadata services of clouds
    "169.254.170.2",
    "100.100.100.200",
    "192.168.0.1",
    "192.0.0.192",
    "172.17.0.1",
    "fd00:ec2::254",
    "fe80::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "ff02::1",
];

const ALLOWED_KNOWN: [&str; 14] = [
    "1.1.1.1",
    "8.8.8.8",
    "128.0.0.0",
    "168.63.129.16", // refused by configuration only
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2620:4f:8000::1",
    "2a00:1450:4001:82a::200e",
    "2606:4700::a01:203",      // ends in 10.1.2.3, and embeds nothing
    "2606:4700::5efe:808:808", // ISATAP of 8.8.8.8
];

fn v4() -> impl Iterator<Item = Ipv4Net> {
    FORBIDDEN_V4.iter().map(|text| text.parse().unwrap())
}

fn v6() -> impl Iterator<Item = Ipv6Net> {
    FORBIDDEN_V6.iter().map(|text| text.parse().unwrap())
}

fn known<'a>(texts: &'a [&'a str]) -> impl Iterator<Item = IpAddr> + 'a {
    texts.iter().map(|text| text.parse().unwrap())
}

/// First, middle and last address of each range, the known ones, and every form that embeds a forbidden IPv4 address.
pub(super) fn forbidden() -> Vec<IpAddr> {
    let ends_v4 = v4().flat_map(|net| {
        let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
        [first, first.midpoint(last), last].map(|bits| IpAddr::from(Ipv4Addr::from(bits)))
    });
    let ends_v6 = v6().flat_map(|net| {
        let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
        [first, first.midpoint(last), last].map(|bits| IpAddr::from(Ipv6Addr::from(bits)))
    });
    let mut all: Vec<_> = ends_v4.chain(ends_v6).chain(known(&FORBIDDEN_KNOWN)).collect();
    let embedded: Vec<_> = all
        .iter()
        .filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None })
        .flat_map(|ip| by_prefix(ip).into_iter().chain(isatap(ip)))
        .collect();
    all.extend(embedded.into_iter().map(IpAddr::V6));
    // Refused whole, whatever they embed.
    all.extend(by_prefix(Ipv4Addr::new(8, 8, 8, 8)).map(IpAddr::V6));
    all.sort_unstable();
    all.dedup();
    all
}

/// The addresses right outside of each range, unless another range begins there, and the known ones.
pub(super) fn allowed() -> Vec<IpAddr> {
    let beside_v4 = v4().flat_map(|net| {
        let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
        [first.checked_sub(1), last.checked_add(1)].into_iter().flatten().map(Ipv4Addr::from)
    });
    let beside_v6 = v6().flat_map(|net| {
        let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
        [first.checked_sub(1), last.checked_add(1)].into_iter().flatten().map(Ipv6Addr::from)
    });
    let beside_v4 = beside_v4.filter(|ip| !v4().any(|net| net.contains(ip))).map(IpAddr::V4);
    let beside_v6 = beside_v6.filter(|ip| !v6().any(|net| net.contains(ip))).map(IpAddr::V6);
    let mut all: Vec<_> = beside_v4.chain(beside_v6).chain(known(&ALLOWED_KNOWN)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Forms that embed an IPv4 address under a prefix of their own: compatible, mapped, translated, NAT64 with the known
/// prefix, with the local one as 96 and as 48 bits, 6to4, Teredo as client and as server.
fn by_prefix(ip: Ipv4Addr) -> [Ipv6Addr; 9] {
    let [a, b, c, d] = ip.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    [
        [0, 0, 0, 0, 0, 0, high, low],
        [0, 0, 0, 0, 0, 0xffff, high, low],
        [0, 0, 0, 0, 0xffff, 0, high, low],
        [0x64, 0xff9b, 0, 0, 0, 0, high, low],
        [0x64, 0xff9b, 1, 0, 0, 0, high, low],
        [0x64, 0xff9b, 1, high, c, d << 8, 0, 0],
        [0x2002, high, low, 0, 0, 0, 0, 1],
        [0x2001, 0, 0x0808, 0x0808, 0x8000, 0x63bf, !high, !low],
        [0x2001, 0, high, low, 0x8000, 0x63bf, !0x0808, !0x0808],
    ]
    .map(Ipv6Addr::from)
}

/// ISATAP embeds under any prefix, so under one that is global.
fn isatap(ip: Ipv4Addr) -> [Ipv6Addr; 2] {
    let [a, b, c, d] = ip.octets().map(u16::from);
    [0, 0x0200].map(|kind| Ipv6Addr::from([0x2606, 0x4700, 0, 0, kind, 0x5efe, a << 8 | b, c << 8 | d]))
}
