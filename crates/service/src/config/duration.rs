//! Durations in settings, as people write them: `30s`, `2m 30s`, `500ms`.
//!
//! Used as `#[serde(with = "slipstream_service::config::duration")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Reads a duration with its unit.
///
/// # Errors
/// When the text is not a duration; a bare number is none, because its unit would be a guess.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("`{text}` is not a duration like `30s`: {error}")))
}

/// Writes a duration with its unit.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}
