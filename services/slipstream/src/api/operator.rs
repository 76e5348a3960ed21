//! The operator API, as far as the command line needs it (SPEC 4.9).

use anyhow::Context as _;
use http::Method;
use serde::Deserialize;
use serde_json::json;
use slipstream_core::signing::Key;

use super::Api;

/// A page of a list.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Endpoint {
    id: String,
    site: String,
    uri: String,
}

#[derive(Deserialize)]
struct Secrets {
    keys: Vec<Secret>,
}

/// What verifies: the secret itself, or the public half of one that nobody is shown.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    secret: Option<String>,
    public_key: Option<String>,
}

#[derive(Deserialize)]
struct Ignored {}

/// A delivery in the activity log.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) subscription: String,
    #[serde(default)]
    pub(crate) event_id: Option<String>,
    #[serde(default)]
    pub(crate) r#type: Option<String>,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    pub(crate) attempt_count: u64,
}

/// What the activity log says of an event.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    pub(crate) state: String,
    pub(crate) r#type: String,
    pub(crate) summary: String,
    pub(crate) matched: Vec<Delivery>,
    pub(crate) not_matched: Vec<NotMatched>,
}

/// Why a subscription does not receive an event.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NotMatched {
    pub(crate) subscription: String,
    pub(crate) reason: String,
}

/// Why an event was, or was not, delivered to a subscription.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Why {
    pub(crate) verdict: String,
    pub(crate) summary: String,
}

impl Api {
    /// Where `path` of the operator API is.
    fn operator_url(&self, path: &str) -> anyhow::Result<String> {
        let base = self.operator_base.as_deref().context("it is not known where the operator API is")?;
        Ok(format!("{base}{path}"))
    }

    /// Creates or replaces a site of an organisation that exists.
    pub(crate) async fn put_site(&self, token: &str, slug: &str, name: &str, organisation: &str) -> anyhow::Result<()> {
        let url = self.operator_url(&format!("/admin/v1/sites/{slug}"))?;
        let body = json!({ "name": name, "organisation": organisation, "product": "Testing" });
        self.operator::<Ignored>(token, Method::PUT, url, Some(body)).await?.context("the API has no sites").map(drop)
    }

    /// The organisation that owns a site.
    pub(crate) async fn organisation_of(&self, token: &str, site: &str) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Site {
            organisation: String,
        }
        let url = self.operator_url(&format!("/admin/v1/sites/{site}"))?;
        let site = self.operator::<Site>(token, Method::GET, url, None).await?.context("there is no such site")?;
        Ok(site.organisation)
    }

    /// The keys that sign what goes to `uri` for `site`.
    pub(crate) async fn signing_keys(&self, token: &str, site: &str, uri: &str) -> anyhow::Result<Vec<Key>> {
        let mut cursor = String::new();
        loop {
            let url = self.operator_url(&format!("/admin/v1/endpoints?limit=100{cursor}"))?;
            let page = self.operator::<Page<Endpoint>>(token, Method::GET, url, None).await?;
            let page = page.context("the API has no endpoints")?;
            if let Some(endpoint) = page.items.iter().find(|it| it.site == site && it.uri == uri) {
                let url = self.operator_url(&format!("/admin/v1/endpoints/{}/secret", endpoint.id))?;
                let secrets = self.operator::<Secrets>(token, Method::GET, url, None).await?;
                let keys = secrets.context("the endpoint has gone")?.keys;
                let shown = keys.into_iter().filter_map(|key| key.secret.or(key.public_key));
                return shown.map(|key| Key::parse(&key).context("not a signing key")).collect();
            }
            let next = page.next.with_context(|| format!("there is no endpoint of site {site} at {uri}"))?;
            cursor = format!("&cursor={next}");
        }
    }

    /// The newest deliveries of all sites.
    pub(crate) async fn deliveries(&self, token: &str) -> anyhow::Result<Vec<Delivery>> {
        let url = self.operator_url("/admin/v1/deliveries?limit=100")?;
        let page = self.operator::<Page<Delivery>>(token, Method::GET, url, None).await?;
        Ok(page.context("the API has no deliveries")?.items)
    }

    /// What became of an event; none while nothing is recorded of it.
    pub(crate) async fn explain(
        &self,
        token: &str,
        site: &str,
        source: &str,
        id: &str,
    ) -> anyhow::Result<Option<Explained>> {
        let mut url = reqwest::Url::parse(&self.operator_url("")?).context("the base was a URL when it was given")?;
        let path = url.path_segments_mut().map_err(|()| anyhow::anyhow!("the base has no path"));
        path?.pop_if_empty().extend(["admin", "v1", "events", site, source, id]);
        self.operator(token, Method::GET, url, None).await
    }

    /// Makes a delivery that has ended again, under the same `webhook-id`.
    pub(crate) async fn replay(&self, token: &str, delivery: &str) -> anyhow::Result<()> {
        let url = self.operator_url(&format!("/admin/v1/deliveries/{delivery}/replay"))?;
        let replayed = self.operator::<Ignored>(token, Method::POST, url, None).await?;
        replayed.context("there is no such delivery").map(drop)
    }

    /// Why an event was, or was not, delivered to a subscription.
    pub(crate) async fn why(
        &self,
        token: &str,
        site: &str,
        (source, id): (&str, &str),
        subscription: &str,
    ) -> anyhow::Result<Why> {
        let url = self.operator_url("/admin/v1/explain")?;
        let query = [("site", site), ("source", source), ("id", id), ("subscription", subscription)];
        let url = reqwest::Url::parse_with_params(&url, query).context("the base was a URL when it was given")?;
        self.operator(token, Method::GET, url, None).await?.context("nothing is known of it")
    }
}
