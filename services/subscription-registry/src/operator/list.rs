//! Lists by keyset: `?limit=…&cursor=…` and `{"items":[…],"next":"…"}`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use slipstream_core::limits::PAGE_ROWS_MAX;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_store::Page;

/// The parameters that every list has. Texts, so that our own words say what is wrong with them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    limit: Option<String>,
    cursor: Option<String>,
    pub(super) state: Option<String>,
}

impl ListQuery {
    /// Rows of the page: 1 to 100, all 100 unless told otherwise.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = &self.limit else { return Ok(PAGE_ROWS_MAX) };
        let limit = text.parse().ok().filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
        limit.ok_or_else(|| bad_request(format!("`limit` must be a number from 1 to {PAGE_ROWS_MAX}")))
    }

    /// The last row of the page before.
    pub(super) fn cursor<T: FromStr>(&self) -> Result<Option<T>, Problem> {
        let cursor = self.cursor.as_deref().map(str::parse).transpose();
        cursor.map_err(|_| bad_request("`cursor` must be the `next` of another page"))
    }
}

/// A parameter is wrong.
pub(super) fn bad_request(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}

/// A page as it is answered.
#[derive(Debug, Serialize)]
pub(super) struct PageView<T> {
    items: Vec<T>,
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

    #[test]
    fn limits_outside_the_bounds_are_refused() {
        let query = |limit: &str| ListQuery { limit: Some(limit.to_owned()), ..ListQuery::default() };
        for limit in ["0", "101", "-1", "x", ""] {
            assert!(query(limit).limit().is_err(), "{limit}");
        }
        assert_eq!((query("1").limit(), query("100").limit(), ListQuery::default().limit()), (Ok(1), Ok(100), Ok(100)));
    }
}
