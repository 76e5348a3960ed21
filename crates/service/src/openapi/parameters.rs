//! Parameters that many operations have in common.

use slipstream_core::timestamp::Timestamp;
use utoipa::IntoParams;

/// The parameters that every list has.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents take its fields' names and rules; handlers read queries by `list`")]
pub struct Paging {
    /// Rows of a page; 50 unless told otherwise.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// The parameters of what is about a time.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "as of `Paging`")]
pub struct Times {
    /// From when on, this time included.
    #[param(inline)]
    since: Option<Timestamp>,
    /// Until when, this time not included.
    #[param(inline)]
    until: Option<Timestamp>,
}
