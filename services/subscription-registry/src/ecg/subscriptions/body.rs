//! What a caller may ask for: the body of E22, and what E26 makes of a subscription.

use serde::Deserialize;
use slipstream_core::config::{EcgEvent, PayloadVersion};
use slipstream_core::ids::EcgEventId;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_service::{ApiError, ecg};
use slipstream_store::DatabaseTransaction;
use slipstream_store::ecg::events;
use slipstream_webhook::{AddressPolicy, Target};
use utoipa::ToSchema;

use crate::registry::RegistryError;

/// The most events of a subscription.
const EVENTS_MAX: usize = 500;

/// A subscription as a caller asks for it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewEcgSubscription)]
pub(in crate::ecg) struct SubscriptionIn {
    /// Where posts go; it cannot be active without.
    #[serde(default)]
    #[schema(max_length = 2048)]
    post_uri: Option<String>,
    /// Ids of events, or codes: then of every version that there is.
    #[serde(default)]
    #[schema(max_items = 500)]
    events: Option<Vec<String>>,
    /// How payloads are laid out; `v1` unless told otherwise.
    #[serde(default)]
    version: Option<PayloadVersion>,
    /// Whether it is for trying out: `http` and private targets that operators allow may be called then, and a post is
    /// attempted three times at most.
    is_development: bool,
}

/// What is wanted, by every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) post_uri: Option<String>,
    pub(super) version: PayloadVersion,
    pub(super) is_development: bool,
    /// Each once, in the caller's order.
    pub(super) events: Vec<EcgEventId>,
}

/// Checks every rule; the events that are named stay until the transaction ends.
///
/// # Errors
/// 400 with every member that is wrong; when the database fails.
pub(super) async fn check(
    wanted: SubscriptionIn,
    targets: &AddressPolicy,
    transaction: &DatabaseTransaction,
) -> Result<Checked, ApiError> {
    let SubscriptionIn { post_uri, events, version, is_development } = wanted;
    let mut errors = Vec::new();
    if let Some(uri) = &post_uri
        && let Err(refused) = Target::parse(uri, &targets.for_ecg(is_development))
    {
        errors.push(FieldError::at("postUri", format!("is not allowed: {refused}")));
    }
    let events = events_named(events.unwrap_or_default(), transaction, &mut errors).await?;
    if errors.is_empty() {
        Ok(Checked { post_uri, version: version.unwrap_or_default(), is_development, events })
    } else {
        Err(Problem::with_errors(ProblemKind::BadRequest, errors).into())
    }
}

/// The events that are named by id or by code; those that are not there become errors.
async fn events_named(
    names: Vec<String>,
    transaction: &DatabaseTransaction,
    errors: &mut Vec<FieldError>,
) -> Result<Vec<EcgEventId>, RegistryError> {
    if names.len() > EVENTS_MAX {
        errors.push(FieldError::at("events", format!("must be at most {EVENTS_MAX}")));
        return Ok(Vec::new());
    }
    let ids: Vec<_> = names.iter().filter_map(|name| ecg::uuid(name).map(EcgEventId)).collect();
    let known = events::hold(transaction, &ids).await?;
    let known_by_code = events::hold_of_codes(transaction, &names).await?;
    let mut wanted = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let by_id = ecg::uuid(name).map(EcgEventId).filter(|id| known.iter().any(|event| event.id == *id));
        // A UUID may be a code, too.
        let of_code = |event: &&EcgEvent| by_id.is_none() && event.code.eq_ignore_ascii_case(name);
        let of_code = known_by_code.iter().filter(of_code).map(|event| event.id);
        let found: Vec<_> = by_id.into_iter().chain(of_code).collect();
        if found.is_empty() {
            errors.push(FieldError {
                pointer: format!("#/events/{index}"),
                detail: "must be the id or the code of an event".into(),
            });
        }
        wanted.extend(found);
    }
    let mut events: Vec<EcgEventId> = Vec::with_capacity(wanted.len());
    for id in wanted {
        if !events.contains(&id) {
            events.push(id);
        }
    }
    if events.len() > EVENTS_MAX {
        errors.push(FieldError::at("events", format!("must be at most {EVENTS_MAX}")));
    }
    Ok(events)
}

/// A subscription as a caller asks for it.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({
        "postUri": "https://receiver.example/ecg",
        "events": ["vitals.observations.created"],
        "version": "v1",
        "isDevelopment": false,
    })
}
