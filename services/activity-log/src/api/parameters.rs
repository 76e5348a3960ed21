//! The parameters of a list, checked: whatever is wrong is named, and nothing is ignored.

use slipstream_core::config::Surface;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::problem::Problem;
use slipstream_core::slug::Slug;
use slipstream_service::list::{
    LIMIT_DEFAULT, Pairs, bad_cursor, bad_parameter, each_once, parse, parse_limit, unknown_parameter,
};
use slipstream_store::activity::Filter;

use super::delivery_id;

/// Every parameter, in words.
const KNOWN: &str = "state, site, subscription, surface, type, event, eventId, since, until, limit and cursor";

/// The same for documents, without what all lists have.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents take its fields' names and rules")]
pub(super) struct DeliveriesFilter {
    /// One or several states, with commas between.
    #[param(example = "failed,exhausted", pattern = "^[a-z]+(,[a-z]+)*$")]
    state: Option<String>,
    /// Of which site.
    #[param(inline)]
    site: Option<Slug>,
    /// To which subscription.
    #[param(inline)]
    subscription: Option<SubscriptionId>,
    /// On which surface.
    #[param(inline)]
    surface: Option<Surface>,
    /// Of events of which type.
    #[param(min_length = 1)]
    r#type: Option<String>,
    /// Of the event with this key.
    #[param(inline)]
    event: Option<EventKey>,
    /// Of events with this id.
    #[param(min_length = 1)]
    event_id: Option<String>,
}

/// What a list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListParameters {
    pub(super) filter: Filter,
    pub(super) limit: usize,
    pub(super) after: Option<DeliveryId>,
}

impl ListParameters {
    /// Reads `state` (one or several of `states`, with commas between), `site`, `subscription`, `surface`, `type`,
    /// `event` (an event's key), `eventId`, `since`, `until`, `limit` and `cursor`.
    ///
    /// # Errors
    /// 400 naming the first parameter that is unknown, given twice, or has a value that does not fit.
    pub(super) fn parse(pairs: Pairs, states: &[DeliveryState]) -> Result<Self, Problem> {
        let mut parameters = Self { filter: Filter::default(), limit: LIMIT_DEFAULT, after: None };
        each_once(pairs, |name, value| parameters.set(name, value, states))?;
        Ok(parameters)
    }

    fn set(&mut self, name: &str, value: String, states: &[DeliveryState]) -> Result<(), Problem> {
        let filter = &mut self.filter;
        match name {
            "state" => filter.states = parse_states(name, &value, states)?,
            "site" => filter.site = Some(parse(name, &value, "must be a site's slug")?),
            "subscription" => filter.subscription = Some(parse(name, &value, "must be a UUID")?),
            "surface" => filter.surface = Some(parse_surface(name, &value)?),
            "event" => filter.event = Some(parse(name, &value, "must be an event's key, 22 characters")?),
            "type" => filter.event_type = Some(text(name, value)?),
            "eventId" => filter.event_id = Some(text(name, value)?),
            "since" => filter.since = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
            "until" => filter.until = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
            "limit" => self.limit = parse_limit(&value)?,
            "cursor" => self.after = Some(delivery_id(&value).ok_or_else(bad_cursor)?),
            _ => return Err(unknown_parameter(name, KNOWN)),
        }
        Ok(())
    }
}

/// A text that an attribute may have: no NUL, which PostgreSQL does not take (SPEC 3.1), and not empty.
fn text(name: &str, value: String) -> Result<String, Problem> {
    if value.is_empty() {
        Err(bad_parameter(name, "must not be empty"))
    } else if value.contains('\0') {
        Err(bad_parameter(name, "must not contain NUL"))
    } else {
        Ok(value)
    }
}

fn parse_surface(name: &str, value: &str) -> Result<Surface, Problem> {
    let known = [Surface::Slipstream, Surface::Ecg];
    let surface = known.into_iter().find(|surface| surface.as_str() == value);
    surface.ok_or_else(|| bad_parameter(name, "must be slipstream or ecg"))
}

fn parse_states(name: &str, value: &str, allowed: &[DeliveryState]) -> Result<Vec<DeliveryState>, Problem> {
    let mut states = Vec::new();
    for part in value.split(',') {
        let state = DeliveryState::from_name(part).filter(|state| allowed.contains(state)).ok_or_else(|| {
            let names: Vec<_> = allowed.iter().map(|state| state.as_str()).collect();
            bad_parameter(name, &format!("must be one or several of {}", names.join(", ")))
        })?;
        if !states.contains(&state) {
            states.push(state);
        }
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<ListParameters, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ListParameters::parse(pairs, &DeliveryState::ALL).map_err(|problem| problem.detail.into_owned())
    }

    #[test]
    fn every_bad_parameter_is_named() {
        let cases = [
            ("state", "done"),
            ("state", ""),
            ("state", "failed,"),
            ("site", "x"),
            ("subscription", "1"),
            ("surface", "mail"),
            ("event", "1"),
            ("type", ""),
            ("type", "a\0"),
            ("eventId", ""),
            ("since", "yesterday"),
            ("until", "2026-03-02"),
            ("limit", "0"),
            ("limit", "101"),
            ("limit", "-1"),
            ("cursor", "next"),
            ("stat", "failed"),
        ];
        for (name, value) in cases {
            let detail = parsed(&[(name, value)]).unwrap_err();
            assert!(detail.contains(&format!("`{name}`")), "{name}={value}: {detail}");
        }
        assert!(parsed(&[("limit", "1"), ("limit", "2")]).unwrap_err().contains("`limit`"));
    }

    #[test]
    fn good_parameters_become_a_filter() {
        let uuid = "018f2b1e-0000-7000-8000-000000000001";
        let parameters = parsed(&[
            ("state", "failed,exhausted,failed"),
            ("site", "s8n6EzC"),
            ("subscription", uuid),
            ("surface", "slipstream"),
            ("event", "AAAAAAAAAAAAAAAAAAAAAA"),
            ("since", "2026-03-02T09:30:00+01:00"),
            ("limit", "100"),
            ("cursor", "018f2b1e000070008000000000000001"),
        ]);
        let parameters = parameters.unwrap();
        assert_eq!(parameters.filter.states, [DeliveryState::Failed, DeliveryState::Exhausted]);
        assert_eq!(parameters.filter.surface, Some(Surface::Slipstream));
        assert_eq!(parameters.filter.event.unwrap().as_str(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(parameters.filter.since.unwrap().to_string(), "2026-03-02T08:30:00.000Z");
        assert_eq!((parameters.limit, parameters.after.unwrap().to_string()), (100, uuid.to_owned()));
        assert_eq!(parsed(&[]).unwrap().limit, LIMIT_DEFAULT);
    }
}
