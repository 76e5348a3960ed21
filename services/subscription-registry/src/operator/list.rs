//! Lists by keyset: `?limit=…&cursor=…` and `{"items":[…],"next":"…"}`.

use std::str::FromStr;

use serde::Serialize;
use slipstream_core::problem::Problem;
use slipstream_service::list::{LIMIT_DEFAULT, Pairs, bad_cursor, each_once, parse_limit, unknown_parameter};
use slipstream_store::Page;
use utoipa::ToSchema;

/// The parameters that every list has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListParameters<T> {
    pub(super) limit: usize,
    /// The last row of the page before.
    pub(super) after: Option<T>,
}

impl<T: FromStr> ListParameters<T> {
    /// Reads `limit` and `cursor`.
    ///
    /// # Errors
    /// 400 naming the first parameter that is unknown, given twice, or has a value that does not fit.
    pub(super) fn parse(pairs: Pairs) -> Result<Self, Problem> {
        Self::parse_with(pairs, |name, _| Err(unknown_parameter(name, "limit and cursor")))
    }

    /// As [`parse`](Self::parse), with `set` for the parameters that only this list has.
    pub(super) fn parse_with(
        pairs: Pairs,
        mut set: impl FnMut(&str, String) -> Result<(), Problem>,
    ) -> Result<Self, Problem> {
        let mut parameters = Self { limit: LIMIT_DEFAULT, after: None };
        each_once(pairs, |name, value| {
            match name {
                "limit" => parameters.limit = parse_limit(&value)?,
                "cursor" => parameters.after = Some(value.parse().map_err(|_| bad_cursor())?),
                _ => set(name, value)?,
            }
            Ok(())
        })?;
        Ok(parameters)
    }
}

/// A page as it is answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Page)]
pub(super) struct PageView<T> {
    items: Vec<T>,
    #[schema(required)]
    next: Option<String>,
}

impl<T> PageView<T> {
    pub(super) fn of<R: Into<T>>(page: Page<R>) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next: page.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<ListParameters<u32>, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ListParameters::parse(pairs).map_err(|problem| problem.detail.into_owned())
    }

    #[test]
    fn every_bad_parameter_is_named() {
        for (name, value) in [("limit", "0"), ("limit", "101"), ("cursor", "next"), ("state", "active"), ("limt", "1")]
        {
            let detail = parsed(&[(name, value)]).unwrap_err();
            assert!(detail.contains(&format!("`{name}`")), "{name}={value}: {detail}");
        }
        assert!(parsed(&[("limit", "1"), ("limit", "2")]).unwrap_err().contains("`limit`"));
    }

    #[test]
    fn a_page_has_fifty_rows_unless_asked_for_otherwise() {
        assert_eq!(parsed(&[]), Ok(ListParameters { limit: 50, after: None }));
        assert_eq!(parsed(&[("cursor", "7"), ("limit", "100")]), Ok(ListParameters { limit: 100, after: Some(7) }));
    }
}
