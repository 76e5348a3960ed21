//! A request that is sent again is done once: the header `Idempotency-Key` (SPEC 2.3;
//! draft-ietf-httpapi-idempotency-key-header).
//!
//! What is decided about a repeat is here, and what whoever keeps the keys has to promise: [`Keys`]. Reading requests and
//! keeping answers is the affair of others.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::timestamp::Timestamp;

/// The longest key, in characters.
pub const KEY_LEN_MAX: usize = 255;

/// The value of an `Idempotency-Key` header: what stands between the quotes. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

/// The value is not a String item of RFC 8941 with 1 to [`KEY_LEN_MAX`] characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a quoted string (RFC 8941) of 1 to {KEY_LEN_MAX} characters, without parameters")]
pub struct NotAKey;

impl Key {
    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = NotAKey;

    /// Reads `DQUOTE *( %x20-21 / %x23-5B / %x5D-7E / "\" ( DQUOTE / "\" ) ) DQUOTE`, with spaces around it (RFC 8941,
    /// sections 3.3.3 and 4.2). The header defines no parameters, so none are read.
    fn from_str(value: &str) -> Result<Self, NotAKey> {
        let quoted = value.trim_matches(' ').strip_prefix('"').ok_or(NotAKey)?;
        let (mut key, mut characters) = (String::with_capacity(quoted.len()), quoted.chars());
        loop {
            match characters.next().ok_or(NotAKey)? {
                '"' => break,
                '\\' => key.push(characters.next().filter(|next| matches!(next, '"' | '\\')).ok_or(NotAKey)?),
                character @ ' '..='~' => key.push(character),
                _ => return Err(NotAKey),
            }
        }
        let is_the_end = characters.next().is_none();
        if is_the_end && (1..=KEY_LEN_MAX).contains(&key.len()) { Ok(Self(key)) } else { Err(NotAKey) }
    }
}

/// Within what a key is unique: (credential, method, path, key). A hash, so that nothing of them need be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// The scope of a request by `actor`.
    pub fn new(actor: &str, method: &str, path: &str, key: &Key) -> Self {
        let mut hash = Sha256::new();
        // Each part is preceded by its length, so that no two requests have the same bytes.
        for part in [actor, method, path, key.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(URL_SAFE_NO_PAD.encode(hash.finalize()))
    }

    /// 43 characters of base64url.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a request asks for beside what its scope says, its query and its body, as a hash: SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a request with this query, as it is written, and this body. Without a query it is the hash of the
    /// body alone; the path is part of the [`Scope`].
    pub fn of(query: Option<&str>, body: &[u8]) -> Self {
        let body = Sha256::digest(body);
        let Some(query) = query.filter(|query| !query.is_empty()) else { return Self(body.into()) };
        // The first part has one length, so no two requests have the same bytes.
        Self(Sha256::new().chain_update(body).chain_update(query).finalize().into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// An answer as it went out.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Without the body: that is somebody's.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, bytes) = (self.status, self.body.len());
        f.debug_struct("Answer").field("status", &status).field("bytes", &bytes).finish_non_exhaustive()
    }
}

/// What is kept of a finished request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Its answer.
    Answer(Answer),
    /// That it was done, and no more: the answer held a secret, or was too long to be kept.
    Status(u16),
}

impl Kept {
    /// The status of the answer.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Answer(answer) => answer.status,
            Self::Status(status) => *status,
        }
    }
}

/// A request that is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which.
    pub scope: Scope,
    /// With which body.
    pub fingerprint: Fingerprint,
    /// Who claims it: a UUIDv7. Only whoever holds the claim may finish or release it: a process that slept past its lease
    /// does not overwrite what came after.
    pub token: Uuid,
    /// Now.
    pub now: Timestamp,
    /// From when on somebody else may do it, if it is not finished then: this process is taken for dead.
    pub lease_until: Timestamp,
    /// From when on the key is free for anything.
    pub expires_at: Timestamp,
}

/// What a request with a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The first one, or a repeat of one that nothing is known to have come of: do it. What it makes gets this id: the token
    /// of the first claim of this request, so it is the same whenever it is done.
    First(Uuid),
    /// A repeat of one that is not finished: 409.
    Running,
    /// A repeat of one that was done, and the id that what it made has got; none if a release before ids were kept did it.
    Finished(Kept, Option<Uuid>),
    /// Another request under the same key: 422.
    Reused,
}

/// Who keeps the keys. Everything is atomic: of several requests at once, one is the first.
pub trait Keys: Clone + Send + Sync + 'static {
    /// Why something could not be kept.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Claims a key: what the request with it is. The first one is running from now on.
    fn claim(&self, claim: &Claim) -> impl Future<Output = Result<Claimed, Self::Error>> + Send;

    /// Keeps what became of a claim that is still held; does nothing otherwise.
    fn finish(&self, claim: &Claim, kept: &Kept) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Gives a claim back that is still held: nothing is known to have come of it. A repeat is done anew, and what it makes
    /// gets the same id; another request under the key is done too, and gets another.
    fn release(&self, claim: &Claim) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Forgets at most `limit` keys whose time is over at `now`; says how many.
    fn expire(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<u64, Self::Error>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_quoted_string() {
        for (value, key) in [
            (r#""8e03978e-40d5-43dd-bc93-6894a57f9324""#, "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (r#"  "a b"  "#, "a b"),
            (r#""\"\\""#, r#""\"#),
            (r#""~!""#, "~!"),
        ] {
            assert_eq!(value.parse::<Key>().as_ref().map(Key::as_str), Ok(key), "{value}");
        }
        let longest = format!("\"{}\"", "k".repeat(KEY_LEN_MAX));
        assert!(longest.parse::<Key>().is_ok());
    }

    #[test]
    fn anything_else_is_no_key() {
        let too_long = format!("\"{}\"", "k".repeat(KEY_LEN_MAX + 1));
        for value in [
            "",
            "a",
            "\"",
            "\"\"",
            "\"a",
            "a\"",
            "'a'",
            "\"a\"b",
            "\"a\", \"b\"",
            "\"a\";p=1",
            r#""\a""#,
            r#""\"#,
            "\"é\"",
            "\"\t\"",
            "\"\u{7f}\"",
            "1",
            "?1",
            ":aGVsbG8=:",
            &too_long,
        ] {
            assert_eq!(value.parse::<Key>(), Err(NotAKey), "{value}");
        }
    }

    #[test]
    fn a_fingerprint_is_of_query_and_body() {
        let all = [(None, "b"), (Some("mode=new"), "b"), (Some("mode=retry"), "b"), (Some("mode=new"), ""), (None, "")];
        let all = all.map(|(query, body): (Option<&str>, &str)| Fingerprint::of(query, body.as_bytes()));
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
        // As releases before queries counted kept it.
        assert_eq!(all[0].as_bytes()[..], Sha256::digest("b")[..]);
        assert_eq!(Fingerprint::of(Some(""), b"b"), all[0]);
    }

    #[test]
    fn every_part_of_the_scope_counts_and_none_runs_into_the_next() {
        let key = |text: &str| format!("\"{text}\"").parse::<Key>().unwrap();
        let scopes = [
            Scope::new("operator", "POST", "/a", &key("k")),
            Scope::new("account", "POST", "/a", &key("k")),
            Scope::new("operator", "PUT", "/a", &key("k")),
            Scope::new("operator", "POST", "/b", &key("k")),
            Scope::new("operator", "POST", "/a", &key("l")),
            Scope::new("operatorP", "OST", "/a", &key("k")),
            Scope::new("operator", "POST", "/", &key("ak")),
        ];
        for (index, scope) in scopes.iter().enumerate() {
            assert!(!scopes[..index].contains(scope), "{index}");
            assert_eq!(scope.as_str().len(), 43);
        }
    }
}
