//! Refusals as documents show them.

use std::collections::BTreeMap;

use utoipa::openapi::{Content, Ref, RefOr, Response};
use utoipa::{IntoResponses, ToSchema};

use crate::problem::{CONTENT_TYPE, Document};

/// The component of problem documents.
pub(super) fn component() -> (String, Vec<(String, RefOr<utoipa::openapi::Schema>)>) {
    let mut schemas = Vec::new();
    Document::schemas(&mut schemas);
    let name = Document::name().into_owned();
    schemas.push((name.clone(), <Document<'_> as utoipa::PartialSchema>::schema()));
    (name, schemas)
}

/// An answer that is a problem document.
pub(super) fn problem(description: &str) -> Response {
    let mut response = Response::new(description);
    add_problem(&mut response);
    response
}

/// Lets `response` be a problem document, too.
pub(super) fn add_problem(response: &mut Response) {
    let schema = Ref::from_schema_name(Document::name());
    response.content.entry(CONTENT_TYPE.to_owned()).or_insert_with(|| Content::new(Some(schema)).into());
}

/// What an operation refuses by itself, beyond what follows from its row in the access table.
pub trait Problem {
    /// The status.
    const STATUS: &'static str;
    /// Why, in words.
    const DESCRIPTION: &'static str;
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:literal $description:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Problem for $name {
            const STATUS: &'static str = $status;
            const DESCRIPTION: &'static str = $description;
        }

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([(Self::STATUS.to_owned(), problem(Self::DESCRIPTION).into())])
            }
        }
    )+};
}

problems! {
    /// 404: what the path names does not exist.
    NotFound = "404" "What the path names does not exist.";
    /// 405: `HEAD`, where that would do what `GET` does.
    MethodNotAllowed = "405" "The path does not have this method.";
    /// 409: not in the state it is in.
    Conflict = "409" "The state that it is in does not allow this.";
    /// 410: it will not come back.
    Gone = "410" "What this was about is there no more.";
    /// 413: more than one request may hold.
    TooLarge = "413" "The body, an event or the batch is larger than allowed.";
    /// 422: well-formed, and cannot be acted on.
    Unprocessable = "422" "What was asked for is well-formed and cannot be acted on.";
    /// 424: the receiver did not agree.
    HandshakeFailed = "424" "The receiver was asked for its permission and did not grant it.";
}
