//! The post that says that a subscription was activated (E27, SPEC 6.5).
//!
//! It is noted in the very transaction of the activation, and published once that is in force, by whoever publishes what is
//! to be told ([`crate::events`]): so there is one for each activation and none without, whatever crashes when. Its
//! delivery is derived, so publishing it twice makes one. What comes of it is recorded and has no further consequence.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use slipstream_bus::{Outgoing, subject};
use slipstream_core::config::EcgSubscription;
use slipstream_core::contract::{EcgPost, EcgPosted, Meta, PostKind};
use slipstream_core::ecg::{self, ACTIVATED, PayloadParts};
use slipstream_core::ids::{ActivityId, DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::idempotency::NewId;
use slipstream_store::outbox::posts::{self, Noted};
use slipstream_store::{DatabaseTransaction, StoreError};
use uuid::Uuid;

/// What keys of posts have in place of an event's `source`.
const SOURCE: &str = "/ecg/posts";

/// `data` of the payload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    subscription_id: SubscriptionId,
    organization_id: Uuid,
    activated_at: Timestamp,
}

/// What led to the post.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Activation {
    action: &'static str,
    subscription_id: SubscriptionId,
    by: Uuid,
    at: Timestamp,
}

fn json(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("ids, times and texts serialise")
}

/// Notes that `by` has activated `subscription`, as it stands now, at `now`, in the request that `new` is the id of.
pub(super) async fn note(
    transaction: &DatabaseTransaction,
    subscription: &EcgSubscription,
    by: Uuid,
    new: NewId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let noted = Noted { subscription: subscription.id, posted: posted(subscription, by, new.get(), now) };
    posts::put(transaction, &noted).await
}

fn posted(subscription: &EcgSubscription, by: Uuid, id: Uuid, now: Timestamp) -> EcgPosted {
    let EcgSubscription { id: subscription_id, organization, version, .. } = *subscription;
    let site = subscription.site();
    let key = EventKey::new(&site, SOURCE, &id.to_string());
    let delivery = DeliveryId::derive(now, subscription_id, &key);
    let data = json(&Data { subscription_id, organization_id: organization, activated_at: now });
    let parts = PayloadParts {
        root: ActivityId::of_attempt(delivery, 1),
        organization,
        subscription: subscription_id,
        event_type: ACTIVATED,
        at: now,
        data: &data,
    };
    let post = EcgPost {
        kind: PostKind::Activation,
        event: None,
        code: ACTIVATED.to_owned(),
        created_at: now,
        payload: ecg::payload(version, parts),
    };
    EcgPosted {
        delivery,
        key,
        site,
        lane: Lane::Normal,
        organization,
        made_by: Some(by),
        post,
        raw_message: json(&Activation { action: "activate", subscription_id, by, at: now }),
    }
}

/// What tells the activity log of a post, and the delivery that it is.
pub(crate) fn messages(noted: &Noted) -> (Outgoing, Outgoing) {
    let Noted { subscription, posted } = noted;
    let EcgPosted { delivery, key, site, lane, post, .. } = posted;
    let record = serde_json::to_vec(posted).expect("ids, times and JSON serialise");
    let record = Outgoing::new(subject::post(*subscription), record.into()).id(&format!("post.{delivery}"));
    let body = serde_json::to_vec(post).expect("ids, times and JSON serialise");
    let delivery = Outgoing::new(subject::delivery(*lane, *subscription, key), body.into())
        .id(&delivery.to_string())
        .meta(&Meta::new(site.clone(), post.created_at));
    (record, delivery)
}

#[cfg(test)]
mod tests {
    use slipstream_core::config::{Flags, Health, PayloadVersion, Stamps};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_660_816_984_086);

    fn subscription(version: PayloadVersion) -> EcgSubscription {
        EcgSubscription {
            id: SubscriptionId(Uuid::from_u128(1)),
            organization: Uuid::from_u128(2),
            post_uri: Some("https://receiver.example/".into()),
            version,
            events: Vec::new(),
            is_development: false,
            flags: Flags::new(true, NOW),
            stamps: Stamps::new(Uuid::nil(), NOW),
            health: Health::Healthy,
            secrets: Vec::new(),
            deleted: false,
            revision: 2,
        }
    }

    #[test]
    fn an_activation_says_which_subscription_and_is_one_delivery_however_often_it_is_made() {
        let make = |id| posted(&subscription(PayloadVersion::V1), Uuid::from_u128(3), Uuid::from_u128(id), NOW);
        let made = make(4);
        assert_eq!((made.delivery, made.key), (make(4).delivery, make(4).key));
        assert_ne!(made.delivery, make(5).delivery);
        assert_eq!(made.delivery.accepted_at(), NOW);
        let payload: serde_json::Value = serde_json::from_str(made.post.payload.get()).unwrap();
        assert_eq!(payload["eventType"], ACTIVATED);
        assert_eq!(payload["data"]["subscriptionId"], Uuid::from_u128(1).to_string());
        assert_eq!(ecg::canonical(&made.post.payload).unwrap().get(), made.post.payload.get());
    }

    #[test]
    fn its_payload_is_laid_out_as_the_subscription_wants_it() {
        let made = posted(&subscription(PayloadVersion::V2), Uuid::nil(), Uuid::from_u128(4), NOW);
        let payload: serde_json::Value = serde_json::from_str(made.post.payload.get()).unwrap();
        assert_eq!((&payload["type"], &payload["id"]), (&ACTIVATED.into(), &made.delivery.to_string().into()));
    }
}
