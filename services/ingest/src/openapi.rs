//! The part of the OpenAPI documents that ingest answers, and the shape of an event in it.
//!
//! Events are read by hand, member by member (see `core`), so their schema is written down here. It says what a publisher
//! should send; some of the rules, such as which site `siteslug` must be, no schema can say.

use serde_json::{Value, json};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::openapi::Documents;
use utoipa::{IntoParams, OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(paths(crate::publish::publish, crate::handshake::validate))]
struct Operations;

/// What ingest adds to the documents of its process.
pub fn documents() -> Documents {
    Documents::default().slipstream(Operations::openapi())
}

/// The site in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "documents take its fields' names and rules; the guard reads the path")]
pub(crate) struct SiteInPath {
    /// The site.
    #[param(inline)]
    site: Slug,
}

/// The attributes of an event in binary mode; further ones are `ce-` headers, too.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "as of `SiteInPath`")]
pub(crate) struct BinaryMode {
    /// In binary mode: 1.0.
    #[param(rename = "ce-specversion", example = "1.0")]
    specversion: Option<String>,
    /// In binary mode: the event's id.
    #[param(rename = "ce-id")]
    id: Option<String>,
    /// In binary mode: the event's source.
    #[param(rename = "ce-source")]
    source: Option<String>,
    /// In binary mode: the event's type.
    #[param(rename = "ce-type")]
    event_type: Option<String>,
}

/// An event in the JSON format of CloudEvents 1.0. Further members are extension attributes: booleans, integers, texts.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents take its fields' names and rules; `core` reads events")]
pub(crate) struct CloudEvent {
    #[schema(pattern = "^1\\.0$")]
    specversion: String,
    /// Unique within its source and site.
    #[schema(min_length = 1)]
    id: String,
    /// Where it happened: a URI-reference.
    #[schema(min_length = 1, format = "uri-reference")]
    source: String,
    /// What happened.
    #[schema(min_length = 1)]
    r#type: String,
    /// To what.
    #[schema(min_length = 1)]
    subject: Option<String>,
    /// When it happened.
    #[schema(inline)]
    time: Option<Timestamp>,
    /// The media type of the data; `application/slipstreamevent+json` unless told otherwise.
    datacontenttype: Option<String>,
    /// Where the schema of the data is.
    #[schema(format = "uri")]
    dataschema: Option<String>,
    /// What there is to say about it: any JSON, if its media type is JSON.
    data: Option<Value>,
    /// The data in Base64, in place of `data`.
    #[schema(rename = "data_base64", format = "byte")]
    data_base64: Option<String>,
    /// 0 internal, 1 public, 2 work queue, 3 private; the last two are for our own services.
    #[schema(minimum = 0, maximum = 3)]
    visibility: Option<i32>,
    /// 0 normal, 1 high, 2 realtime.
    #[schema(minimum = 0, maximum = 2)]
    priority: Option<i32>,
    /// Not to be delivered before.
    #[schema(inline)]
    intendeddeliverytime: Option<Timestamp>,
    /// Not to be delivered then or later.
    #[schema(inline)]
    expirytime: Option<Timestamp>,
    /// The site of the path.
    siteslug: Option<String>,
    /// The organisation that owns the site.
    organisationslug: Option<String>,
    /// The organisation that is billed for it.
    billingorganisationslug: Option<String>,
    /// The site's software: Testing, Exact, Dentally or Ascend.
    product: Option<String>,
    /// What is billed.
    billingsku: Option<String>,
    /// For how many.
    #[schema(minimum = 1)]
    billingpax: Option<i32>,
    /// The practice's id in its own software.
    pmsspecificid: Option<String>,
    /// Where the data lies, if it is not here.
    #[schema(format = "uri-reference")]
    dataref: Option<String>,
    /// The trace that this belongs to (W3C Trace Context).
    traceparent: Option<String>,
    /// What belongs to that.
    tracestate: Option<String>,
}

/// Events that are taken together. None is fine, too.
#[derive(ToSchema)]
#[schema(max_items = 1000)]
#[expect(dead_code, reason = "as of `CloudEvent`")]
pub(crate) struct Batch(Vec<CloudEvent>);

/// An event as a publisher sends it.
pub(crate) fn example() -> Value {
    json!({
        "specversion": "1.0",
        "id": "1f3c7a52-2c43-4f0e-9a57-0c5b8f1d2e34",
        "source": "https://post.example/letters",
        "type": "communications.letter.status_updated",
        "subject": "c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70",
        "time": "2026-03-02T09:30:00Z",
        "visibility": 1,
        "priority": 0,
        "data": {
            "recordId": "c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70",
            "color": false,
            "express": false,
            "status": "InTransit",
        },
    })
}
