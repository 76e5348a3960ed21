//! Whether a webhook is signed as Standard Webhooks wants it (SPEC 4.6).

use slipstream_core::signing::{Key, verify};
use slipstream_service::clock;
use slipstream_test_support::Received;

/// Checks the signature of a request.
///
/// # Panics
/// If none of `secrets` (`whsec_…`) made it, or not just now.
#[track_caller]
pub fn check(request: &Received, secrets: &[String]) {
    let keys: Vec<_> = secrets.iter().map(|secret| Key::parse(secret).expect("the API shows a key")).collect();
    let [id, timestamp, signature] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| request.header(name));
    let verified = verify(&keys, id, timestamp, signature, &request.body, clock::now().as_seconds());
    assert!(verified.is_ok(), "{verified:?}: {id} {timestamp} {signature}");
}
