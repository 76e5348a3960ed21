//! What a test may set, and the configuration files that say so to the services.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use slipstream_test_support::issuer::AUDIENCE;

use super::Service;

/// The operator's token in all tests.
pub const OPERATOR_TOKEN: &str = "operator-token-of-the-tests";

/// What the registry asks receivers with (SPEC 3.7).
pub const ORIGIN: &str = "slipstream.example";

/// What differs between tests. The rest is as the services have it by default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Delays before attempts 1, 2, 3 … of a delivery. Default here: three attempts, 100 ms and 200 ms apart.
    pub retry_schedule_ms: Vec<u64>,
    /// Deadline of one attempt. Default here: as in production, 30 s.
    pub attempt_timeout: Duration,
    /// How long a delivery stays with a dispatcher that died. Default here: as in production, 90 s.
    pub delivery_lease: Duration,
    /// How long an outcome stays with an activity log that died. Default here: 2 s, in production 60 s.
    pub record_lease: Duration,
    /// How long ingest tries to store an event before it answers 503. Default here: as in production, 5 s.
    pub publish_deadline: Duration,
    /// How long a request's head may take. Default here: as in production, 10 s.
    pub head_timeout: Duration,
    /// How long a request's body may take. Default here: as in production, 30 s.
    pub body_timeout: Duration,
    /// Which targets subscriptions may name.
    pub subscription_targets: Targets,
    /// Which targets the dispatcher calls.
    pub delivery_targets: Targets,
    /// Whether receivers must agree before they get webhooks. Default here, as in production: whoever has not agreed
    /// gets at most 60 a minute. A [`Receiver`](slipstream_test_support::Receiver) agrees unless it is told otherwise.
    pub handshake: Handshake,
    /// For how long an endpoint must do nothing but fail until it is disabled, and in how many attempts. Default here:
    /// as in production, 5 days and 20.
    pub disabled_after: (Duration, u32),
    /// Whose tokens are taken: the URL of an [`Issuer`](slipstream_test_support::Issuer), whose claim `sites` says where
    /// they are good. Default here, as in production: nobody's.
    pub issuer: Option<String>,
    /// Whose tokens the ECG surface takes: the URL of an [`Issuer`](slipstream_test_support::Issuer). Default here: nobody's
    /// in processes of their own; `slipstream up` takes those that it makes itself.
    pub ecg_issuer: Option<String>,
    /// The password of the broker's only user. Default here: anybody may connect.
    pub bus_password: Option<String>,
    /// A password in the database's URL; the tests' PostgreSQL takes any. Default here: none.
    pub database_password: Option<String>,
    /// Where the master key is. Default here: in a file that all tests share.
    pub master_key_file: Option<PathBuf>,
    /// What is logged, in `tracing`'s filter syntax. Default here: as in production.
    pub log_filter: Option<String>,
    /// Where traces go. Default here: nowhere.
    pub otlp_endpoint: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry_schedule_ms: vec![0, 100, 200],
            attempt_timeout: Duration::from_secs(30),
            delivery_lease: Duration::from_secs(90),
            record_lease: Duration::from_secs(2),
            publish_deadline: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            subscription_targets: Targets::Loopback,
            delivery_targets: Targets::Loopback,
            handshake: Handshake::Optional,
            disabled_after: (Duration::from_hours(5 * 24), 20),
            issuer: None,
            ecg_issuer: None,
            bus_password: None,
            database_password: None,
            master_key_file: None,
            log_filter: None,
            otlp_endpoint: None,
        }
    }
}

/// What a receiver's consent decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Nobody is asked.
    Off,
    /// Whoever has not agreed gets at most 60 webhooks a minute.
    Optional,
    /// Whoever has not agreed gets none.
    Required,
}

impl Handshake {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// Which addresses may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// Loopback too, on every port and by `http`: where receivers of tests are.
    Loopback,
    /// As in production.
    Global,
}

impl Targets {
    const fn toml(self) -> &'static str {
        match self {
            Self::Loopback => "[targets]\nallow = [\"127.0.0.0/8:*\"]\n",
            Self::Global => "",
        }
    }
}

/// What the services of one system share.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings<'a> {
    /// Where their files are.
    pub(crate) directory: &'a Path,
    /// The broker.
    pub(crate) nats_url: &'a str,
    /// Where the registry listens: receivers grant there.
    pub(crate) registry: SocketAddr,
}

/// One service's configuration: a file and variables, both of which each service reads.
#[derive(Debug, Clone)]
pub(crate) struct ServiceConfig {
    pub(crate) file: PathBuf,
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Settings {
    /// Writes the configuration of `service`.
    pub(crate) fn write(&self, service: Service, surroundings: &Surroundings<'_>, database_url: &str) -> ServiceConfig {
        let file = surroundings.directory.join(format!("{}.toml", service.program()));
        std::fs::write(&file, self.toml(service, surroundings)).expect("a fresh directory can be written");
        let secrets = vec![
            ("SLIPSTREAM__OPERATOR__TOKEN", OPERATOR_TOKEN.to_owned()),
            ("SLIPSTREAM__DATABASE__URL", database_url.to_owned()),
        ];
        let mut variables = if service.has_database() { secrets } else { Vec::new() };
        if service.opens_secrets() {
            let file = self.master_key_file.clone().unwrap_or_else(slipstream_test_support::secrets::master_key_file);
            variables.push(("SLIPSTREAM__SECRETS__MASTER_KEY_FILE", file.display().to_string()));
        }
        ServiceConfig { file, variables }
    }

    fn toml(&self, service: Service, surroundings: &Surroundings<'_>) -> String {
        let mut text = format!(
            "[http]\ndrain_min = \"0s\"\nconnections_per_address_max = 10000\n\
             head_timeout = \"{}ms\"\nbody_timeout = \"{}ms\"\n\
             [bus]\nurl = \"{}\"\npublish_deadline_ms = {}\ndelivery_lease_ms = {}\nrecord_lease_ms = {}\n",
            self.head_timeout.as_millis(),
            self.body_timeout.as_millis(),
            surroundings.nats_url,
            self.publish_deadline.as_millis(),
            self.delivery_lease.as_millis(),
            self.record_lease.as_millis(),
        );
        let written = match service {
            Service::Registry => write!(
                text,
                "{}[handshake]\npolicy = \"{}\"\norigin = \"{ORIGIN}\"\ncallback_url = \"http://{}\"\n",
                self.subscription_targets.toml(),
                self.handshake.as_str(),
                surroundings.registry,
            ),
            Service::Dispatcher => write!(
                text,
                "{}[delivery]\nretry_schedule_ms = {:?}\nattempt_timeout_ms = {}\n",
                self.delivery_targets.toml(),
                self.retry_schedule_ms,
                self.attempt_timeout.as_millis(),
            ),
            Service::ActivityLog => write!(
                text,
                "[health]\nevery = \"100ms\"\ndisable_after = \"{}ms\"\nattempts_min = {}\n\
                 [delivery]\nretry_schedule_ms = {:?}\n",
                self.disabled_after.0.as_millis(),
                self.disabled_after.1,
                self.retry_schedule_ms,
            ),
            Service::Ingest => Ok(()),
        };
        written.expect("writing to a string cannot fail");
        text.push_str(&self.telemetry_toml());
        if service.takes_tokens() {
            text.push_str(&self.issuer_toml());
        }
        if service.has_ecg() {
            text.push_str(&self.ecg_issuer_toml());
        }
        text
    }

    fn telemetry_toml(&self) -> String {
        let set = [("filter", &self.log_filter), ("otlp_endpoint", &self.otlp_endpoint)];
        let lines = set.iter().filter_map(|(name, value)| Some(format!("{name} = {:?}\n", value.as_ref()?)));
        lines.fold("[telemetry]\n".to_owned(), |text, line| text + &line)
    }

    fn issuer_toml(&self) -> String {
        let Some(issuer) = &self.issuer else { return String::new() };
        format!(
            "[[auth.issuers]]\nname = \"test\"\nissuer = \"{issuer}\"\naudiences = [\"{AUDIENCE}\"]\n\
             sites = {{ claim = \"sites\" }}\n"
        )
    }

    fn ecg_issuer_toml(&self) -> String {
        let Some(issuer) = &self.ecg_issuer else { return String::new() };
        format!("[[auth.ecg]]\nname = \"ecg\"\nissuer = \"{issuer}\"\naudiences = [\"{AUDIENCE}\"]\n")
    }

    /// Writes what `slipstream up` is told beside its own defaults. It takes webhooks to loopback by itself.
    pub(crate) fn write_for_up(&self, directory: &Path) -> PathBuf {
        let file = directory.join("slipstream.toml");
        let text = format!(
            "[delivery]\nretry_schedule_ms = {:?}\nattempt_timeout_ms = {}\n[handshake]\npolicy = \"{}\"\n{}{}{}",
            self.retry_schedule_ms,
            self.attempt_timeout.as_millis(),
            self.handshake.as_str(),
            self.telemetry_toml(),
            self.issuer_toml(),
            self.ecg_issuer_toml(),
        );
        std::fs::write(&file, text).expect("a fresh directory can be written");
        file
    }
}

impl ServiceConfig {
    /// Reads it as the service itself would.
    pub(crate) fn load<T: DeserializeOwned>(&self) -> T {
        let variables = self.variables.iter().map(|(name, value)| (name.into(), value.into()));
        slipstream_service::config::load_from(Some(&self.file), variables)
            .unwrap_or_else(|error| panic!("the tests' own settings are wrong: {error:#}"))
    }
}
