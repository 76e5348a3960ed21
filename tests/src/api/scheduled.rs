//! Scheduled events, as their publisher sees and changes them.

use http::Method;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use slipstream_core::timestamp::Timestamp;

use super::{Account, Answer};

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledEvent {
    /// What to call it.
    pub key: String,
    /// Its id.
    pub id: String,
    /// Its type.
    pub r#type: String,
    /// When it is to be delivered.
    pub intended_delivery_time: Timestamp,
    /// When it is not worth it any more.
    pub expiry_time: Option<Timestamp>,
    /// When the times were changed.
    pub changed_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<ScheduledEvent>,
    next: Option<String>,
}

impl Account {
    fn scheduled_request(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let base = format!("http://{}/sites/{}/events/scheduled", self.bases.activity_log, self.site);
        let mut url = Url::parse(&base).expect("it is a URL");
        url.path_segments_mut().expect("it has a path").extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.request(method, url).header("x-api-key", &self.key)
    }

    /// One page of what waits; the answer may be a refusal.
    pub async fn ask_scheduled(&self, query: &[(&str, &str)]) -> Answer {
        Answer::to(self.scheduled_request(Method::GET, &[], query)).await
    }

    /// All that waits and fits, the next one to come due in front, in pages of two.
    pub async fn scheduled(&self, filter: &[(&str, &str)]) -> Vec<ScheduledEvent> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = filter.to_vec();
            query.push(("limit", "2"));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let Page { items, next } = self.ask_scheduled(&query).await.parsed(200);
            all.extend(items);
            match next {
                Some(next) => cursor = Some(next),
                None => return all,
            }
        }
    }

    /// One that waits.
    pub async fn get_scheduled(&self, key: &str) -> Answer {
        Answer::to(self.scheduled_request(Method::GET, &[key], &[])).await
    }

    /// Moves one that waits.
    pub async fn patch_scheduled(&self, key: &str, patch: &Value) -> Answer {
        Answer::to(self.scheduled_request(Method::PATCH, &[key], &[]).json(patch)).await
    }

    /// Cancels one that waits.
    pub async fn cancel_scheduled(&self, key: &str) -> Answer {
        Answer::to(self.scheduled_request(Method::DELETE, &[key], &[])).await
    }

    /// Has one that waits delivered at once.
    pub async fn deliver_now(&self, key: &str) -> Answer {
        Answer::to(self.scheduled_request(Method::POST, &[key, "deliver-now"], &[])).await
    }
}
