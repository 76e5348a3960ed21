//! What a handler tells the audit.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use slipstream_core::contract::audit_text;
use slipstream_core::slug::Slug;

/// What the record of this request says beside who, what and when, for handlers: `note: Note`. Nothing of a route that is
/// not audited.
#[derive(Debug, Clone, Default)]
pub struct Note(Arc<Mutex<About>>);

#[derive(Debug, Default)]
struct About {
    target: Option<String>,
    site: Option<Slug>,
}

impl Note {
    /// To which one it is done: an id, a key or a slug. The parameter of the path unless told otherwise.
    pub fn target(&self, id: impl Display) {
        self.about().target = Some(audit_text(&id.to_string()));
    }

    /// Whose site it is of.
    pub fn site(&self, site: &Slug) {
        self.about().site = Some(site.clone());
    }

    pub(super) fn read(&self) -> (Option<String>, Option<Slug>) {
        let about = self.about();
        (about.target.clone(), about.site.clone())
    }

    fn about(&self) -> std::sync::MutexGuard<'_, About> {
        // Two values that are whole at any time, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sync> FromRequestParts<S> for Note {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
