//! A payload to try things out with, another one each time (SPEC 6.9; E53).

use axum::Json as Answer;
use serde::Serialize;
use serde_json::Number;
use serde_json::value::{RawValue, to_raw_value};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use uuid::Uuid;

use super::examples::payload_of;

/// The type of the event that it is of.
const EVENT_TYPE: &str = "vitals.observations.created";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reading {
    r#type: &'static str,
    observation_id: Uuid,
    subscriber_id: Uuid,
    device_id: String,
    observed_at: Timestamp,
    measurements: Vec<Measurement>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measurement {
    code: &'static str,
    name: &'static str,
    value: Number,
    unit_code: &'static str,
}

/// What a person at rest may have, measured within the last quarter of an hour before `now`.
fn observed(now: Timestamp) -> Reading {
    let systolic = rand::random_range(95..=150);
    let temperature = f64::from(rand::random_range(361..=374)) / 10.0;
    let whole = |code, name, value: i32, unit_code| Measurement { code, name, value: value.into(), unit_code };
    Reading {
        r#type: "vitals-observation",
        observation_id: clock::new_uuid(),
        subscriber_id: clock::new_uuid(),
        device_id: format!("bp-{:04}", rand::random_range(0..10_000)),
        observed_at: Timestamp::from_millis(now.as_millis() - rand::random_range(0..15 * 60 * 1000)),
        measurements: vec![
            whole("sys", "Systolic Blood Pressure", systolic, "mmHg"),
            whole("dia", "Diastolic Blood Pressure", systolic - rand::random_range(30..=50), "mmHg"),
            whole("hr", "Heart Rate", rand::random_range(52..=98), "bpm"),
            whole("spo2", "Oxygen Saturation", rand::random_range(94..=100), "%"),
            Measurement {
                code: "temp",
                name: "Body Temperature",
                value: Number::from_f64(temperature).expect("it is finite"),
                unit_code: "Cel",
            },
        ],
    }
}

/// E53.
#[utoipa::path(
    get,
    path = "/api/webhook-deliveries/payload",
    tag = "Webhook deliveries",
    operation_id = "getRandomPayload",
    summary = "Get a payload to try things out with",
    description = "Of version 1 and of the event type `vitals.observations.created`; its measurements are drawn anew each \
                   time, from what a person at rest may have.",
    responses((status = 200, description = "A payload.", body = Object))
)]
pub(super) async fn payload() -> Answer<Box<RawValue>> {
    let data = to_raw_value(&observed(clock::now())).expect("texts, times and finite numbers are always JSON");
    Answer(payload_of(EVENT_TYPE, &data))
}
