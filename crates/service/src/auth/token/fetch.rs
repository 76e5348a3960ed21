//! Fetching an issuer's keys.
//!
//! The place is set by the operator, or named by an issuer whom the operator set: no tenant chooses it, so the address
//! policy of `webhook` does not apply, and an issuer in one's own network is reached. Redirects are not followed all the
//! same, and no proxy is used: keys come from the place that was said, or not at all.

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::{Map, Value};
use url::Url;

use super::config::check_url;
use super::keys::{KeySet, KeySetError};
use super::{IssuerConfig, IssuerConfigError};
use crate::json;

/// How long all of it may take: where the keys are, and the keys.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one answer. Entra ID's key set has 20 KiB.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No answer, or not all of it.
    #[error("no answer from {url}")]
    NoAnswer {
        url: Url,
        #[source]
        source: reqwest::Error,
    },
    /// It took longer than [`FETCH_TIMEOUT`].
    #[error("no answer within {} s", FETCH_TIMEOUT.as_secs())]
    TimedOut,
    /// Another status than 200. A redirect is one too.
    #[error("{url} answered {status}")]
    Status { url: Url, status: u16 },
    /// An answer longer than [`ANSWER_LEN_MAX`].
    #[error("{url} answered with more than {ANSWER_LEN_MAX} bytes")]
    TooLong { url: Url },
    /// The discovery document is of no use.
    #[error("the discovery document at {url} {problem}")]
    Discovery { url: Url, problem: String },
    /// The answer is not a key set that we take.
    #[error("{url} answered with what we do not take")]
    Keys {
        url: Url,
        #[source]
        source: KeySetError,
    },
    /// A key set without a key that we can use: an issuer that signs with nothing would be one without tokens, so it is
    /// a fault of its answer, and no reason to throw good keys away.
    #[error("{url} answered with no key that is of use here")]
    NoKeys { url: Url },
    /// The keys of an issuer that is this very process are no key set.
    #[error("the keys that this process itself signs with are of no use")]
    OwnKeys(#[source] KeySetError),
    /// The settings have no place to fetch from. Found at the start.
    #[error(transparent)]
    Config(IssuerConfigError),
}

/// A client for this and nothing else. It keeps no connection: an hour is longer than any lives.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    // ring as the process's TLS provider, without which the client cannot be made. An error says that it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("slipstream/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(FETCH_TIMEOUT)
        .pool_max_idle_per_host(0)
        .build()
}

/// The keys of `issuer` as it publishes them now.
///
/// # Errors
/// When there is no usable answer within 5 s, or no usable key in it.
pub(super) async fn key_set(client: &Client, issuer: &IssuerConfig) -> Result<KeySet, FetchError> {
    if let Some(jwks) = &issuer.jwks {
        return KeySet::read(&issuer.name, jwks.as_bytes()).map_err(FetchError::OwnKeys);
    }
    let fetching = async {
        let url = match &issuer.jwks_url {
            Some(url) => url.clone(),
            None => discover(client, issuer).await?,
        };
        let body = get(client, &url).await?;
        match KeySet::read(&issuer.name, &body) {
            Ok(keys) if keys.len() == 0 => Err(FetchError::NoKeys { url }),
            Ok(keys) => Ok(keys),
            Err(source) => Err(FetchError::Keys { url, source }),
        }
    };
    tokio::time::timeout(FETCH_TIMEOUT, fetching).await.unwrap_or(Err(FetchError::TimedOut))
}

/// Where `issuer` says its keys are (OpenID Connect Discovery 1.0, 4).
async fn discover(client: &Client, issuer: &IssuerConfig) -> Result<Url, FetchError> {
    let url = issuer
        .discovery_url()
        .map_err(|problem| FetchError::Config(IssuerConfigError { name: issuer.name.clone(), problem }))?;
    let body = get(client, &url).await?;
    jwks_uri(&body, &issuer.issuer).map_err(|problem| FetchError::Discovery { url, problem })
}

/// The `jwks_uri` of a discovery document, which must be that of `issuer` (4.3: else one issuer could speak for another).
fn jwks_uri(body: &[u8], issuer: &str) -> Result<Url, String> {
    let document: Map<String, Value> = json::read(body).map_err(|_| "is not a JSON object".to_owned())?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("is not that of the configured issuer".to_owned());
    }
    let url = document.get("jwks_uri").and_then(Value::as_str).ok_or("has no `jwks_uri`")?;
    let url = Url::parse(url).map_err(|error| format!("has a `jwks_uri` that is not a URL: {error}"))?;
    check_url(&url).map_err(|problem| format!("has a `jwks_uri` that {problem}"))?;
    Ok(url)
}

/// The body of the answer, which must be 200 and not too long.
async fn get(client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let failed = |source: reqwest::Error| FetchError::NoAnswer { url: url.clone(), source: source.without_url() };
    let request = client.get(url.clone()).header(http::header::ACCEPT, "application/json");
    let mut answer = request.send().await.map_err(failed)?;
    if answer.status() != http::StatusCode::OK {
        return Err(FetchError::Status { url: url.clone(), status: answer.status().as_u16() });
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_LEN_MAX {
            return Err(FetchError::TooLong { url: url.clone() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
