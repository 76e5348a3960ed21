//! Looks for secrets in bytes, also where they are written in Base64 or hex, escaped as in URLs, or as lists of numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The shortest secret that is looked for: shorter ones are found by chance.
const LEN_MIN: usize = 8;
/// How many bytes all forms are told apart by at first.
const PREFIX: usize = 3;

/// What is looked for: every form of every secret.
#[derive(Debug, Default)]
pub(crate) struct Needles {
    /// By their first bytes.
    by_prefix: HashMap<[u8; PREFIX], Vec<Form>>,
    /// Which first bytes there are: most of a haystack is passed by with one look here.
    prefixes: Vec<u64>,
}

#[derive(Debug)]
struct Form {
    bytes: Vec<u8>,
    /// Which secret in which form.
    name: String,
}

/// Where which secrets were found, in which form.
pub(crate) type Found = BTreeMap<String, BTreeSet<String>>;

impl Needles {
    /// Adds a secret: in clear, in both alphabets of Base64 however it is aligned, in hex, escaped as in a URL, and as the
    /// list of numbers that bytes without a form of their own are printed as.
    pub(crate) fn add(&mut self, name: &str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        assert!(secret.len() >= LEN_MIN, "{name} is too short to be found with certainty");
        self.add_form(format!("{name} in clear"), secret.to_vec());
        for (alphabet, engine) in [("Base64", &STANDARD), ("base64url", &URL_SAFE)] {
            for before in 0..3 {
                self.add_form(
                    format!("{name} in {alphabet}"),
                    inner(&engine.encode(shifted(secret, before)), secret, before),
                );
            }
        }
        let hex = hex(secret);
        self.add_form(format!("{name} in hex"), hex.to_uppercase().into_bytes());
        self.add_form(format!("{name} in hex"), hex.into_bytes());
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            self.add_form(format!("{name} escaped"), escaped(secret, digits));
        }
        for between in [", ", ","] {
            self.add_form(format!("{name} as a list"), list(secret, between).into_bytes());
        }
    }

    fn add_form(&mut self, name: String, bytes: Vec<u8>) {
        let prefix: [u8; PREFIX] = bytes[..PREFIX].try_into().expect("forms are longer than their prefix");
        self.prefixes.resize(1 << (8 * PREFIX - 6), 0);
        let at = index(prefix);
        self.prefixes[at / 64] |= 1 << (at % 64);
        let forms = self.by_prefix.entry(prefix).or_default();
        if forms.iter().all(|form| form.bytes != bytes) {
            forms.push(Form { bytes, name });
        }
    }

    /// Which of them are in `haystack`.
    pub(crate) fn within(&self, haystack: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (start, window) in haystack.windows(PREFIX).enumerate() {
            let prefix = [window[0], window[1], window[2]];
            let at = index(prefix);
            if self.prefixes[at / 64] & (1 << (at % 64)) == 0 {
                continue;
            }
            let forms = self.by_prefix.get(&prefix).into_iter().flatten();
            found.extend(forms.filter(|form| haystack[start..].starts_with(&form.bytes)).map(|form| form.name.clone()));
        }
        found
    }

    /// Which of them are in which files below `directory` that were written since `since`. What is being removed meanwhile
    /// is passed by.
    pub(crate) fn in_files(&self, directory: &Path, since: SystemTime) -> Found {
        let mut found = Found::new();
        let mut searched = 0;
        for path in files(directory) {
            let is_new = |path: &PathBuf| std::fs::metadata(path)?.modified().map(|at| at >= since);
            if !is_new(&path).unwrap_or(false) {
                continue;
            }
            let Ok(bytes) = std::fs::read(&path) else { continue };
            searched += 1;
            let within = self.within(&bytes);
            if !within.is_empty() {
                found.insert(path.display().to_string(), within);
            }
        }
        assert!(searched > 0, "there is nothing to search in {}", directory.display());
        found
    }
}

/// With everything percent-encoded that may be.
fn escaped(bytes: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let one = |byte: &u8| match *byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => vec![byte],
        byte => vec![b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]],
    };
    bytes.iter().flat_map(one).collect()
}

/// Decimal numbers.
fn list(bytes: &[u8], between: &str) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    numbers.join(between)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn index(prefix: [u8; PREFIX]) -> usize {
    prefix.iter().fold(0, |index, byte| index << 8 | usize::from(*byte))
}

/// `secret` with bytes in front of it.
fn shifted(secret: &[u8], before: usize) -> Vec<u8> {
    [&vec![0; before], secret].concat()
}

/// The characters of `encoded` that depend on nothing but `secret`, which has `before` bytes in front.
fn inner(encoded: &str, secret: &[u8], before: usize) -> Vec<u8> {
    let first = (8 * before).div_ceil(6);
    let end = 8 * (before + secret.len()) / 6;
    encoded.as_bytes()[first..end].to_vec()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// Keys are bytes of any kind, and what prints them does not always know a form for them.
#[test]
fn a_key_is_found_however_it_is_printed() {
    let key: [u8; 12] = [251, 255, b'a', b'/', 7, 200, b'+', 1, 2, 3, 4, 250];
    let mut needles = Needles::default();
    needles.add("the key", key);
    for (form, leak) in [
        ("in clear", key.to_vec()),
        ("as a list", format!("{key:?}").into_bytes()),
        ("as a list", serde_json::to_vec(&key).unwrap()),
        ("escaped", b"?key=%FB%FFa%2F%07%C8%2B%01%02%03%04%FA&x=1".to_vec()),
        ("escaped", b"?key=%fb%ffa%2f%07%c8%2b%01%02%03%04%fa&x=1".to_vec()),
        ("in hex", b"0xfbff612f07c82b01020304fa".to_vec()),
        ("in Base64", STANDARD.encode(key).into_bytes()),
        ("in base64url", URL_SAFE.encode(key).into_bytes()),
    ] {
        assert_eq!(needles.within(&leak), BTreeSet::from([format!("the key {form}")]), "{leak:?}");
    }
}

/// A leak that the search must find, in each form and wherever it stands: or finding nothing would mean nothing.
#[test]
fn a_leak_is_found_in_every_form_and_at_every_place() {
    let secret = "canary-3b9f-s3cr3t";
    let mut needles = Needles::default();
    needles.add("the header", secret);
    needles.add("another", "canary-0000-other");
    let hex = hex(secret.as_bytes());
    let mut leaks = vec![
        ("in clear", format!("2026-03-02 WARN refused value=\"{secret}\"")),
        ("in clear", secret.to_owned()),
        ("in hex", format!("x{hex}x")),
        ("in hex", hex.to_uppercase()),
    ];
    // As part of something longer, at each alignment, with whatever follows.
    for before in ["", "a", "ab", "abc", "X-Key: "] {
        for after in ["", "1", "12", "\r\n"] {
            leaks.push(("in Base64", STANDARD.encode(format!("{before}{secret}{after}"))));
            leaks.push(("in base64url", URL_SAFE.encode(format!("{before}{secret}{after}"))));
        }
    }
    for (form, leak) in &leaks {
        let found = needles.within(leak.as_bytes());
        // Without one of the two characters in which they differ, both alphabets are one.
        let is_named = found.iter().any(|name| name == &format!("the header {form}"))
            || form.contains("64") && found.iter().any(|name| name.contains("64"));
        assert!(is_named && found.iter().all(|name| name.starts_with("the header")), "{form}: {leak}: {found:?}");
    }
    for clean in ["", "ca", "canary-3b9f-s3cr3", "anary-3b9f-s3cr3t", "CANARY-3B9F-S3CR3T"] {
        assert_eq!(needles.within(clean.as_bytes()), BTreeSet::new(), "{clean}");
    }

    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::write(below.join("clean"), vec![b'c'; 100_000]).unwrap();
    let page = [vec![0; 8191], STANDARD.encode(format!("~~{secret}~~")).into_bytes(), vec![0xff; 8191]].concat();
    std::fs::write(below.join("page"), page).unwrap();
    let found = needles.in_files(directory.path(), SystemTime::UNIX_EPOCH);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&below.join("page").display().to_string()]);
}
