//! The operator's API (SPEC 4.9).

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use slipstream_test_support::builders::{EventBuilder, ORGANISATION, SITE};
use slipstream_test_support::eventually;
use uuid::Uuid;

use super::account::{Account, Credentials};
use super::records::{Delivery, Explained};
use super::{Answer, Bases, client};
use crate::LIMIT;
use crate::system::OPERATOR_TOKEN;

/// What an operator sees and does. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operator {
    http: reqwest::Client,
    pub(super) bases: Bases,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// `external` or `internal`.
    pub kind: &'static str,
    /// `"all"` or a list of slugs.
    pub sites: Value,
    /// What it may do.
    pub permissions: Vec<&'static str>,
    /// Tokens at once, and tokens a second; none means unlimited.
    pub quota: Option<(u32, u32)>,
}

fn quota_json(quota: Option<(u32, u32)>) -> Value {
    quota.map_or(Value::Null, |(burst, rate)| json!({ "burstCapacity": burst, "tokensPerSecond": rate }))
}

impl Default for NewAccount {
    fn default() -> Self {
        let permissions = vec!["Events.Publish", "Webhooks.Manage"];
        Self { kind: "external", sites: json!("all"), permissions, quota: None }
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Delivery>,
    next: Option<String>,
}

impl Operator {
    /// The operator of the system whose APIs are there.
    pub fn new(bases: Bases) -> Self {
        Self { http: client(), bases }
    }

    /// Where the APIs are.
    pub const fn bases(&self) -> Bases {
        self.bases
    }

    /// A request to the registry at a path under `/admin/v1`.
    pub(super) async fn registry(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let url = format!("http://{}/admin/v1/{path}", self.bases.operator.registry);
        let request = self.http.request(method, url).bearer_auth(OPERATOR_TOKEN);
        Answer::to(if let Some(body) = body { request.json(&body) } else { request }).await
    }

    fn activity_url(&self, segments: &[&str]) -> Url {
        let mut url =
            Url::parse(&format!("http://{}/admin/v1", self.bases.operator.activity_log)).expect("it is a URL");
        url.path_segments_mut().expect("it has a path").extend(segments);
        url
    }

    /// A GET of the activity log; `segments` follow `/admin/v1`.
    pub(super) async fn activity(&self, segments: &[&str], query: &[(&str, &str)]) -> Answer {
        let mut url = self.activity_url(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Answer::to(self.http.get(url).bearer_auth(OPERATOR_TOKEN)).await
    }

    /// As [`Operator::activity`]; none if there was no answer at all, as when the process is killed meanwhile.
    pub(super) async fn try_activity(&self, segments: &[&str]) -> Option<Answer> {
        Answer::try_to(self.http.get(self.activity_url(segments)).bearer_auth(OPERATOR_TOKEN)).await.ok()
    }

    /// Something that the activity log is to do; `segments` follow `/admin/v1`.
    pub(super) async fn act(&self, method: Method, segments: &[&str], body: Option<Value>) -> Answer {
        let request = self.http.request(method, self.activity_url(segments)).bearer_auth(OPERATOR_TOKEN);
        Answer::to(if let Some(body) = body { request.json(&body) } else { request }).await
    }

    /// Creates or replaces an organisation.
    pub async fn put_organisation(&self, slug: &str) {
        let body = json!({ "name": "Smiles Ltd" });
        self.registry(Method::PUT, &format!("organisations/{slug}"), Some(body)).await.expect(200);
    }

    /// Creates or replaces a site of [`ORGANISATION`].
    pub async fn put_site(&self, slug: &str) {
        let body = json!({ "name": format!("Practice {slug}"), "organisation": ORGANISATION, "product": "Testing" });
        self.registry(Method::PUT, &format!("sites/{slug}"), Some(body)).await.expect(200);
    }

    /// Links a site of [`ORGANISATION`] to an organization of the ECG surface, or takes the link away.
    pub async fn link_site(&self, slug: &str, organization: Option<Uuid>) {
        let body = json!({ "name": format!("Practice {slug}"), "organisation": ORGANISATION, "product": "Testing",
            "ecgOrganization": organization });
        let put: Value = self.registry(Method::PUT, &format!("sites/{slug}"), Some(body)).await.parsed(200);
        assert_eq!(put["ecgOrganization"], json!(organization), "{put}");
    }

    /// Makes an account.
    pub async fn create_account(&self, new: &NewAccount) -> Credentials {
        let body = json!({ "displayName": "Test account", "kind": new.kind, "sites": new.sites,
            "permissions": new.permissions, "quota": quota_json(new.quota) });
        let created: Value = self.registry(Method::POST, "accounts", Some(body)).await.parsed(201);
        let text = |value: &Value| value.as_str().expect("ids and keys are texts").to_owned();
        Credentials { id: text(&created["id"]), key: text(&created["keys"]["primary"]) }
    }

    /// A new account at [`SITE`], in force everywhere.
    pub async fn account(&self, new: NewAccount) -> Account {
        let account = Account::new(self.bases, SITE, self.create_account(&new).await);
        // Each service learns of it by itself, some milliseconds later.
        eventually(LIMIT, async || match account.empty_batch().await.status {
            401 => Err("ingest does not know the account"),
            _ => Ok(()),
        })
        .await;
        account
    }

    /// Makes a new primary key for an account; the one before stops working.
    pub async fn rotate_primary_key(&self, account: &Account) -> String {
        let path = format!("accounts/{}/keys/primary", account.id);
        let rotated: Value = self.registry(Method::PUT, &path, None).await.parsed(200);
        rotated["key"].as_str().expect("a key is a text").to_owned()
    }

    /// Changes an account, all of it but keys and quota.
    pub async fn put_account(&self, account: &Account, change: Value) -> Answer {
        self.registry(Method::PUT, &format!("accounts/{}", account.id), Some(change)).await
    }

    /// Deletes an account by its id.
    pub async fn delete_account(&self, id: &str) -> Answer {
        self.registry(Method::DELETE, &format!("accounts/{id}"), None).await
    }

    /// The endpoints of an account, which may be a deleted one; at most 100.
    pub async fn endpoints_of(&self, account: &str) -> Vec<Value> {
        let path = format!("endpoints?limit=100&account={account}");
        let page: Value = self.registry(Method::GET, &path, None).await.parsed(200);
        page["items"].as_array().expect("a page has items").clone()
    }

    /// Sets or lifts an account's quota.
    pub async fn set_quota(&self, account: &Account, quota: Option<(u32, u32)>) {
        let body = json!({ "quota": quota_json(quota) });
        self.registry(Method::PUT, &format!("accounts/{}/quota", account.id), Some(body)).await.expect(200);
    }

    /// All recorded deliveries that fit, newest first, page by page.
    pub async fn deliveries(&self, filter: &[(&str, &str)]) -> Vec<Delivery> {
        self.pages("deliveries", filter).await
    }

    /// All deliveries that failed for good, newest first.
    pub async fn dead_letters(&self) -> Vec<Delivery> {
        self.pages("dead-letters", &[]).await
    }

    async fn pages(&self, list: &str, filter: &[(&str, &str)]) -> Vec<Delivery> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let mut query = filter.to_vec();
            query.push(("limit", "100"));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let Page { items, next } = self.activity(&[list], &query).await.parsed(200);
            all.extend(items);
            match next {
                Some(next) => cursor = Some(next),
                None => return all,
            }
        }
    }

    /// A delivery with its attempts, by its id or webhook id.
    pub async fn delivery(&self, id: &str) -> Delivery {
        self.activity(&["deliveries", id], &[]).await.parsed(200)
    }

    /// The answer to a question for deliveries, for tests in which the database is away.
    pub async fn ask_deliveries(&self) -> Answer {
        self.activity(&["deliveries"], &[]).await
    }

    /// What became of an event; none while nothing is recorded of it.
    pub async fn explain(&self, site: &str, source: &str, id: &str) -> Option<Explained> {
        let answer = self.activity(&["events", site, source, id], &[]).await;
        (answer.status != 404).then(|| answer.parsed(200))
    }

    /// Waits until `is_enough` of what is recorded of an event.
    #[track_caller]
    pub fn explained(
        &self,
        account: &Account,
        event: &EventBuilder,
        is_enough: impl Fn(&Explained) -> bool,
    ) -> impl Future<Output = Explained> {
        let is_enough = Arc::new(is_enough);
        let (source, id) = (event.text("source").to_owned(), event.text("id").to_owned());
        eventually(LIMIT, move || {
            let (is_enough, source, id) = (Arc::clone(&is_enough), source.clone(), id.clone());
            async move {
                match self.explain(&account.site, &source, &id).await {
                    Some(explained) if is_enough(&explained) => Ok(explained),
                    other => Err(format!("{other:?}")),
                }
            }
        })
    }

    /// Waits until `count` deliveries have ended for good and are recorded so, and gives all that are recorded.
    #[track_caller]
    pub fn ended(&self, count: usize) -> impl Future<Output = Vec<Delivery>> {
        self.recorded(count, |delivery| delivery.state.is_terminal())
    }

    /// Waits until `count` deliveries are recorded of which `fits` is true, and gives all that are recorded.
    #[track_caller]
    pub fn recorded(&self, count: usize, fits: impl Fn(&Delivery) -> bool) -> impl Future<Output = Vec<Delivery>> {
        self.recorded_within(LIMIT, count, fits)
    }

    /// As [`Operator::recorded`], for tests in which a lease has to pass first.
    #[track_caller]
    pub fn recorded_within(
        &self,
        limit: Duration,
        count: usize,
        fits: impl Fn(&Delivery) -> bool,
    ) -> impl Future<Output = Vec<Delivery>> {
        let fits = Arc::new(fits);
        eventually(limit, move || {
            let fits = Arc::clone(&fits);
            async move {
                let deliveries = self.deliveries(&[]).await;
                let (fitting, others): (Vec<_>, Vec<_>) = deliveries.iter().partition(|delivery| fits(delivery));
                if fitting.len() >= count {
                    return Ok(deliveries);
                }
                Err(format!("{} of {count}; others: {:#?}", fitting.len(), &others[..others.len().min(5)]))
            }
        })
    }
}
