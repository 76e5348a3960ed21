//! Which routes are audited, and as what.

use http::Method;
use slipstream_core::contract::Action;
use slipstream_core::contract::TargetKind::{
    self, Account, Activity, Delivery, EcgCategory, EcgEvent, Endpoint, Event, Organisation, Replay, Site,
};

use crate::access::{Entry, cat, evt, hsh, sub};

/// Whether something is different afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// It shows a secret, or what an endpoint answered.
    Reads,
    /// It changes something, and may show a secret too.
    Changes,
}

/// How a route is audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The method of its entry in the access table.
    pub method: Method,
    /// The path there.
    pub path: &'static str,
    /// What is done.
    pub action: Action,
    /// To what.
    pub kind: TargetKind,
    /// Which parameter of the path names that, if one does; else the handler says it.
    pub target: Option<&'static str>,
    /// Whether it changes anything.
    pub sort: Sort,
}

impl Rule {
    /// The rule for a route, if it is audited.
    pub fn of(entry: &Entry) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.method == entry.method && rule.path == entry.path)
    }
}

const FEATURE: &str = "/sites/{site}/webhooks/features/{feature}";
const HELD: &str = "/sites/{site}/events/scheduled/{key}";
const DELIVERY: &str = "/admin/v1/deliveries/{id}";

/// All routes that are audited: whatever changes anything but publishing an event, and whatever shows a secret, an answer
/// of an endpoint, or the payload of a post. No route shows the data of an event.
pub static RULES: &[Rule] = &[
    // Registry.
    change(Method::PUT, FEATURE, Action::SubscriptionPut, Endpoint, None),
    change(Method::DELETE, FEATURE, Action::SubscriptionDelete, Endpoint, None),
    change(Method::PUT, "/admin/v1/organisations/{slug}", Action::OrganisationPut, Organisation, Some("slug")),
    change(Method::PUT, "/admin/v1/sites/{slug}", Action::SitePut, Site, Some("slug")),
    change(Method::POST, "/admin/v1/accounts", Action::AccountCreate, Account, None),
    change(Method::PUT, "/admin/v1/accounts/{id}/keys/{slot}", Action::AccountRotateKey, Account, Some("id")),
    change(Method::PUT, "/admin/v1/accounts/{id}", Action::AccountPut, Account, Some("id")),
    change(Method::DELETE, "/admin/v1/accounts/{id}", Action::AccountDelete, Account, Some("id")),
    change(Method::PUT, "/admin/v1/accounts/{id}/quota", Action::AccountSetQuota, Account, Some("id")),
    change(Method::POST, "/admin/v1/endpoints/{id}/enable", Action::EndpointEnable, Endpoint, Some("id")),
    change(Method::POST, "/admin/v1/endpoints/{id}/disable", Action::EndpointDisable, Endpoint, Some("id")),
    change(Method::PUT, "/admin/v1/endpoints/{id}/limits", Action::EndpointLimit, Endpoint, Some("id")),
    change(Method::POST, "/admin/v1/endpoints/{id}/rotate-secret", Action::SecretRotate, Endpoint, Some("id")),
    change(Method::DELETE, "/admin/v1/endpoints/{id}/secrets/{key}", Action::SecretRevoke, Endpoint, Some("id")),
    read("/admin/v1/endpoints/{id}/secret", Action::SecretRead, Endpoint, Some("id")),
    // Activity log.
    change(Method::PATCH, HELD, Action::EventReschedule, Event, Some("key")),
    change(Method::DELETE, HELD, Action::EventCancel, Event, Some("key")),
    change(
        Method::POST,
        "/sites/{site}/events/scheduled/{key}/deliver-now",
        Action::EventDeliverNow,
        Event,
        Some("key"),
    ),
    read(DELIVERY, Action::DeliveryRead, Delivery, Some("id")),
    read("/admin/v1/explain", Action::EventExplain, Event, None),
    change(Method::PATCH, DELIVERY, Action::DeliveryReschedule, Delivery, Some("id")),
    change(Method::DELETE, DELIVERY, Action::DeliveryCancel, Delivery, Some("id")),
    change(Method::POST, "/admin/v1/deliveries/{id}/deliver-now", Action::DeliveryDeliverNow, Delivery, Some("id")),
    change(Method::POST, "/admin/v1/deliveries/{id}/replay", Action::DeliveryReplay, Delivery, Some("id")),
    change(Method::POST, "/admin/v1/events/replay", Action::EventReplay, Event, None),
    change(Method::POST, "/admin/v1/deliveries/replay", Action::ReplayStart, Replay, None),
    change(Method::POST, "/admin/v1/replays/{id}/pause", Action::ReplayPause, Replay, Some("id")),
    change(Method::POST, "/admin/v1/replays/{id}/resume", Action::ReplayResume, Replay, Some("id")),
    change(Method::POST, "/admin/v1/replays/{id}/cancel", Action::ReplayCancel, Replay, Some("id")),
    // Registry, ECG.
    change(Method::POST, cat!(""), Action::EcgCategoryCreate, EcgCategory, None),
    change(
        Method::PATCH,
        cat!("/{webhookCategoryId}"),
        Action::EcgCategoryUpdate,
        EcgCategory,
        Some("webhookCategoryId"),
    ),
    change(
        Method::DELETE,
        cat!("/{webhookCategoryId}"),
        Action::EcgCategoryDelete,
        EcgCategory,
        Some("webhookCategoryId"),
    ),
    change(
        Method::POST,
        cat!("/{webhookCategoryId}/archive"),
        Action::EcgCategoryArchive,
        EcgCategory,
        Some("webhookCategoryId"),
    ),
    change(
        Method::POST,
        cat!("/{webhookCategoryId}/restore"),
        Action::EcgCategoryRestore,
        EcgCategory,
        Some("webhookCategoryId"),
    ),
    change(
        Method::POST,
        cat!("/{webhookCategoryId}/activate"),
        Action::EcgCategoryActivate,
        EcgCategory,
        Some("webhookCategoryId"),
    ),
    change(
        Method::POST,
        cat!("/{webhookCategoryId}/deactivate"),
        Action::EcgCategoryDeactivate,
        EcgCategory,
        Some("webhookCategoryId"),
    ),
    change(Method::POST, evt!(""), Action::EcgEventCreate, EcgEvent, None),
    change(Method::PATCH, evt!("/{webhookEventId}"), Action::EcgEventUpdate, EcgEvent, Some("webhookEventId")),
    change(Method::DELETE, evt!("/{webhookEventId}"), Action::EcgEventDelete, EcgEvent, Some("webhookEventId")),
    change(Method::POST, evt!("/{webhookEventId}/archive"), Action::EcgEventArchive, EcgEvent, Some("webhookEventId")),
    change(Method::POST, evt!("/{webhookEventId}/restore"), Action::EcgEventRestore, EcgEvent, Some("webhookEventId")),
    change(
        Method::POST,
        evt!("/{webhookEventId}/activate"),
        Action::EcgEventActivate,
        EcgEvent,
        Some("webhookEventId"),
    ),
    change(
        Method::POST,
        evt!("/{webhookEventId}/deactivate"),
        Action::EcgEventDeactivate,
        EcgEvent,
        Some("webhookEventId"),
    ),
    change(
        Method::POST,
        evt!("/{webhookEventId}/sample-payloads"),
        Action::EcgSampleCreate,
        EcgEvent,
        Some("webhookEventId"),
    ),
    change(
        Method::PATCH,
        evt!("/{webhookEventId}/sample-payloads"),
        Action::EcgSampleUpdate,
        EcgEvent,
        Some("webhookEventId"),
    ),
    change(
        Method::DELETE,
        evt!("/{webhookEventId}/sample-payloads"),
        Action::EcgSampleDelete,
        EcgEvent,
        Some("webhookEventId"),
    ),
    change(Method::POST, sub!(""), Action::EcgSubscriptionCreate, Endpoint, None),
    read(sub!(""), Action::EcgSubscriptionList, Endpoint, None),
    read(sub!("/{subscriptionId}"), Action::EcgSubscriptionRead, Endpoint, Some("subscriptionId")),
    change(Method::PATCH, sub!("/{subscriptionId}"), Action::EcgSubscriptionUpdate, Endpoint, Some("subscriptionId")),
    change(Method::DELETE, sub!("/{subscriptionId}"), Action::EcgSubscriptionDelete, Endpoint, Some("subscriptionId")),
    change(
        Method::POST,
        sub!("/{subscriptionId}/archive"),
        Action::EcgSubscriptionArchive,
        Endpoint,
        Some("subscriptionId"),
    ),
    change(
        Method::POST,
        sub!("/{subscriptionId}/restore"),
        Action::EcgSubscriptionRestore,
        Endpoint,
        Some("subscriptionId"),
    ),
    change(
        Method::POST,
        sub!("/{subscriptionId}/activate"),
        Action::EcgSubscriptionActivate,
        Endpoint,
        Some("subscriptionId"),
    ),
    change(
        Method::POST,
        sub!("/{subscriptionId}/deactivate"),
        Action::EcgSubscriptionDeactivate,
        Endpoint,
        Some("subscriptionId"),
    ),
    change(
        Method::DELETE,
        sub!("/{subscriptionId}/events/{eventId}"),
        Action::EcgSubscriptionRemoveEvent,
        Endpoint,
        Some("subscriptionId"),
    ),
    read(sub!("/{subscriptionId}/secrets"), Action::EcgSecretRead, Endpoint, Some("subscriptionId")),
    change(Method::PUT, sub!("/{subscriptionId}/secrets"), Action::EcgSecretRotate, Endpoint, Some("subscriptionId")),
    read(sub!("/{subscriptionId}/webhook-secret-histories"), Action::EcgSecretList, Endpoint, Some("subscriptionId")),
    change(
        Method::POST,
        sub!("/{subscriptionId}/webhook-secret-histories"),
        Action::EcgSecretSet,
        Endpoint,
        Some("subscriptionId"),
    ),
    // Activity log, ECG.
    read(sub!("/{subscriptionId}/activations"), Action::ActivationList, Endpoint, Some("subscriptionId")),
    read(sub!("/{subscriptionId}/activations/{activationId}"), Action::ActivationRead, Activity, Some("activationId")),
    read(sub!("/{subscriptionId}/activity"), Action::ActivityList, Endpoint, Some("subscriptionId")),
    change(Method::POST, sub!("/{subscriptionId}/activity"), Action::ActivityCreate, Activity, None),
    read(sub!("/{subscriptionId}/activity/{activityId}"), Action::ActivityRead, Activity, Some("activityId")),
    change(
        Method::POST,
        sub!("/{subscriptionId}/activity/{activityId}/retry"),
        Action::ActivityRetry,
        Activity,
        Some("activityId"),
    ),
    change(
        Method::POST,
        sub!("/{subscriptionId}/activity/{activityId}/outcomes"),
        Action::ActivityConclude,
        Activity,
        Some("activityId"),
    ),
    change(Method::POST, hsh!("/webhooks-payloads"), Action::ActivitySign, Activity, None),
];

const fn change(
    method: Method,
    path: &'static str,
    action: Action,
    kind: TargetKind,
    target: Option<&'static str>,
) -> Rule {
    Rule { method, path, action, kind, target, sort: Sort::Changes }
}

const fn read(path: &'static str, action: Action, kind: TargetKind, target: Option<&'static str>) -> Rule {
    Rule { method: Method::GET, path, action, kind, target, sort: Sort::Reads }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Access, TABLE};

    /// What no route does on behalf of a credential: whoever does it records it.
    const WITHOUT_ROUTE: [Action; 2] = [Action::ConsentGrant, Action::MasterKeyRotate];

    /// Publishing is not audited: the event itself is the record. Checking a hash (E49) changes nothing and shows nothing
    /// but whether the caller knows it.
    const NOT_AUDITED: [(Method, &str); 3] = [
        (Method::POST, "/sites/{site}/events"),
        (Method::OPTIONS, "/sites/{site}/events"),
        (Method::POST, hsh!("/validate-hash")),
    ];

    #[test]
    fn whatever_changes_anything_has_a_rule() {
        let changes = |entry: &&Entry| entry.method != Method::GET && entry.access != Access::Public;
        for entry in TABLE.iter().filter(changes) {
            let is_exempt = NOT_AUDITED.contains(&(entry.method.clone(), entry.path));
            let rule = Rule::of(entry);
            assert_eq!(rule.is_some(), !is_exempt, "{} {}", entry.method, entry.path);
            assert!(rule.is_none_or(|rule| rule.sort == Sort::Changes), "{} {}", entry.method, entry.path);
        }
    }

    #[test]
    fn every_rule_is_of_a_route_and_names_a_parameter_that_it_has() {
        for rule in RULES {
            let entry = Entry::find(&rule.method, rule.path);
            assert!(entry.is_some_and(|entry| entry.access != Access::Public), "{} {}", rule.method, rule.path);
            assert!(rule.target.is_none_or(|name| rule.path.contains(&format!("{{{name}}}"))), "{}", rule.path);
            assert_eq!(RULES.iter().filter(|it| it.action == rule.action).count(), 1, "{}", rule.action.as_str());
        }
        for action in Action::ALL {
            let is_of_a_route = RULES.iter().any(|rule| rule.action == *action);
            assert_ne!(is_of_a_route, WITHOUT_ROUTE.contains(action), "{}", action.as_str());
        }
    }
}
