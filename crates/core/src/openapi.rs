//! How values of the domain look in OpenAPI documents: those that read and write themselves.
//!
//! Closed sets derive their schema from the same names as their JSON. The schemas say what is accepted and answered; the
//! bodies that hold them stand in the services that have them.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::contract::{Action, AuditOutcome, TargetKind};
use crate::ids::{
    AccountId, ActivityId, AuditId, DeliveryId, EcgCategoryId, EcgEventId, EcgSampleId, EcgSecretId, EventKey,
    ReplayId, SubscriptionId,
};
use crate::slug::{SLUG_LEN_MAX, Slug};
use crate::timestamp::Timestamp;

/// Gives a type the schema that an expression makes, under its own name.
macro_rules! described {
    ($($type:ident: $schema:expr;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }
        }
    )+};
}

described! {
    Slug: text("The name of an organisation (o…), a site (s…) or a link (l…)")
        .pattern(Some("^[osl][a-zA-Z0-9]{3,}$"))
        .max_length(Some(SLUG_LEN_MAX))
        .examples(["s8n6EzC"]);
    Timestamp: text("RFC 3339; answered in UTC with milliseconds")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2026-03-02T08:30:00.000Z"]);
    EventKey: text("The key of an event: a hash of its site, source and id")
        .pattern(Some("^[A-Za-z0-9_-]{22}$"));
    AccountId: uuid("An API account");
    SubscriptionId: uuid("A subscription, and its endpoint");
    DeliveryId: uuid("A delivery");
    ReplayId: uuid("A replay");
    AuditId: uuid("A record of the audit");
    EcgCategoryId: uuid("A category of webhook events");
    EcgEventId: uuid("A webhook event: a kind of event that can be subscribed to");
    EcgSampleId: uuid("A sample payload");
    EcgSecretId: uuid("A secret of a webhook subscription");
    ActivityId: uuid("An activity: one post");
    Action: text("What was done").enum_values(Some(Action::ALL.iter().map(|it| it.as_str())));
    TargetKind: text("What it was done to").enum_values(Some(TargetKind::ALL.iter().map(|it| it.as_str())));
    AuditOutcome: text("How it went").enum_values(Some(AuditOutcome::ALL.iter().map(|it| it.as_str())));
}

fn text(description: &str) -> ObjectBuilder {
    Object::builder().schema_type(Type::String).description(Some(description))
}

fn uuid(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Permission;
    use crate::delivery::DeliveryState;
    use crate::lane::Visibility;

    fn names<T: ToSchema>() -> Value {
        serde_json::to_value(T::schema()).unwrap()["enum"].clone()
    }

    #[test]
    fn closed_sets_have_the_names_that_their_json_has() {
        assert_eq!(names::<DeliveryState>(), json!(DeliveryState::ALL));
        assert_eq!(names::<Visibility>(), json!(Visibility::ALL));
        assert_eq!(names::<Action>(), json!(Action::ALL));
        assert_eq!(names::<Permission>(), json!([Permission::EventsPublish, Permission::WebhooksManage]));
    }
}
