//! Records of the ECG surface that belong together: one category with one event, and subscriptions to it.

use slipstream_core::config::{
    EcgCategory, EcgEvent, EcgSecret, EcgSubscription, Flags, Health, PayloadVersion, Stamps,
};
use slipstream_core::ids::{EcgCategoryId, EcgEventId, EcgSecretId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

/// The code of [`event`].
pub const CODE: &str = "vitals.observations.created";
/// The secret of [`subscription`].
pub const SECRET: &str = "ecg-secret-key";
/// When all of it was made.
pub const MADE_AT: Timestamp = Timestamp::from_millis(1_660_816_984_000);

/// The category.
pub fn category() -> EcgCategory {
    EcgCategory {
        id: EcgCategoryId(Uuid::from_u128(0xca7)),
        name: "Vitals".to_owned(),
        code: "vitals".to_owned(),
        description: None,
        flags: Flags::new(true, MADE_AT),
        stamps: Stamps::new(Uuid::nil(), MADE_AT),
        deleted: false,
        revision: 1,
    }
}

/// The event.
pub fn event() -> EcgEvent {
    EcgEvent {
        id: EcgEventId(Uuid::from_u128(0xe7e)),
        category: category().id,
        name: "Observations created".to_owned(),
        code: CODE.to_owned(),
        version: "v1".to_owned(),
        description: None,
        flags: Flags::new(true, MADE_AT),
        stamps: Stamps::new(Uuid::nil(), MADE_AT),
        deleted: false,
        revision: 1,
    }
}

/// A new active development subscription of `organization` to [`event`].
pub fn subscription(organization: Uuid, post_uri: impl Into<String>) -> EcgSubscription {
    EcgSubscription {
        id: SubscriptionId(Uuid::new_v4()),
        organization,
        post_uri: Some(post_uri.into()),
        version: PayloadVersion::V1,
        events: vec![event().id],
        is_development: true,
        flags: Flags::new(true, MADE_AT),
        stamps: Stamps::new(Uuid::nil(), MADE_AT),
        health: Health::Healthy,
        secrets: vec![EcgSecret {
            id: EcgSecretId(Uuid::new_v4()),
            secret: SECRET.into(),
            valid_from: MADE_AT,
            valid_to: None,
        }],
        deleted: false,
        revision: 1,
    }
}
