//! What follows from the access table and from what is put around handlers.

use std::collections::BTreeSet;

use http::Method;
use serde_json::json;
use slipstream_core::idempotency::KEY_LEN_MAX;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Header, Object, OpenApi, Paths, Ref, RefOr, Required, Response};

use super::described;
use super::problems::Refusal;
use crate::access::{Access, EcgTenant, Entry, TABLE, UnknownSite};
use crate::auth::{ACCESS_TOKEN, API_KEY};
use crate::ecg;
use crate::idempotency::{IDEMPOTENCY_KEY, takes_key};

/// Why a document cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undescribed {
    /// An operation that the access table does not have for this document.
    #[error("the operation {method} {path} has no entry for its listener and surface in the access table")]
    NoEntry {
        /// The method.
        method: Method,
        /// The path, as the document has it.
        path: String,
    },
    /// Two surfaces of one listener describe different things by one name.
    #[error("the schema {0} of the ECG surface has the name of another one")]
    Ambiguous(String),
}

/// Which document it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Slipstream,
    Ecg,
    Operators,
}

impl Of {
    /// The document of an entry of the access table.
    fn entry(entry: &Entry) -> Self {
        if entry.is_for_operators() {
            Self::Operators
        } else if ecg::is_here(entry.path) {
            Self::Ecg
        } else {
            Self::Slipstream
        }
    }

    /// How refusals are worded there.
    fn refusal(self) -> Refusal {
        match self {
            Self::Ecg => Refusal::Ecg,
            Self::Slipstream | Self::Operators => Refusal::Problem,
        }
    }
}

const KEY: &str = "apiKey";
const BEARER: &str = "bearerToken";
const QUERY: &str = "tokenInQuery";
const OPERATOR: &str = "operatorToken";
const ECG: &str = "ecgToken";

/// Whether `path` of a document is where `entry` is documented. A wildcard, which `OpenAPI` has not, is written with
/// names for what it stands for.
pub fn documented(entry: &Entry, path: &str) -> bool {
    match entry.path.split_once("{*") {
        None => entry.path == path,
        Some((prefix, _)) => path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('{')),
    }
}

/// Adds to each operation what follows from its entry.
pub(super) fn finish(document: &mut OpenApi, of: Of) -> Result<(), Undescribed> {
    let refusal = of.refusal();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let is_it = |entry: &&Entry| Of::entry(entry) == of && entry.method == method && documented(entry, path);
            match TABLE.iter().find(is_it) {
                Some(entry) => complete(operation, entry, refusal),
                None => return Err(Undescribed::NoEntry { method, path: path.clone() }),
            }
        }
    }
    let is_empty = document.paths.paths.is_empty();
    let components = document.components.get_or_insert_default();
    if !is_empty {
        components.schemas.extend(refusal.schemas());
    }
    components.schemas.values_mut().for_each(described::mend);
    let used = used_headers(&document.paths);
    for (name, description, schema) in header_components().into_iter().filter(|(name, ..)| used.contains(*name)) {
        let mut header = Header::new(schema);
        header.description = Some(description.to_owned());
        components.headers.insert(name.to_owned(), header.into());
    }
    let mut scheme =
        |name: &str, scheme: SecurityScheme| components.security_schemes.insert(name.to_owned(), RefOr::T(scheme));
    match of {
        Of::Slipstream => {
            let key = "An account's primary or secondary key";
            scheme(KEY, SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(API_KEY, key))));
            scheme(BEARER, bearer(Some("JWT"), "A token of an issuer that is configured"));
            let query =
                "The same, where a header cannot be set (RFC 6750, 2.3). Headers are better: queries get logged.";
            scheme(QUERY, SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(ACCESS_TOKEN, query))));
        }
        Of::Ecg => {
            let roles = "A token of an issuer that is configured for this surface: `roles` holds `webhookAdmin` or \
                         `webhookManager`, and `organizationIds` what the latter may act for";
            scheme(ECG, bearer(Some("JWT"), roles));
        }
        Of::Operators => {
            scheme(OPERATOR, bearer(None, "The operator's token"));
        }
    }
    Ok(())
}

fn bearer(format: Option<&str>, description: &str) -> SecurityScheme {
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.bearer_format = format.map(str::to_owned);
    scheme.description = Some(description.to_owned());
    SecurityScheme::Http(scheme)
}

/// The operations of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, put, post, delete, options, head, patch, .. } = item;
    let all = [
        (Method::GET, get),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::DELETE, delete),
        (Method::OPTIONS, options),
        (Method::HEAD, head),
        (Method::PATCH, patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn complete(operation: &mut Operation, entry: &Entry, refusal: Refusal) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            refusal.reword(response);
        }
    }
    let refuse = |operation: &mut Operation, status: &str, description: &str| {
        refuse(operation, status, description, refusal);
    };
    refuse(operation, "431", "The head of the request is larger than allowed, or has too many fields.");
    refuse(operation, "500", "Something went wrong on our side.");
    if entry.access == Access::Probe {
        return;
    }
    refuse(operation, "400", refusal.malformed());
    refuse(operation, "503", "A part that is needed did not answer in time, or too much is under way.");
    if operation.request_body.is_some() || takes_key(entry) {
        refuse(operation, "408", "The body did not arrive in time.");
        refuse(operation, "413", "The body is larger than allowed.");
        refuse(operation, "415", "The content type or the content encoding is none that is read here.");
    }
    match entry.access {
        // The last one: its surface has no document yet.
        Access::Public | Access::Probe | Access::OpenDental(_) => {}
        Access::Ecg(_, tenant) => {
            operation.security = Some(vec![need(ECG)]);
            refuse(operation, "401", "No token, or one that is not valid.");
            refuse(
                operation,
                "403",
                match tenant {
                    EcgTenant::None => "The token does not have the role for this.",
                    EcgTenant::InPath => {
                        "The token does not have the role for this, or does not allow the organization."
                    }
                },
            );
            refuse(operation, "429", "The quota is used up.");
        }
        Access::Operator => {
            operation.security = Some(vec![need(OPERATOR)]);
            refuse(operation, "401", "No credential, or not the operator's.");
        }
        Access::Slipstream(_, unknown) => {
            let mut security = vec![need(KEY), need(BEARER)];
            security.extend(entry.token_in_query.then(|| need(QUERY)));
            operation.security = Some(security);
            refuse(operation, "401", "No credential, one that is not valid, or two of different callers.");
            refuse(operation, "403", "The caller does not have the permission, or may not act for the site.");
            if unknown == UnknownSite::NotFound {
                refuse(operation, "404", "There is no such site, or not what the path names.");
            }
            refuse(operation, "429", "The quota is used up.");
        }
    }
    if takes_key(entry) {
        operation.parameters.get_or_insert_default().push(idempotency_key().into());
        refuse(
            operation,
            "409",
            "The first request with this `Idempotency-Key` is not finished, or cannot be repeated.",
        );
        refuse(operation, "422", "This `Idempotency-Key` came with another query or body before.");
    }
    headers(operation, entry);
}

fn need(scheme: &str) -> SecurityRequirement {
    SecurityRequirement::new(scheme, Vec::<String>::new())
}

/// Adds a refusal; where the operation has such a status by itself, only that it may be worded as one.
fn refuse(operation: &mut Operation, status: &str, description: &str, refusal: Refusal) {
    match operation.responses.responses.get_mut(status) {
        Some(RefOr::T(response)) => refusal.add_to(response),
        Some(_) => {}
        None => {
            let mut response = Response::new(description);
            refusal.add_to(&mut response);
            operation.responses.responses.insert(status.to_owned(), response.into());
        }
    }
}

fn idempotency_key() -> Parameter {
    let description =
        "A name for this request: a repeat of it within 24 hours is not done again and gets the same answer.";
    // A String of RFC 8941, without what would have to be escaped in it.
    let pattern = format!("^\"[ !#-\\[\\]-~]{{1,{KEY_LEN_MAX}}}\"$");
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let text = text.examples(["\"5d0f7a3e-1c2b-4e6f-9a80-b1c2d3e4f506\""]);
    let parameter = ParameterBuilder::new().name(IDEMPOTENCY_KEY).parameter_in(ParameterIn::Header);
    parameter.description(Some(description)).required(Required::False).schema(Some(text)).build()
}

/// The headers that clients use, as components: name, what it says, and the schema of its value.
fn header_components() -> [(&'static str, &'static str, ObjectBuilder); 5] {
    let text = |example: &str| Object::builder().schema_type(Type::String).examples([json!(example)]);
    let number = Object::builder().schema_type(Type::Integer).minimum(Some(1));
    [
        ("WWW-Authenticate", "How to authenticate", text("Bearer")),
        ("Retry-After", "After how many seconds a repeat may pass", number),
        (
            "RateLimit-Policy",
            "The quota, if the caller has one: tokens of a full bucket, and seconds until an empty one is full",
            text("\"publish\";q=500;w=10"),
        ),
        ("RateLimit", "What is left of it: tokens, and seconds until there is one more", text("\"publish\";r=37;t=1")),
        ("Idempotent-Replayed", "`true`: the answer to an earlier request with this `Idempotency-Key`", text("true")),
    ]
}

/// Says which answers have them.
fn headers(operation: &mut Operation, entry: &Entry) {
    let has_quota = matches!(entry.access, Access::Slipstream(..) | Access::Ecg(..));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let status = status.as_str();
        // Before anybody is known, so that there is nobody to say it of.
        let is_refused_before = matches!(status, "401" | "431");
        let is_of_key = takes_key(entry) && matches!(status.as_bytes(), [b'2' | b'4', ..]);
        for (name, is_there) in [
            ("WWW-Authenticate", status == "401"),
            ("Retry-After", matches!(status, "429" | "503") || (status == "409" && takes_key(entry))),
            ("RateLimit-Policy", has_quota && !is_refused_before && status != "500"),
            ("RateLimit", has_quota && !is_refused_before && status != "500"),
            ("Idempotent-Replayed", is_of_key && !is_refused_before && !matches!(status, "403" | "408" | "429")),
        ] {
            if is_there {
                let there = RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
                response.headers.insert(name.to_owned(), there);
            }
        }
    }
}

/// The names of headers that some answer has.
fn used_headers(paths: &Paths) -> BTreeSet<String> {
    let operations = paths.paths.values().flat_map(|item| {
        let PathItem { get, put, post, delete, options, head, patch, .. } = item;
        [get, put, post, delete, options, head, patch].into_iter().flatten()
    });
    let responses = operations.flat_map(|operation| operation.responses.responses.values());
    let headers = responses.filter_map(|response| match response {
        RefOr::T(response) => Some(response.headers.keys().cloned()),
        RefOr::Ref(_) => None,
    });
    headers.flatten().collect()
}
