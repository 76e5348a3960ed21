//! How bodies are read: typed ones by [`Json`] or [`read`], those that hold payloads by [`raw`].
//!
//! A payload is hashed as it was written, so it must stay the bytes that came: order of members, digits of numbers
//! (SPEC 6.7). What holds one is read as its members, each a `Box<RawValue>`.

mod check;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use slipstream_core::limits::{BODY_BYTES_MAX, EVENT_BYTES_MAX};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};

use super::patch;
use crate::http::read_body;
use crate::json;
use crate::problem::ApiError;

/// State of handlers that read bodies.
pub trait BodyTimeout {
    /// How long a body may take to arrive (`http.body_timeout`).
    fn body_timeout(&self) -> Duration;
}

impl<S: BodyTimeout> BodyTimeout for Arc<S> {
    fn body_timeout(&self) -> Duration {
        S::body_timeout(self)
    }
}

/// A body as a `T`: an extractor. Members that `T` does not know are ignored, unless it denies them.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: BodyTimeout + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(Self(read(request, state.body_timeout()).await?))
    }
}

/// A body as a JSON Patch: an extractor.
#[derive(Debug, Clone)]
pub struct Patch(pub patch::Patch);

impl<S: BodyTimeout + Sync> FromRequest<S> for Patch {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let body = read_body(&parts, body, BODY_BYTES_MAX, state.body_timeout()).await?;
        Ok(Self(patch::read(&parts.headers, &body)?))
    }
}

/// The body as a `T`.
///
/// # Errors
/// As [`bytes`], and 400 naming the member that is wrong.
pub async fn read<T: DeserializeOwned>(request: Request, timeout: Duration) -> Result<T, Problem> {
    json::read(&bytes(request, timeout).await?)
}

/// The body, which says that it is JSON.
///
/// # Errors
/// 415 when it is of another media type, and what [`read_body`] refuses: more than 1 MiB, or too late.
pub async fn bytes(request: Request, timeout: Duration) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    json::check_content_type(&parts.headers)?;
    read_body(&parts, body, BODY_BYTES_MAX, timeout).await
}

/// The members of a body that holds payloads.
///
/// # Errors
/// As [`bytes`]; 400 when it is no object, has a member twice at any depth, or is nested too deep.
pub async fn raw(request: Request, timeout: Duration) -> Result<Raw, Problem> {
    Raw::read(&bytes(request, timeout).await?)
}

/// The members of a body, as they were written. Each is taken once; what nobody takes is ignored.
#[derive(Debug)]
pub struct Raw(HashMap<String, Box<RawValue>>);

impl Raw {
    /// The members of `body`.
    ///
    /// # Errors
    /// As [`raw`], but for what is about its arrival.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        check::check(body)?;
        // It is JSON by now, so that it is no object is the only way to fail.
        serde_json::from_slice(body).map(Self).map_err(|_| {
            let error = FieldError { pointer: "#".to_owned(), detail: "must be an object".into() };
            Problem::with_errors(ProblemKind::BadRequest, vec![error])
        })
    }

    /// A payload: a member that must be there, and an object.
    ///
    /// # Errors
    /// 400 when it is not so; 413 when it is larger than 256 KiB.
    pub fn object(&mut self, name: &str) -> Result<Box<RawValue>, Problem> {
        let value = self.value(name)?;
        if value.get().starts_with('{') { Ok(value) } else { Err(wrong(name, "must be an object")) }
    }

    /// A member that must be there, of any kind: `null` is one.
    ///
    /// # Errors
    /// 400 when it is not there; 413 when it is larger than 256 KiB.
    pub fn value(&mut self, name: &str) -> Result<Box<RawValue>, Problem> {
        self.optional_value(name)?.ok_or_else(|| wrong(name, "is required"))
    }

    /// A member of any kind, if it is there.
    ///
    /// # Errors
    /// 413 when it is larger than 256 KiB.
    pub fn optional_value(&mut self, name: &str) -> Result<Option<Box<RawValue>>, Problem> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        if value.get().len() > EVENT_BYTES_MAX {
            let detail = format!("{name} is larger than {EVENT_BYTES_MAX} bytes");
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        }
        Ok(Some(value))
    }

    /// A member that must be there, as a `T`.
    ///
    /// # Errors
    /// 400 naming it, or what is wrong in it.
    pub fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Problem> {
        let value = self.0.remove(name).ok_or_else(|| wrong(name, "is required"))?;
        read_at(name, &value)
    }

    /// A member as a `T`, if it is there and not `null`.
    ///
    /// # Errors
    /// 400 naming it, or what is wrong in it.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        match self.0.remove(name) {
            Some(value) if value.get() != "null" => read_at(name, &value).map(Some),
            _ => Ok(None),
        }
    }
}

/// 400: the member `name` of the body breaks a rule, which `detail` states: "must not be empty".
pub fn wrong(name: &str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::with_errors(ProblemKind::BadRequest, vec![FieldError::at(name, detail)])
}

fn read_at<T: DeserializeOwned>(name: &str, value: &RawValue) -> Result<T, Problem> {
    json::read(value.get().as_bytes()).map_err(|mut problem| {
        for error in &mut problem.errors {
            let inside = error.pointer.trim_start_matches('#').to_owned();
            error.pointer = FieldError::at(name, "").pointer + &inside;
        }
        problem
    })
}

#[cfg(test)]
mod tests;
