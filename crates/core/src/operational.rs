//! The events that we publish ourselves, so that anything can subscribe to them (issue 3, "Health"): an endpoint was
//! disabled or recovered, a delivery was exhausted.
//!
//! Internal CloudEvents of the site concerned, in the stored form. Their ids are derived from what they tell, so that
//! telling it twice is one event.

use serde_json::json;

use crate::config::{DisabledReason, Site, Subscription, Surface};
use crate::ids::{DeliveryId, EventKey, SubscriptionId};
use crate::lane::{Lane, Visibility};
use crate::slipstream::Accepted;
use crate::timestamp::Timestamp;

/// The `source` of all of them.
pub const SOURCE: &str = "/slipstream";
/// An endpoint was disabled.
pub const ENDPOINT_DISABLED: &str = "slipstream.endpoint.disabled";
/// An endpoint took a delivery again, or was enabled again.
pub const ENDPOINT_RECOVERED: &str = "slipstream.endpoint.recovered";
/// A delivery has no attempts left.
pub const DELIVERY_EXHAUSTED: &str = "slipstream.delivery.exhausted";

/// `slipstream.endpoint.disabled`.
pub fn endpoint_disabled(site: &Site, subscription: &Subscription, reason: DisabledReason, at: Timestamp) -> Accepted {
    let id = format!("{}.{}.disabled", subscription.id, subscription.revision);
    let data = json!({
        "subscription": subscription.id,
        "surface": subscription.surface,
        "feature": subscription.feature.name,
        "reason": reason,
    });
    event(site, ENDPOINT_DISABLED, &id, &subscription.id.to_string(), at, &data)
}

/// `slipstream.endpoint.recovered`.
pub fn endpoint_recovered(site: &Site, subscription: &Subscription, at: Timestamp) -> Accepted {
    let id = format!("{}.{}.recovered", subscription.id, subscription.revision);
    let data = json!({
        "subscription": subscription.id,
        "surface": subscription.surface,
        "feature": subscription.feature.name,
    });
    event(site, ENDPOINT_RECOVERED, &id, &subscription.id.to_string(), at, &data)
}

/// A delivery that has no attempts left.
#[derive(Debug, Clone, Copy)]
pub struct Exhausted<'a> {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// To whom.
    pub subscription: SubscriptionId,
    /// By which interface.
    pub surface: Surface,
    /// Of which event.
    pub key: &'a EventKey,
    /// When.
    pub at: Timestamp,
}

/// `slipstream.delivery.exhausted`.
pub fn delivery_exhausted(site: &Site, exhausted: Exhausted<'_>) -> Accepted {
    let Exhausted { delivery, subscription, surface, key, at } = exhausted;
    let data = json!({ "delivery": delivery, "subscription": subscription, "surface": surface, "eventKey": key });
    event(site, DELIVERY_EXHAUSTED, &format!("{delivery}.exhausted"), &delivery.to_string(), at, &data)
}

fn event(site: &Site, event_type: &str, id: &str, subject: &str, at: Timestamp, data: &serde_json::Value) -> Accepted {
    let body = json!({
        "specversion": "1.0",
        "id": id,
        "source": SOURCE,
        "type": event_type,
        "subject": subject,
        "time": at,
        "datacontenttype": "application/json",
        "siteslug": site.slug,
        "organisationslug": site.organisation,
        "billingorganisationslug": site.billing_organisation,
        "visibility": Visibility::Internal.number(),
        "data": data,
    });
    Accepted {
        key: EventKey::new(&site.slug, SOURCE, id),
        event_type: event_type.to_owned(),
        visibility: Visibility::Internal,
        lane: Lane::Normal,
        intended_at: None,
        expires_at: None,
        body: body.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AccountKind, Product};
    use crate::event::{Event, json};
    use crate::slipstream::{Rejection, accept};

    #[test]
    fn they_are_cloudevents_of_their_site_that_only_we_can_publish() {
        let site = Site {
            slug: "s8n6EzC".parse().unwrap(),
            name: "Site".into(),
            organisation: "o4fKq2".parse().unwrap(),
            billing_organisation: "o4fKq2".parse().unwrap(),
            product: Product::Testing,
            pms_specific_id: None,
            revision: 1,
        };
        let subscription = crate::matching::tests::subscription("");
        let at = Timestamp::from_millis(1_772_443_800_500);
        let key = EventKey::new(&site.slug, "/a", "1");
        let exhausted = Exhausted {
            delivery: DeliveryId::derive(at, subscription.id, &key),
            subscription: subscription.id,
            surface: subscription.surface,
            key: &key,
            at,
        };
        for ours in [
            endpoint_disabled(&site, &subscription, DisabledReason::Failing, at),
            endpoint_recovered(&site, &subscription, at),
            delivery_exhausted(&site, exhausted),
        ] {
            let event = json::parse(&ours.body).expect("a CloudEvent");
            let Err(Rejection::Invalid(errors)) = accept(event.clone(), &site, AccountKind::Internal) else {
                panic!("nobody else may publish under our source");
            };
            assert_eq!(errors.iter().map(|error| error.pointer.as_str()).collect::<Vec<_>>(), ["#/source"]);
            // And nothing else is wrong with it.
            let theirs = accept(Event { source: "/theirs".into(), ..event }, &site, AccountKind::Internal);
            assert_eq!(theirs.expect("acceptable").event_type, ours.event_type);
        }
    }
}
