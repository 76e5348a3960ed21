//! Who did what (THREATS 9).

use serde_json::Value;
use slipstream_test_support::eventually;

use super::Operator;
use crate::LIMIT;

impl Operator {
    /// All records that fit, newest first; at most 100.
    pub async fn audit(&self, filter: &[(&str, &str)]) -> Vec<Value> {
        let query: Vec<_> = filter.iter().copied().chain([("limit", "100")]).collect();
        let page: Value = self.activity(&["audit"], &query).await.parsed(200);
        page["items"].as_array().expect("a page has items").clone()
    }

    /// Waits until the newest record that fits has ended so, and gives it.
    pub async fn audited(&self, filter: &[(&str, &str)], outcome: &str) -> Value {
        eventually(LIMIT, async || {
            let records = self.audit(filter).await;
            records.first().filter(|newest| newest["outcome"] == outcome).cloned().ok_or(records)
        })
        .await
    }

    /// What is found of the chain of all records.
    pub async fn audit_chain(&self) -> Value {
        let page: Value = self.activity(&["audit"], &[("verify", "true"), ("limit", "1")]).await.parsed(200);
        page["chain"].clone()
    }
}
