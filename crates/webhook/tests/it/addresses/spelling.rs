//! How one address can be written in a URL that the parser takes.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// URLs with this address, as many as the parser knows spellings.
pub(super) fn urls(ip: IpAddr, port: u16) -> Vec<String> {
    let hosts = match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => v6(ip),
    };
    let plain = &hosts[0];
    let mut urls: Vec<_> = [
        // The parser repairs what stands before the host.
        format!("HTTPS://{plain}:{port}/hook"),
        format!("https:{plain}:{port}/hook"),
        format!("https:/{plain}:{port}/hook"),
        format!("https:////{plain}:{port}/hook"),
        format!("https:\\\\{plain}:{port}\\hook"),
        format!("https://{plain}:0{port}/hook"),
        format!("https://{plain}:{port}"),
        format!("https://{plain}:{port}?a=b"),
        format!("https://{plain}:{port}/a/../%2e%2e/hook"),
    ]
    .into();
    urls.extend(hosts.iter().map(|host| format!("https://{host}:{port}/hook")));
    // Many addresses read the same in several spellings.
    urls.sort_unstable();
    urls.dedup();
    urls
}

/// Texts that look like this address and that the parser takes for nothing at all.
pub(super) fn no_urls(ip: IpAddr, port: u16) -> Vec<String> {
    let hosts = match ip {
        IpAddr::V4(ip) => vec![format!("[{ip}]"), format!("{ip}.1"), format!("{ip}.."), format!("{ip}.0x")],
        IpAddr::V6(ip) => vec![
            format!("{ip}"),
            format!("[{ip}%eth0]"),
            format!("[{ip}%25eth0]"),
            format!("[{ip}%0]"),
            format!("[{ip}/64]"),
            format!("[{ip}]."),
            format!("[{ip}"),
            format!("%5B{ip}%5D"),
            format!("[{}]", fullwidth(&ip.to_string())),
            format!("[v6.{ip}]"),
        ],
    };
    hosts.into_iter().map(|host| format!("https://{host}:{port}/hook")).collect()
}

fn v4(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let bits = u32::from(ip);
    let (low_24, low_16) = (bits & 0xff_ffff, bits & 0xffff);
    let dotted = ip.to_string();
    vec![
        dotted.clone(),
        format!("{dotted}."),
        // One number, two or three, where the last one stands for the bytes that are left.
        format!("{bits}"),
        format!("{a}.{low_24}"),
        format!("{a}.{b}.{low_16}"),
        format!("{bits:#x}"),
        format!("0X{bits:08X}"),
        format!("0x{bits:020x}"),
        format!("0{bits:o}"),
        format!("{bits}."),
        // Each number on its own in base 8, 10 or 16, with zeros in front.
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0X{a:X}.0X{b:X}.0X{c:X}.0X{d:X}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.000{b:o}.000{c:o}.000{d:o}"),
        format!("{a:#x}.0{b:o}.{c}.{d}"),
        format!("{a}.0{b:o}.{low_16:#x}"),
        format!("{a:#x}.0{low_24:o}"),
        // Percent-encoded: the digits, the dots, all of it, and a letter of a base.
        dotted.replacen(|character: char| character.is_ascii_digit(), &format!("%3{}", &dotted[..1]), 1),
        dotted.replace('.', "%2E"),
        percent(&dotted),
        percent(&format!("{bits:#x}")),
        format!("%30x{bits:x}"),
        // Characters that the parser maps to digits and dots.
        fullwidth(&dotted),
        fullwidth(&format!("{bits:#x}")),
        percent(&fullwidth(&dotted)),
        dotted.replace('.', "\u{3002}"),
        dotted.replace('.', "\u{ff61}"),
        digits(&dotted, |digit| if digit == 0 { '\u{24ea}' } else { at('\u{2460}', digit - 1) }),
        digits(&dotted, |digit| at('\u{1d7ce}', digit)),
        digits(&dotted, |digit| at('\u{2080}', digit)),
        digits(&dotted, |digit| ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize]),
    ]
}

fn v6(ip: Ipv6Addr) -> Vec<String> {
    let groups = ip.segments();
    let join = |format: &dyn Fn(u16) -> String| groups.map(format).join(":");
    let [a, b, c, d] = [groups[6] >> 8, groups[6] & 0xff, groups[7] >> 8, groups[7] & 0xff];
    let full = join(&|group| format!("{group:04x}"));
    let head = groups[..6].iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
    let mut texts = vec![
        ip.to_string(),
        ip.to_string().to_uppercase(),
        full.clone(),
        full.to_uppercase(),
        join(&|group| format!("{group:x}")),
        format!("{head}:{a}.{b}.{c}.{d}"),
    ];
    // Any run of zeros may be the one that is left out, also a single group.
    for start in 0..8 {
        for length in [1, 2, 5, 6] {
            if start + length <= 8 && groups[start..start + length].iter().all(|group| *group == 0) {
                let join =
                    |groups: &[u16]| groups.iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
                texts.push(format!("{}::{}", join(&groups[..start]), join(&groups[start + length..])));
                if start + length <= 6 {
                    let between = if start + length < 6 { ":" } else { "" };
                    let tail = join(&groups[start + length..6]);
                    texts.push(format!("{}::{tail}{between}{a}.{b}.{c}.{d}", join(&groups[..start])));
                }
            }
        }
    }
    texts.into_iter().map(|text| format!("[{text}]")).collect()
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}

/// The characters of ASCII in the block of full-width forms.
fn fullwidth(text: &str) -> String {
    text.chars().map(|character| char::from_u32(u32::from(character) + 0xfee0).unwrap()).collect()
}

fn digits(text: &str, other: impl Fn(u32) -> char) -> String {
    text.chars().map(|character| character.to_digit(10).map_or(character, &other)).collect()
}

fn at(first: char, offset: u32) -> char {
    char::from_u32(u32::from(first) + offset).unwrap()
}
