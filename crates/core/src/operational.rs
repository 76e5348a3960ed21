//! The events that we publish ourselves, so that anything can subscribe to them (issue 3, "Health"): an endpoint was
//! disabled or recovered, a delivery was exhausted.
//!
//! Internal CloudEvents of the site or organization concerned, in the stored form. Their ids are derived from what they
//! tell, so that telling it twice is one event.

use serde_json::json;

use crate::config::{DisabledReason, Site, Subscription, Surface};
use crate::ids::{DeliveryId, EventKey, SubscriptionId};
use crate::lane::{Lane, Visibility};
use crate::slipstream::Accepted;
use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// Whose something is that we tell of: a site's, or an organization's of the ECG surface, which has no site.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    slug: &'a Slug,
    organisation: &'a Slug,
    billing_organisation: &'a Slug,
}

impl<'a> From<&'a Site> for Owner<'a> {
    fn from(site: &'a Site) -> Self {
        Self { slug: &site.slug, organisation: &site.organisation, billing_organisation: &site.billing_organisation }
    }
}

impl<'a> Owner<'a> {
    /// An organization of the ECG surface, by what the engine calls it ([`Slug::of_organization`]).
    pub const fn organization(slug: &'a Slug) -> Self {
        Self { slug, organisation: slug, billing_organisation: slug }
    }
}

/// The `source` of all of them.
pub const SOURCE: &str = "/slipstream";
/// An endpoint was disabled.
pub const ENDPOINT_DISABLED: &str = "slipstream.endpoint.disabled";
/// An endpoint took a delivery again, or was enabled again.
pub const ENDPOINT_RECOVERED: &str = "slipstream.endpoint.recovered";
/// A delivery has no attempts left.
pub const DELIVERY_EXHAUSTED: &str = "slipstream.delivery.exhausted";

/// `slipstream.endpoint.disabled`.
pub fn endpoint_disabled(
    owner: Owner<'_>,
    subscription: &Subscription,
    reason: DisabledReason,
    at: Timestamp,
) -> Accepted {
    let id = format!("{}.{}.disabled", subscription.id, subscription.revision);
    let data = json!({
        "subscription": subscription.id,
        "surface": subscription.surface,
        "feature": subscription.feature.name,
        "reason": reason,
    });
    event(owner, ENDPOINT_DISABLED, &id, &subscription.id.to_string(), at, &data)
}

/// `slipstream.endpoint.recovered`.
pub fn endpoint_recovered(owner: Owner<'_>, subscription: &Subscription, at: Timestamp) -> Accepted {
    let id = format!("{}.{}.recovered", subscription.id, subscription.revision);
    let data = json!({
        "subscription": subscription.id,
        "surface": subscription.surface,
        "feature": subscription.feature.name,
    });
    event(owner, ENDPOINT_RECOVERED, &id, &subscription.id.to_string(), at, &data)
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
pub fn delivery_exhausted(owner: Owner<'_>, exhausted: Exhausted<'_>) -> Accepted {
    let Exhausted { delivery, subscription, surface, key, at } = exhausted;
    let data = json!({ "delivery": delivery, "subscription": subscription, "surface": surface, "eventKey": key });
    event(owner, DELIVERY_EXHAUSTED, &format!("{delivery}.exhausted"), &delivery.to_string(), at, &data)
}

fn event(
    owner: Owner<'_>,
    event_type: &str,
    id: &str,
    subject: &str,
    at: Timestamp,
    data: &serde_json::Value,
) -> Accepted {
    let body = json!({
        "specversion": "1.0",
        "id": id,
        "source": SOURCE,
        "type": event_type,
        "subject": subject,
        "time": at,
        "datacontenttype": "application/json",
        "siteslug": owner.slug,
        "organisationslug": owner.organisation,
        "billingorganisationslug": owner.billing_organisation,
        "visibility": Visibility::Internal.number(),
        "data": data,
    });
    Accepted {
        key: EventKey::new(owner.slug, SOURCE, id),
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
            ecg_organization: None,
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
            endpoint_disabled((&site).into(), &subscription, DisabledReason::Failing, at),
            endpoint_recovered((&site).into(), &subscription, at),
            delivery_exhausted(Owner::from(&site), exhausted),
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

    #[test]
    fn what_an_organization_has_without_a_site_is_told_of_in_its_name() {
        let organization = Slug::of_organization(uuid::Uuid::from_u128(7));
        let at = Timestamp::from_millis(1_772_443_800_500);
        let subscription = crate::matching::tests::subscription("").id;
        let key = EventKey::new(&organization, "/ecg/posts", "1");
        let delivery = DeliveryId::derive(at, subscription, &key);
        let exhausted = Exhausted { delivery, subscription, surface: Surface::Ecg, key: &key, at };
        let ours = delivery_exhausted(Owner::organization(&organization), exhausted);
        let body: serde_json::Value = serde_json::from_slice(&ours.body).unwrap();
        for name in ["siteslug", "organisationslug", "billingorganisationslug"] {
            assert_eq!(body[name], json!(organization), "{name}");
        }
        assert_eq!((&body["subject"], &body["data"]["surface"]), (&json!(delivery), &json!("ecg")));
        assert_eq!(ours.key, EventKey::new(&organization, SOURCE, &format!("{delivery}.exhausted")));
        json::parse(&ours.body).expect("a CloudEvent");
    }
}
