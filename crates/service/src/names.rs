//! Names of metrics, attributes and span targets, in one place: messaging names are not yet stable upstream and will
//! move once (STYLE 8). No id is ever the value of a metric's attribute.
//!
//! Span *fields* must be written literally where a span is made, so only their recording by name uses a constant.

/// What the target of a hot-path span begins with. Such spans are made with
/// `debug_span!(target: "slipstream::span::<where>", …)`: logs leave them out, and they cost nothing unless traces are
/// exported.
pub const SPAN_TARGET: &str = "slipstream::span";
/// The target of the accept loop's request spans.
pub const SPAN_TARGET_HTTP: &str = "slipstream::span::http";

/// Field: `ERROR` when what the span stands for failed.
pub const OTEL_STATUS_CODE: &str = "otel.status_code";
/// Field: the route's template.
pub const HTTP_ROUTE: &str = "http.route";
/// Field and attribute: the status.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// Attribute: the first digit of the status, `2xx` to `5xx`.
pub const HTTP_RESPONSE_STATUS_CLASS: &str = "http_response_status_class";
/// Attribute: why something was refused or failed; a closed set.
pub const ERROR_TYPE: &str = "error_type";
/// Attribute: the lane of an event or delivery.
pub const LANE: &str = "lane";
/// Attribute: the visibility of an event.
pub const VISIBILITY: &str = "visibility";
/// Attribute: what became of something; a closed set.
pub const OUTCOME: &str = "outcome";

/// Histogram, seconds: from a request's head read to its answer's head ready, by [`HTTP_RESPONSE_STATUS_CLASS`].
pub const HTTP_SERVER_REQUEST_DURATION: &str = "http_server_request_duration_seconds";
/// Gauge: connections open.
pub const HTTP_SERVER_CONNECTIONS: &str = "http_server_connections";
/// Counter: connections closed as they came, by [`ERROR_TYPE`] (`connections_max`, `connections_per_address_max`).
pub const HTTP_SERVER_CONNECTIONS_REFUSED: &str = "http_server_connections_refused_total";
/// Gauge, bytes: request bodies in memory.
pub const HTTP_SERVER_BODY_BYTES: &str = "http_server_body_bytes";
/// Gauge: subscriptions in the directory.
pub const DIRECTORY_SUBSCRIPTIONS: &str = "slipstream_directory_subscriptions";
/// Counter: times the directory's watch was lost and begun anew.
pub const DIRECTORY_WATCHES_LOST: &str = "slipstream_directory_watches_lost_total";

/// Counter: events that publishers heard 204 for, repeats included, by [`VISIBILITY`] and [`LANE`]. All that is left of
/// a Private event, beside its span (SPEC 5.2).
pub const EVENTS_ACCEPTED: &str = "slipstream_events_accepted_total";
/// Counter: accepted events that repeat an earlier one, by `found`: `at_once` by the broker, `late` by the activity log.
pub const EVENTS_DUPLICATE: &str = "slipstream_events_duplicate_total";
/// Counter: those of [`EVENTS_DUPLICATE`] whose content differs from the first one's.
pub const EVENTS_DUPLICATE_MISMATCH: &str = "slipstream_events_duplicate_mismatch_total";
/// Counter: events that were routed without looking for late repeats, because nobody answered.
pub const EVENTS_NOT_LOOKED_UP: &str = "slipstream_events_not_looked_up_total";
/// Counter: events for which it is decided who receives them.
pub const EVENTS_ROUTED: &str = "slipstream_events_routed_total";
/// Counter: attempts, by `result`: a status class or an error code.
pub const ATTEMPTS: &str = "slipstream_attempts_total";
/// Histogram, seconds: how long an attempt took, from resolving the name to the answer's last byte.
pub const ATTEMPT_DURATION: &str = "slipstream_attempt_duration_seconds";
/// Counter: deliveries put off without an attempt, by `reason`.
pub const DELIVERIES_PARKED: &str = "slipstream_deliveries_parked_total";
/// Gauge: messages that the slowest consumer of a `stream` has still to acknowledge.
pub const STREAM_BACKLOG: &str = "slipstream_stream_backlog_messages";
/// Counter: breakers of endpoints that opened.
pub const BREAKERS_OPENED: &str = "slipstream_breakers_opened_total";
/// Gauge: endpoints whose breaker is open or half open, in this dispatcher.
pub const BREAKERS_OPEN: &str = "slipstream_breakers_open";
/// Gauge: dispatchers that share receivers' rates, as this one counts them.
pub const DISPATCHERS: &str = "slipstream_dispatchers";
/// Counter: deliveries that replay jobs made again.
pub const DELIVERIES_REPLAYED: &str = "slipstream_deliveries_replayed_total";
/// Counter: requests refused because their actor is over quota, by [`POLICY`].
pub const OVER_QUOTA: &str = "slipstream_over_quota_total";
/// Attribute: the policy of a quota, `publish` or `requests`.
pub const POLICY: &str = "policy";
/// Counter: connections ended because of what their peer did, by [`ERROR_TYPE`] (`slow_head`, `frames`).
pub const HTTP_SERVER_CONNECTIONS_CUT: &str = "http_server_connections_cut_total";
/// Counter: times the keys of a token issuer were fetched, by [`OUTCOME`] (`fetched`, `failed`).
pub const ISSUER_KEYS_FETCHED: &str = "slipstream_issuer_keys_fetched_total";
/// Counter: acts that are recorded as begun, and whose end is not: somebody has to look whether they were done.
pub const AUDIT_ENDS_LOST: &str = "slipstream_audit_ends_lost_total";
/// Gauge: subscriptions in the directory that are held back, because their secrets cannot be opened.
pub const DIRECTORY_SUBSCRIPTIONS_SEALED: &str = "slipstream_directory_subscriptions_sealed";
