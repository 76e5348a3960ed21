//! The bodies of S3 and S5 (SPEC 5.4): what a caller may ask for, and what it is told.

use serde::{Deserialize, Serialize};
use slipstream_core::config::{EndpointState, Subscription, SubscriptionHeader};
use slipstream_core::feature::Feature;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::sealing::StillSealed;
use slipstream_webhook::{AddressPolicy, PreparedHeaders, Target};
use utoipa::ToSchema;

/// `WebhookSubscription`: the body of S3, and its answer.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WebhookSubscription {
    uri: String,
    #[serde(default)]
    headers: Option<Vec<Header>>,
    #[serde(default)]
    event_types: Option<Vec<String>>,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = WebhookHeader)]
struct Header {
    name: String,
    /// Null is the empty value.
    #[serde(default)]
    value: Option<String>,
}

/// What a caller wants, checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) uri: String,
    pub(super) headers: Vec<SubscriptionHeader>,
    pub(super) event_types: Vec<String>,
}

impl WebhookSubscription {
    /// Checks every rule of `feature`; gives what is wanted, and where to.
    ///
    /// # Errors
    /// 400 with every member that is wrong; if none is, 422 when the target may not be called.
    pub(super) fn check(self, feature: &Feature, policy: &AddressPolicy) -> Result<(Wanted, Target), Problem> {
        let headers: Vec<_> = self.headers.unwrap_or_default().into_iter().map(SubscriptionHeader::from).collect();
        let mut errors = header_errors(&headers);
        let event_types = check_event_types(self.event_types.unwrap_or_default(), feature, &mut errors);
        if !errors.is_empty() {
            return Err(Problem::with_errors(ProblemKind::BadRequest, errors));
        }
        let target = Target::parse(&self.uri, policy).map_err(|refused| {
            let error = FieldError::at("Uri", refused.to_string());
            Problem::with_errors(ProblemKind::TargetNotAllowed, vec![error])
        })?;
        Ok((Wanted { uri: self.uri, headers, event_types }, target))
    }
}

impl From<Header> for SubscriptionHeader {
    fn from(header: Header) -> Self {
        Self { name: header.name, value: header.value.unwrap_or_default().into() }
    }
}

fn header_errors(headers: &[SubscriptionHeader]) -> Vec<FieldError> {
    let Err(errors) = PreparedHeaders::new(headers) else { return Vec::new() };
    let place = |error: slipstream_webhook::headers::HeaderError| match error.index {
        Some(index) if error.problem.is_of_value() => format!("#/Headers/{index}/Value"),
        Some(index) => format!("#/Headers/{index}/Name"),
        None => "#/Headers".to_owned(),
    };
    let told = |error: slipstream_webhook::headers::HeaderError| FieldError {
        pointer: place(error),
        detail: error.problem.to_string().into(),
    };
    errors.into_iter().map(told).collect()
}

/// The event types without repeats, in the caller's order; those that the feature does not have become errors.
fn check_event_types(wanted: Vec<String>, feature: &Feature, errors: &mut Vec<FieldError>) -> Vec<String> {
    let mut event_types: Vec<String> = Vec::with_capacity(feature.event_types.len());
    for (index, event_type) in wanted.into_iter().enumerate() {
        if !feature.event_types.contains(&event_type.as_str()) {
            let pointer = format!("#/EventTypes/{index}");
            let detail = format!("must be one of {}", feature.event_types.join(", "));
            errors.push(FieldError { pointer, detail: detail.into() });
        } else if !event_types.contains(&event_type) {
            event_types.push(event_type);
        }
    }
    event_types
}

impl TryFrom<Subscription> for WebhookSubscription {
    type Error = StillSealed;

    fn try_from(subscription: Subscription) -> Result<Self, StillSealed> {
        let shown = |header: SubscriptionHeader| {
            let value = Some(header.value.expose()?.to_owned());
            Ok(Header { name: header.name, value })
        };
        Ok(Self {
            uri: subscription.uri,
            headers: Some(subscription.headers.into_iter().map(shown).collect::<Result<_, _>>()?),
            event_types: Some(subscription.event_types),
        })
    }
}

/// `WebhookSubscriptionDetails`: the answer of S5. Of the headers it tells the names only: values may be secrets.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = WebhookSubscriptionDetails)]
pub(super) struct Details {
    uri: String,
    headers: Vec<String>,
    event_types: Vec<String>,
    labels: [&'static str; 1],
}

impl From<Subscription> for Details {
    fn from(subscription: Subscription) -> Self {
        let label = match subscription.state {
            EndpointState::Active => "state:active",
            EndpointState::Pending => "state:pending-handshake",
            EndpointState::Paused | EndpointState::Disabled(_) => "state:disabled",
        };
        Self {
            uri: subscription.uri,
            headers: subscription.headers.into_iter().map(|header| header.name).collect(),
            event_types: subscription.event_types,
            labels: [label],
        }
    }
}

/// A subscription as a caller asks for it.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({
        "Uri": "https://receiver.example/slipstream",
        "Headers": [{ "Name": "X-Receiver", "Value": "post" }],
        "EventTypes": ["communications.letter.created"],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use slipstream_core::feature::FEATURES;

    use super::*;

    const CREATED: &str = "communications.letter.created";

    fn check(body: serde_json::Value) -> Result<Wanted, Problem> {
        let body = serde_json::from_value::<WebhookSubscription>(body).unwrap();
        body.check(&FEATURES[0], &AddressPolicy::default()).map(|(wanted, _)| wanted)
    }

    fn refusal(body: serde_json::Value) -> (u16, Vec<String>) {
        let problem = check(body).unwrap_err();
        (problem.kind.status(), problem.errors.into_iter().map(|error| error.pointer).collect())
    }

    #[test]
    fn absent_null_and_empty_lists_mean_the_same() {
        let bare = check(json!({"Uri": "https://receiver.example/post"})).unwrap();
        for body in [
            json!({"Uri": "https://receiver.example/post", "Headers": null, "EventTypes": null}),
            json!({"Uri": "https://receiver.example/post", "Headers": [], "EventTypes": []}),
        ] {
            assert_eq!(check(body).unwrap(), bare);
        }
        let no_value = json!({"Uri": "https://receiver.example/", "Headers": [{"Name": "X-A", "Value": null}]});
        assert_eq!(check(no_value).unwrap().headers[0].value.expose(), Ok(""));
    }

    #[test]
    fn an_event_type_given_twice_counts_once() {
        let body = json!({"Uri": "https://receiver.example/", "EventTypes": [CREATED, CREATED]});
        assert_eq!(check(body).unwrap().event_types, [CREATED]);
    }

    #[test]
    fn every_wrong_member_is_named() {
        let body = json!({
            "Uri": "https://receiver.example/",
            "Headers": [{"Name": "Host"}, {"Name": "X-A", "Value": "a\r\nb"}, {"Name": "X-B"}, {"Name": "x-b"}],
            "EventTypes": [CREATED, "communications.letter.burnt"],
        });
        let places = ["#/Headers/0/Name", "#/Headers/1/Value", "#/Headers/3/Name", "#/EventTypes/1"];
        assert_eq!(refusal(body), (400, places.map(String::from).to_vec()));
        let headers: Vec<_> = (0..21).map(|n| json!({"Name": format!("X-{n}")})).collect();
        let body = json!({"Uri": "https://receiver.example/", "Headers": headers});
        assert_eq!(refusal(body), (400, vec!["#/Headers".to_owned()]));
    }

    #[test]
    fn targets_outside_the_policy_are_422_naming_the_uri() {
        let long = format!("https://receiver.example/{}", "a".repeat(2049));
        for uri in [
            "http://receiver.example/",
            "https://127.0.0.1/",
            "https://10.1.2.3/",
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://me@receiver.example/",
            "https://receiver.example/#x",
            "receiver.example",
            "",
            long.as_str(),
        ] {
            assert_eq!(refusal(json!({ "Uri": uri })), (422, vec!["#/Uri".to_owned()]), "{uri}");
        }
    }
}
