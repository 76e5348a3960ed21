//! The platform's own HTTP interface, as far as a run needs it: sites, accounts, subscriptions, and what the activity
//! log lists.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::http::Inbox;

/// The organisation that owns all sites of a run.
const ORGANISATION: &str = "oBench";

/// Who is asking.
#[derive(Debug, Clone, Copy)]
enum Caller<'a> {
    Nobody,
    Operator(&'a str),
    Account(&'a str),
}

/// The way to the platform. A connection per request: between two phases one would have been idle for too long.
#[derive(Debug)]
pub(crate) struct Api {
    /// For everybody.
    address: SocketAddr,
    /// For operators.
    operator_address: SocketAddr,
    token: String,
}

impl Api {
    /// `token` is the operator's.
    pub(crate) const fn new(address: SocketAddr, operator_address: SocketAddr, token: String) -> Self {
        Self { address, operator_address, token }
    }

    /// Whether `/readyz` says yes at the operator's `address`.
    pub(crate) async fn is_ready(address: SocketAddr) -> bool {
        let api = Self::new(address, address, String::new());
        matches!(api.send("GET", "/readyz", Caller::Nobody, None).await, Ok((200, _)))
    }

    /// Makes the organisation.
    ///
    /// # Errors
    /// If the platform refuses.
    pub(crate) async fn make_organisation(&self) -> anyhow::Result<()> {
        let path = format!("/admin/v1/organisations/{ORGANISATION}");
        self.operator("PUT", &path, Some(&json!({"name": "Benchmark"}))).await.map(drop)
    }

    /// Makes a site.
    ///
    /// # Errors
    /// If the platform refuses.
    pub(crate) async fn make_site(&self, slug: &str) -> anyhow::Result<()> {
        let body = json!({"name": slug, "organisation": ORGANISATION, "product": "Testing"});
        self.operator("PUT", &format!("/admin/v1/sites/{slug}"), Some(&body)).await.map(drop)
    }

    /// Makes an account without quota that may publish and subscribe everywhere, and returns its key.
    ///
    /// # Errors
    /// If the platform refuses.
    pub(crate) async fn make_account(&self, name: &str) -> anyhow::Result<String> {
        let body = json!({
            "displayName": name, "kind": "external", "sites": "all",
            "permissions": ["Events.Publish", "Webhooks.Manage"],
        });
        let created = self.operator("POST", "/admin/v1/accounts", Some(&body)).await?;
        Ok(created["keys"]["primary"].as_str().context("the new account has no key")?.to_owned())
    }

    /// Subscribes the account of `key` to all letters of `site`.
    ///
    /// # Errors
    /// If the platform refuses.
    pub(crate) async fn subscribe(&self, site: &str, key: &str, uri: &str) -> anyhow::Result<()> {
        let path = format!("/sites/{site}/webhooks/features/physicalpost");
        let body = json!({"Uri": uri});
        self.answer("PUT", &path, Caller::Account(key), Some(&body)).await.map(drop)
    }

    /// How many deliveries of `site` the activity log lists as succeeded, page by page.
    ///
    /// # Errors
    /// If the platform refuses.
    pub(crate) async fn count_succeeded(&self, site: &str) -> anyhow::Result<usize> {
        let first = format!("/admin/v1/deliveries?state=succeeded&site={site}&limit=100");
        let (mut path, mut count) = (first.clone(), 0);
        loop {
            let page = self.operator("GET", &path, None).await?;
            count += page["items"].as_array().context("a page without items")?.len();
            match page["next"].as_str() {
                Some(next) => path = format!("{first}&cursor={next}"),
                None => return Ok(count),
            }
        }
    }

    /// Asks in the name of the account of `key`, and returns status and body, whatever they are.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, String)> {
        self.send(method, path, Caller::Account(key), body).await
    }

    async fn operator(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let token = self.token.clone();
        self.answer(method, path, Caller::Operator(&token), body).await
    }

    /// The body of a successful answer.
    async fn answer(
        &self,
        method: &str,
        path: &str,
        caller: Caller<'_>,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, body) = self.send(method, path, caller, body).await?;
        ensure!((200..300).contains(&status), "{method} {path} was answered {status}: {body}");
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&body)?) }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        caller: Caller<'_>,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, String)> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let credentials = match caller {
            Caller::Nobody => String::new(),
            Caller::Operator(token) => format!("Authorization: Bearer {token}\r\n"),
            Caller::Account(key) => format!("X-API-KEY: {key}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\n{credentials}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let address = match caller {
            Caller::Operator(_) => self.operator_address,
            Caller::Account(_) | Caller::Nobody => self.address,
        };
        let mut stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.write_all(request.as_bytes()).await?;
        let mut inbox = Inbox::default();
        let Some(message) = inbox.next(&mut stream).await? else { bail!("{method} {path}: no answer") };
        let status = message.status().context("an answer without a status")?;
        Ok((status, String::from_utf8_lossy(message.body).into_owned()))
    }
}
