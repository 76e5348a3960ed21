//! The parameters of the list, checked: whatever is wrong is named, and nothing is ignored.

use slipstream_core::problem::Problem;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::list::{
    LIMIT_DEFAULT, Pairs, bad_cursor, bad_parameter, each_once, parse, parse_limit, unknown_parameter,
};
use slipstream_store::activity::{HeldFilter, HeldPlace};

/// Every parameter, in words.
const KNOWN: &str = "type, from, until, limit and cursor";

/// The same for documents, without what all lists have.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents take its fields' names and rules")]
pub(super) struct ScheduledFilter {
    /// Of which type.
    #[param(min_length = 1)]
    r#type: Option<String>,
    /// Due from when on, this time included.
    #[param(inline)]
    from: Option<Timestamp>,
    /// Due until when, this time not included.
    #[param(inline)]
    until: Option<Timestamp>,
}

/// What the list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListParameters {
    pub(super) filter: HeldFilter,
    pub(super) limit: usize,
    pub(super) after: Option<HeldPlace>,
}

impl ListParameters {
    /// Reads `type`, `from` and `until` (of the intended time), `limit` and `cursor`.
    ///
    /// # Errors
    /// 400 naming the first parameter that is unknown, given twice, or has a value that does not fit.
    pub(super) fn parse(pairs: Pairs, site: Slug) -> Result<Self, Problem> {
        let filter = HeldFilter { site, event_type: None, visible_to: None, from: None, until: None };
        let mut parameters = Self { filter, limit: LIMIT_DEFAULT, after: None };
        each_once(pairs, |name, value| parameters.set(name, value))?;
        Ok(parameters)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let filter = &mut self.filter;
        match name {
            // No type has a NUL (SPEC 3.1), and PostgreSQL does not take one.
            "type" if value.is_empty() || value.contains('\0') => {
                return Err(bad_parameter(name, "must not be empty and must not contain NUL"));
            }
            "type" => filter.event_type = Some(value),
            "from" => filter.from = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
            "until" => filter.until = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
            "limit" => self.limit = parse_limit(&value)?,
            "cursor" => self.after = Some(value.parse().map_err(|_| bad_cursor())?),
            _ => return Err(unknown_parameter(name, KNOWN)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<ListParameters, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ListParameters::parse(pairs, "s8n6EzC".parse().unwrap()).map_err(|problem| problem.detail.into_owned())
    }

    #[test]
    fn every_bad_parameter_is_named() {
        for (name, value) in [
            ("type", ""),
            ("type", "a\0"),
            ("from", "yesterday"),
            ("until", "2026-03-02"),
            ("limit", "0"),
            ("limit", "101"),
            ("cursor", "next"),
            ("cursor", "1."),
            ("since", "2026-03-02T09:30:00Z"),
        ] {
            let detail = parsed(&[(name, value)]).unwrap_err();
            assert!(detail.contains(&format!("`{name}`")), "{name}={value}: {detail}");
        }
        assert!(parsed(&[("limit", "1"), ("limit", "2")]).unwrap_err().contains("`limit`"));
    }

    #[test]
    fn good_parameters_become_a_filter() {
        let parameters = parsed(&[
            ("type", "a.b"),
            ("from", "2026-03-02T09:30:00+01:00"),
            ("until", "2026-03-02T09:30:00Z"),
            ("cursor", "1772443800000.AAAAAAAAAAAAAAAAAAAAAA"),
        ])
        .unwrap();
        assert_eq!(parameters.filter.event_type.as_deref(), Some("a.b"));
        assert_eq!(parameters.filter.from.unwrap().to_string(), "2026-03-02T08:30:00.000Z");
        assert_eq!(parameters.after.unwrap().intended_at.as_millis(), 1_772_443_800_000);
        assert_eq!(parameters.limit, LIMIT_DEFAULT);
    }
}
