//! The example configurations of `deploy/` are what the services read: an unknown or malformed setting is an error.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use slipstream_service::config::load_from;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config").join(name)
}

/// Loads an example with the variables that `deploy/compose.yaml` sets beside it.
fn load<T: DeserializeOwned>(name: &str, variables: &[(&str, &str)]) -> T {
    let environment = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load_from(Some(&example(name)), environment).unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

const TOKEN: (&str, &str) = ("SLIPSTREAM__OPERATOR__TOKEN", "an operator's token");

#[test]
fn every_example_is_read_by_its_service() {
    let ingest: slipstream_ingest::Config = load("ingest.toml", &[]);
    let dispatcher: slipstream_dispatcher::Config = load("dispatcher.toml", &[]);
    let registry: slipstream_subscription_registry::Config = load("subscription-registry.toml", &[TOKEN]);
    let log: slipstream_activity_log::Config = load("activity-log.toml", &[TOKEN]);
    let ports = [&ingest.http, &registry.http, &log.http].map(|http| http.listen.port());
    assert_eq!(ports, [8081, 8082, 8084], "as deploy/README.md says");
    let all = [&ingest.http, &registry.http, &dispatcher.http, &log.http];
    assert_eq!(all.map(|http| http.operator_listen.port()), [9081, 9082, 9083, 9084], "as deploy/README.md says");
    assert!(dispatcher.targets.allow.is_empty(), "production calls no private address");
    // What stands there as an example of a setting is its default.
    assert_eq!(log.health, slipstream_activity_log::HealthConfig::default());
    assert_eq!(registry.signing, slipstream_subscription_registry::SigningConfig::default());
    assert_eq!(registry.handshake.policy, slipstream_subscription_registry::HandshakePolicy::default());
    assert_eq!(registry.handshake.effective_origin().as_str(), "slipstream.example");
}
