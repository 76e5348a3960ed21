//! The walk: every route of the access table, at a running system, with every kind of credential (issue 4, THREATS 6).

use std::net::SocketAddr;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use slipstream_service::access::{Access, EcgTenant, Entry, TABLE, UnknownSite};
use slipstream_service::auth::{API_KEY, EcgRole};
use slipstream_test_support::builders::{ORGANISATION, SITE};
use slipstream_test_support::{Issuer, eventually};
use slipstream_tests::{Account, Bases, LIMIT, NewAccount, OPERATOR_TOKEN, Service, Settings, Shape, System};
use tokio::net::TcpStream;

slipstream_tests::journeys![every_route_lets_in_whom_its_entry_names_and_nobody_else];

/// A site that exists and is not the one that restricted callers may act for.
const OTHER_SITE: &str = "sUkLWZg";
/// A slug of a site that nobody made.
const NO_SITE: &str = "sgbHJdm";
/// An organization of the ECG surface, and another one.
const ORGANIZATION: &str = "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11";
const OTHER_ORGANIZATION: &str = "784600d0-5b0f-4d0e-9c8c-0a8f8f3d7c11";
/// What the router answers where it has no route.
const NO_ROUTE: &str = "there is nothing at this path";

/// What is tried on a route of a site: a key and a token that are right, what is 401, what is 403, and two bad slugs.
const OF_A_SITE: usize = 2 + 8 + 4 + 2;
/// Of operators: their token, and what is 401.
const OF_OPERATORS: usize = 1 + 7;
/// On the ECG surface: an admin's token, what is 401, and a token without a role. Its own walk does the rest.
const OF_ECG: usize = 1 + 6 + 1;
/// Of anything else: whoever comes.
const OF_ANYBODY: usize = 1;

/// A credential, as it stands in a request.
type Credential<'a> = (&'static str, &'a str);

struct Walk {
    client: reqwest::Client,
    bases: Bases,
    processes: Vec<Process>,
    /// How many requests were made and judged.
    cases: usize,
}

/// The listeners of a process.
#[derive(Debug, Clone, Copy)]
struct Process {
    /// None of the dispatcher, which has nothing for everybody.
    public: Option<SocketAddr>,
    operator: SocketAddr,
}

impl Process {
    /// All of a system, each once.
    async fn all(shape: Shape, system: &mut System) -> Vec<Self> {
        let Bases { ingest, registry, activity_log, operator } = system.bases();
        if shape == Shape::OneProcess {
            return vec![Self { public: Some(ingest), operator: operator.ingest }];
        }
        let unused = system.public_address(Service::Dispatcher);
        assert!(TcpStream::connect(unused).await.is_err(), "the dispatcher listens at {unused}, for nobody");
        vec![
            Self { public: Some(ingest), operator: operator.ingest },
            Self { public: Some(registry), operator: operator.registry },
            Self { public: Some(activity_log), operator: operator.activity_log },
            Self { public: None, operator: operator.dispatcher },
        ]
    }

    /// Its listener for this entry, and the other one.
    fn listeners(&self, entry: &Entry) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let Self { public, operator } = *self;
        if entry.is_for_operators() { (Some(operator), public) } else { (public, Some(operator)) }
    }
}

struct Answer {
    status: u16,
    www_authenticate: bool,
    /// Of a problem, or the message of the ECG surface's; empty for anything else.
    detail: String,
}

impl Answer {
    fn is_no_route(&self) -> bool {
        self.status == 404 && self.detail == NO_ROUTE
    }
}

async fn every_route_lets_in_whom_its_entry_names_and_nobody_else(shape: Shape) {
    let issuer = Issuer::start().await;
    let ecg_issuer = Issuer::start().await;
    let issuers = Settings { issuer: Some(issuer.url()), ecg_issuer: Some(ecg_issuer.url()), ..Settings::default() };
    let mut system = System::with(shape, issuers).await;
    system.operator.put_site(OTHER_SITE).await;
    let right = system.external().await;
    let elsewhere = system.account(NewAccount { sites: json!([OTHER_SITE]), ..NewAccount::default() }).await;
    let powerless = system.account(NewAccount { permissions: Vec::new(), ..NewAccount::default() }).await;
    let token = |roles: Value, sites: Value| {
        let token = issuer.token().claim("sub", "walker").claim("roles", roles).claim("sites", sites);
        format!("Bearer {}", token.sign())
    };
    let ecg_token = |roles: Value, organizations: Value| {
        let token = ecg_issuer.token().claim("sub", ORGANIZATION).claim("roles", roles);
        format!("Bearer {}", token.claim("organizationIds", organizations).sign())
    };
    let everything = json!(["Events.Publish", "Webhooks.Manage"]);
    let callers = Callers {
        key: right.key.clone(),
        key_elsewhere: elsewhere.key.clone(),
        key_powerless: powerless.key.clone(),
        token: token(everything.clone(), json!([SITE])),
        token_elsewhere: token(everything, json!([OTHER_SITE])),
        token_powerless: token(json!([]), json!([SITE])),
        token_bad: format!("{}x", token(json!(["Events.Publish"]), json!([SITE]))),
        operator: format!("Bearer {OPERATOR_TOKEN}"),
        ecg_admin: ecg_token(json!(["webhookAdmin"]), json!([])),
        ecg_manager: ecg_token(json!(["webhookManager"]), json!([ORGANIZATION])),
        ecg_elsewhere: ecg_token(json!(["webhookManager"]), json!([OTHER_ORGANIZATION])),
        ecg_powerless: ecg_token(json!([]), json!([ORGANIZATION])),
    };
    let processes = Process::all(shape, &mut system).await;
    let mut walk = Walk { client: right.http().clone(), bases: system.bases(), processes, cases: 0 };
    for account in [&right, &elsewhere, &powerless] {
        walk.wait_until_known(account).await;
    }

    let mut routes = 0;
    for entry in TABLE {
        for path in entry.paths() {
            walk.route(entry, &path, &callers).await;
            routes += 1;
        }
    }
    println!("{shape:?}: {} entries, {routes} routes, {} cases, all as expected", TABLE.len(), walk.cases);
    // Fewer would mean that the walk has left something out.
    let expected: usize = TABLE.iter().map(|entry| expected_cases(entry, &walk.processes)).sum();
    assert_eq!(walk.cases, expected, "{routes} routes of {} entries", TABLE.len());
}

/// So many requests must be made and judged for an entry.
fn expected_cases(entry: &Entry, processes: &[Process]) -> usize {
    let at_each_that_has_it = match entry.access {
        Access::Slipstream(..) => OF_A_SITE + usize::from(entry.method == Method::GET),
        Access::Operator => OF_OPERATORS + usize::from(entry.method == Method::GET),
        // A manager either may or may not; an organization may be another's or malformed.
        Access::Ecg(role, tenant) => {
            let of_tenants = if tenant == EcgTenant::InPath { 2 } else { 0 };
            OF_ECG + usize::from(role == EcgRole::Admin) + of_tenants + usize::from(entry.method == Method::GET)
        }
        _ => OF_ANYBODY,
    };
    let of_path = |path: String| {
        let having: Vec<_> = processes.iter().filter(|process| process.listeners(entry).0.is_some()).collect();
        // First every listener of its kind is asked whether it has the path.
        let asked = having.len();
        let owners = if is_of_every_process(entry) { having } else { vec![having[0]] };
        // Then, at each that has it, the other listener, which must not. What is of one process has both.
        let has_other = |process: &&&Process| process.listeners(entry).1.is_some() && !is_on_both(entry, &path);
        asked + owners.len() * at_each_that_has_it + owners.iter().filter(has_other).count()
    };
    entry.paths().map(of_path).sum()
}

fn is_of_every_process(entry: &Entry) -> bool {
    entry.access == Access::Probe || entry.path == "/openapi.json"
}

struct Callers {
    key: String,
    key_elsewhere: String,
    key_powerless: String,
    token: String,
    token_elsewhere: String,
    token_powerless: String,
    token_bad: String,
    operator: String,
    ecg_admin: String,
    ecg_manager: String,
    ecg_elsewhere: String,
    ecg_powerless: String,
}

impl Walk {
    /// Each service learns of an account by itself.
    async fn wait_until_known(&self, account: &Account) {
        for (base, path) in [
            (self.bases.activity_log, format!("/sites/{SITE}/events/scheduled")),
            (self.bases.registry, format!("/sites/{SITE}/webhooks/features/physicalpost")),
        ] {
            eventually(LIMIT, async || {
                match self.ask(base, &Method::GET, &path, &[(API_KEY, &account.key)]).await.status {
                    401 => Err("the account is not known yet"),
                    _ => Ok(()),
                }
            })
            .await;
        }
    }

    async fn ask(&self, base: SocketAddr, method: &Method, path: &str, credentials: &[Credential<'_>]) -> Answer {
        let mut request = self.client.request(method.clone(), format!("http://{base}{path}"));
        for (name, value) in credentials {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body: Value = response.json().await.unwrap_or_default();
        let detail = ["detail", "message"].iter().find_map(|it| body[it].as_str()).unwrap_or_default().to_owned();
        Answer { status, www_authenticate: headers.contains_key("www-authenticate"), detail }
    }

    /// The processes that have this route: their addresses on the listener it belongs to, and on the other one.
    async fn owners(
        &mut self,
        entry: &Entry,
        path: &str,
        credentials: &[Credential<'_>],
    ) -> Vec<(SocketAddr, Option<SocketAddr>)> {
        let mut found = Vec::new();
        for process in self.processes.clone() {
            let (Some(its), other) = process.listeners(entry) else { continue };
            self.cases += 1;
            let answer = self.ask(its, &entry.method, path, credentials).await;
            if !answer.is_no_route() && answer.status != 405 {
                found.push((its, other));
            }
        }
        found
    }

    async fn route(&mut self, entry: &Entry, route: &str, callers: &Callers) {
        let path = with_values(route, SITE);
        let right: &[Credential<'_>] = match entry.access {
            Access::Slipstream(..) => &[(API_KEY, &callers.key)],
            Access::Operator => &[("authorization", &callers.operator)],
            Access::Ecg(..) => &[("authorization", &callers.ecg_admin)],
            Access::Public | Access::Probe => &[],
            Access::OpenDental(_) => panic!("the walk does not know how to go through {:?}: tell it", entry.access),
        };
        let owners = self.owners(entry, &path, right).await;
        let could = self.processes.iter().filter(|process| process.listeners(entry).0.is_some()).count();
        let expected = if is_of_every_process(entry) { could } else { 1 };
        assert_eq!(owners.len(), expected, "{} {route} is at {owners:?}", entry.method);
        for (base, other) in owners {
            let mut at = At { walk: self, base, entry, path: &path };
            at.lets_in(right).await;
            // On the other listener it is not there, whoever asks.
            if let Some(other) = other.filter(|_| !is_on_both(entry, route)) {
                at.is_absent_at(other, right).await;
            }
            match entry.access {
                Access::Slipstream(_, unknown) => at.site_route(route, unknown, callers).await,
                Access::Operator => at.operator_route(callers).await,
                Access::Ecg(role, tenant) => at.ecg_route(role, tenant, callers).await,
                _ => {}
            }
        }
    }
}

/// Whether the other listener has a route of this method and path, too.
fn is_on_both(entry: &Entry, path: &str) -> bool {
    let is_same = |other: &&Entry| other.method == entry.method && other.paths().any(|it| it == path);
    TABLE.iter().filter(is_same).count() > 1
}

/// One route at the service that has it.
struct At<'a> {
    walk: &'a mut Walk,
    base: SocketAddr,
    entry: &'a Entry,
    path: &'a str,
}

impl At<'_> {
    async fn ask(&mut self, path: &str, credentials: &[Credential<'_>]) -> Answer {
        self.walk.cases += 1;
        self.walk.ask(self.base, &self.entry.method, path, credentials).await
    }

    /// Whatever the answer is, it is the handler's.
    async fn lets_in(&mut self, credentials: &[Credential<'_>]) {
        let Answer { status, detail, .. } = self.ask(self.path, credentials).await;
        let is_probe = self.entry.access == Access::Probe;
        // Its purpose is to fail.
        let fails = self.path.ends_with("/failed-response") && status == 500;
        let is_in = !matches!(status, 401 | 403 | 405) && detail != NO_ROUTE && (status < 500 || is_probe || fails);
        assert!(is_in, "{} {}: the right caller got {status} {detail}", self.entry.method, self.path);
    }

    async fn refuses(&mut self, what: &str, path: &str, credentials: &[Credential<'_>], expected: StatusCode) {
        let Answer { status, www_authenticate, detail } = self.ask(path, credentials).await;
        let method = &self.entry.method;
        assert_eq!(status, expected.as_u16(), "{method} {path} with {what}: {detail}");
        assert_eq!(www_authenticate, status == 401, "{method} {path} with {what}: {detail}");
    }

    async fn is_absent_at(&mut self, other: SocketAddr, credentials: &[Credential<'_>]) {
        self.walk.cases += 1;
        let answer = self.walk.ask(other, &self.entry.method, self.path, credentials).await;
        let (method, path) = (&self.entry.method, self.path);
        assert!(answer.is_no_route(), "{method} {path} on the other listener: {} {}", answer.status, answer.detail);
    }

    async fn site_route(&mut self, route: &str, unknown: UnknownSite, callers: &Callers) {
        use StatusCode as S;
        let path = self.path;
        self.lets_in(&bearer(&callers.token)).await;
        let both = [(API_KEY, callers.key.as_str()), ("authorization", callers.token.as_str())];
        let two = [(API_KEY, callers.key.as_str()), (API_KEY, callers.key_elsewhere.as_str())];
        for (what, credentials) in [
            ("no credential", &[][..]),
            ("a bad key", &key("nonsense")),
            ("a key that is nobody's", &key(&format!("{}x", callers.key))),
            ("a bad token", &bearer(&callers.token_bad)),
            ("the operator's token", &bearer(&callers.operator)),
            ("a key as a token", &bearer(&format!("Bearer {}", callers.key))),
            ("two keys", &two),
            ("a key and a token", &both),
        ] {
            self.refuses(what, path, credentials, S::UNAUTHORIZED).await;
        }
        for (what, credentials) in [
            ("a key of another tenant", key(&callers.key_elsewhere)),
            ("a key without the permission", key(&callers.key_powerless)),
            ("a token of another tenant", bearer(&callers.token_elsewhere)),
            ("a token without the permission", bearer(&callers.token_powerless)),
        ] {
            self.refuses(what, path, &credentials, S::FORBIDDEN).await;
        }
        let right = key(&callers.key);
        self.refuses("a malformed slug", &with_values(route, "nonsense"), &right, S::BAD_REQUEST).await;
        let unknown = match unknown {
            UnknownSite::Forbidden => S::FORBIDDEN,
            UnknownSite::NotFound => S::NOT_FOUND,
        };
        self.refuses("a site that nobody made", &with_values(route, NO_SITE), &right, unknown).await;
        self.refuses_head().await;
    }

    async fn operator_route(&mut self, callers: &Callers) {
        let path = self.path;
        for (what, credentials) in [
            ("no credential", &[][..]),
            ("a bad token", &[("authorization", "Bearer nonsense-of-some-length")]),
            ("another scheme", &[("authorization", "Basic bm9uc2Vuc2U=")]),
            ("a key", &[(API_KEY, &callers.key)]),
            ("a key as a token", &[("authorization", &format!("Bearer {}", callers.key))]),
            ("a token of an issuer", &[("authorization", &callers.token)]),
            ("a key beside the right token", &[("authorization", &callers.operator), (API_KEY, &callers.key)]),
        ] {
            self.refuses(what, path, credentials, StatusCode::UNAUTHORIZED).await;
        }
        self.refuses_head().await;
    }

    async fn ecg_route(&mut self, role: EcgRole, tenant: EcgTenant, callers: &Callers) {
        use StatusCode as S;
        let path = self.path;
        for (what, credentials) in [
            ("no credential", &[][..]),
            ("a bad token", &bearer("Bearer nonsense-of-some-length")),
            ("another scheme", &bearer("Basic bm9uc2Vuc2U=")),
            ("a key", &key(&callers.key)),
            ("the operator's token", &bearer(&callers.operator)),
            ("a token of the other surface", &bearer(&callers.token)),
        ] {
            self.refuses(what, path, credentials, S::UNAUTHORIZED).await;
        }
        self.refuses("a token without a role", path, &bearer(&callers.ecg_powerless), S::FORBIDDEN).await;
        if role == EcgRole::Admin {
            self.refuses("a manager's token", path, &bearer(&callers.ecg_manager), S::FORBIDDEN).await;
        }
        if tenant == EcgTenant::InPath {
            let elsewhere = bearer(&callers.ecg_elsewhere);
            self.refuses("a token of another organization", path, &elsewhere, S::FORBIDDEN).await;
            let malformed = path.replace(ORGANIZATION, "nonsense");
            self.refuses("a malformed id", &malformed, &bearer(&callers.ecg_manager), S::BAD_REQUEST).await;
        }
        self.refuses_head().await;
    }

    /// `HEAD` comes as `GET` does.
    async fn refuses_head(&mut self) {
        if self.entry.method == Method::GET {
            self.walk.cases += 1;
            let head = self.walk.ask(self.base, &Method::HEAD, self.path, &[]).await;
            assert_eq!(head.status, 401, "HEAD {}", self.path);
        }
    }
}

fn key(key: &str) -> [Credential<'_>; 1] {
    [(API_KEY, key)]
}

fn bearer(token: &str) -> [Credential<'_>; 1] {
    [("authorization", token)]
}

/// A path of the route: names of things that may be there or not, of the right form.
fn with_values(route: &str, site: &str) -> String {
    let id = "5d0f7a3e-1c2b-4e6f-9a80-b1c2d3e4f506";
    let value = |name: &str| match name {
        "site" => site.to_owned(),
        "slug" if route.contains("/organisations/") => ORGANISATION.to_owned(),
        "slug" => SITE.to_owned(),
        "feature" => "physicalpost".to_owned(),
        "slot" => "primary".to_owned(),
        "*path" => format!("{SITE}//try/1"),
        "id" | "key" | "subscription" => id.to_owned(),
        "organizationId" => ORGANIZATION.to_owned(),
        "webhookCategoryId" | "webhookEventId" | "subscriptionId" | "eventId" | "activationId" | "activityId" => {
            id.to_owned()
        }
        "eventCode" => "vitals.observations.created".to_owned(),
        other => panic!("the walk has no value for {{{other}}}: give it one"),
    };
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        Some(name) => value(name),
        None => segment.to_owned(),
    };
    route.split('/').map(segment).collect::<Vec<_>>().join("/")
}
