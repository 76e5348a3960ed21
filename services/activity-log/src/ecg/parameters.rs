//! The parameters of ECG routes beside those of pages.

use std::fmt::Write as _;

use axum::http::{HeaderValue, Uri};
use slipstream_core::ids::{ActivityId, EcgEventId};
use slipstream_core::problem::Problem;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ecg::{Order, Paging, Query, uuid};
use slipstream_service::list::{bad_cursor, bad_parameter};
use slipstream_store::ecg::activities::Cursor;
use utoipa::IntoParams;
use uuid::Uuid;

/// A parameter that is a UUID. A client that has no value for it may send an empty one.
fn id(query: &Query, name: &str) -> Result<Option<Uuid>, Problem> {
    let Some(text) = query.one(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    uuid(text).map(Some).ok_or_else(|| bad_parameter(name, "must be a UUID"))
}

/// What is shown of an activity beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Include {
    pub(super) subscription: bool,
    pub(super) event: bool,
}

impl Include {
    /// Of a single activity.
    pub(super) const ALL: Self = Self { subscription: true, event: true };

    fn read(query: &Query) -> Result<Self, Problem> {
        let names = query.list("include", &[("subscription", "subscription"), ("event", "event")])?;
        Ok(Self { subscription: names.contains(&"subscription"), event: names.contains(&"event") })
    }
}

/// Which part of a list is asked for.
#[derive(Debug)]
pub(super) struct ListParameters {
    pub(super) paging: Paging,
    /// Where the page before ended: then pages are not counted.
    pub(super) after: Option<Cursor>,
    pub(super) success: Option<bool>,
    pub(super) event: Option<EcgEventId>,
    pub(super) include: Include,
}

impl ListParameters {
    /// Reads them.
    ///
    /// # Errors
    /// 400 naming the one that is wrong.
    pub(super) fn read(query: &Query) -> Result<Self, Problem> {
        let statuses = [("all", None), ("succeeded", Some(true)), ("failed", Some(false))];
        Ok(Self {
            paging: Paging::read(query)?,
            after: query.one("cursor")?.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()?,
            success: query.choice("status", &statuses)?.flatten(),
            event: id(query, "eventId")?.map(EcgEventId),
            include: Include::read(query)?,
        })
    }

    /// The header that says where the next page is (SPEC 2.7): the same question, from `next` on. That is the last activity
    /// shown, so what is made meanwhile moves nothing.
    pub(super) fn link(&self, uri: &Uri, next: &Cursor) -> HeaderValue {
        let Paging { order, skip, take } = self.paging;
        let order = match order {
            Order::Asc => "ASC",
            Order::Desc => "DESC",
        };
        let skip = skip.saturating_add(1);
        let mut link = format!("<{}?order_by={order}&skip={skip}&take={take}&cursor={next}", uri.path());
        if let Some(success) = self.success {
            link.push_str(if success { "&status=succeeded" } else { "&status=failed" });
        }
        if let Some(event) = self.event {
            let _ = write!(link, "&eventId={event}");
        }
        for (name, is_included) in [("subscription", self.include.subscription), ("event", self.include.event)] {
            if is_included {
                let _ = write!(link, "&include={name}");
            }
        }
        link.push_str(">; rel=\"next\"");
        HeaderValue::try_from(link).expect("a path, and numbers and names of ours, are visible ASCII")
    }
}

/// `status` and `cursor`, for documents.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents take its fields' names and rules; handlers read `ListParameters`")]
pub(super) struct ListFilter {
    /// Those that succeeded or failed only; `all` unless told otherwise.
    #[param(pattern = "^(all|succeeded|failed)$")]
    status: Option<String>,
    /// Where the page before ended: see the header `Link` of its answer. Then `skip` counts nothing any more.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// What to show beside each activity: `subscription`, `event`; repeated, or with a comma.
    include: Option<String>,
}

/// `eventId`, for documents.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "as of `ListFilter`")]
pub(super) struct EventFilter {
    /// Posts of this event only.
    #[param(value_type = Option<String>, format = "uuid")]
    event_id: Option<Uuid>,
}

/// How the history of an activity is laid out (SPEC 6.8, E45).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HistoryMode {
    /// All descendants in one list.
    Flat,
    /// Children, each with its own.
    Nested,
}

impl HistoryMode {
    /// Reads `mode`, which is required.
    ///
    /// # Errors
    /// 400 unless it is one of them.
    pub(super) fn read(query: &Query) -> Result<Self, Problem> {
        query.required_choice("mode", &[("flat", Self::Flat), ("nested", Self::Nested)])
    }
}

/// What a payload is made for (SPEC 6.7, E48).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadMode {
    /// A first post.
    New,
    /// One that repeats another.
    Retry(ActivityId),
}

impl PayloadMode {
    /// Reads `mode`, which is required, and `originalActivityId`, which is so with `retry`.
    ///
    /// # Errors
    /// 400 naming the one that is wrong.
    pub(super) fn read(query: &Query) -> Result<Self, Problem> {
        let original = id(query, "originalActivityId")?.map(ActivityId);
        if !query.required_choice("mode", &[("new", false), ("retry", true)])? {
            return Ok(Self::New);
        }
        let missing = || bad_parameter("originalActivityId", "is required where mode is retry");
        original.map(Self::Retry).ok_or_else(missing)
    }
}

/// When something with this id was made: the time in a UUIDv7, to the millisecond.
pub(super) fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Some(Timestamp::from_millis(i64::try_from(seconds).ok()? * 1000 + i64::from(nanos / 1_000_000)))
}

#[cfg(test)]
mod tests {
    use axum::extract::FromRequestParts as _;
    use axum::http::Request;
    use slipstream_core::problem::ProblemKind;

    use super::*;

    async fn query(text: &str) -> Query {
        let (mut parts, ()) = Request::get(format!("/?{text}")).body(()).unwrap().into_parts();
        Query::from_request_parts(&mut parts, &()).await.unwrap()
    }

    const ID: &str = "018f2b1e-0000-7000-8000-00000000000a";

    #[tokio::test]
    async fn modes_are_required_and_closed() {
        let payload = async |text: &str| PayloadMode::read(&query(text).await).map_err(|problem| problem.kind);
        let retry = PayloadMode::Retry(ActivityId(ID.parse().unwrap()));
        assert_eq!(payload(&format!("mode=retry&originalActivityId={}", ID.to_uppercase())).await, Ok(retry));
        assert_eq!(payload("mode=new&originalActivityId=").await, Ok(PayloadMode::New));
        for wrong in ["", "mode=retry", "mode=retry&originalActivityId=", "mode=retry&originalActivityId=7", "mode=New"]
        {
            assert_eq!(payload(wrong).await, Err(ProblemKind::BadRequest), "{wrong}");
        }
        let history = async |text: &str| HistoryMode::read(&query(text).await).map_err(|problem| problem.kind);
        assert_eq!(history("mode=flat").await, Ok(HistoryMode::Flat));
        assert_eq!(history("mode=nested").await, Ok(HistoryMode::Nested));
        assert_eq!([history("mode=deep").await, history("").await], [Err(ProblemKind::BadRequest); 2]);
    }

    #[tokio::test]
    async fn the_link_to_the_next_page_asks_the_same_question() {
        let asked = format!("status=failed&eventId={ID}&include=event&take=7&skip=2&order_by=ASC");
        let parameters = ListParameters::read(&query(&asked).await).unwrap();
        assert_eq!(
            (parameters.success, parameters.include.subscription, parameters.include.event),
            (Some(false), false, true)
        );
        let cursor: Cursor = "7.018f2b1e0000700080000000000000ff".parse().unwrap();
        let link = parameters.link(&"/api/x?y=1".parse().unwrap(), &cursor);
        let link = link.to_str().unwrap().strip_prefix("</api/x?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        let next = ListParameters::read(&query(link).await).unwrap();
        assert_eq!(next.paging, Paging { skip: 3, ..parameters.paging });
        assert_eq!(
            (next.success, next.event, next.include),
            (parameters.success, parameters.event, parameters.include)
        );
        assert_eq!(next.after, Some(cursor));
        for wrong in ["status=pending", "status=", "include=secrets", "eventId=7", "cursor=x", "cursor="] {
            let refused = ListParameters::read(&query(wrong).await).unwrap_err();
            assert_eq!(refused.kind, ProblemKind::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn the_time_of_an_id_is_that_of_its_making() {
        let before = slipstream_service::clock::now();
        let made = made_at(slipstream_service::clock::new_uuid()).unwrap();
        assert!(made >= before && made <= slipstream_service::clock::now());
        assert_eq!(made_at(Uuid::from_u128(7)), None);
    }
}
