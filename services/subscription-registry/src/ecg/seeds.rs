//! Reference data that comes with the program, and which versions of it this deployment has been given (SPEC 6.3; E11).

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{ApiError, clock};
use slipstream_store::ecg::seeds::{self, Seed};
use slipstream_store::{Store, StoreError};
use utoipa::ToSchema;

use super::examples;
use crate::registry::RegistryError;
use crate::state::AppState;

/// What there is: version, what it holds in words, and what it holds. A version that has been released is never changed.
const VERSIONS: [(&str, &str, &str); 1] = [("v1", "Examples of payloads", examples::V1)];

/// Applies what this deployment has not been given yet.
///
/// # Errors
/// When the database fails.
pub(crate) async fn apply(store: &Store) -> Result<(), StoreError> {
    let connection = store.connection();
    let applied = seeds::all(connection).await?;
    for (version, description, content) in VERSIONS {
        let checksum = checksum(content);
        match applied.iter().find(|seed| seed.version == version) {
            None => {
                let (version, description) = (version.to_owned(), description.to_owned());
                seeds::apply(connection, &Seed { version, description, applied_at: clock::now(), checksum }).await?;
            }
            Some(seed) if seed.checksum != checksum => {
                tracing::warn!(seed.version = version, "the reference data of this program is not what was applied");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn checksum(content: &str) -> String {
    Sha256::digest(content.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A version of the reference data that was applied.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SeedVersion)]
pub(super) struct View {
    version: String,
    description: String,
    #[schema(inline)]
    applied_at: Timestamp,
    /// SHA-256 of what it holds, in hex.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    checksum: String,
}

impl From<Seed> for View {
    fn from(it: Seed) -> Self {
        let Seed { version, description, applied_at, checksum } = it;
        Self { version, description, applied_at, checksum }
    }
}

/// E11.
#[utoipa::path(
    get,
    path = "/api/seed-data/versions",
    tag = "Seed data",
    operation_id = "listSeedVersions",
    summary = "List the versions of the reference data that this deployment has been given, the oldest first",
    responses((status = 200, description = "All of them.", body = Vec<View>))
)]
pub(super) async fn list(State(state): State<AppState>) -> Result<Answer<Vec<View>>, ApiError> {
    let applied = seeds::all(state.registry.store().connection()).await.map_err(RegistryError::from)?;
    Ok(Answer(applied.into_iter().map(View::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_been_released_is_not_changed() {
        let known = [("v1", "54e5829580e096413af93623e76774cae501e085c3d9cea7855083b863e517fa")];
        let now: Vec<_> = VERSIONS.iter().map(|(version, _, content)| (*version, checksum(content))).collect();
        assert_eq!(now, known.map(|(version, checksum)| (version, checksum.to_owned())));
    }
}
