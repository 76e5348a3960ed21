//! What the engine needs to know beside an event's bytes, as one short header.

use std::fmt;
use std::str::FromStr;

use crate::ids::{AccountId, ReplayId};
use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// Travels with every event and delivery as header [`super::header::META`].
///
/// One header and not seven: a header map costs a hash and an allocation per entry, on both sides of every hop.
/// Text form: `site=sUkLWZg;at=1772443800000`, then only what is set of `exp`, `due`, `by`, `att`, `park`,
/// `pause`, `place`, `replay`, `gen`, `changed` and `cancel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The event's site.
    pub site: Slug,
    /// When ingest accepted the event.
    pub accepted_at: Timestamp,
    /// Its `expirytime`.
    pub expires_at: Option<Timestamp>,
    /// Its `intendeddeliverytime`.
    pub intended_at: Option<Timestamp>,
    /// On an event whose time was ahead when it was accepted: who published it, and may see and change it while it is
    /// held. Not on deliveries, which are none of the publisher's.
    pub published_by: Option<AccountId>,
    /// On a delivery: the number of the attempt that this message asks for, from 1.
    pub attempt: u32,
    /// On a delivery: how often it was put off since the last attempt.
    pub parked: u32,
    /// On a delivery: whether it was put off because its endpoint is paused, so that it is woken when that goes on.
    pub is_paused: bool,
    /// On a delivery: whether it has its place in the endpoint's rate, see [`crate::rate`].
    pub has_place: bool,
    /// On a delivery: by which replay it was made; none for the event's own.
    pub replay: Option<ReplayId>,
    /// On a held event: how often it was changed while it was held.
    pub generation: u32,
    /// On a held event: when its times were last changed.
    pub changed_at: Option<Timestamp>,
    /// When it was cancelled while it waited. Whoever takes it up then ends it and records that.
    pub cancelled_at: Option<Timestamp>,
}

/// The header does not hold what we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Slip-Meta header")]
pub struct NotMeta;

impl Meta {
    /// What is known when an event is accepted.
    pub fn new(site: Slug, accepted_at: Timestamp) -> Self {
        Self {
            site,
            accepted_at,
            expires_at: None,
            intended_at: None,
            published_by: None,
            attempt: 1,
            parked: 0,
            is_paused: false,
            has_place: false,
            replay: None,
            generation: 0,
            changed_at: None,
            cancelled_at: None,
        }
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "site={};at={}", self.site, self.accepted_at.as_millis())?;
        if let Some(expires_at) = self.expires_at {
            write!(f, ";exp={}", expires_at.as_millis())?;
        }
        if let Some(intended_at) = self.intended_at {
            write!(f, ";due={}", intended_at.as_millis())?;
        }
        if let Some(published_by) = self.published_by {
            write!(f, ";by={published_by}")?;
        }
        if self.attempt != 1 {
            write!(f, ";att={}", self.attempt)?;
        }
        if self.parked != 0 {
            write!(f, ";park={}", self.parked)?;
        }
        if self.is_paused {
            f.write_str(";pause=1")?;
        }
        if self.has_place {
            f.write_str(";place=1")?;
        }
        if let Some(replay) = self.replay {
            write!(f, ";replay={replay}")?;
        }
        if self.generation != 0 {
            write!(f, ";gen={}", self.generation)?;
        }
        if let Some(changed_at) = self.changed_at {
            write!(f, ";changed={}", changed_at.as_millis())?;
        }
        if let Some(cancelled_at) = self.cancelled_at {
            write!(f, ";cancel={}", cancelled_at.as_millis())?;
        }
        Ok(())
    }
}

impl FromStr for Meta {
    type Err = NotMeta;

    /// Unknown names are skipped, so that a newer writer does not stop an older reader.
    fn from_str(text: &str) -> Result<Self, NotMeta> {
        let time = |value: &str| value.parse().map(Timestamp::from_millis).map_err(|_| NotMeta);
        let (mut site, mut accepted_at) = (None, None);
        let (mut expires_at, mut intended_at, mut attempt, mut parked) = (None, None, 1, 0);
        let (mut is_paused, mut has_place, mut generation, mut published_by) = (false, false, 0, None);
        let (mut replay, mut changed_at, mut cancelled_at) = (None, None, None);
        for pair in text.split(';') {
            let (name, value) = pair.split_once('=').ok_or(NotMeta)?;
            match name {
                "site" => site = Some(value.parse().map_err(|_| NotMeta)?),
                "at" => accepted_at = Some(time(value)?),
                "exp" => expires_at = Some(time(value)?),
                "due" => intended_at = Some(time(value)?),
                "by" => published_by = Some(value.parse().map_err(|_| NotMeta)?),
                "att" => attempt = value.parse().map_err(|_| NotMeta)?,
                "park" => parked = value.parse().map_err(|_| NotMeta)?,
                "pause" => is_paused = value == "1",
                "place" => has_place = value == "1",
                "replay" => replay = Some(value.parse().map_err(|_| NotMeta)?),
                "gen" => generation = value.parse().map_err(|_| NotMeta)?,
                "changed" => changed_at = Some(time(value)?),
                "cancel" => cancelled_at = Some(time(value)?),
                _ => {}
            }
        }
        let (site, accepted_at) = (site.ok_or(NotMeta)?, accepted_at.ok_or(NotMeta)?);
        Ok(Self {
            site,
            accepted_at,
            expires_at,
            intended_at,
            published_by,
            attempt,
            parked,
            is_paused,
            has_place,
            replay,
            generation,
            changed_at,
            cancelled_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_survives_text() {
        let plain = Meta::new("sUkLWZg".parse().unwrap(), Timestamp::from_millis(1_772_443_800_000));
        assert_eq!(plain.to_string(), "site=sUkLWZg;at=1772443800000");
        let full = Meta {
            expires_at: Some(Timestamp::from_millis(-5)),
            intended_at: Some(Timestamp::from_millis(7)),
            published_by: Some(AccountId(uuid::Uuid::from_u128(6))),
            attempt: 3,
            parked: 2,
            is_paused: true,
            has_place: true,
            replay: Some(ReplayId(uuid::Uuid::from_u128(9))),
            generation: 3,
            changed_at: Some(Timestamp::from_millis(8)),
            cancelled_at: Some(Timestamp::from_millis(9)),
            ..plain.clone()
        };
        for meta in [plain, full] {
            assert_eq!(meta.to_string().parse(), Ok(meta));
        }
    }

    #[test]
    fn what_we_did_not_write_is_refused() {
        for text in [
            "",
            "site=sUkLWZg",
            "at=1",
            "site=x;at=1",
            "site=sUkLWZg;at=soon",
            "site=sUkLWZg;at=1;att=-1",
            "site=sUkLWZg;at=1;by=me",
        ] {
            assert_eq!(text.parse::<Meta>(), Err(NotMeta), "{text}");
        }
        assert!("site=sUkLWZg;at=1;new=thing".parse::<Meta>().is_ok());
    }
}
