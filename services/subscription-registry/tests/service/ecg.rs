//! The ECG surface, as its callers see it.

mod categories;
mod events;
mod health;
mod samples;
mod secrets;
mod shapes;
mod subscriptions;
mod switching;

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use slipstream_service::auth::AuthConfig;
use slipstream_test_support::eventually;
use slipstream_test_support::issuer::Issuer;

use crate::harness::{Answer, Harness, Settings, with_body};

/// The `sub` of [`World::admin`].
pub(crate) const ADMIN: &str = "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11";
/// The `sub` of [`World::manager`].
pub(crate) const MANAGER: &str = "784600d0-5b0f-4d0e-9c8c-0a8f8f3d7c11";
/// The organization of [`World::manager`].
pub(crate) const ORGANIZATION: &str = "0b7a5c1e-0d5f-4c8f-a6e0-2f4d8b7c1e93";
/// An id that nothing has.
pub(crate) const NOBODY: &str = "00000000-0000-4000-8000-00000000000a";
/// Where categories are.
pub(crate) const CATEGORIES: &str = "/api/webhook-categories";

/// A service, and who issues the tokens that it takes.
pub(crate) struct World {
    pub(crate) service: Harness,
    issuer: Issuer,
}

impl World {
    pub(crate) async fn on(service: Harness) -> Self {
        Self::with(service, Settings::default()).await
    }

    /// The same under other settings; whose tokens are taken is not among them, but their quota is.
    pub(crate) async fn with(service: Harness, settings: Settings) -> Self {
        let issuer = Issuer::start().await;
        let mut of_issuer = issuer.settings();
        of_issuer.as_object_mut().unwrap().retain(|name, _| ["name", "issuer", "audiences"].contains(&name.as_str()));
        let auth: AuthConfig = serde_json::from_value(json!({ "ecg": [of_issuer] })).unwrap();
        let auth = AuthConfig { quota: settings.auth.quota, ..auth };
        let service = service.with(Settings { auth, ..settings }).await;
        let world = Self { service, issuer };
        world.eventually_lets_in(CATEGORIES).await;
        world
    }

    /// What a manager is shown at `path`, as soon as the issuer's keys are known: after a start they are fetched first.
    pub(crate) async fn eventually_lets_in(&self, path: &str) -> Answer {
        eventually(Duration::from_secs(10), || async {
            let answer = self.manager(Method::GET, path, Value::Null).await;
            if answer.status == StatusCode::OK { Ok(answer) } else { Err(answer.status) }
        })
        .await
    }

    /// A token of somebody with these roles, for these organizations.
    pub(crate) fn token(&self, subject: &str, role: &str, organizations: &[&str]) -> String {
        let token = self.issuer.token().claim("sub", subject).claim("roles", json!([role]));
        token.claim("organizationIds", json!(organizations)).sign()
    }

    pub(crate) async fn ask(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        self.service.send(with_body(request, &body)).await
    }

    /// A request of somebody who may do everything.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        self.ask(&self.token(ADMIN, "webhookAdmin", &[]), method, path, body).await
    }

    /// A request of somebody who manages [`ORGANIZATION`].
    pub(crate) async fn manager(&self, method: Method, path: &str, body: Value) -> Answer {
        self.ask(&self.token(MANAGER, "webhookManager", &[ORGANIZATION]), method, path, body).await
    }

    /// A request of nobody.
    pub(crate) async fn anybody(&self, method: Method, path: &str) -> Answer {
        self.service.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    /// Whether `body` is a JSON Patch.
    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.admin(Method::PATCH, path, body).await
    }

    /// Makes a category with this code; gives its path.
    pub(crate) async fn category(&self, code: &str) -> String {
        let made = self.admin(Method::POST, CATEGORIES, json!({ "name": "Vitals", "code": code })).await;
        done(&made, 201);
        format!("{CATEGORIES}/{}", made.body["id"].as_str().unwrap())
    }

    /// Makes an event with this code and version in the category at this path; gives its path.
    pub(crate) async fn event(&self, category: &str, code: &str, version: &str) -> String {
        let events = format!("{category}/webhook-events");
        let made = self.admin(Method::POST, &events, json!({ "name": "It", "code": code, "version": version })).await;
        done(&made, 201);
        format!("{events}/{}", made.body["id"].as_str().unwrap())
    }
}

/// It was answered so, and that is no refusal.
#[track_caller]
pub(crate) fn done(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
}

/// It was refused so, in the shape of this surface; gives what is wrong in words.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16) -> Vec<String> {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.body["statusCode"], status);
    assert!(answer.body["traceId"].is_string() && answer.body["error"].is_string(), "{}", answer.body);
    match &answer.body["message"] {
        Value::String(message) => vec![message.clone()],
        Value::Array(messages) => messages.iter().map(|message| message.as_str().unwrap().to_owned()).collect(),
        other => panic!("{other}"),
    }
}

/// The ids of a list, in order, and how many there are over all.
#[track_caller]
pub(crate) fn listed(answer: &Answer) -> (Vec<String>, u64) {
    done(answer, 200);
    let items = answer.body["items"].as_array().unwrap();
    let ids = items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    (ids, answer.body["totalRecords"].as_u64().unwrap())
}
