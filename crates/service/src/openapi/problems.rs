//! Refusals as documents show them.

use std::collections::BTreeMap;

use utoipa::openapi::{Content, Ref, RefOr, Response, Schema};
use utoipa::{IntoResponses, ToSchema};

use crate::ecg;
use crate::problem::{CONTENT_TYPE, Document};

/// How the refusals of a document are worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As problem documents.
    Problem,
    /// As the ECG surface does.
    Ecg,
}

impl Refusal {
    /// The components that refusals refer to.
    pub(super) fn schemas(self) -> Vec<(String, RefOr<Schema>)> {
        match self {
            Self::Problem => schemas_of::<Document<'_>>(),
            Self::Ecg => schemas_of::<ecg::Refusal<'_>>(),
        }
    }

    /// Lets `response` be a refusal, too.
    pub(super) fn add_to(self, response: &mut Response) {
        let (content_type, name) = match self {
            Self::Problem => (CONTENT_TYPE, Document::name()),
            Self::Ecg => (ecg::CONTENT_TYPE, ecg::Refusal::name()),
        };
        let schema = Ref::from_schema_name(name);
        response.content.entry(content_type.to_owned()).or_insert_with(|| Content::new(Some(schema)).into());
    }

    /// Words a refusal that an operation has by itself, which is a problem document until then.
    pub(super) fn reword(self, response: &mut Response) {
        if self != Self::Problem && response.content.shift_remove(CONTENT_TYPE).is_some() {
            self.add_to(response);
        }
    }

    /// What is said of 400.
    pub(super) fn malformed(self) -> &'static str {
        match self {
            Self::Problem => "The request is malformed; `errors` names the members that are.",
            Self::Ecg => "The request is malformed; `message` names the members that are.",
        }
    }
}

fn schemas_of<T: ToSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = Vec::new();
    T::schemas(&mut schemas);
    schemas.push((T::name().into_owned(), T::schema()));
    schemas
}

/// An answer that is a problem document.
fn problem(description: &str) -> Response {
    let mut response = Response::new(description);
    Refusal::Problem.add_to(&mut response);
    response
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
