//! Making activities: who they are, and what their hash is.

use std::sync::Arc;

use serde_json::value::RawValue;
use slipstream_core::config::EcgEvent;
use slipstream_core::contract::PostKind;
use slipstream_core::ecg::{hash, hashed_text};
use slipstream_core::ids::{ActivityId, DeliveryId, EcgEventId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::problem::Problem;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::idempotency::NewId;
use slipstream_service::{ApiError, clock};
use slipstream_store::StoreError;
use slipstream_store::ecg::activities::{self, Activity, Content, Inserted, New, Post, Repeats};
use uuid::Uuid;

use super::Shared;
use super::known::Living;
use super::parameters::made_at;
use crate::database::ask;
use crate::replay::conflict;

/// How deep a post may be in its tree that somebody asks for. Each has up to nine more below it by itself, and who reads
/// the tree as JSON goes down two steps for each.
const LEVELS_MAX: u32 = 30;

/// What tells a new activity from all others, and its place in its tree. The same whenever its request is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) id: ActivityId,
    pub(super) root: ActivityId,
    pub(super) created_at: Timestamp,
    key: EventKey,
    /// None of a root.
    replay: Option<ReplayId>,
    repeats: Option<Repeats>,
}

impl Identity {
    /// The root of a tree: the first delivery of a thing that was accepted when it was made.
    pub(super) fn first(site: &Slug, subscription: SubscriptionId, new_id: NewId) -> Self {
        let created_at = made(new_id);
        let key = EventKey::new(site, "/ecg/posts", &new_id.get().to_string());
        let id = ActivityId(DeliveryId::derive(created_at, subscription, &key).0);
        Self { id, root: id, created_at, key, replay: None, repeats: None }
    }

    /// One that repeats `parent`: a replay of the tree's first delivery, and so under its `webhook-id`.
    ///
    /// # Errors
    /// 409 when that is too deep in its tree.
    pub(super) fn repeating(parent: &Activity, new_id: NewId) -> Result<Self, Problem> {
        if parent.level >= LEVELS_MAX {
            return Err(conflict(format!("it is the {LEVELS_MAX}th in a row; retry one before it")));
        }
        let (key, replay) = (parent.key, ReplayId(new_id.get()));
        let accepted_at = DeliveryId(parent.root.0).accepted_at();
        let id = ActivityId(DeliveryId::derive_replay(accepted_at, parent.subscription, &key, replay).0);
        let repeats = Some(Repeats::of(parent));
        Ok(Self { id, root: parent.root, created_at: made(new_id), key, replay: Some(replay), repeats })
    }

    /// That we post it.
    pub(super) const fn by_platform(&self) -> Post {
        Post::Platform { replay: self.replay }
    }
}

/// When a request was first heard of: what it makes was made then, however often it is repeated.
fn made(new_id: NewId) -> Timestamp {
    made_at(new_id.get()).unwrap_or_else(clock::now)
}

/// What is new about an activity beside its identity.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) identity: Identity,
    pub(super) kind: PostKind,
    pub(super) event: Option<EcgEventId>,
    pub(super) post: Post,
    pub(super) made_by: Uuid,
    pub(super) hash: String,
    pub(super) content: Content,
}

impl Draft {
    /// As the store takes it.
    pub(super) fn for_subscription(self, living: &Living) -> New {
        let Self { identity, kind, event, post, made_by, hash, content } = self;
        New {
            id: identity.id,
            repeats: identity.repeats,
            organization: living.subscription.organization,
            subscription: living.subscription.id,
            event,
            kind,
            post,
            key: identity.key,
            created_at: identity.created_at,
            made_by,
            hash: Some(hash),
            content,
        }
    }
}

impl Living {
    /// The hash of a payload that is made at `at`, in the form that is hashed.
    ///
    /// # Errors
    /// As [`Living::secret_at`].
    pub(super) fn hash(&self, payload: &RawValue, at: Timestamp) -> Result<String, Problem> {
        let hashed = hashed_text(payload).expect("a payload was made canonical when it was read");
        Ok(hash(self.secret_at(at)?, at, &hashed))
    }
}

impl Shared {
    /// Writes a new activity down, and has it posted if that is up to us. Done again, it is the one that was made before.
    ///
    /// # Errors
    /// 503 when the database does not answer. When the bus does not, it is posted later.
    pub(super) async fn make(&self, new: New, event: Option<&Arc<EcgEvent>>) -> Result<Activity, ApiError> {
        let inserting = async {
            let tx = self.store.begin().await?;
            let inserted = activities::insert(&tx, &new).await?;
            tx.commit().await.map_err(StoreError::from)?;
            Ok(inserted)
        };
        let inserted = ask(inserting).await?;
        let activity = self.activity(new.subscription, new.id).await?;
        if inserted == Inserted::New {
            self.poster.post(&activity, event).await;
        }
        Ok(activity)
    }
}
