//! OpenAPI 3.1 documents of what a process serves: one of each surface for everybody, one for operators (issue 4).
//!
//! An operation stands beside its handler (`#[utoipa::path]`) and says what is its own: parameters, body, answers. What
//! follows from its row in the [access table](crate::access::TABLE) and from what is put around handlers is added here,
//! from the same rules that act: credentials and their refusals, quotas, `Idempotency-Key`, the limits of heads and
//! bodies. So a document cannot forget a refusal that the guard has.
//!
//! A service hands its [`Documents`] to [`Context::describe`](crate::Context::describe). Each process serves what it has
//! itself at `/openapi.json` of either listener, all surfaces of the public one together; `slipstream up`, which has
//! everything, serves what is committed under `proto-schemas/openapi`.
//!
//! Without a credential: a document says what the source code says, and nothing of anybody's data or of what is
//! configured. Whoever writes a client needs it before there is a key.

mod described;
mod finish;
mod parameters;
mod probes;
mod problems;
mod public;
mod serve;

use std::fmt;

use utoipa::openapi::{Components, Info, License, OpenApi, Paths, Server, Tag};

pub use self::finish::{Undescribed, documented};
pub use self::parameters::{Paging, Times};
pub use self::problems::{
    Conflict, Gone, HandshakeFailed, MethodNotAllowed, NotFound, Problem, TooLarge, Unprocessable,
};
pub(crate) use self::serve::routes;

/// The operations of a part, by the listener that serves them.
#[derive(Clone)]
pub struct Documents {
    /// For everybody.
    slipstream: OpenApi,
    /// For everybody, the ECG surface.
    ecg: OpenApi,
    /// For operators.
    operator: OpenApi,
}

/// The documents as they are committed and served: JSON, indented, its members always in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// For everybody.
    pub slipstream: String,
    /// For everybody, the ECG surface.
    pub ecg: String,
    /// For operators.
    pub operator: String,
    /// What the public listener serves: `slipstream` and `ecg` in one document. Not committed.
    pub public: String,
}

impl Default for Documents {
    /// Nothing yet.
    fn default() -> Self {
        Self { slipstream: empty(), ecg: empty(), operator: empty() }
    }
}

impl Documents {
    /// What a process has whatever its services are: the probes, and the documents themselves.
    pub fn of_every_process() -> Self {
        let operator = probes::operations().merge_from(serve::operator());
        Self { slipstream: serve::public(), ecg: empty(), operator }
    }

    /// Operations for everybody.
    #[must_use]
    pub fn slipstream(mut self, operations: OpenApi) -> Self {
        self.slipstream.merge(operations);
        self
    }

    /// Operations of the ECG surface.
    #[must_use]
    pub fn ecg(mut self, operations: OpenApi) -> Self {
        self.ecg.merge(operations);
        self
    }

    /// Operations for operators.
    #[must_use]
    pub fn operator(mut self, operations: OpenApi) -> Self {
        self.operator.merge(operations);
        self
    }

    /// The operations of both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        self.slipstream(other.slipstream).ecg(other.ecg).operator(other.operator)
    }

    /// The documents as they are served, with what follows from the access table.
    ///
    /// # Errors
    /// If an operation is in the access table under no path, for the other listener, or of another surface; if one name
    /// stands for two schemas of the public listener.
    pub fn finish(self) -> Result<Written, Undescribed> {
        let Self { mut slipstream, mut ecg, mut operator } = self;
        slipstream.info = info("Slipstream", include_str!("openapi/slipstream.md"));
        let server = |url: &str, description: &str| {
            let mut server = Server::new(url);
            server.description = Some(description.to_owned());
            server
        };
        slipstream.servers = Some(vec![
            server("/", "This server"),
            server("/api/v1", "The same, under the base path that the specification names"),
        ]);
        slipstream.tags = Some(vec![
            tag("Events", "Publishing events, and those that wait for their time"),
            tag("Webhooks", "Having events delivered"),
            tag("Receivers", "What the receivers of webhooks use"),
            tag("Description", "This document"),
        ]);
        ecg.info = info("ECG webhooks", include_str!("openapi/ecg.md"));
        ecg.servers = Some(vec![server("/", "This server")]);
        ecg.tags = Some(vec![
            tag("Categories", "Categories of webhook events"),
            tag("Events", "Kinds of webhook events"),
            tag("Samples", "Sample payloads of webhook events"),
            tag("Subscriptions", "Who wants which events where"),
            tag("Secrets", "What hashes and signatures are made with"),
            tag("Activations", "Posts that say that a subscription was activated"),
            tag("Activities", "Posts of events, and what became of them"),
            tag("Hashes", "Making payloads, and checking that they are genuine"),
            tag("Processors", "Targets for trying out"),
            tag("Health", "State and reference data of the deployment"),
        ]);
        operator.info = info("Slipstream operator API", include_str!("openapi/operator.md"));
        operator.tags = Some(vec![
            tag("Configuration", "Organisations, sites and API accounts"),
            tag("Endpoints", "Where webhooks go: state, limits, signing keys, figures"),
            tag("Deliveries", "What became of events, and changing what will become of them"),
            tag("Replays", "Delivering again"),
            tag("Audit", "Who did what"),
            tag("Process", "Probes, metrics and this document"),
        ]);
        finish::finish(&mut slipstream, finish::Of::Slipstream)?;
        finish::finish(&mut ecg, finish::Of::Ecg)?;
        finish::finish(&mut operator, finish::Of::Operators)?;
        Ok(Written {
            slipstream: to_json(&slipstream),
            ecg: to_json(&ecg),
            operator: to_json(&operator),
            public: to_json(&public::together(slipstream, ecg)?),
        })
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |document: &OpenApi| document.paths.paths.len();
        f.debug_struct("Documents")
            .field("slipstream_paths", &count(&self.slipstream))
            .field("ecg_paths", &count(&self.ecg))
            .field("operator_paths", &count(&self.operator))
            .finish()
    }
}

fn to_json(document: &OpenApi) -> String {
    let mut json =
        document.to_pretty_json().expect("texts, numbers, lists and maps with texts as keys are always JSON");
    json.push('\n');
    without_citations(&json)
}

/// Without ` (SPEC 3.7)` and the like, which stand in doc comments and name what strangers do not have.
fn without_citations(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    while let Some(begin) = CITED.iter().filter_map(|cited| rest.find(cited)).min() {
        let end = rest[begin..].find(')').map_or(rest.len(), |length| begin + length + 1);
        kept.push_str(&rest[..begin]);
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

/// How a citation begins.
const CITED: [&str; 4] = [" (SPEC ", " (THREATS ", " (DESIGN ", " (issue "];

fn empty() -> OpenApi {
    let mut document = OpenApi::new(Info::new("", ""), Paths::new());
    document.components = Some(Components::default());
    document
}

fn info(title: &str, description: &str) -> Info {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let mut info = Info::new(title, env!("CARGO_PKG_VERSION"));
    info.description = Some(description.trim().to_owned());
    info.license = Some(license);
    info
}

fn tag(name: &str, description: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(description.to_owned());
    tag
}

#[cfg(test)]
mod tests;
