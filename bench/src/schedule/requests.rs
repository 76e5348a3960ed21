//! The interface to scheduled events (`/sites/{slug}/events/scheduled`), and what its requests take.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use slipstream_core::timestamp::Timestamp;

use crate::api::Api;
use crate::event::EventId;
use crate::stats::Latency;

/// Rows of a page: as many as there may be.
const LIMIT: usize = 100;

/// The requests of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct Request {
    /// What they ask for.
    pub(crate) name: &'static str,
    /// From request to answer, connecting included, refused ones too.
    pub(crate) answer: Option<Latency>,
    /// Requests that were answered with success.
    pub(crate) succeeded: u32,
    /// The other answers: status, and the beginning of the body.
    pub(crate) others: Vec<String>,
    #[serde(skip)]
    nanos: Vec<u64>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    body: String,
    nanos: u64,
}

impl Request {
    /// None yet.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, answer: None, succeeded: 0, others: Vec::new(), nanos: Vec::new() }
    }

    /// Counts an answer, and says whether it was a success.
    pub(super) fn note(&mut self, answer: &Answer) -> bool {
        self.nanos.push(answer.nanos);
        let is_success = (200..300).contains(&answer.status);
        if is_success {
            self.succeeded += 1;
        } else {
            self.others.push(format!("{} {}", answer.status, answer.body.chars().take(200).collect::<String>()));
        }
        self.answer = Latency::of(self.nanos.clone());
        is_success
    }

    /// Counts the answer to a list that should have a whole page.
    pub(super) fn note_page(&mut self, answer: &Answer) {
        if self.note(answer) {
            let page: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let rows = page["items"].as_array().map_or(0, Vec::len);
            if rows != LIMIT {
                self.succeeded -= 1;
                self.others.push(format!("{} with {rows} rows of {LIMIT}", answer.status));
            }
        }
    }

    /// How many were not answered with success.
    pub(super) fn refused(&self) -> f64 {
        self.others.len() as f64
    }
}

/// A pending event as the list names it.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// How it is asked for.
    pub(super) key: String,
    /// Which one of ours.
    pub(super) id: EventId,
}

/// What a list is filtered by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter {
    pub(super) event_type: &'static str,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// The scheduled events of one site.
#[derive(Debug)]
pub(super) struct Scheduled<'a> {
    api: &'a Api,
    key: &'a str,
    path: String,
}

impl<'a> Scheduled<'a> {
    /// Those of `site`, in the name of the account of `key`.
    pub(super) fn new(api: &'a Api, key: &'a str, site: &str) -> Self {
        Self { api, key, path: format!("/sites/{site}/events/scheduled") }
    }

    /// The first page of those that pass `filter`.
    pub(super) async fn list(&self, filter: Filter) -> anyhow::Result<Answer> {
        let Filter { event_type, from, until } = filter;
        let query = format!("?type={event_type}&from={from}&until={until}&limit={LIMIT}");
        self.ask("GET", &query, None).await
    }

    /// One event.
    pub(super) async fn get(&self, event: &Named) -> anyhow::Result<Answer> {
        self.ask("GET", &format!("/{}", event.key), None).await
    }

    /// Another intended time.
    pub(super) async fn change(&self, event: &Named, intended: Timestamp) -> anyhow::Result<Answer> {
        let body = json!({"intendeddeliverytime": intended.to_string()});
        self.ask("PATCH", &format!("/{}", event.key), Some(&body)).await
    }

    /// Never.
    pub(super) async fn cancel(&self, event: &Named) -> anyhow::Result<Answer> {
        self.ask("DELETE", &format!("/{}", event.key), None).await
    }

    /// Now.
    pub(super) async fn deliver_now(&self, event: &Named) -> anyhow::Result<Answer> {
        self.ask("POST", &format!("/{}/deliver-now", event.key), None).await
    }

    /// At most so many events of the list, page by page, from its beginning.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn named(&self, most: usize) -> anyhow::Result<Vec<Named>> {
        let (mut query, mut named) = (format!("?limit={LIMIT}"), Vec::new());
        while named.len() < most {
            let answer = self.ask("GET", &query, None).await?;
            ensure!(answer.status == 200, "the list was answered {}: {}", answer.status, answer.body);
            let page: Value = serde_json::from_str(&answer.body).context("the list is not JSON")?;
            for item in page["items"].as_array().context("a page without items")? {
                let key = item["key"].as_str().context("an event without key in the list")?.to_owned();
                let id = item["id"].as_str().context("an event without id in the list")?;
                let id = EventId::find(id.as_bytes(), &mut 0).context("an event in the list that is not ours")?;
                named.push(Named { key, id });
            }
            match page["next"].as_str() {
                Some(next) => query = format!("?limit={LIMIT}&cursor={next}"),
                None => break,
            }
        }
        named.truncate(most);
        Ok(named)
    }

    /// `tail` goes on after the path of the list.
    async fn ask(&self, method: &str, tail: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let (status, body) = self.api.ask(method, &format!("{}{tail}", self.path), self.key, body).await?;
        Ok(Answer { status, body, nanos: begun.elapsed().as_nanos() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_success_is_kept_with_its_reason() {
        let mut request = Request::new("cancel");
        let answer = |status, body: &str| Answer { status, body: body.to_owned(), nanos: 2_000_000 };
        assert!(request.note(&answer(204, "")));
        assert!(!request.note(&answer(409, "it has fired")));
        assert_eq!((request.succeeded, request.others.as_slice()), (1, &["409 it has fired".to_owned()][..]));
        assert_eq!(request.answer.map(|it| it.max_ms), Some(2.0));
    }

    #[test]
    fn a_list_that_is_too_short_is_no_success() {
        let mut list = Request::new("list");
        let page = |rows: usize| json!({"items": vec![json!({}); rows], "next": null}).to_string();
        for body in [page(LIMIT), page(0), "no JSON".to_owned()] {
            list.note_page(&Answer { status: 200, body, nanos: 1 });
        }
        assert_eq!((list.succeeded, list.refused() as u32), (1, 2));
    }
}
