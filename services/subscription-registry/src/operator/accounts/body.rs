//! What an account looks like to an operator.

use std::borrow::Cow;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use slipstream_core::config::{Account, AccountKind, KeyHash, Permission, Quota, SitesAllowed};
use slipstream_core::ids::AccountId;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_store::accounts::AccountDetails;
use utoipa::openapi::schema::{Array, OneOf, Schema, Type};
use utoipa::openapi::{Object, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::super::text;

/// The body that creates an account.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::operator) struct NewAccount {
    #[schema(min_length = 1, max_length = 200)]
    display_name: String,
    #[serde(default = "external")]
    kind: AccountKind,
    sites: Sites,
    permissions: Vec<Permission>,
    #[serde(default)]
    quota: Option<QuotaView>,
}

/// The body that changes an account: all of it but keys and quota. Nothing may be left out, so that nothing is changed that
/// nobody thought of: an account without a kind would turn into a stranger's.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::operator) struct AccountChange {
    #[schema(min_length = 1, max_length = 200)]
    display_name: String,
    kind: AccountKind,
    sites: Sites,
    permissions: Vec<Permission>,
}

impl AccountChange {
    /// What it makes of the account.
    pub(super) fn check(self) -> Result<AccountDetails, Problem> {
        let mut errors = Vec::new();
        let details = details(self.display_name, self.kind, self.sites, self.permissions, &mut errors);
        if errors.is_empty() { Ok(details) } else { Err(Problem::with_errors(ProblemKind::BadRequest, errors)) }
    }
}

/// What both bodies say, with each permission once; notes in `errors` what is wrong with it.
fn details(
    display_name: String,
    kind: AccountKind,
    Sites(sites): Sites,
    permissions: Vec<Permission>,
    errors: &mut Vec<FieldError>,
) -> AccountDetails {
    text::check_name("displayName", &display_name, errors);
    if let SitesAllowed::Only(sites) = &sites {
        for (index, _) in sites.iter().enumerate().filter(|(_, slug)| !slug.is_site()) {
            errors.push(FieldError { pointer: format!("#/sites/{index}"), detail: "must begin with s".into() });
        }
    }
    let mut each_once = Vec::with_capacity(2);
    for permission in permissions {
        if !each_once.contains(&permission) {
            each_once.push(permission);
        }
    }
    AccountDetails { display_name, kind, sites, permissions: each_once }
}

/// The body that sets an account's quota.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::operator) struct NewQuota {
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    quota: Option<QuotaView>,
}

impl NewQuota {
    /// What it sets; none lifts the quota.
    pub(super) fn check(self) -> Result<Option<Quota>, Problem> {
        let mut errors = Vec::new();
        check_quota(self.quota, &mut errors);
        if errors.is_empty() {
            Ok(self.quota.map(Quota::from))
        } else {
            Err(Problem::with_errors(ProblemKind::BadRequest, errors))
        }
    }
}

fn check_quota(quota: Option<QuotaView>, errors: &mut Vec<FieldError>) {
    let Some(quota) = quota else { return };
    let numbers = [("burstCapacity", quota.burst_capacity), ("tokensPerSecond", quota.tokens_per_second)];
    for (name, _) in numbers.into_iter().filter(|(_, number)| *number == 0) {
        errors.push(FieldError { pointer: format!("#/quota/{name}"), detail: "must be at least 1".into() });
    }
}

impl From<QuotaView> for Quota {
    fn from(it: QuotaView) -> Self {
        Self { burst_capacity: it.burst_capacity, tokens_per_second: it.tokens_per_second }
    }
}

/// An account is a stranger's unless told otherwise (SPEC 5.1).
fn external() -> AccountKind {
    AccountKind::External
}

/// `"all"`, or a list of slugs.
struct Sites(SitesAllowed);

impl PartialSchema for Sites {
    fn schema() -> RefOr<Schema> {
        let all = Object::builder().schema_type(Type::String).enum_values(Some(["all"]));
        let only = Array::new(Ref::from_schema_name(Slug::name()));
        OneOf::builder().item(all).item(only).description(Some("`all`, or those that are named")).into()
    }
}

impl ToSchema for Sites {
    fn name() -> Cow<'static, str> {
        "SitesAllowed".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Slug::name().into_owned(), Slug::schema()));
    }
}

#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Quota)]
struct QuotaView {
    #[schema(minimum = 1)]
    burst_capacity: u32,
    #[schema(minimum = 1)]
    tokens_per_second: u32,
}

impl NewAccount {
    /// The account `id` with keys of these hashes.
    pub(super) fn check(self, id: AccountId, primary: KeyHash, secondary: KeyHash) -> Result<Account, Problem> {
        let mut errors = Vec::new();
        let details = details(self.display_name, self.kind, self.sites, self.permissions, &mut errors);
        check_quota(self.quota, &mut errors);
        if !errors.is_empty() {
            return Err(Problem::with_errors(ProblemKind::BadRequest, errors));
        }
        let AccountDetails { display_name, kind, sites, permissions } = details;
        Ok(Account {
            id,
            display_name,
            kind,
            sites,
            permissions,
            quota: self.quota.map(Quota::from),
            primary_key: primary,
            secondary_key: secondary,
            revision: 1,
        })
    }
}

/// An account as it is answered: without its keys' hashes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Account)]
pub(in crate::operator) struct View {
    id: AccountId,
    display_name: String,
    kind: AccountKind,
    sites: Sites,
    permissions: Vec<Permission>,
    #[schema(required)]
    quota: Option<QuotaView>,
    revision: i64,
}

impl From<Account> for View {
    fn from(it: Account) -> Self {
        Self {
            id: it.id,
            display_name: it.display_name,
            kind: it.kind,
            sites: Sites(it.sites),
            permissions: it.permissions,
            quota: it.quota.map(|quota| QuotaView {
                burst_capacity: quota.burst_capacity,
                tokens_per_second: quota.tokens_per_second,
            }),
            revision: it.revision,
        }
    }
}

impl Serialize for Sites {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            SitesAllowed::All => serializer.serialize_str("all"),
            SitesAllowed::Only(sites) => sites.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Sites {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Sites;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\" or a list of site slugs")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Sites, E> {
                if text == "all" {
                    Ok(Sites(SitesAllowed::All))
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sites, A::Error> {
                let mut sites: Vec<Slug> = Vec::new();
                while let Some(site) = list.next_element()? {
                    sites.push(site);
                }
                Ok(Sites(SitesAllowed::Only(sites)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(body: &serde_json::Value) -> Result<Account, Vec<String>> {
        let pointers = |problem: Problem| problem.errors.into_iter().map(|error| error.pointer).collect::<Vec<_>>();
        let body = slipstream_service::json::read::<NewAccount>(body.to_string().as_bytes()).map_err(pointers)?;
        let id = AccountId(uuid::Uuid::nil());
        body.check(id, KeyHash::of("a"), KeyHash::of("b")).map_err(pointers)
    }

    #[test]
    fn an_account_comes_back_as_it_was_given() {
        let body = json!({
            "displayName": "Post", "kind": "internal", "sites": ["s8n6EzC"], "permissions": ["Webhooks.Manage"],
            "quota": {"burstCapacity": 500, "tokensPerSecond": 50},
        });
        let mut view = serde_json::to_value(View::from(check(&body).unwrap())).unwrap();
        let members = view.as_object_mut().unwrap();
        assert!(members.remove("id").is_some() && members.remove("revision").is_some());
        assert_eq!(view, body);
    }

    #[test]
    fn everything_optional_can_be_left_out() {
        let account = check(&json!({"displayName": "Post", "sites": "all", "permissions": []})).unwrap();
        assert_eq!((account.kind, account.sites, account.quota), (AccountKind::External, SitesAllowed::All, None));
    }

    #[test]
    fn wrong_members_are_named() {
        let with = |name: &str, value: serde_json::Value| {
            let mut body = json!({"displayName": "Post", "sites": "all", "permissions": []});
            body[name] = value;
            check(&body).unwrap_err()
        };
        assert_eq!(with("displayName", json!("")), ["#/displayName"]);
        assert_eq!(with("kind", json!("other")), ["#/kind"]);
        assert_eq!(with("sites", json!("some")), ["#/sites"]);
        assert_eq!(with("sites", json!(["s8n6EzC", "?"])), ["#/sites/1"]);
        assert_eq!(with("sites", json!(["o4fKq2"])), ["#/sites/0"]);
        assert_eq!(with("permissions", json!(["Everything"])), ["#/permissions/0"]);
        assert_eq!(with("quota", json!({"burstCapacity": 0, "tokensPerSecond": 1})), ["#/quota/burstCapacity"]);
        assert_eq!(with("quota", json!({"burstCapacity": 1})), ["#/quota/tokensPerSecond"]);
        let misspelt = json!({"burstCapacity": 1, "tokensPerSecond": 1, "tokensPerMinute": 9});
        assert_eq!(with("quota", misspelt), ["#/quota/tokensPerMinute"]);
        assert_eq!(with("Quota", json!({"burstCapacity": 1, "tokensPerSecond": 1})), ["#/Quota"]);
        assert_eq!(check(&json!({"sites": "all", "permissions": []})).unwrap_err(), ["#/displayName"]);
    }
}
