//! An event's bytes out of stream `EVENTS`, or of `DEAD_LETTERS` where that has let them go.

use slipstream_bus::{Bus, BusError, StoredEvent, subject};
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::EventKey;
use slipstream_core::lane::Visibility;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

/// Which event is wanted, and where it lay when it was recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) site: &'a Slug,
    pub(super) accepted_at: Timestamp,
    pub(super) key: &'a EventKey,
    pub(super) sequence: u64,
}

/// The event at `place`; none if the stream does not keep it any more.
///
/// A stream that was made anew counts from 1 again, so what lies there now is only taken if it is the same event: what
/// is sent to somebody must never be somebody else's.
///
/// # Errors
/// If JetStream does not answer.
pub(super) async fn fetch(bus: &Bus, place: Place<'_>) -> Result<Option<StoredEvent>, BusError> {
    if let Some(stored) = bus.stored_event(place.sequence).await?.filter(|stored| is_wanted(place, stored)) {
        return Ok(Some(stored));
    }
    // Trimmed there; but what failed is kept for longer elsewhere. Only public events have deliveries that fail.
    Ok(bus.dead_letter(place.site, place.key).await?.filter(|stored| is_same(place, stored, place.site)))
}

/// Whether it is the event that is wanted, and one that webhooks receive.
fn is_wanted(place: Place<'_>, stored: &StoredEvent) -> bool {
    let Some((Visibility::Public, _, site)) = subject::parse_event(&stored.subject) else { return false };
    is_same(place, stored, &site)
}

/// Whether it is the event that is wanted, of this site.
fn is_same(place: Place<'_>, stored: &StoredEvent, site: &Slug) -> bool {
    let Ok(envelope) = Envelope::read(&stored.payload) else { return false };
    EventKey::new(site, &envelope.source, &envelope.id) == *place.key
        && stored.meta.site == *site
        && stored.meta.accepted_at == place.accepted_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipstream_bus::Subject;
    use slipstream_core::contract::Meta;
    use slipstream_core::lane::Lane;
    use slipstream_core::slug::Slug;

    const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);

    fn stored(subject: Subject, site: &str, id: &str) -> StoredEvent {
        let payload = format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
        let meta = Meta::new(site.parse().unwrap(), NOW);
        StoredEvent { subject, sequence: 7, payload: payload.into(), meta, trace: None, due_subject: None }
    }

    #[test]
    fn only_the_public_event_that_is_wanted_is_taken() {
        let site: Slug = "s8n6EzC".parse().unwrap();
        let other: Slug = "sUkLWZg".parse().unwrap();
        let key = EventKey::new(&site, "/s", "1");
        let place = Place { site: &site, accepted_at: NOW, key: &key, sequence: 1 };
        let public = |site: &Slug| subject::event(Visibility::Public, Lane::High, site, "t");
        assert!(is_wanted(place, &stored(public(&site), "s8n6EzC", "1")));
        for (what, wrong) in [
            ("another event", stored(public(&site), "s8n6EzC", "2")),
            ("another site's", stored(public(&other), "sUkLWZg", "1")),
            ("a site that is not its subject's", stored(public(&site), "sUkLWZg", "1")),
            ("internal", stored(subject::event(Visibility::Internal, Lane::High, &site, "t"), "s8n6EzC", "1")),
            ("still held", stored(subject::later(Lane::High, &site, &key), "s8n6EzC", "1")),
        ] {
            assert!(!is_wanted(place, &wrong), "{what}");
        }
        let earlier = Place { accepted_at: Timestamp::from_millis(0), ..place };
        assert!(!is_wanted(earlier, &stored(public(&site), "s8n6EzC", "1")), "accepted at another time");
    }
}
