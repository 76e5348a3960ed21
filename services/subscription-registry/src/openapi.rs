//! The part of the OpenAPI documents that the registry answers, and parameters of its operations.

use std::borrow::Cow;

use slipstream_core::feature::FEATURES;
use slipstream_core::slug::Slug;
use slipstream_service::openapi::Documents;
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{IntoParams, OpenApi, PartialSchema, ToSchema};

use crate::{ecg, handshake, key_set, operator, slipstream};

#[derive(OpenApi)]
#[openapi(paths(handshake::callback::grant, handshake::callback::grant_by_post, key_set::get))]
struct ForReceivers;

/// What the registry adds to the documents of its process.
pub fn documents() -> Documents {
    Documents::default()
        .slipstream(slipstream::Operations::openapi())
        .slipstream(ForReceivers::openapi())
        .ecg(ecg::Operations::openapi())
        .operator(operator::Operations::openapi())
}

/// What the path of a subscription names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "documents take its fields' names and rules; guard and handlers read the path")]
pub(crate) struct AtFeature {
    /// The site.
    #[param(inline)]
    site: Slug,
    /// The feature.
    #[param(inline)]
    feature: FeatureName,
}

/// What makes a grant.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "as of `AtFeature`")]
pub(crate) struct CallbackKeyInPath {
    /// The key.
    key: String,
}

/// How much a receiver grants.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "as of `AtFeature`")]
pub(crate) struct AllowedRate {
    /// Deliveries per minute: a positive number, or `*` for any. As many as were asked for, if it is left out.
    #[param(rename = "webhook-allowed-rate", pattern = "^([*]|0*[1-9][0-9]*)$")]
    rate: Option<String>,
}

/// The name of a feature: one of those that there are.
struct FeatureName;

impl PartialSchema for FeatureName {
    fn schema() -> RefOr<Schema> {
        let names = FEATURES.iter().map(|feature| feature.name);
        Object::builder().schema_type(Type::String).enum_values(Some(names)).into()
    }
}

impl ToSchema for FeatureName {
    fn name() -> Cow<'static, str> {
        "FeatureName".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_row_in_the_access_table_and_no_name_stands_for_two_things() {
        let written = documents().finish().unwrap();
        let of_ecg: serde_json::Value = serde_json::from_str(&written.ecg).unwrap();
        let paths = of_ecg["paths"].as_object().unwrap();
        let operations = paths.values().flat_map(|path| path.as_object().unwrap().keys());
        // E1 to E31, E34 to E40, E51 to E53.
        assert_eq!(
            operations.filter(|name| ["get", "post", "put", "patch", "delete"].contains(&name.as_str())).count(),
            41
        );
    }
}
