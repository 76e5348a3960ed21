//! The 53 endpoints (SPEC 6.2), a row each: what is right, and what is wrong with its query and its body.
//!
//! What is wrong in the same way everywhere (credentials, ids, pages, bodies that are no JSON) is tried by the walk itself.

mod bodies;

use http::Method;
use serde_json::Value;

use super::shapes::{self, Check, page};
use super::things::Things;

/// Whom an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Manager,
    Admin,
}

/// A body that is refused.
pub(crate) struct Wrong {
    pub(crate) what: &'static str,
    pub(crate) body: Value,
    pub(crate) status: u16,
}

/// What an endpoint reads.
pub(crate) enum Body {
    /// Nothing.
    None,
    /// Whatever comes.
    Anything,
    /// An object with these members at least.
    Object { right: fn(&Things) -> Value, required: &'static [&'static str], wrong: fn(&Things) -> Vec<Wrong> },
    /// A JSON Patch.
    Patch { right: fn(&Things) -> Value, wrong: fn(&Things) -> Vec<Wrong> },
}

/// One row.
pub(crate) struct Endpoint {
    /// 1 for E1.
    pub(crate) number: usize,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) needs: Needs,
    /// Of the right call, with its question mark.
    pub(crate) query: &'static str,
    pub(crate) bad_queries: &'static [(&'static str, u16)],
    pub(crate) is_paged: bool,
    pub(crate) body: Body,
    /// Of the answer to the right call, and its shape.
    pub(crate) status: u16,
    pub(crate) shape: Check,
    /// Of the answer to the same call once more.
    pub(crate) again: Option<u16>,
}

impl Endpoint {
    fn new(number: usize, method: Method, path: &'static str) -> Self {
        let (needs, body, shape) = (Needs::Manager, Body::None, shapes::value as Check);
        let (query, bad_queries, is_paged, status, again) = ("", &[][..], false, 200, None);
        Self { number, method, path, needs, query, bad_queries, is_paged, body, status, shape, again }
    }

    fn get(number: usize, path: &'static str) -> Self {
        Self { again: Some(200), ..Self::new(number, Method::GET, path) }
    }

    fn post(number: usize, path: &'static str) -> Self {
        Self::new(number, Method::POST, path)
    }

    /// An action: it answers `true`, also if nothing is left to be done (SPEC 6.1).
    fn action(number: usize, path: &'static str) -> Self {
        Self { again: Some(200), ..Self::post(number, path) }
    }

    /// A deletion: what is gone is not there any more.
    fn delete(number: usize, path: &'static str) -> Self {
        Self { again: Some(404), ..Self::new(number, Method::DELETE, path) }
    }

    fn patch(number: usize, path: &'static str, right: fn(&Things) -> Value, wrong: fn(&Things) -> Vec<Wrong>) -> Self {
        Self { body: Body::Patch { right, wrong }, again: Some(200), ..Self::new(number, Method::PATCH, path) }
    }

    fn by(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    fn asked(self, query: &'static str, bad_queries: &'static [(&'static str, u16)]) -> Self {
        Self { query, bad_queries, ..self }
    }

    fn paged(self) -> Self {
        Self { is_paged: true, ..self }
    }

    fn takes(
        self,
        right: fn(&Things) -> Value,
        required: &'static [&'static str],
        wrong: fn(&Things) -> Vec<Wrong>,
    ) -> Self {
        Self { body: Body::Object { right, required, wrong }, ..self }
    }

    fn gives(self, status: u16, shape: Check) -> Self {
        Self { status, shape, ..self }
    }

    fn again(self, status: u16) -> Self {
        Self { again: Some(status), ..self }
    }
}

macro_rules! cat {
    ($rest:literal) => {
        concat!("/api/webhook-categories", $rest)
    };
}

macro_rules! evt {
    ($rest:literal) => {
        concat!("/api/webhook-categories/{webhookCategoryId}/webhook-events", $rest)
    };
}

macro_rules! sub {
    ($rest:literal) => {
        concat!("/api/organizations/{organizationId}/webhook-subscriptions", $rest)
    };
}

macro_rules! hsh {
    ($rest:literal) => {
        concat!("/api/organizations/{organizationId}/subscriptions/{subscriptionId}", $rest)
    };
}

const BAD_STATES: &[(&str, u16)] = &[("?status=gone", 400), ("?status=", 400)];
const BAD_OUTCOMES: &[(&str, u16)] = &[("?status=done", 400), ("?status=true", 400)];

/// E1 to E53.
pub(crate) fn all() -> Vec<Endpoint> {
    [configuration(), subscriptions(), samples(), activities(), rest()].into_iter().flatten().collect()
}

fn configuration() -> Vec<Endpoint> {
    use Needs::{Admin, Nothing};
    vec![
        Endpoint::get(1, "/healthcheck").by(Nothing).gives(200, shapes::health),
        Endpoint::post(2, cat!(""))
            .by(Admin)
            .takes(bodies::category, &["name", "code"], bodies::wrong_categories)
            .gives(201, shapes::category)
            .again(409),
        Endpoint::get(3, cat!("")).paged().asked("", BAD_STATES).gives(200, |it| page(it, shapes::category)),
        Endpoint::delete(4, cat!("/{webhookCategoryId}")).by(Admin),
        Endpoint::get(5, cat!("/{webhookCategoryId}")).gives(200, shapes::category),
        Endpoint::patch(6, cat!("/{webhookCategoryId}"), bodies::rename, bodies::wrong_category_patches)
            .by(Admin)
            .gives(200, shapes::category),
        Endpoint::action(7, cat!("/{webhookCategoryId}/archive")).by(Admin),
        Endpoint::action(8, cat!("/{webhookCategoryId}/restore")).by(Admin),
        Endpoint::action(9, cat!("/{webhookCategoryId}/activate")).by(Admin),
        Endpoint::action(10, cat!("/{webhookCategoryId}/deactivate")).by(Admin),
        Endpoint::get(11, "/api/seed-data/versions").gives(200, shapes::seed_versions),
        Endpoint::post(12, evt!(""))
            .by(Admin)
            .takes(bodies::event, &["name", "code", "version"], bodies::wrong_events)
            .gives(201, shapes::event)
            .again(409),
        Endpoint::get(13, evt!("")).paged().asked("", BAD_STATES).gives(200, |it| page(it, shapes::event)),
        Endpoint::delete(14, evt!("/{webhookEventId}")).by(Admin),
        Endpoint::get(15, evt!("/{webhookEventId}")).gives(200, shapes::event),
        Endpoint::patch(16, evt!("/{webhookEventId}"), bodies::rename, bodies::wrong_event_patches)
            .by(Admin)
            .gives(200, shapes::event),
        Endpoint::action(17, evt!("/{webhookEventId}/archive")).by(Admin),
        Endpoint::action(18, evt!("/{webhookEventId}/restore")).by(Admin),
        Endpoint::action(19, evt!("/{webhookEventId}/activate")).by(Admin),
        Endpoint::action(20, evt!("/{webhookEventId}/deactivate")).by(Admin),
        Endpoint::get(21, "/api/webhook-events/{eventCode}/subscriptions")
            .gives(200, shapes::subscriptions_without_secrets),
    ]
}

fn subscriptions() -> Vec<Endpoint> {
    vec![
        Endpoint::post(22, sub!(""))
            .takes(bodies::subscription, &["isDevelopment"], bodies::wrong_subscriptions)
            .gives(201, shapes::subscription)
            .again(201),
        Endpoint::get(23, sub!(""))
            .paged()
            .asked("?version=v1", &[("?eventId=nonsense", 400), ("?status=gone", 400)])
            .gives(200, |it| page(it, shapes::subscription)),
        Endpoint::delete(24, sub!("/{subscriptionId}")),
        Endpoint::get(25, sub!("/{subscriptionId}")).gives(200, shapes::subscription),
        Endpoint::patch(26, sub!("/{subscriptionId}"), bodies::version, bodies::wrong_subscription_patches)
            .gives(200, shapes::subscription),
        Endpoint::action(27, sub!("/{subscriptionId}/activate")),
        Endpoint::action(28, sub!("/{subscriptionId}/deactivate")),
        Endpoint::get(29, sub!("/{subscriptionId}/secrets"))
            .asked(
                "",
                &[("?createdAt=yesterday", 400), ("?createdAt=1", 404), ("?createdAt=1999-01-01T00:00:00Z", 404)],
            )
            .gives(200, shapes::secret),
        Endpoint::new(30, Method::PUT, sub!("/{subscriptionId}/secrets")).again(200),
        Endpoint::delete(31, sub!("/{subscriptionId}/events/{eventId}")),
        Endpoint::get(32, sub!("/{subscriptionId}/activations"))
            .paged()
            .asked("", BAD_OUTCOMES)
            .gives(200, |it| page(it, shapes::bare_activity)),
        Endpoint::get(33, sub!("/{subscriptionId}/activations/{activationId}")).gives(200, shapes::activity),
        Endpoint::action(34, sub!("/{subscriptionId}/archive")),
        Endpoint::action(35, sub!("/{subscriptionId}/restore")),
    ]
}

fn samples() -> Vec<Endpoint> {
    const BAD_VERSIONS: &[(&str, u16)] = &[("", 400), ("?version=", 400), ("?version=one", 400), ("?version=v7", 404)];
    vec![
        Endpoint::post(36, evt!("/{webhookEventId}/sample-payloads"))
            .by(Needs::Admin)
            .takes(bodies::sample, &["payload"], bodies::wrong_samples)
            .gives(201, shapes::sample)
            .again(409),
        Endpoint::get(37, evt!("/{webhookEventId}/sample-payloads"))
            .asked("?version=v1", BAD_VERSIONS)
            .gives(200, shapes::sample),
        Endpoint::delete(38, evt!("/{webhookEventId}/sample-payloads"))
            .by(Needs::Admin)
            .asked("?version=v1", BAD_VERSIONS),
        Endpoint::patch(
            39,
            evt!("/{webhookEventId}/sample-payloads"),
            bodies::sample_patch,
            bodies::wrong_sample_patches,
        )
        .by(Needs::Admin)
        .asked("?version=v1", BAD_VERSIONS)
        .gives(200, shapes::sample),
        Endpoint::get(40, evt!("/{webhookEventId}/sample-payloads-examples"))
            .asked("?type=vitals-observation", &[("?type=letter", 400)])
            .gives(200, shapes::payload),
    ]
}

fn activities() -> Vec<Endpoint> {
    vec![
        Endpoint::post(41, sub!("/{subscriptionId}/activity"))
            .takes(bodies::activity, &["type", "payload", "rawMessage", "eventId"], bodies::wrong_activities)
            .gives(201, shapes::activity)
            .again(201),
        Endpoint::get(42, sub!("/{subscriptionId}/activity"))
            .paged()
            .asked("?status=failed&include=subscription,event", &[("?status=done", 400), ("?eventId=nonsense", 400)])
            .gives(200, |it| page(it, shapes::activity)),
        Endpoint::post(43, sub!("/{subscriptionId}/activity/{activityId}/retry")).gives(201, shapes::activity),
        Endpoint::post(44, sub!("/{subscriptionId}/activity/{activityId}/outcomes"))
            .takes(
                bodies::outcome,
                &["originalActivityId", "success", "httpStatusCode", "error", "rawResponse"],
                bodies::wrong_outcomes,
            )
            .gives(201, shapes::activity)
            .again(201),
        Endpoint::get(45, sub!("/{subscriptionId}/activity/{activityId}"))
            .asked("?mode=nested", &[("", 400), ("?mode=deep", 400)])
            .gives(200, shapes::tree),
        Endpoint { body: Body::Anything, ..Endpoint::post(46, "/api/webhook-processors/success-response") }
            .by(Needs::Nothing)
            .again(200),
        Endpoint { body: Body::Anything, ..Endpoint::post(47, "/api/webhook-processors/failed-response") }
            .by(Needs::Nothing)
            .asked("", &[("?status=200", 400), ("?status=600", 400), ("?status=bad", 400), ("?status=404", 404)])
            .gives(500, |it| shapes::refusal(it, 500)),
        Endpoint::post(48, hsh!("/webhooks-payloads"))
            .takes(bodies::payload, &["eventType", "version", "data"], bodies::wrong_payloads)
            .asked(
                "?mode=new",
                &[
                    ("", 400),
                    ("?mode=old", 400),
                    ("?mode=retry", 400),
                    ("?mode=retry&originalActivityId=nonsense", 400),
                ],
            )
            .gives(201, shapes::signed_payload)
            .again(201),
        Endpoint::post(49, hsh!("/validate-hash"))
            .takes(bodies::hash, &["payload", "hash", "createdAt"], bodies::wrong_hashes)
            .gives(200, shapes::value)
            .again(200),
        Endpoint::get(50, hsh!("/activity/{activityId}/get-hash")).gives(200, shapes::hash_out),
    ]
}

fn rest() -> Vec<Endpoint> {
    vec![
        Endpoint::get(51, sub!("/{subscriptionId}/webhook-secret-histories"))
            .paged()
            .asked("?include=subscription", &[])
            .gives(200, |it| page(it, shapes::secret_history_with_subscription)),
        Endpoint::post(52, sub!("/{subscriptionId}/webhook-secret-histories"))
            .takes(bodies::secret, &["secretKey"], bodies::wrong_secrets)
            .gives(201, shapes::secret_history)
            .again(409),
        Endpoint::get(53, "/api/webhook-deliveries/payload").gives(200, shapes::payload),
    ]
}
