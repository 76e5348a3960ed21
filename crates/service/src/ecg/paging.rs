//! Pages: which one is asked for, and how it is answered (SPEC 6.1).

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Serialize;
use slipstream_core::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::Query;
use crate::list::bad_parameter;
use crate::problem::ApiError;

/// Records of a page unless asked for otherwise.
const TAKE_DEFAULT: u64 = 10;
/// Records of the longest page.
const TAKE_MAX: u64 = 100;

/// In which direction a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The oldest first.
    Asc,
    /// The newest first.
    #[default]
    Desc,
}

/// Which page is asked for: an extractor, for handlers of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// `order_by`.
    pub order: Order,
    /// `skip`: how many pages come before it.
    pub skip: u64,
    /// `take`: how many records a page has, 1 to 100.
    pub take: u64,
}

impl Paging {
    /// Reads `order_by`, `skip` and `take`.
    ///
    /// # Errors
    /// 400 naming the parameter that is not as it must be.
    pub fn read(query: &Query) -> Result<Self, Problem> {
        let order = query.choice("order_by", &[("ASC", Order::Asc), ("DESC", Order::Desc)])?.unwrap_or_default();
        let skip = number(query, "skip", "must be a whole number")?.unwrap_or_default();
        let rule = format!("must be a number from 1 to {TAKE_MAX}");
        let take = number(query, "take", &rule)?.unwrap_or(TAKE_DEFAULT);
        if !(1..=TAKE_MAX).contains(&take) {
            return Err(bad_parameter("take", &rule));
        }
        Ok(Self { order, skip, take })
    }

    /// How many records come before the page: `skip` counts pages. Fits into a signed number of 64 bits, which databases
    /// count by.
    pub fn offset(&self) -> u64 {
        self.skip.saturating_mul(self.take).min(i64::MAX as u64)
    }

    /// The answer: the records of this page, of `total` records that there are.
    pub fn list<T>(&self, items: Vec<T>, total: u64) -> ListOf<T> {
        ListOf {
            items,
            current_page_number: self.skip,
            records_per_page: self.take,
            total_records: total,
            total_pages: total.div_ceil(self.take),
        }
    }
}

/// A number of digits only: no sign, which `parse` would take.
fn number(query: &Query, name: &str, rule: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = query.one(name)? else { return Ok(None) };
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.map(Some).ok_or_else(|| bad_parameter(name, rule))
}

impl<S: Sync> FromRequestParts<S> for Paging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self::read(&Query::from_request_parts(parts, state).await?)?)
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListOf<T> {
    /// The records of the page.
    pub items: Vec<T>,
    /// How many pages come before it: `skip`.
    pub current_page_number: u64,
    /// How many records a page has: `take`.
    pub records_per_page: u64,
    /// How many records there are.
    pub total_records: u64,
    /// How many pages they fill.
    pub total_pages: u64,
}

/// The parameters of [`Paging`], for documents.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents take its fields' names and rules; handlers take `Paging`")]
pub struct PagingParameters {
    /// `DESC` unless told otherwise: the newest first.
    #[param(pattern = "^(ASC|DESC)$")]
    order_by: Option<String>,
    /// How many pages to skip; none unless told otherwise.
    #[param(minimum = 0)]
    skip: Option<u64>,
    /// Records of a page; 10 unless told otherwise.
    #[param(minimum = 1, maximum = 100)]
    take: Option<u64>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn read(query: &str) -> Result<Paging, String> {
        let (mut parts, ()) = http::Request::get(format!("/?{query}")).body(()).unwrap().into_parts();
        let read = Paging::from_request_parts(&mut parts, &()).await;
        read.map_err(|error| error.problem().detail.to_string())
    }

    #[tokio::test]
    async fn a_page_is_the_first_ten_unless_asked_for_otherwise() {
        assert_eq!(read("").await, Ok(Paging { order: Order::Desc, skip: 0, take: 10 }));
        let third = read("order_by=ASC&skip=2&take=100&other=1").await.unwrap();
        assert_eq!((third, third.offset()), (Paging { order: Order::Asc, skip: 2, take: 100 }, 200));
        let far = read("skip=18446744073709551615").await.unwrap();
        assert_eq!(far.offset(), i64::MAX as u64);
    }

    #[tokio::test]
    async fn what_is_no_page_is_refused_and_named() {
        for query in [
            "skip=-1",
            "skip=x",
            "skip=",
            "skip=%2B1",
            "skip=1.0",
            "skip=18446744073709551616",
            "take=0",
            "take=101",
            "take=-1",
            "take=ten",
            "take=",
            "order_by=up",
            "order_by=asc",
            "order_by=",
            "skip=1&skip=1",
        ] {
            let name = query.split('=').next().unwrap();
            let detail = read(query).await.unwrap_err();
            assert!(detail.starts_with(&format!("query parameter `{name}` ")), "{query}: {detail}");
        }
    }

    #[test]
    fn a_page_says_where_it_stands() {
        let paging = Paging { order: Order::Desc, skip: 3, take: 10 };
        let written = serde_json::to_value(paging.list(vec!["a"], 31)).unwrap();
        let expected = json!({
            "items": ["a"], "currentPageNumber": 3, "recordsPerPage": 10, "totalRecords": 31, "totalPages": 4,
        });
        assert_eq!(written, expected);
        assert_eq!((paging.list::<()>(vec![], 30).total_pages, paging.list::<()>(vec![], 0).total_pages), (3, 0));
    }
}
