//! The example configurations of `deploy/` are what the services read: an unknown or malformed setting is an error.
//! And they are enough: the programs start with them, and with the variables that `deploy/compose.yaml` sets beside them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use slipstream_service::Vault;
use slipstream_service::config::{SecretsConfig, load_from};
use slipstream_service::vault::VaultError;
use slipstream_test_support::process::Program;
use slipstream_test_support::secrets::{MASTER_KEY, master_key, master_key_file};
use slipstream_test_support::{NatsServer, install_crypto, postgres};
use slipstream_tests::system::port::free_port;
use slipstream_tests::{LIMIT, OPERATOR_TOKEN, Service};

const MASTER_KEY_FILE: &str = "SLIPSTREAM__SECRETS__MASTER_KEY_FILE";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn example(name: &str) -> PathBuf {
    deploy().join("config").join(name)
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
    assert!(dispatcher.targets.refuse_development, "nor for development");
    assert_eq!(registry.targets, dispatcher.targets, "what may not be called is refused when somebody subscribes");
    // What stands there as an example of a setting is its default.
    assert_eq!(log.health, slipstream_activity_log::HealthConfig::default());
    assert_eq!(registry.signing, slipstream_subscription_registry::SigningConfig::default());
    assert_eq!(registry.handshake.policy, slipstream_subscription_registry::HandshakePolicy::default());
    assert_eq!(registry.handshake.effective_origin().as_str(), "slipstream.example");
}

#[test]
fn who_opens_secrets_is_told_where_the_master_key_is() {
    let registry: slipstream_subscription_registry::Config = load("subscription-registry.toml", &[TOKEN]);
    let dispatcher: slipstream_dispatcher::Config = load("dispatcher.toml", &[]);
    let log: slipstream_activity_log::Config = load("activity-log.toml", &[TOKEN]);
    assert_eq!(registry.secrets, dispatcher.secrets, "what one seals the other opens");
    assert_eq!(registry.secrets, log.secrets, "so does the third");
    let named = registry.secrets.master_key_file.expect("without it neither starts");
    // The same place, below a directory of our own.
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join(named.strip_prefix("/").unwrap_or(&named));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, MASTER_KEY).unwrap();
    let config = SecretsConfig { master_key_file: Some(file), ..dispatcher.secrets };
    assert_eq!(Vault::open(&config).unwrap().master_id(), master_key().id());
    let refused = Vault::open(&SecretsConfig { master_key_file: None, ..config });
    assert!(matches!(refused, Err(VaultError::NotConfigured)), "{refused:?}");
}

/// `deploy/compose.yaml`, as far as this has to read it: blocks that an empty line ends.
struct Compose(String);

impl Compose {
    fn read() -> Self {
        Self(std::fs::read_to_string(deploy().join("compose.yaml")).unwrap())
    }

    /// What follows the first line that ends in `head`.
    fn block(&self, head: &str) -> &str {
        let (_, rest) = self.0.split_once(&format!("{head}\n")).unwrap_or_else(|| panic!("there is no {head:?}"));
        rest.split_once("\n\n").map_or(rest, |(block, _)| block)
    }

    /// The variables of ours that a block sets, itself or by what it refers to.
    fn variables<'a>(&'a self, block: &'a str) -> BTreeMap<&'a str, &'a str> {
        let mut variables = BTreeMap::new();
        for word in block.split_ascii_whitespace().filter_map(|word| word.strip_prefix('*')) {
            let name = word.trim_end_matches(|it: char| !it.is_ascii_alphanumeric());
            variables.extend(self.variables(self.block(&format!("&{name}"))));
        }
        let lines = block.lines().filter_map(|line| line.trim().split_once(": "));
        variables.extend(lines.filter(|(name, _)| name.starts_with("SLIPSTREAM__")));
        variables
    }
}

#[test]
fn the_master_key_is_mounted_for_those_who_open_secrets_and_for_nobody_else() {
    let compose = Compose::read();
    for service in Service::ALL {
        let name = service.program().strip_prefix("slipstream-").unwrap();
        let block = compose.block(&format!("\n  {name}:"));
        let file = compose.variables(block).get(MASTER_KEY_FILE).copied();
        let opens_secrets = matches!(service, Service::Registry | Service::Dispatcher | Service::ActivityLog);
        assert_eq!(file.is_some(), opens_secrets, "{name}: {file:?}");
        let Some(file) = file else {
            assert!(!block.contains("secrets:"), "{name}");
            continue;
        };
        let secret = file.strip_prefix("/run/secrets/").expect("compose mounts secrets there");
        assert!(block.contains(&format!("secrets: [{secret}]")), "{name}");
        assert!(compose.block("\nsecrets:").contains(&format!("  {secret}:")), "{name}");
    }
}

#[tokio::test]
async fn the_programs_start_with_the_examples_and_what_compose_sets_beside_them() {
    install_crypto();
    let (nats, database_url) = (NatsServer::start().await, postgres::database().await);
    let directory = tempfile::tempdir().unwrap();
    let compose = Compose::read();
    let loopback = || format!("127.0.0.1:{}", free_port());
    let mut running = Vec::new();
    for service in Service::ALL {
        let name = service.program().strip_prefix("slipstream-").unwrap();
        let block = compose.block(&format!("\n  {name}:"));
        assert!(block.contains(&format!("./config/{name}.toml:/etc/slipstream.toml:ro")), "{name}");
        let operator = loopback();
        let config = example(&format!("{name}.toml")).display().to_string();
        let mut program = Program::new(service.program(), directory.path()).arg("--config").arg(config);
        for variable in compose.variables(block).into_keys() {
            let value = match variable {
                "SLIPSTREAM__HTTP__LISTEN" => loopback(),
                "SLIPSTREAM__HTTP__OPERATOR_LISTEN" => operator.clone(),
                "SLIPSTREAM__BUS__URL" => format!("nats://127.0.0.1:{}", nats.port()),
                "SLIPSTREAM__DATABASE__URL" => database_url.clone(),
                "SLIPSTREAM__OPERATOR__TOKEN" => OPERATOR_TOKEN.to_owned(),
                MASTER_KEY_FILE => master_key_file().display().to_string(),
                other => panic!("{name}: what is {other}?"),
            };
            program = program.env(variable, value);
        }
        running.push((program.start(), format!("http://{operator}/readyz")));
    }
    for (process, probe) in &mut running {
        process.wait_ready(probe, LIMIT).await;
    }
}
