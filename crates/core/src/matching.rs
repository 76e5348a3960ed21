//! Who receives an event: an immutable index over all subscriptions, by site and type (SPEC 5.5).

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Subscription;
use crate::ids::SubscriptionId;
use crate::lane::Visibility;
use crate::slug::Slug;

/// Why an event does not go to a subscription of its own site. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The event is not public, and feature webhooks see public events only.
    Visibility,
    /// The feature does not have this event type.
    TypeNotInFeature,
    /// The subscriber did not ask for this event type.
    TypeNotSubscribed,
}

impl SkipReason {
    /// The reason's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Visibility => "visibility",
            Self::TypeNotInFeature => "type_not_in_feature",
            Self::TypeNotSubscribed => "type_not_subscribed",
        }
    }
}

/// What routing needs to know of an event.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The event's site.
    pub site: &'a Slug,
    /// Its type.
    pub event_type: &'a str,
    /// Its visibility.
    pub visibility: Visibility,
}

/// Judges one event against one subscription of the same site. The one place where the rule lives.
///
/// A disabled subscription still matches: its delivery is made and ends as `cancelled` at the gate, so that the
/// record says what happened (N1).
pub fn judge(event: Candidate<'_>, subscription: &Subscription) -> Result<(), SkipReason> {
    if event.visibility != Visibility::Public {
        return Err(SkipReason::Visibility);
    }
    if !subscription.feature.event_types.contains(&event.event_type) {
        return Err(SkipReason::TypeNotInFeature);
    }
    if !subscription.event_types.is_empty() && !subscription.event_types.iter().any(|t| t == event.event_type) {
        return Err(SkipReason::TypeNotSubscribed);
    }
    Ok(())
}

/// The subscriptions of one site.
#[derive(Debug, Default)]
struct SiteIndex {
    all: Vec<Arc<Subscription>>,
    by_type: HashMap<String, Vec<Arc<Subscription>>>,
}

/// All subscriptions, ready to be asked.
#[derive(Debug, Default)]
pub struct MatchIndex {
    sites: HashMap<Slug, SiteIndex>,
    by_id: HashMap<SubscriptionId, Arc<Subscription>>,
}

impl MatchIndex {
    /// Builds the index.
    pub fn new(subscriptions: impl IntoIterator<Item = Arc<Subscription>>) -> Self {
        let mut index = Self::default();
        for subscription in subscriptions {
            let site = index.sites.entry(subscription.site.clone()).or_default();
            for event_type in subscription.feature.event_types {
                let event = Candidate { site: &subscription.site, event_type, visibility: Visibility::Public };
                if judge(event, &subscription).is_ok() {
                    site.by_type.entry((*event_type).to_owned()).or_default().push(Arc::clone(&subscription));
                }
            }
            site.all.push(Arc::clone(&subscription));
            index.by_id.insert(subscription.id, subscription);
        }
        index
    }

    /// The subscriptions that receive `event`.
    pub fn matching(&self, event: Candidate<'_>) -> &[Arc<Subscription>] {
        if event.visibility != Visibility::Public {
            return &[];
        }
        self.sites.get(event.site).and_then(|site| site.by_type.get(event.event_type)).map_or(&[], Vec::as_slice)
    }

    /// The other subscriptions of the event's site, and why each does not receive it.
    pub fn skipping(&self, event: Candidate<'_>) -> impl Iterator<Item = (SubscriptionId, SkipReason)> {
        let all = self.sites.get(event.site).map_or(&[][..], |site| &site.all);
        all.iter()
            .filter_map(move |subscription| judge(event, subscription).err().map(|reason| (subscription.id, reason)))
    }

    /// The subscription with this id.
    pub fn get(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.by_id.get(&id)
    }

    /// All subscriptions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.by_id.values()
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{EndpointState, Surface};
    use crate::feature::FeatureRef;
    use crate::ids::AccountId;
    use proptest::prelude::*;

    pub(crate) fn subscription(event_type: &str) -> Subscription {
        Subscription {
            id: SubscriptionId(uuid::Uuid::nil()),
            surface: Surface::Slipstream,
            site: "s8n6EzC".parse().unwrap(),
            feature: FeatureRef::by_name("physicalpost").unwrap(),
            account: AccountId(uuid::Uuid::nil()),
            uri: "https://receiver.example/post".into(),
            headers: Vec::new(),
            event_types: if event_type.is_empty() { Vec::new() } else { vec![event_type.into()] },
            state: EndpointState::Active,
            health: crate::config::Health::Healthy,
            consent: crate::config::Consent::Off,
            limits: crate::config::EndpointLimits::default(),
            signing_keys: Vec::new(),
            revision: 1,
        }
    }

    const TYPES: [&str; 5] = [
        "",
        "communications.letter.created",
        "communications.letter.creation_failed",
        "communications.letter.status_updated",
        "Slipstream.UrlShortener.UrlCreated",
    ];
    const SITES: [&str; 2] = ["s8n6EzC", "sUkLWZg"];

    proptest! {
        /// The index and judging each subscription in turn give the same answer, and each is explained once.
        #[test]
        fn the_index_agrees_with_the_rule(
            wanted in prop::collection::vec((0_usize..4, 0_usize..2), 0..12),
            event_type in 1_usize..5, site in 0_usize..2, visibility in 0_i64..4,
        ) {
            let subscriptions: Vec<_> = wanted.iter().enumerate().map(|(number, (event_type, site))| Arc::new(
                Subscription {
                    id: SubscriptionId(uuid::Uuid::from_u128(number as u128)),
                    site: SITES[*site].parse().unwrap(),
                    ..subscription(TYPES[*event_type])
                },
            )).collect();
            let index = MatchIndex::new(subscriptions.clone());
            let site: Slug = SITES[site].parse().unwrap();
            let event = Candidate {
                site: &site,
                event_type: TYPES[event_type],
                visibility: Visibility::from_number(visibility).unwrap(),
            };
            let of_site = || subscriptions.iter().filter(|subscription| subscription.site == site);
            let expected: Vec<_> = of_site().filter(|s| judge(event, s).is_ok()).map(|s| s.id).collect();
            let found: Vec<_> = index.matching(event).iter().map(|s| s.id).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(index.skipping(event).count() + found.len(), of_site().count());
        }
    }
}
