//! The settings that every service has.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{Secret, duration};

/// The listeners and their limits (THREATS 7), which each of the two has for itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The address to listen on for everybody. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The address to listen on for operators and what watches the process: `/admin/v1`, `/livez`, `/readyz`,
    /// `/metrics`, and `/openapi.json` of these. Never exposed to the public. Default `127.0.0.1:8081`.
    pub operator_listen: SocketAddr,
    /// How long a request's head may take to arrive, from its first byte (from the connection's start for the first
    /// one). Default 10 s.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// How long a request's body may take to arrive. Default 30 s.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// How long a connection may stay without a request. Default 75 s.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Connections at once; more are closed as they come. Default 10,000.
    pub connections_max: usize,
    /// Connections at once from one IPv4 address or one IPv6 /64 network; more are closed as they come. Default 256.
    /// The embedded mode, where everybody is on loopback, sets it as high as `connections_max`.
    pub connections_per_address_max: usize,
    /// How long the listener stays open after the stop, while load balancers notice that we are not ready.
    /// Default 5 s; zero in tests.
    #[serde(with = "duration")]
    pub drain_min: Duration,
    /// How long after the stop everything must have ended; what is still running then is cut. Default 30 s.
    #[serde(with = "duration")]
    pub drain_max: Duration,
    /// What the `type` of a problem begins with (SPEC 2.2). Default `https://docs.example/problems/`.
    pub problem_base_url: Url,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            operator_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            connections_max: 10_000,
            connections_per_address_max: 256,
            drain_min: Duration::from_secs(5),
            drain_max: Duration::from_secs(30),
            problem_base_url: Url::parse("https://docs.example/problems/").expect("the text is a URL"),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Logs and traces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// `text` (default) or `json`.
    pub log_format: LogFormat,
    /// What is logged, in `tracing`'s filter syntax. Default `info`.
    pub filter: String,
    /// Where traces go, by OTLP over HTTP (`http://collector:4318`). None by default: then spans cost nothing.
    pub otlp_endpoint: Option<Url>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log_format: LogFormat::default(), filter: "info".into(), otlp_endpoint: None }
    }
}

/// Who may use the operator API under `/admin/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// The bearer token. Required; at least 16 bytes.
    pub token: Secret,
}
