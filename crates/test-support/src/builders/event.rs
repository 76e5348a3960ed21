//! Events as JSON, the way a publisher writes them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::LETTER_TYPES;

/// An event in the making: JSON with every attribute settable, also to something wrong.
#[derive(Debug, Clone)]
pub struct EventBuilder(Map<String, Value>);

/// A valid public letter event with a new id.
pub fn event() -> EventBuilder {
    let record = Uuid::new_v4().to_string();
    let Value::Object(members) = json!({
        "specversion": "1.0",
        "id": Uuid::new_v4().to_string(),
        "source": "https://post.example/letters",
        "type": LETTER_TYPES[0],
        "subject": record,
        "time": "2026-03-02T09:30:00Z",
        "visibility": 1,
        "data": { "recordId": record, "color": false, "express": false, "status": "Created" },
    }) else {
        unreachable!("the literal is an object");
    };
    EventBuilder(members)
}

impl EventBuilder {
    /// Sets an attribute or `data`, to any JSON.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves an attribute or `data` out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// Sets the id.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        self.with("id", id.into())
    }

    /// Sets the type.
    #[must_use]
    pub fn kind(self, kind: &str) -> Self {
        self.with("type", kind)
    }

    /// Fills `data` with text so that the whole event has about `bytes` bytes.
    #[must_use]
    pub fn sized(self, bytes: usize) -> Self {
        let bare = self.clone().with("data", json!({ "text": "" })).bytes().len();
        self.with("data", json!({ "text": "x".repeat(bytes.saturating_sub(bare)) }))
    }

    /// The value of an attribute, as text; empty if it is absent or not text.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The event as a JSON value.
    pub fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// The event as bytes of the JSON format.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).expect("JSON can be written to memory")
    }
}

impl From<EventBuilder> for Value {
    fn from(event: EventBuilder) -> Self {
        Self::Object(event.0)
    }
}

/// A batch in the JSON batch format.
pub fn batch(events: &[EventBuilder]) -> Vec<u8> {
    let events: Vec<_> = events.iter().map(|event| &event.0).collect();
    serde_json::to_vec(&events).expect("JSON can be written to memory")
}
