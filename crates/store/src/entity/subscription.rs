//! Table `subscriptions`. Rows hold secrets (header values, signing keys), sealed; those that a release before sealing
//! wrote hold them in clear until they are sealed too, so the model does not print.

use std::fmt;

use sea_orm::entity::prelude::*;
use slipstream_core::config::{
    Consent, DisabledReason, EndpointLimits, EndpointState, Health, SigningKey, Subscription, SubscriptionHeader,
    Surface,
};
use slipstream_core::feature::FeatureRef;
use slipstream_core::timestamp::Timestamp;

use super::{Row, to_json, to_sealed_json};
use crate::error::StoreError;

#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "subscriptions")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) surface: String,
    pub(crate) site: String,
    pub(crate) feature: String,
    pub(crate) account: String,
    pub(crate) uri: String,
    /// JSON list of [`SubscriptionHeader`].
    pub(crate) headers: String,
    /// JSON list of event types.
    pub(crate) event_types: String,
    /// `active`, `pending` or `disabled`.
    pub(crate) state: String,
    /// Why, when disabled. Stays while it is pending after that, so that it is known to come back when it is active.
    pub(crate) disabled_reason: Option<String>,
    /// When it was last made or enabled; what happened before has no say.
    pub(crate) enabled_at_ms: i64,
    /// The revision that made or enabled it; what was found by an earlier one has no say.
    pub(crate) target_revision: i64,
    /// Since when it has been degraded, if it is.
    pub(crate) degraded_since_ms: Option<i64>,
    /// When its health was last told or reset; what was seen before has no say.
    pub(crate) health_at_ms: i64,
    /// JSON of [`Consent`].
    pub(crate) consent: String,
    /// JSON of [`EndpointLimits`].
    pub(crate) limits: String,
    /// JSON list of [`SigningKey`].
    pub(crate) signing_keys: String,
    pub(crate) revision: i64,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("id", &self.id).field("revision", &self.revision).finish_non_exhaustive()
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) const ACTIVE: &str = "active";
pub(crate) const DISABLED: &str = "disabled";
pub(crate) const PENDING: &str = "pending";
const PAUSED: &str = "paused";

/// The columns `state` and `disabled_reason`.
pub(crate) fn state_columns(state: EndpointState) -> (&'static str, Option<String>) {
    match state {
        EndpointState::Active => (ACTIVE, None),
        EndpointState::Pending => (PENDING, None),
        EndpointState::Paused => (PAUSED, None),
        EndpointState::Disabled(reason) => (DISABLED, Some(reason_name(reason).to_owned())),
    }
}

pub(crate) const fn reason_name(reason: DisabledReason) -> &'static str {
    match reason {
        DisabledReason::Gone => "gone",
        DisabledReason::Operator => "operator",
        DisabledReason::Failing => "failing",
    }
}

fn state_from(state: &str, reason: Option<&str>) -> Option<EndpointState> {
    let reasons = [DisabledReason::Gone, DisabledReason::Operator, DisabledReason::Failing];
    match (state, reason) {
        (ACTIVE, None) => Some(EndpointState::Active),
        (PENDING, _) => Some(EndpointState::Pending),
        (PAUSED, None) => Some(EndpointState::Paused),
        (DISABLED, Some(name)) => {
            reasons.into_iter().find(|reason| reason_name(*reason) == name).map(EndpointState::Disabled)
        }
        _ => None,
    }
}

impl Model {
    /// The row of `subscription`, made or enabled at `enabled_at`.
    ///
    /// # Errors
    /// [`StoreError::NotSealed`] if one of its secrets is not sealed.
    pub(crate) fn new(subscription: &Subscription, enabled_at: Timestamp) -> Result<Self, StoreError> {
        let (state, disabled_reason) = state_columns(subscription.state);
        let degraded_since_ms = match subscription.health {
            Health::Healthy => None,
            Health::Degraded(since) => Some(since.as_millis()),
        };
        Ok(Self {
            id: subscription.id.to_string(),
            surface: subscription.surface.as_str().to_owned(),
            site: subscription.site.to_string(),
            feature: subscription.feature.name.to_owned(),
            account: subscription.account.to_string(),
            uri: subscription.uri.clone(),
            headers: to_sealed_json(&subscription.headers)?,
            event_types: to_json(&subscription.event_types),
            state: state.to_owned(),
            disabled_reason,
            enabled_at_ms: enabled_at.as_millis(),
            target_revision: subscription.revision,
            degraded_since_ms,
            health_at_ms: enabled_at.as_millis(),
            consent: to_json(&subscription.consent),
            limits: to_json(&subscription.limits),
            signing_keys: to_sealed_json(&subscription.signing_keys)?,
            revision: subscription.revision,
        })
    }
}

impl TryFrom<Model> for Subscription {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "subscriptions", key: &model.id };
        let surface = [Surface::Slipstream].into_iter().find(|surface| surface.as_str() == model.surface);
        Ok(Self {
            id: row.parse("id", &model.id)?,
            surface: row.name("surface", surface)?,
            site: row.parse("site", &model.site)?,
            feature: row.name("feature", FeatureRef::by_name(&model.feature))?,
            account: row.parse("account", &model.account)?,
            headers: row.json::<Vec<SubscriptionHeader>>("headers", &model.headers)?,
            event_types: row.json::<Vec<String>>("event_types", &model.event_types)?,
            state: row.name("state", state_from(&model.state, model.disabled_reason.as_deref()))?,
            health: match model.degraded_since_ms {
                None => Health::Healthy,
                Some(since) => Health::Degraded(Timestamp::from_millis(since)),
            },
            consent: row.json::<Consent>("consent", &model.consent)?,
            limits: row.json::<EndpointLimits>("limits", &model.limits)?,
            signing_keys: row.json::<Vec<SigningKey>>("signing_keys", &model.signing_keys)?,
            uri: model.uri,
            revision: model.revision,
        })
    }
}
