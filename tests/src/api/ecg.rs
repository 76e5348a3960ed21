//! The ECG surface, as its users call it (SPEC 6).

use std::net::SocketAddr;

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use slipstream_test_support::{Issuer, eventually};
use uuid::Uuid;

use super::{Answer, Bases, client};
use crate::LIMIT;
use crate::system::Service;

/// Somebody who uses the ECG surface, with a token or without. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ecg {
    http: reqwest::Client,
    bases: Bases,
    token: Option<String>,
}

impl Ecg {
    /// Somebody without a credential.
    pub fn nobody(bases: Bases) -> Self {
        Self { http: client(), bases, token: None }
    }

    /// The holder of a token of `issuer` with these roles, for these organizations.
    pub fn of(issuer: &Issuer, bases: Bases, roles: &[&str], organizations: &[Uuid]) -> Self {
        let token = issuer.token().claim("sub", Uuid::new_v4().to_string()).claim("roles", json!(roles));
        let token = token.claim("organizationIds", json!(organizations)).sign();
        Self::nobody(bases).with_token(token)
    }

    /// The same with another token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The same somewhere else: behind what stands before the services.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { bases: Bases::all_at(address, self.bases.operator.registry), ..self.clone() }
    }

    /// The same where another one asks.
    #[must_use]
    pub fn at_same(&self, other: &Self) -> Self {
        Self { bases: other.bases, ..self.clone() }
    }

    /// Its token, as it stands in a header.
    ///
    /// # Panics
    /// If it has none.
    pub fn token(&self) -> &str {
        self.token.as_deref().expect("this caller has a token")
    }

    /// Which service has a path of this surface.
    pub fn service_of(path: &str) -> Service {
        let path = path.split('?').next().unwrap_or_default();
        let segments: Vec<_> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            ["api", "webhook-processors", ..]
            | ["api", "organizations", _, "subscriptions", ..]
            | ["api", "organizations", _, "webhook-subscriptions", _, "activity" | "activations", ..] => {
                Service::ActivityLog
            }
            _ => Service::Registry,
        }
    }

    /// A request to a path, which may have a query, with its credential.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = match Self::service_of(path) {
            Service::ActivityLog => self.bases.activity_log,
            _ => self.bases.registry,
        };
        let request = self.http.request(method, format!("http://{base}{path}"));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request of one's own making.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::to(request).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST without a body: the actions.
    pub async fn act(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// POST with a body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// PATCH with a JSON Patch.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// PUT without a body.
    pub async fn put(&self, path: &str) -> Answer {
        self.send(self.request(Method::PUT, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// A new category with a code that nobody else has; its id.
    pub async fn new_category(&self) -> String {
        let body = json!({ "name": "Vitals", "code": unique("category"), "description": null });
        id(&self.post("/api/webhook-categories", &body).await)
    }

    /// A new event of a category, with this code; its id.
    pub async fn new_event(&self, category: &str, code: &str) -> String {
        let body =
            json!({ "name": "Observations created", "code": code, "version": "v1", "description": "Of a device" });
        id(&self.post(&format!("/api/webhook-categories/{category}/webhook-events"), &body).await)
    }

    /// A new subscription, known to the activity log too; as it was answered.
    pub async fn new_subscription(&self, organization: Uuid, body: &Value) -> Value {
        let subscriptions = format!("/api/organizations/{organization}/webhook-subscriptions");
        let made: Value = self.post(&subscriptions, body).await.parsed(201);
        let activity = format!("{subscriptions}/{}/activity", made["id"].as_str().expect("an id is a text"));
        eventually(LIMIT, async || match self.get(&activity).await {
            answer if answer.status == 404 => Err(answer.to_string()),
            answer => {
                answer.expect(200);
                Ok(())
            }
        })
        .await;
        made
    }
}

/// The id of what was made.
#[track_caller]
fn id(made: &Answer) -> String {
    made.expect(201).json()["id"].as_str().expect("an id is a text").to_owned()
}

/// A code that nobody else has.
pub fn unique(what: &str) -> String {
    format!("{what}.{:08x}", rand::random::<u32>())
}
