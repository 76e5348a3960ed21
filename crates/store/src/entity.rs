//! The tables as sea-orm sees them. Only the repositories beside this module touch them.

pub(crate) mod account;
pub(crate) mod data_key;
pub(crate) mod ecg_category;
pub(crate) mod ecg_event;
pub(crate) mod ecg_sample;
pub(crate) mod ecg_secret;
pub(crate) mod ecg_seed;
pub(crate) mod ecg_subscription;
pub(crate) mod ecg_subscription_event;
pub(crate) mod handshake;
pub(crate) mod organisation;
pub(crate) mod outbox;
pub(crate) mod outbox_audited;
pub(crate) mod outbox_post;
pub(crate) mod site;
pub(crate) mod subscription;
pub(crate) mod unanswered;
pub(crate) mod wish;

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;

/// Where a value stands, to say so when it cannot be read.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) table: &'static str,
    pub(crate) key: &'a str,
}

impl Row<'_> {
    /// The error that `column` of this row holds something we never write.
    pub(crate) fn corrupt(self, column: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        StoreError::Corrupt { table: self.table, column, key: self.key.to_owned(), source: source.into() }
    }

    /// The text of `column` as what it stands for.
    pub(crate) fn parse<T>(self, column: &'static str, text: &str) -> Result<T, StoreError>
    where
        T: std::str::FromStr<Err: Error + Send + Sync + 'static>,
    {
        text.parse().map_err(|error| self.corrupt(column, error))
    }

    /// The JSON text of `column` as what it stands for.
    pub(crate) fn json<T: DeserializeOwned>(self, column: &'static str, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| self.corrupt(column, error))
    }

    /// The name in `column` as the member of a closed set that `known` finds.
    pub(crate) fn name<T>(self, column: &'static str, known: Option<T>) -> Result<T, StoreError> {
        known.ok_or_else(|| self.corrupt(column, "not a known name"))
    }
}

/// A list with secrets in it as the JSON text of a column.
///
/// # Errors
/// [`StoreError::NotSealed`] if one of them is not sealed.
pub(crate) fn to_sealed_json<T: Serialize>(value: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::NotSealed)
}

/// A list or set as the JSON text of a column.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("lists and structs of texts and numbers always serialise")
}
