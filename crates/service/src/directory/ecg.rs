//! What is configured through the ECG surface, ready to be asked.

use std::collections::HashMap;
use std::sync::Arc;

use slipstream_core::config::{EcgCategory, EcgEvent, EcgSubscription, Subscription};
use slipstream_core::ids::{EcgCategoryId, EcgEventId, SubscriptionId};
use uuid::Uuid;

/// Categories, events and subscriptions of the ECG surface at one moment, deleted ones included: history names them.
#[derive(Debug, Default)]
pub struct EcgIndex {
    categories: HashMap<EcgCategoryId, Arc<EcgCategory>>,
    events: HashMap<EcgEventId, Arc<EcgEvent>>,
    subscriptions: HashMap<SubscriptionId, Arc<EcgSubscription>>,
    /// What the engine delivers to; of those that are not deleted.
    endpoints: HashMap<SubscriptionId, Arc<Subscription>>,
    /// By an event's code in lower case; of those that are not deleted.
    by_code: HashMap<String, Vec<Arc<EcgEvent>>>,
    /// Those that are not deleted.
    by_organization: HashMap<Uuid, Vec<Arc<EcgSubscription>>>,
    /// By organization and an event's code in lower case: who gets a post of an event of that type.
    bridged: HashMap<Uuid, HashMap<String, Vec<Bridged>>>,
}

/// A subscription that gets a post of a bridged event (SPEC 6.8, "Bridge").
#[derive(Debug, Clone)]
pub struct Bridged {
    /// The subscription; it is on.
    pub subscription: Arc<EcgSubscription>,
    /// The event that the post is of; it is dispatchable.
    pub event: Arc<EcgEvent>,
}

impl EcgIndex {
    /// The index of these records. Endpoints of subscriptions that have not changed are those of the index `before`.
    pub(super) fn new<'a>(
        before: &Self,
        categories: &HashMap<EcgCategoryId, Arc<EcgCategory>>,
        events: &HashMap<EcgEventId, Arc<EcgEvent>>,
        subscriptions: impl Iterator<Item = &'a Arc<EcgSubscription>>,
    ) -> Self {
        let mut index = Self { categories: categories.clone(), events: events.clone(), ..Self::default() };
        for event in events.values().filter(|event| !event.deleted) {
            index.by_code.entry(event.code.to_ascii_lowercase()).or_default().push(Arc::clone(event));
        }
        for subscription in subscriptions {
            index.subscriptions.insert(subscription.id, Arc::clone(subscription));
            if subscription.deleted {
                continue;
            }
            let is_unchanged =
                before.subscriptions.get(&subscription.id).is_some_and(|it| Arc::ptr_eq(it, subscription));
            let known = before.endpoints.get(&subscription.id).filter(|_| is_unchanged);
            let endpoint = known.map_or_else(|| Arc::new(subscription.endpoint()), Arc::clone);
            index.endpoints.insert(subscription.id, endpoint);
            index.by_organization.entry(subscription.organization).or_default().push(Arc::clone(subscription));
            if subscription.flags.is_on() {
                index.bridge(subscription);
            }
        }
        index
    }

    fn bridge(&mut self, subscription: &Arc<EcgSubscription>) {
        for id in &subscription.events {
            let event = self.events.get(id).filter(|_| self.is_dispatchable(*id)).cloned();
            let Some(event) = event else { continue };
            let of_organization = self.bridged.entry(subscription.organization).or_default();
            let receivers = of_organization.entry(event.code.to_ascii_lowercase()).or_default();
            // One post, also where it has two versions of the event: its own entries follow one another.
            if receivers.last().is_none_or(|it| it.subscription.id != subscription.id) {
                receivers.push(Bridged { subscription: Arc::clone(subscription), event });
            }
        }
    }

    /// The category with this id, which may be deleted.
    pub fn category(&self, id: EcgCategoryId) -> Option<&Arc<EcgCategory>> {
        self.categories.get(&id)
    }

    /// The event with this id, which may be deleted.
    pub fn event(&self, id: EcgEventId) -> Option<&Arc<EcgEvent>> {
        self.events.get(&id)
    }

    /// The subscription with this id, which may be deleted; then it has no secrets.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Arc<EcgSubscription>> {
        self.subscriptions.get(&id)
    }

    /// What the engine delivers to for this subscription; none of a deleted one.
    pub fn endpoint(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.endpoints.get(&id)
    }

    /// All that the engine delivers to, in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.endpoints.values()
    }

    /// The events with this code, without case, in any version; no deleted ones.
    pub fn events_by_code(&self, code: &str) -> &[Arc<EcgEvent>] {
        self.by_code.get(&code.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The subscriptions of an organization, in no order; no deleted ones.
    pub fn subscriptions_of(&self, organization: Uuid) -> &[Arc<EcgSubscription>] {
        self.by_organization.get(&organization).map_or(&[], Vec::as_slice)
    }

    /// Whether posts of this event are dispatched: it and its category are active and not archived (SPEC 6.4).
    pub fn is_dispatchable(&self, id: EcgEventId) -> bool {
        self.events.get(&id).is_some_and(|event| {
            let category = self.categories.get(&event.category);
            let is_on = event.flags.is_on() && !event.deleted;
            is_on && category.is_some_and(|category| category.flags.is_on() && !category.deleted)
        })
    }

    /// The events whose posts are dispatched.
    pub fn dispatchable_events(&self) -> impl Iterator<Item = EcgEventId> {
        self.events.keys().copied().filter(|id| self.is_dispatchable(*id))
    }

    /// Who gets a post of a public event of this type, of a site that is linked to `organization`.
    pub fn bridged(&self, organization: Uuid, event_type: &str) -> &[Bridged] {
        let of_organization = self.bridged.get(&organization);
        let receivers = of_organization.and_then(|it| it.get(&event_type.to_ascii_lowercase()));
        receivers.map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use slipstream_core::config::{Flags, PayloadVersion, Stamps};
    use slipstream_core::timestamp::Timestamp;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);
    const ORGANIZATION: Uuid = Uuid::from_u128(9);

    fn category(flags: Flags) -> EcgCategory {
        EcgCategory {
            id: EcgCategoryId(Uuid::from_u128(1)),
            name: "Vitals".into(),
            code: "vitals".into(),
            description: None,
            flags,
            stamps: Stamps::new(Uuid::nil(), NOW),
            deleted: false,
            revision: 1,
        }
    }

    fn event(id: u128, version: &str, flags: Flags) -> EcgEvent {
        EcgEvent {
            id: EcgEventId(Uuid::from_u128(id)),
            category: EcgCategoryId(Uuid::from_u128(1)),
            name: "Created".into(),
            code: "Vitals.Created".into(),
            version: version.into(),
            description: None,
            flags,
            stamps: Stamps::new(Uuid::nil(), NOW),
            deleted: false,
            revision: 1,
        }
    }

    fn subscription(flags: Flags) -> EcgSubscription {
        EcgSubscription {
            id: SubscriptionId(Uuid::from_u128(5)),
            organization: ORGANIZATION,
            post_uri: Some("https://receiver.example/".into()),
            version: PayloadVersion::V1,
            events: vec![EcgEventId(Uuid::from_u128(2)), EcgEventId(Uuid::from_u128(3))],
            is_development: false,
            flags,
            stamps: Stamps::new(Uuid::nil(), NOW),
            health: slipstream_core::config::Health::Healthy,
            secrets: Vec::new(),
            deleted: false,
            revision: 1,
        }
    }

    fn index(category_flags: Flags, event_flags: Flags, subscription: EcgSubscription) -> EcgIndex {
        let category = Arc::new(category(category_flags));
        let events = [event(2, "v1", event_flags), event(3, "v2", event_flags)].map(|it| (it.id, Arc::new(it)));
        EcgIndex::new(
            &EcgIndex::default(),
            &HashMap::from([(category.id, category)]),
            &HashMap::from(events),
            [&Arc::new(subscription)].into_iter(),
        )
    }

    const ON: Flags = Flags::new(true, NOW);
    const OFF: Flags = Flags::new(false, NOW);

    #[test]
    fn an_event_goes_to_each_active_subscription_of_the_organization_once_whatever_the_case() {
        let index = index(ON, ON, subscription(ON));
        assert_eq!(index.bridged(ORGANIZATION, "vitals.created").len(), 1);
        assert_eq!(index.bridged(ORGANIZATION, "VITALS.created").len(), 1);
        assert!(index.bridged(Uuid::nil(), "vitals.created").is_empty());
        assert!(index.bridged(ORGANIZATION, "vitals").is_empty());
        assert_eq!(index.events_by_code("VITALS.CREATED").len(), 2);
    }

    #[test]
    fn nothing_is_dispatched_while_any_of_the_three_is_off_or_put_away() {
        let archived = Flags { archived: true, ..ON };
        for (category, event, wanted) in
            [(OFF, ON, ON), (ON, OFF, ON), (ON, ON, OFF), (archived, ON, ON), (ON, archived, ON), (ON, ON, archived)]
        {
            let index = index(category, event, subscription(wanted));
            assert!(index.bridged(ORGANIZATION, "vitals.created").is_empty());
            assert_eq!(index.is_dispatchable(EcgEventId(Uuid::from_u128(2))), category == ON && event == ON);
        }
    }

    #[test]
    fn a_deleted_subscription_is_known_and_not_delivered_to() {
        let deleted = EcgSubscription { deleted: true, ..subscription(ON) };
        let id = deleted.id;
        let index = index(ON, ON, deleted);
        assert!(index.subscription(id).is_some() && index.endpoint(id).is_none());
        assert!(
            index.bridged(ORGANIZATION, "vitals.created").is_empty() && index.subscriptions_of(ORGANIZATION).is_empty()
        );
    }
}
