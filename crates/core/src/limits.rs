//! Limits on everything that can grow (THREATS 7), side by side so that their relations can be seen.

/// Bytes of one request body: 1 MiB. Beyond: 413.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one request body where nothing is published: 128 KiB. Beyond: 413. The longest one that means anything is a
/// subscription with all of its headers, which has 80 KiB of them.
pub const MANAGEMENT_BODY_BYTES_MAX: usize = 128 * 1024;
/// Values in a JSON body that is read whole, objects and lists counted too. Beyond: 400. A value in memory takes up to a
/// hundred times the bytes that it has on the way, and the largest body that means anything has some hundred of them.
pub const JSON_VALUES_MAX: usize = 10_000;
/// Bytes of one event in the form it is forwarded in: 256 KiB. Beyond: 413.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// Events in one batch. Beyond: 413. The bus commits at most this many messages at once, and a batch is one commit.
pub const BATCH_EVENTS_MAX: usize = 1000;
/// Nesting of JSON, counting the event's own object as 1. Beyond: 400.
pub const JSON_DEPTH_MAX: usize = 64;
/// Characters of an attribute name (SPEC 3.2). Beyond: 400.
pub const ATTRIBUTE_NAME_LEN_MAX: usize = 64;
/// Entries in the `errors` list of one answer; the rest is cut.
pub const ERRORS_MAX: usize = 100;
/// Headers of one subscription, and bytes of one header's value.
pub const SUBSCRIPTION_HEADERS_MAX: usize = 20;
/// Bytes of one subscription header's value.
pub const SUBSCRIPTION_HEADER_VALUE_BYTES_MAX: usize = 4096;
/// Bytes of a target URL.
pub const TARGET_URL_BYTES_MAX: usize = 2048;
/// Rows of one page of a list.
pub const PAGE_ROWS_MAX: usize = 100;
/// Bytes of a receiver's answer that we read.
pub const ANSWER_BYTES_READ_MAX: usize = 64 * 1024;
/// Bytes of a receiver's answer that we keep.
pub const ANSWER_BYTES_KEPT_MAX: usize = 16 * 1024;
/// Longest wait that a receiver's `Retry-After` may ask for, in seconds: 24 h (SPEC 2.5).
pub const RETRY_AFTER_SECONDS_MAX: u64 = 24 * 3600;
/// Furthest future that a schedule may lie in, in milliseconds: 100 years (DESIGN 3.3).
pub const SCHEDULE_MILLIS_MAX: i64 = 100 * 365 * 24 * 3600 * 1000;

/// How long a repeat of an event is recognised after its acceptance: 7 days (SPEC 4.7), in milliseconds.
pub const DEDUPLICATION_MILLIS: i64 = 7 * 24 * 3600 * 1000;

/// How long a rotated key goes on signing beside the new one where nothing else is configured: 24 h (SPEC 4.6).
pub const ROTATED_KEY_GRACE: std::time::Duration = std::time::Duration::from_hours(24);
