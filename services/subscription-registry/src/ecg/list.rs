//! Lists of what is configured (SPEC 6.1).

use slipstream_core::problem::Problem;
use slipstream_service::ecg::{Order, Paging, Query};
use slipstream_store::ecg::{self, Slice, Status};
use utoipa::IntoParams;

/// The part of a list that `paging` asks for.
pub(crate) fn slice(paging: &Paging) -> Slice {
    let order = match paging.order {
        Order::Asc => ecg::Order::Asc,
        Order::Desc => ecg::Order::Desc,
    };
    Slice { order, offset: paging.offset(), limit: paging.take }
}

/// What `status` asks for: what is not archived, unless told otherwise.
///
/// # Errors
/// 400 when it is not a known one.
pub(crate) fn status(query: &Query) -> Result<Status, Problem> {
    let known = [
        ("active", Status::Active),
        ("inactive", Status::Inactive),
        ("archived", Status::Archived),
        ("restored", Status::Restored),
    ];
    Ok(query.choice("status", &known)?.unwrap_or_default())
}

/// The parameter that [`status`] reads, for documents.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents take its field's name and rule; handlers read the query")]
pub(crate) struct StatusParameter {
    /// What is not archived (`restored`) unless told otherwise; of that only what is `active` or `inactive`; or what is
    /// `archived`, active or not.
    #[param(pattern = "^(active|inactive|archived|restored)$")]
    status: Option<String>,
}
