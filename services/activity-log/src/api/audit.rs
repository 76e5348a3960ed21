//! `GET /admin/v1/audit`: who did what, and when (THREATS 9). Reading it is not audited.

mod chain;

use axum::Json;
use axum::extract::{Query, State};
use serde::Serialize;
use slipstream_core::contract::{Action, AuditOutcome, TargetKind};
use slipstream_core::ids::AuditId;
use slipstream_core::problem::Problem;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ApiError;
use slipstream_service::list::{
    LIMIT_DEFAULT, Pairs, bad_cursor, bad_parameter, each_once, parse, parse_limit, unknown_parameter,
};
use slipstream_service::openapi::{Paging, Times};
use slipstream_store::audit::{Filter, Link, Recorded, list};
use slipstream_store::{Page, Store};
use utoipa::ToSchema;

use self::chain::ChainView;
use crate::database::ask;

/// Every parameter, in words.
const KNOWN: &str = "actor, action, target, site, since, until, limit, cursor, verify and verifyFrom";

/// The same for documents, without what others have, too.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents take its fields' names and rules")]
pub(super) struct AuditFilter {
    /// Of whom, as records name them.
    #[param(min_length = 1, example = "operator")]
    actor: Option<String>,
    /// What was done.
    #[param(inline)]
    action: Option<Action>,
    /// To which one.
    #[param(min_length = 1)]
    target: Option<String>,
    /// Of which site.
    #[param(inline)]
    site: Option<Slug>,
    /// Whether to look whether all records, not only those of the page, are as they were written.
    verify: Option<bool>,
    /// After which place to look, which is asking for `verify=true` too: what an answer gave as `verifyFrom`.
    #[param(rename = "verifyFrom", pattern = "^[1-9][0-9]{0,17}-[0-9a-f]{64}$")]
    verify_from: Option<String>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Parameters {
    filter: Filter,
    limit: usize,
    after: Option<u64>,
    verify: bool,
    verify_from: Option<Link>,
}

impl Parameters {
    fn parse(pairs: Pairs) -> Result<Self, Problem> {
        let mut parameters =
            Self { filter: Filter::default(), limit: LIMIT_DEFAULT, after: None, verify: false, verify_from: None };
        each_once(pairs, |name, value| parameters.set(name, value))?;
        // Nobody names a place to go on from and does not want to.
        parameters.verify |= parameters.verify_from.is_some();
        Ok(parameters)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let filter = &mut self.filter;
        match name {
            "actor" | "target" if value.is_empty() || value.contains('\0') => {
                return Err(bad_parameter(name, "must not be empty or contain NUL"));
            }
            "actor" => filter.actor = Some(value),
            "target" => filter.target = Some(value),
            "action" => filter.action = Some(parse_action(name, &value)?),
            "site" => filter.site = Some(parse(name, &value, "must be a site's slug")?),
            "since" => filter.since = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
            "until" => filter.until = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
            "limit" => self.limit = parse_limit(&value)?,
            "cursor" => {
                let number = value.parse().ok().filter(|number| i64::try_from(*number).is_ok());
                self.after = Some(number.ok_or_else(bad_cursor)?);
            }
            "verify" => self.verify = parse(name, &value, "must be true or false")?,
            "verifyFrom" => {
                self.verify_from = Some(parse(name, &value, "must be what an answer gave as `verifyFrom`")?);
            }
            _ => return Err(unknown_parameter(name, KNOWN)),
        }
        Ok(())
    }
}

fn parse_action(name: &str, value: &str) -> Result<Action, Problem> {
    Action::from_name(value).ok_or_else(|| {
        let names: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
        bad_parameter(name, &format!("must be one of {}", names.join(", ")))
    })
}

/// A page of records. `next` is null on the last one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    items: Vec<AuditView>,
    #[schema(required)]
    next: Option<String>,
    /// What was found, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<ChainView>,
}

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditRecord)]
struct AuditView {
    /// Its place in the chain, from 1.
    number: u64,
    id: AuditId,
    at: Timestamp,
    actor: String,
    action: Action,
    kind: TargetKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<Slug>,
    /// The trace of the request: 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    outcome: AuditOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Of an end: the record of its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<AuditId>,
}

impl From<Recorded> for AuditView {
    fn from(Recorded { number, record: it }: Recorded) -> Self {
        Self {
            number,
            id: it.id,
            at: it.at,
            actor: it.actor,
            action: it.action,
            kind: it.kind,
            target: it.target,
            site: it.site,
            trace_id: it.trace,
            outcome: it.outcome,
            status: it.status,
            begun: it.begun,
        }
    }
}

/// Records, newest first; with `verify=true` also whether all of them, not only those of the page, are as they were
/// written, as far as a few seconds get.
#[utoipa::path(
    get,
    path = "/admin/v1/audit",
    tag = "Audit",
    operation_id = "listAudit",
    summary = "List records of the audit, newest first",
    description = "With `verify=true` also whether the records, not only those of the page, are as they were written. A request \
        looks at them for some seconds at most: while `isComplete` is false and `isIntact` true, go on with `verifyFrom`.",
    params(Paging, Times, AuditFilter),
    responses((status = 200, description = "A page of them.", body = AuditPage))
)]
pub(super) async fn answer(
    State(store): State<Store>,
    Query(pairs): Query<Pairs>,
) -> Result<Json<AuditPage>, ApiError> {
    let parameters = Parameters::parse(pairs)?;
    let connection = store.connection();
    let Page { items, next } = ask(list(connection, &parameters.filter, parameters.limit, parameters.after)).await?;
    let chain = if parameters.verify {
        Some(chain::check(&store, parameters.verify_from, chain::BEGIN_FOR).await?)
    } else {
        None
    };
    Ok(Json(AuditPage { items: items.into_iter().map(AuditView::from).collect(), next, chain }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Parameters, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Parameters::parse(pairs).map_err(|problem| problem.detail.into_owned())
    }

    #[test]
    fn every_bad_parameter_is_named() {
        for (name, value) in [
            ("actor", ""),
            ("actor", "a\0"),
            ("target", ""),
            ("action", "endpoint"),
            ("site", "x"),
            ("since", "yesterday"),
            ("until", "2026-03-02"),
            ("limit", "101"),
            ("cursor", "-1"),
            ("cursor", "18446744073709551615"),
            ("verify", "yes"),
            ("verifyFrom", "7"),
            ("actr", "operator"),
        ] {
            let detail = parsed(&[(name, value)]).unwrap_err();
            assert!(detail.contains(&format!("`{name}`")), "{name}={value}: {detail}");
        }
    }

    #[test]
    fn good_parameters_become_a_filter() {
        let parameters = parsed(&[
            ("actor", "operator"),
            ("action", "secret.read"),
            ("target", "a"),
            ("site", "s8n6EzC"),
            ("since", "2026-03-02T09:30:00+01:00"),
            ("cursor", "7"),
            ("verify", "true"),
        ]);
        let parameters = parameters.unwrap();
        assert_eq!(parameters.filter.action, Some(Action::SecretRead));
        assert_eq!(parameters.filter.since.unwrap().to_string(), "2026-03-02T08:30:00.000Z");
        assert_eq!((parameters.limit, parameters.after, parameters.verify), (LIMIT_DEFAULT, Some(7), true));
        let filter = Filter::default();
        let none = Parameters { filter, limit: LIMIT_DEFAULT, after: None, verify: false, verify_from: None };
        assert_eq!(parsed(&[]), Ok(none));
        let place = format!("7-{}", "0".repeat(64));
        let from = parsed(&[("verifyFrom", &place)]).unwrap();
        assert_eq!((from.verify_from.unwrap().number, from.verify), (7, true));
    }
}
