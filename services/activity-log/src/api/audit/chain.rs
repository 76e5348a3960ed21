//! Whether the records of the audit are as they were written: as far as one request gets, and how to go on.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde::Serialize;
use slipstream_service::ApiError;
use slipstream_store::Store;
use slipstream_store::audit::{Chain, Link, Verification};
use utoipa::ToSchema;

use crate::database::ask_or;

/// For how long one request begins new steps. Each is a query of its own, with a limit of its own.
pub(super) const BEGIN_FOR: Duration = Duration::from_secs(4);

/// Whether the records are as they were written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditChain)]
pub(super) struct ChainView {
    /// Whether all that were looked at are.
    is_intact: bool,
    /// Whether the newest record was reached. If not, and all are intact, go on from `verifyFrom`.
    is_complete: bool,
    /// How many are, from the first on; with `verifyFrom`, after that one.
    intact: u64,
    /// The number of the first record that was looked at.
    #[schema(required)]
    first: Option<u64>,
    /// The first that is not as it was written, or does not follow the one before.
    #[schema(required)]
    broken_at: Option<u64>,
    /// The hash of the last that is, in hex.
    #[schema(required)]
    head: Option<String>,
    /// The place of that one: what to go on from, or to note elsewhere and ask from later, which then shows whether it still
    /// stands.
    #[schema(required)]
    verify_from: Option<String>,
    /// What this does not show.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Checks the chain, or what follows `from`, for some seconds.
///
/// # Errors
/// 503 when the database does not answer the first question in time; what was found before a later one is told.
pub(super) async fn check(store: &Store, from: Option<Link>, begin_for: Duration) -> Result<ChainView, ApiError> {
    let began = Instant::now();
    let mut verification = Verification::new(from);
    loop {
        let step = verification.step(store.connection());
        match ask_or(step, "checking the records took too long; ask again, from where an answer came to").await {
            Ok(()) => {}
            // As far as it came: whoever goes on from there hears of it again if it lasts.
            Err(error) if verification.chain().head.is_some() && error.status() == StatusCode::SERVICE_UNAVAILABLE => {
                return Ok(ChainView::of(verification.chain(), false, from));
            }
            Err(error) => return Err(error),
        }
        if verification.has_ended() || began.elapsed() >= begin_for {
            let chain = verification.chain();
            return Ok(ChainView::of(chain, verification.has_ended() && chain.broken_at.is_none(), from));
        }
    }
}

impl ChainView {
    fn of(chain: Chain, is_complete: bool, from: Option<Link>) -> Self {
        let verify_from = chain.head.map(|head| head.to_string());
        let head = verify_from.as_ref().and_then(|link| link.split_once('-')).map(|(_, hash)| hash.to_owned());
        Self {
            is_intact: chain.broken_at.is_none(),
            is_complete,
            intact: chain.intact,
            first: chain.first.map(|(number, _)| number),
            broken_at: chain.broken_at,
            head,
            verify_from,
            note: note(&chain, from),
        }
    }
}

/// What a reader might otherwise take for granted.
fn note(chain: &Chain, from: Option<Link>) -> Option<String> {
    match (from, chain.first, chain.broken_at) {
        (Some(from), None, Some(_)) => Some(format!("there is no record {} with this hash any more", from.number)),
        (None, None, None) => {
            Some("there are no records; whether there were any only a place shows that was noted elsewhere".to_owned())
        }
        (None, Some((number, at)), None) if number > 1 => Some(format!(
            "the first record is number {number}, of {at}: those before it were removed, which only those older than six \
             years may be; what it says of the one before it is believed"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipstream_core::contract::{Action, AuditOutcome, Audited, TargetKind};
    use slipstream_core::ids::AuditId;
    use slipstream_core::timestamp::Timestamp;
    use slipstream_store::activity::{Batch, record};
    use slipstream_store::{ConnectionTrait as _, DatabaseConfig};

    async fn store() -> (impl Sized, Store) {
        let (directory, url) = slipstream_test_support::sqlite::database();
        let store = Store::connect(&DatabaseConfig { url: url.into(), max_connections: 4 }).await.unwrap();
        store.migrate().await.unwrap();
        (directory, store)
    }

    async fn append(store: &Store, count: u128) {
        let audited = |number: u128| Audited {
            id: AuditId(uuid::Uuid::from_u128(number << 64)),
            at: Timestamp::from_millis(0),
            actor: "operator".into(),
            action: Action::SecretRead,
            kind: TargetKind::Endpoint,
            target: None,
            site: None,
            trace: None,
            outcome: AuditOutcome::Done,
            status: Some(200),
            begun: None,
        };
        let audited = (1..=count).map(audited).collect();
        record(store, Batch { audited, ..Batch::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_has_no_time_left_says_how_far_it_came() {
        let (_directory, store) = store().await;
        append(&store, 2500).await;
        let (mut from, mut seen) = (None, Vec::new());
        loop {
            let view = check(&store, from, Duration::ZERO).await.unwrap();
            assert!(view.is_intact && view.note.is_none());
            seen.push((view.first, view.intact, view.is_complete));
            from = view.verify_from.map(|place| place.parse().unwrap());
            if view.is_complete {
                break;
            }
        }
        // Each begins with the record that the one before ended with.
        assert_eq!(seen, [(Some(1), 1000, false), (Some(1000), 999, false), (Some(1999), 501, true)]);
        store.connection().execute_unprepared("DROP TRIGGER audit_no_delete").await.unwrap();
        store.connection().execute_unprepared("DELETE FROM audit WHERE number > 2400").await.unwrap();
        let view = check(&store, from, BEGIN_FOR).await.unwrap();
        assert_eq!((view.is_intact, view.is_complete, view.broken_at), (false, false, Some(2500)));
        assert!(view.note.unwrap().contains("no record 2500"));
    }

    #[tokio::test]
    async fn what_is_not_known_is_told() {
        let (_directory, store) = store().await;
        let view = check(&store, None, BEGIN_FOR).await.unwrap();
        assert_eq!((view.is_intact, view.is_complete, view.first), (true, true, None));
        assert!(view.note.unwrap().contains("no records"));
        append(&store, 3).await;
        store.connection().execute_unprepared("DELETE FROM audit WHERE number < 3").await.unwrap();
        let view = check(&store, None, BEGIN_FOR).await.unwrap();
        assert_eq!((view.is_intact, view.intact, view.first), (true, 1, Some(3)));
        assert!(view.note.unwrap().contains("number 3, of 1970-01-01T00:00:00.000Z"));
    }
}
