//! A page of activities, part by part (N9).
//!
//! Each of the hundred activities of a page may have 256 KiB of payload, as much of what led to it, and an answer as long
//! again. So what a page holds is weighed before it is read. One of at most [`PART_BYTES`], as almost all are, is answered as
//! a whole. A heavier one is read, written and sent in parts of that size, or of one activity; the next part is read when the
//! receiver has taken the one before, in a turn of [`Lists`] of its own. So an answer holds one part, however slowly it is
//! taken, and all of them are read by as many at once as lists are.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use slipstream_core::ids::ActivityId;
use slipstream_service::ApiError;
use slipstream_service::directory::Snapshot;
use slipstream_service::ecg::Paging;
use slipstream_store::ecg::activities::{self, Activity, Weighed};
use slipstream_store::{Store, StoreError};

use super::parameters::Include;
use super::view::ActivityView;
use crate::scheduled::Lists;

/// Bytes of texts of a part, unless one activity alone has more.
const PART_BYTES: u64 = 1024 * 1024;
/// What an activity takes beside its texts, roughly; the text of its error has no more than 16 KiB.
const BESIDE_BYTES: u64 = 2 * 1024;

/// The parts of a page. With each activity is shown what takes `included` bytes.
pub(super) fn parts(page: &[Weighed], included: u64) -> VecDeque<Vec<ActivityId>> {
    let mut parts: VecDeque<Vec<ActivityId>> = VecDeque::new();
    let mut bytes = 0;
    for Weighed { id, bytes: texts } in page {
        let own = texts.saturating_add(included).saturating_add(BESIDE_BYTES);
        bytes += own;
        match parts.back_mut() {
            Some(part) if bytes <= PART_BYTES => part.push(*id),
            _ => {
                parts.push_back(vec![*id]);
                bytes = own;
            }
        }
    }
    parts
}

/// A page of which the first part has been read.
pub(super) struct Page {
    pub(super) paging: Paging,
    pub(super) total: u64,
    pub(super) first: Vec<Activity>,
    pub(super) rest: VecDeque<Vec<ActivityId>>,
}

/// What it takes to read and to show the rest.
pub(super) struct Reading {
    pub(super) store: Store,
    pub(super) lists: Lists,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) include: Include,
}

impl Reading {
    /// The answer. One whose rest cannot be read ends before its end, and its connection with it.
    pub(super) fn answer(self, page: Page) -> Response {
        let Page { paging, total, first, rest } = page;
        if rest.is_empty() {
            let items = first.into_iter().map(|it| self.view(it)).collect();
            return Json(paging.list(items, total)).into_response();
        }
        let (mut head, tail) = match around_items(&paging, total) {
            Ok(around) => around,
            Err(error) => return ApiError::internal(error).into_response(),
        };
        let mut is_first = true;
        if let Err(error) = self.write(first, &mut is_first, &mut head) {
            return ApiError::internal(error).into_response();
        }
        let others = stream::try_unfold((self, rest, is_first), async |(reading, mut rest, mut is_first)| {
            let Some(part) = rest.pop_front() else { return Ok(None) };
            let mut text = Vec::new();
            reading.write(reading.read(part).await?, &mut is_first, &mut text).map_err(ApiError::internal)?;
            Ok(Some((Bytes::from(text), (reading, rest, is_first))))
        });
        let others = others.map_err(|error: ApiError| {
            tracing::warn!(?error, "a list that has begun cannot be ended");
            std::io::Error::other("the rest of the list cannot be read")
        });
        let ends = [head, tail].map(|end| stream::iter([Ok::<_, std::io::Error>(Bytes::from(end))]));
        let [head, tail] = ends;
        let body = Body::from_stream(head.chain(others).chain(tail));
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    }

    async fn read(&self, part: Vec<ActivityId>) -> Result<Vec<Activity>, ApiError> {
        let store = self.store.clone();
        self.lists.go_on(async move { read(&store, &part).await }).await
    }

    fn view(&self, activity: Activity) -> ActivityView {
        ActivityView::new(activity, self.include, self.snapshot.ecg())
    }

    /// Adds activities to the items written so far.
    fn write(&self, part: Vec<Activity>, is_first: &mut bool, text: &mut Vec<u8>) -> serde_json::Result<()> {
        for activity in part {
            if !std::mem::replace(is_first, false) {
                text.push(b',');
            }
            serde_json::to_writer(&mut *text, &self.view(activity))?;
        }
        Ok(())
    }
}

/// The activities of a part.
pub(super) async fn read(store: &Store, part: &[ActivityId]) -> Result<Vec<Activity>, StoreError> {
    activities::read(store.connection(), part).await
}

/// What stands before and behind the items of a page.
fn around_items(paging: &Paging, total: u64) -> serde_json::Result<(Vec<u8>, Vec<u8>)> {
    let mut before = serde_json::to_vec(&paging.list(Vec::<()>::new(), total))?;
    // The only brackets, since all else are numbers.
    let at = before.iter().position(|byte| *byte == b']').unwrap_or(before.len());
    let behind = before.split_off(at);
    Ok((before, behind))
}

#[cfg(test)]
mod tests {
    use slipstream_service::ecg::Order;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_part_has_a_megabyte_or_one_activity() {
        let page = |kib: &[u64]| {
            let weighed = |(number, kib): (usize, &u64)| Weighed {
                id: ActivityId(Uuid::from_u128(number as u128)),
                bytes: kib * 1024,
            };
            kib.iter().enumerate().map(weighed).collect::<Vec<_>>()
        };
        let sizes = |kib: &[u64], included: u64| -> Vec<usize> {
            parts(&page(kib), included * 1024).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[], 0), [0; 0]);
        assert_eq!(sizes(&[1; 100], 0), [100], "as almost all pages are");
        assert_eq!(sizes(&[510; 5], 0), [2, 2, 1]);
        assert_eq!(sizes(&[1, 5000, 1, 1], 0), [1, 1, 2]);
        assert_eq!(sizes(&[0; 12], 200), [5, 5, 2], "what is shown beside them counts as well");
    }

    #[test]
    fn what_stands_around_the_items_is_the_page_without_them() {
        let paging = Paging { order: Order::Desc, skip: 2, take: 100 };
        let (before, behind) = around_items(&paging, 207).unwrap();
        assert_eq!(before, b"{\"items\":[");
        let whole = [before, b"7".to_vec(), behind].concat();
        assert_eq!(whole, serde_json::to_vec(&paging.list(vec![7], 207)).unwrap());
    }
}
