//! The walk through all 53 endpoints: right calls, missing and bad credentials, other organizations, unknown and malformed
//! ids, bad queries, bad bodies. Of each answer the status and the shape of the body.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;
use slipstream_service::access::{Entry, TABLE};
use slipstream_tests::{Answer, Ecg, OPERATOR_TOKEN, Shape};
use uuid::Uuid;

use super::endpoints::{self, Body, Endpoint, Needs};
use super::shapes::{self, Check};
use super::things::Things;
use super::world::{ADMIN, MANAGER, World};

slipstream_tests::journeys_of_programs![all_53_endpoints_answer_what_they_must];

async fn all_53_endpoints_answer_what_they_must(shape: Shape) {
    let world = World::new(shape).await;
    let cases = walk(&world, &world.manager).await;
    println!("{shape:?}: 53 endpoints, {cases} cases");
}

/// Whether a row of the access table is one of the ECG surface. Open Dental will have `/api/v1`.
pub(crate) fn is_ecg(entry: &Entry) -> bool {
    entry.path == "/healthcheck" || (entry.path.starts_with("/api/") && !entry.path.starts_with("/api/v1/"))
}

#[test]
fn the_table_has_the_53_endpoints_and_the_access_table_has_the_same() {
    let endpoints = endpoints::all();
    let mut numbers: Vec<_> = endpoints.iter().map(|it| it.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=53).collect::<Vec<_>>());
    let ours: BTreeSet<_> = endpoints.iter().map(|it| format!("{} {}", it.method, it.path)).collect();
    let theirs: BTreeSet<_> =
        TABLE.iter().filter(|it| is_ecg(it)).map(|it| format!("{} {}", it.method, it.path)).collect();
    assert_eq!((ours.len(), &ours), (53, &theirs));
    let with = |method: Method| endpoints.iter().filter(|it| it.method == method).count();
    let counts = [Method::GET, Method::POST, Method::DELETE, Method::PATCH, Method::PUT].map(with);
    assert_eq!(counts, [19, 24, 5, 4, 1]);
}

/// Walks through all of them at wherever `at` asks; gives the number of cases.
pub(crate) async fn walk(world: &World, at: &Ecg) -> usize {
    let mut cases = 0;
    for endpoint in &endpoints::all() {
        let things = Things::new(world).await;
        let mut visit = Visit { world, at, endpoint, things, cases: 0 };
        visit.all().await;
        assert!(visit.cases >= 2, "E{} was hardly tried", endpoint.number);
        cases += visit.cases;
    }
    cases
}

/// One endpoint.
struct Visit<'a> {
    world: &'a World,
    at: &'a Ecg,
    endpoint: &'a Endpoint,
    things: Things,
    cases: usize,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("at E{}, after {} cases", self.endpoint.number, self.cases);
        }
    }
}

/// One request.
struct Case<'a> {
    what: String,
    caller: Ecg,
    path: String,
    body: Sent<'a>,
}

#[derive(Clone, Copy)]
enum Sent<'a> {
    Nothing,
    Json(&'a Value),
    Text(&'a str),
}

impl Visit<'_> {
    async fn all(&mut self) {
        self.prepare().await;
        let right = self.right_body();
        let right = right.as_ref().map_or(Sent::Nothing, Sent::Json);
        if self.endpoint.needs != Needs::Nothing {
            self.credentials(right).await;
        }
        self.ids(right).await;
        self.queries(right).await;
        self.bodies().await;
        // At last, because it may change what the others are tried on.
        let (status, shape) = (self.endpoint.status, self.endpoint.shape);
        let path = self.path();
        self.case("the right call", path.clone(), right, status, shape).await;
        if let Some(again) = self.endpoint.again {
            let shape = if again < 300 { shape } else { |_: &Value| {} };
            self.case("the right call again", path, right, again, shape).await;
        }
    }

    /// What only a few endpoints need.
    async fn prepare(&mut self) {
        if matches!(self.endpoint.number, 37..=39) {
            let path = self.fill(
                "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/sample-payloads",
                &[],
            );
            let sample = serde_json::json!({ "payload": super::things::payload(&self.things.code) });
            self.world.admin.post(&path, &sample).await.expect(201);
        }
    }

    async fn credentials(&mut self, right: Sent<'_>) {
        let (world, organization) = (self.world, self.things.organization);
        let of = |roles: &[&str], organizations: &[Uuid]| {
            let caller = Ecg::of(&world.issuer, world.system.bases(), roles, organizations);
            self.at.with_token(caller.token())
        };
        let good = of(&[ADMIN], &[organization]).token().to_owned();
        let mut callers = vec![
            ("no credential", Ecg::nobody(world.system.bases()).at_same(self.at), 401),
            ("a token with another signature", self.at.with_token(format!("{}x", &good[..good.len() - 1])), 401),
            ("nonsense", self.at.with_token("nonsense"), 401),
            ("the operator's token", self.at.with_token(OPERATOR_TOKEN), 401),
            ("an expired token", self.at.with_token(self.expired()), 401),
            ("a token without a role", of(&["somethingElse"], &[organization]), 403),
        ];
        if self.endpoint.needs == Needs::Admin {
            callers.push(("a manager's token", of(&[MANAGER], &[organization]), 403));
        }
        if self.endpoint.path.contains("{organizationId}") {
            callers.push(("a token of another organization", of(&[MANAGER], &[Uuid::new_v4()]), 403));
            callers.push(("a token of no organization", of(&[MANAGER], &[]), 403));
        }
        for (what, caller, status) in callers {
            let (what, path) = (what.to_owned(), self.path());
            let answer = self.refused(Case { what: what.clone(), caller, path, body: right }, status).await;
            let challenge = answer.header("www-authenticate");
            assert_eq!(
                challenge.starts_with("Bearer"),
                status == 401,
                "E{} {what}: {challenge:?}",
                self.endpoint.number
            );
        }
    }

    fn expired(&self) -> String {
        let token = self.world.issuer.token().claim("sub", Uuid::new_v4().to_string());
        token.claim("roles", serde_json::json!([ADMIN])).claim("exp", 1_000_000_000).sign()
    }

    async fn ids(&mut self, right: Sent<'_>) {
        let path = self.endpoint.path;
        let names: Vec<_> = path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}')).collect();
        let caller = || match self.endpoint.needs {
            // An admin may act for every organization, and finds nothing of one in another.
            _ if path.contains("{organizationId}") => self.at.with_token(self.world.admin.token()),
            Needs::Admin => self.at.with_token(self.world.admin.token()),
            _ => self.at.clone(),
        };
        let unknown = Uuid::new_v4().to_string();
        let mut cases = Vec::new();
        for name in &names {
            if *name == "eventCode" {
                cases.push((format!("an unknown {name}"), self.fill(path, &[(name, "no.such.event")]), 404));
                continue;
            }
            cases.push((format!("a malformed {name}"), self.fill(path, &[(name, "nonsense")]), 400));
            let simple = unknown.replace('-', "");
            cases.push((format!("a {name} without hyphens"), self.fill(path, &[(name, &simple)]), 400));
            let is_of_something = *name != "organizationId" || names.len() > 1;
            if is_of_something {
                cases.push((format!("an unknown {name}"), self.fill(path, &[(name, &unknown)]), 404));
            }
        }
        if names.contains(&"webhookEventId") {
            let elsewhere = self.fill(path, &[("webhookCategoryId", &self.things.free_category)]);
            cases.push(("an event of another category".to_owned(), elsewhere, 404));
        }
        if names.contains(&"activityId") || names.contains(&"activationId") {
            let elsewhere = self.fill(path, &[("subscriptionId", &self.things.other_subscription)]);
            cases.push(("an activity of another subscription".to_owned(), elsewhere, 404));
        }
        for (what, path, status) in cases {
            let path = format!("{path}{}", self.endpoint.query);
            self.refused(Case { what, caller: caller(), path, body: right }, status).await;
        }
    }

    async fn queries(&mut self, right: Sent<'_>) {
        const BAD_PAGES: [&str; 8] =
            ["skip=-1", "skip=x", "skip=", "take=0", "take=101", "take=-1", "take=x", "order_by=UP"];
        let path = self.fill(self.endpoint.path, &[]);
        let mut cases: Vec<_> = self.endpoint.bad_queries.iter().map(|it| (it.0.to_owned(), it.1)).collect();
        if self.endpoint.is_paged {
            let query =
                if self.endpoint.query.is_empty() { "?".to_owned() } else { format!("{}&", self.endpoint.query) };
            cases.extend(BAD_PAGES.map(|bad| (format!("{query}{bad}"), 400)));
            for page in ["skip=0&take=100&order_by=ASC", "take=1&order_by=DESC"] {
                self.case(page, format!("{path}{query}{page}"), right, 200, self.endpoint.shape).await;
            }
        }
        for (query, status) in cases {
            let what = format!("the query {query:?}");
            self.refused(
                Case { what, caller: self.right_caller(), path: format!("{path}{query}"), body: right },
                status,
            )
            .await;
        }
    }

    async fn bodies(&mut self) {
        let (required, wrong): (&[&str], _) = match &self.endpoint.body {
            Body::None => return,
            Body::Anything => {
                for body in ["", "{", "[1,2", "\u{1f9b7}"] {
                    let (path, what) = (self.path(), format!("{body:?} as the body"));
                    let case = Case { what, caller: self.right_caller(), path, body: Sent::Text(body) };
                    self.judged(case, self.endpoint.status, self.endpoint.shape).await;
                }
                return;
            }
            Body::Object { required, wrong, .. } => (required, wrong(&self.things)),
            Body::Patch { wrong, .. } => (&[], wrong(&self.things)),
        };
        let right = self.right_body().expect("an object and a patch are bodies");
        for text in ["", "{", "7", "null", "\"text\"", "{\"a\":1,\"a\":2}", "[]]"] {
            let (path, what) = (self.path(), format!("{text:?} as the body"));
            self.refused(Case { what, caller: self.right_caller(), path, body: Sent::Text(text) }, 400).await;
        }
        if !required.is_empty() {
            let mut doubled = right.to_string();
            doubled.insert_str(1, &format!("\"{}\":null,", required[0]));
            let (path, what) = (self.path(), "a member twice".to_owned());
            self.refused(Case { what, caller: self.right_caller(), path, body: Sent::Text(&doubled) }, 400).await;
        }
        for name in required {
            let mut body = right.clone();
            body.as_object_mut().expect("it is an object").remove(*name);
            let (path, what) = (self.path(), format!("no {name}"));
            self.refused(Case { what, caller: self.right_caller(), path, body: Sent::Json(&body) }, 400).await;
        }
        for case in wrong {
            let (path, what) = (self.path(), case.what.to_owned());
            self.refused(Case { what, caller: self.right_caller(), path, body: Sent::Json(&case.body) }, case.status)
                .await;
        }
    }

    fn right_body(&self) -> Option<Value> {
        match self.endpoint.body {
            Body::None | Body::Anything => None,
            Body::Object { right, .. } | Body::Patch { right, .. } => Some(right(&self.things)),
        }
    }

    fn right_caller(&self) -> Ecg {
        match self.endpoint.needs {
            Needs::Nothing => Ecg::nobody(self.world.system.bases()).at_same(self.at),
            Needs::Manager => self.at.clone(),
            Needs::Admin => self.at.with_token(self.world.admin.token()),
        }
    }

    /// The path of the right call, with its query.
    fn path(&self) -> String {
        format!("{}{}", self.fill(self.endpoint.path, &[]), self.endpoint.query)
    }

    /// A path with the ids of what it is tried on, but for those given.
    fn fill(&self, path: &str, other: &[(&str, &str)]) -> String {
        let (things, number) = (&self.things, self.endpoint.number);
        let organization = things.organization.to_string();
        let value = |name: &str| -> String {
            if let Some((_, value)) = other.iter().find(|it| it.0 == name) {
                return (*value).to_owned();
            }
            match name {
                // What may be deleted.
                "webhookCategoryId" if number == 4 => things.free_category.clone(),
                "webhookEventId" if number == 14 => things.free_event.clone(),
                "webhookCategoryId" => things.category.clone(),
                "webhookEventId" | "eventId" => things.event.clone(),
                "eventCode" => things.code.clone(),
                "organizationId" => organization.clone(),
                "subscriptionId" => things.subscription.clone(),
                "activationId" => things.activation.clone(),
                "activityId" if number == 44 => things.pending.id.clone(),
                "activityId" => things.activity.clone(),
                other => panic!("the walk has no value for {{{other}}}: give it one"),
            }
        };
        let segment = |segment: &str| match segment.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
            Some(name) => value(name),
            None => segment.to_owned(),
        };
        path.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    async fn case(&mut self, what: &str, path: String, body: Sent<'_>, status: u16, shape: Check) {
        let case = Case { what: what.to_owned(), caller: self.right_caller(), path, body };
        self.judged(case, status, shape).await;
    }

    /// Makes a request that must be refused with this status, in the shape of the surface.
    async fn refused(&mut self, case: Case<'_>, status: u16) -> Answer {
        let answer = self.sent(&case, status).await;
        shapes::refusal(&answer.json(), status);
        answer
    }

    async fn judged(&mut self, case: Case<'_>, status: u16, shape: Check) {
        let answer = self.sent(&case, status).await;
        if status < 300 || status == 500 {
            shape(&answer.json());
        } else {
            shapes::refusal(&answer.json(), status);
        }
    }

    async fn sent(&mut self, case: &Case<'_>, status: u16) -> Answer {
        self.cases += 1;
        let Endpoint { number, method, .. } = self.endpoint;
        let request = case.caller.request(method.clone(), &case.path);
        let request = match case.body {
            Sent::Nothing => request,
            Sent::Json(body) => request.json(body),
            Sent::Text(text) => request.header("content-type", "application/json").body(text.to_owned()),
        };
        let answer = case.caller.send(request).await;
        assert_eq!(answer.status, status, "E{number} {method} {} with {}: {answer}", case.path, case.what);
        let kind = answer.header("content-type");
        assert!(kind.starts_with("application/json"), "E{number} with {}: {kind:?}", case.what);
        answer
    }
}
