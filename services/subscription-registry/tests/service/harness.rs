//! One service with a nats-server and a database of its own.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use slipstream_bus::{Bus, BusConfig, ConfigBucket, Consumer, Message};
use slipstream_core::config::{Record, Subscription, WrappedKey};
use slipstream_core::sealing::SecretText;
use slipstream_service::Context;
use slipstream_service::auth::AuthConfig;
use slipstream_service::config::{HttpConfig, OperatorConfig, Secret, SecretsConfig, TelemetryConfig};
use slipstream_service::http::App;
use slipstream_store::{DatabaseConfig, Store};
use slipstream_subscription_registry::{Config, HandshakeConfig, HandshakePolicy, LimitsConfig, SigningConfig, start};
use slipstream_test_support::{NatsServer, secrets};
use slipstream_webhook::AddressPolicy;
use tempfile::TempDir;

pub(crate) const SITE: &str = "s8n6EzC";
pub(crate) const PATH: &str = "/sites/s8n6EzC/webhooks/features/physicalpost";
pub(crate) const TOKEN: &str = "operator-token-of-the-tests";

/// What tests set otherwise than most: most name receivers that do not exist, so nobody is asked.
pub(crate) struct Settings {
    pub(crate) targets: AddressPolicy,
    pub(crate) handshake: HandshakeConfig,
    pub(crate) signing: SigningConfig,
    pub(crate) secrets: SecretsConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) auth: AuthConfig,
}

impl Default for Settings {
    fn default() -> Self {
        let handshake = HandshakeConfig { policy: HandshakePolicy::Off, ..HandshakeConfig::default() };
        let secrets = SecretsConfig { master_key_file: Some(secrets::master_key_file()), ..SecretsConfig::default() };
        let (targets, signing, limits, auth) = Default::default();
        Self { targets, handshake, signing, secrets, limits, auth }
    }
}

pub(crate) struct Harness {
    pub(crate) settings: Settings,
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) database: DatabaseConfig,
    apps: Apps,
    ctx: Context,
    _directory: Option<TempDir>,
}

/// What answers on each of the two listeners.
struct Apps {
    public: App,
    operator: App,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Harness {
    pub(crate) async fn on_sqlite() -> Self {
        let (directory, url) = slipstream_test_support::sqlite::database();
        Self::on(url, Some(directory)).await
    }

    pub(crate) async fn on_postgres() -> Self {
        Self::on(slipstream_test_support::postgres::database().await, None).await
    }

    async fn on(url: String, directory: Option<TempDir>) -> Self {
        let nats = NatsServer::start().await;
        let database = DatabaseConfig { url: url.into(), ..DatabaseConfig::default() };
        let bus = Bus::connect(&BusConfig { url: nats.url().into(), ..BusConfig::default() }).await.unwrap();
        let settings = Settings::default();
        let (apps, ctx) = serve(&nats, &database, &settings).await;
        Self { settings, nats, bus, database, apps, ctx, _directory: directory }
    }

    /// Stops the service and starts it again on the same database and server.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        (self.apps, self.ctx) = serve(&self.nats, &self.database, &self.settings).await;
    }

    /// Starts another one on the same database and server, and stops it if it starts.
    pub(crate) async fn try_start(&self, settings: &Settings) -> anyhow::Result<()> {
        let (_, ctx) = try_serve(&self.nats, &self.database, settings).await?;
        ctx.stop.cancel();
        ctx.drained.cancel();
        ctx.tasks.close();
        ctx.tasks.wait().await;
        Ok(())
    }

    /// Where the server is.
    pub(crate) fn bus_config(&self) -> BusConfig {
        BusConfig { url: self.nats.url().into(), ..BusConfig::default() }
    }

    /// The same under other settings.
    pub(crate) async fn with(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self.restart().await;
        self
    }

    /// The database, as another process sees it.
    pub(crate) async fn store(&self) -> Store {
        Store::connect(&self.database).await.unwrap()
    }

    /// Stops the service; requests are still answered, from what is left.
    pub(crate) async fn stop(&self) {
        self.ctx.stop.cancel();
        self.ctx.drained.cancel();
        self.ctx.tasks.close();
        self.ctx.tasks.wait().await;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ctx.health.is_ready()
    }

    pub(crate) async fn bucket(&self) -> ConfigBucket {
        self.bus.config_bucket().await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.raw(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// The answer as it goes out.
    pub(crate) async fn raw(&self, request: Request<Body>) -> axum::response::Response {
        let is_operators = request.uri().path().starts_with("/admin");
        let app = if is_operators { &self.apps.operator } else { &self.apps.public };
        app.call(request).await
    }

    /// A request of the operator, with a JSON body unless that is null.
    pub(crate) async fn operator(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {TOKEN}"));
        self.send(with_body(request, &body)).await
    }

    /// A request of the account that has `key`.
    pub(crate) async fn account(&self, method: Method, path: &str, key: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("x-api-key", key);
        self.send(with_body(request, &body)).await
    }

    /// The default organisation and site, and an account with all permissions on all sites; gives its primary key.
    pub(crate) async fn tenants(&self) -> String {
        let put = |path: &'static str, body| self.operator(Method::PUT, path, body);
        put("/admin/v1/organisations/o4fKq2", json!({"name": "Smiles"})).await.expect(200);
        let site = json!({"name": "Mill Lane", "organisation": "o4fKq2", "product": "Testing"});
        put("/admin/v1/sites/s8n6EzC", site).await.expect(200);
        self.new_account(json!({})).await.body["keys"]["primary"].as_str().unwrap().to_owned()
    }

    /// Creates an account that differs from the usual in `members`.
    pub(crate) async fn new_account(&self, members: Value) -> Answer {
        let mut body = json!({
            "displayName": "Post", "sites": "all", "permissions": ["Events.Publish", "Webhooks.Manage"],
        });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = self.operator(Method::POST, "/admin/v1/accounts", body).await;
        answer.expect(201);
        answer
    }

    /// The one subscription in the bucket, opened.
    pub(crate) async fn subscription_in_bucket(&self) -> Option<Subscription> {
        let sealed = self.sealed_in_bucket().await?;
        assert!(sealed.secrets().all(SecretText::is_sealed), "secrets travel sealed");
        Some(secrets::opened(sealed, &self.data_keys().await))
    }

    /// The data keys in the bucket.
    pub(crate) async fn data_keys(&self) -> Vec<WrappedKey> {
        let bucket = self.bucket().await;
        let mut found = Vec::new();
        for key in bucket.keys().await.unwrap() {
            if let Some(Record::DataKey(key)) = bucket.get(&key).await.unwrap() {
                found.push(key);
            }
        }
        found
    }

    /// The one subscription in the bucket, as it stands there.
    pub(crate) async fn sealed_in_bucket(&self) -> Option<Subscription> {
        let bucket = self.bucket().await;
        // A listing misses a key whose record is replaced while it runs (see `ConfigBucket::keys`); it is replaced
        // once at a time, so the next listing has it.
        for _ in 0..2 {
            for key in bucket.keys().await.unwrap() {
                if let Some(Record::Subscription(subscription)) = bucket.get(&key).await.unwrap() {
                    return Some(*subscription);
                }
            }
        }
        None
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        if status >= 400 {
            assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(self.body["status"], status);
            assert!(self.body["traceId"].is_string() && self.body["title"].is_string(), "{}", self.body);
        }
    }

    /// The pointers of the members at fault.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    }
}

/// The next message about an endpoint, past the records of who did what.
pub(crate) async fn next_change(recorded: &mut Consumer) -> Message {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), recorded.next()).await.expect("a message comes");
        if !message.subject.starts_with("audited.") {
            return message;
        }
        message.ack().await;
    }
}

pub(crate) fn with_body(request: http::request::Builder, body: &Value) -> Request<Body> {
    if body.is_null() {
        return request.body(Body::empty()).unwrap();
    }
    request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
}

async fn serve(nats: &NatsServer, database: &DatabaseConfig, settings: &Settings) -> (Apps, Context) {
    try_serve(nats, database, settings).await.unwrap()
}

async fn try_serve(
    nats: &NatsServer,
    database: &DatabaseConfig,
    settings: &Settings,
) -> anyhow::Result<(Apps, Context)> {
    let ctx = Context::new();
    let config = Config {
        http: HttpConfig::default(),
        bus: BusConfig { url: nats.url().into(), ..BusConfig::default() },
        secrets: settings.secrets.clone(),
        database: database.clone(),
        auth: settings.auth.clone(),
        operator: OperatorConfig { token: Secret::new(TOKEN) },
        targets: settings.targets.clone(),
        handshake: settings.handshake.clone(),
        limits: settings.limits,
        signing: settings.signing.clone(),
        telemetry: TelemetryConfig::default(),
    };
    let (public, operator) = start(config, &ctx).await?.into_parts();
    let app = |router| App::new(router, &HttpConfig::default());
    Ok((Apps { public: app(public), operator: app(operator) }, ctx))
}
