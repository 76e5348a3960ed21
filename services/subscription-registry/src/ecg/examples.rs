//! What payloads may look like: our examples, rendered for an event (SPEC 6.9; E40).
//!
//! They are reference data: one file for each version of them, which is never changed once it has been released. See
//! [`super::seeds`].

use axum::Json as Answer;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::value::RawValue;
use slipstream_core::config::PayloadVersion;
use slipstream_core::ecg::{PayloadParts, payload};
use slipstream_core::ids::{ActivityId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ApiError;
use slipstream_service::ecg::Query;
use slipstream_service::openapi::NotFound;
use utoipa::IntoParams;
use uuid::Uuid;

use super::events::{Address, AtEvent};
use crate::state::AppState;

/// The examples' `data`, by type.
pub(super) const V1: &str = include_str!("examples/v1.json");

/// What the file holds.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Examples<'a> {
    #[serde(borrow)]
    ack: &'a RawValue,
    #[serde(borrow)]
    nack: &'a RawValue,
    #[serde(borrow)]
    phone_log: &'a RawValue,
    #[serde(borrow)]
    vitals_observation: &'a RawValue,
}

/// Which example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Type {
    #[default]
    Ack,
    Nack,
    PhoneLog,
    VitalsObservation,
}

impl Type {
    /// As the query names them, and as their `data` names itself.
    const ALL: [(&'static str, Self); 4] = [
        ("ack", Self::Ack),
        ("nack", Self::Nack),
        ("phone-log", Self::PhoneLog),
        ("vitals-observation", Self::VitalsObservation),
    ];

    /// The example, rendered for events of this code.
    fn render(self, code: &str) -> Box<RawValue> {
        let examples: Examples<'_> = serde_json::from_str(V1).expect("it is part of the program, and tests read it");
        let data = match self {
            Self::Ack => examples.ack,
            Self::Nack => examples.nack,
            Self::PhoneLog => examples.phone_log,
            Self::VitalsObservation => examples.vitals_observation,
        };
        self::payload_of(code, data)
    }
}

/// A payload of version 1, which is of no subscription and no time.
pub(super) fn payload_of(code: &str, data: &RawValue) -> Box<RawValue> {
    let parts = PayloadParts {
        root: ActivityId(Uuid::nil()),
        organization: Uuid::nil(),
        subscription: SubscriptionId(Uuid::nil()),
        event_type: code,
        at: Timestamp::from_millis(0),
        data,
    };
    payload(PayloadVersion::V1, parts)
}

/// Which example, for documents.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents take its field's name and rule; the handler reads the query")]
struct TypeParameter {
    /// `ack` unless told otherwise.
    #[param(rename = "type", pattern = "^(ack|nack|phone-log|vitals-observation)$")]
    kind: Option<String>,
}

/// E40.
#[utoipa::path(
    get,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/sample-payloads-examples",
    tag = "Sample payloads",
    operation_id = "getSamplePayloadExample",
    summary = "Get an example of a payload of a webhook event",
    params(AtEvent, TypeParameter),
    responses((status = 200, description = "A payload of version 1.", body = Object), NotFound)
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Path(path): Path<(String, String)>,
    query: Query,
) -> Result<Answer<Box<RawValue>>, ApiError> {
    let address = Address::read(&path)?;
    let kind = query.choice("type", &Type::ALL)?.unwrap_or_default();
    let (_, event) = address.find(state.registry.store().connection()).await?;
    Ok(Answer(kind.render(&event.code)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use slipstream_core::ecg::canonical;

    use super::*;

    #[test]
    fn every_example_is_a_payload_of_its_type_in_canonical_form() {
        for (name, kind) in Type::ALL {
            let rendered = kind.render("vitals.created");
            assert_eq!(canonical(&rendered).unwrap().get(), rendered.get(), "{name}");
            let value: Value = serde_json::from_str(rendered.get()).unwrap();
            assert_eq!((&value["eventType"], &value["version"]), (&"vitals.created".into(), &"v1".into()), "{name}");
            assert_eq!(value["data"]["type"], name);
        }
    }
}
