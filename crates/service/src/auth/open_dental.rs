//! Callers of the Open Dental surface (SPEC 7.2): a developer's key and a practice's, both of them secret.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use slipstream_core::config::{KeyHash, OpenDentalKey, OpenDentalPermission};
use slipstream_core::problem::{Problem, ProblemKind};

use super::Principal;
use super::authorization::{credentials, unauthorized};

/// Bytes of both keys together. Open Dental's have 16 each.
const KEYS_LEN_MAX: usize = 512;

/// A customer key belongs to one practice and one developer; everything is scoped to it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    pub(super) actor: Arc<str>,
    developer: KeyHash,
    customer: KeyHash,
    practice: String,
    permissions: Vec<OpenDentalPermission>,
}

impl KeyPair {
    /// The practice whose data it opens.
    pub fn practice(&self) -> &str {
        &self.practice
    }

    /// Whose subscriptions are seen: the hash of the customer key.
    pub fn customer(&self) -> KeyHash {
        self.customer
    }
}

impl From<&OpenDentalKey> for KeyPair {
    fn from(record: &OpenDentalKey) -> Self {
        let OpenDentalKey { developer, customer, practice, permissions, .. } = record.clone();
        // Enough of the hash to tell the pairs of a practice apart, and nothing of the key.
        let actor = format!("{practice}/{}", &customer.to_hex()[..16]).into();
        Self { actor, developer, customer, practice, permissions }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("actor", &self.actor)
            .field("permissions", &self.permissions)
            .finish_non_exhaustive()
    }
}

/// All pairs that are valid at one moment: a part of the [`Snapshot`](crate::directory::Snapshot).
#[derive(Debug, Clone, Default)]
pub struct KeyPairs(Vec<Arc<KeyPair>>);

impl<'a> FromIterator<&'a OpenDentalKey> for KeyPairs {
    fn from_iter<T: IntoIterator<Item = &'a OpenDentalKey>>(records: T) -> Self {
        Self(records.into_iter().map(|record| Arc::new(record.into())).collect())
    }
}

impl KeyPairs {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pair in `headers`: `Authorization: ODFHIR {DeveloperKey}/{CustomerKey}`.
    ///
    /// # Errors
    /// 401 when there is none, or it is not valid; which of the two keys is wrong is not told.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let given = credentials(headers, "ODFHIR")?;
        let given =
            given.ok_or_else(|| unauthorized("Authorization: ODFHIR {DeveloperKey}/{CustomerKey} is needed"))?;
        let pair = self.find(given).ok_or_else(|| unauthorized("the keys are not valid"))?;
        Ok(Principal::of_key_pair(pair))
    }

    fn find(&self, given: &str) -> Option<Arc<KeyPair>> {
        if given.len() > KEYS_LEN_MAX {
            return None;
        }
        let (developer, customer) = given.split_once('/')?;
        let (developer, customer) = (KeyHash::of(developer), KeyHash::of(customer));
        // All of them, so that the time tells nothing; practices are hundreds, and a comparison takes nanoseconds.
        let is_it = |pair: &&Arc<KeyPair>| pair.developer.matches(&developer) & pair.customer.matches(&customer);
        match self.0.iter().filter(is_it).collect::<Vec<_>>()[..] {
            [pair] => Some(Arc::clone(pair)),
            // A customer key belongs to one practice: of two records, nobody knows whose data it should open.
            _ => None,
        }
    }
}

impl Principal {
    /// Checks that its keys have `permission`.
    ///
    /// # Errors
    /// 403 otherwise.
    pub(crate) fn require_open_dental(&self, permission: OpenDentalPermission) -> Result<(), Problem> {
        let has = self.open_dental().is_some_and(|pair| pair.permissions.contains(&permission));
        if has {
            Ok(())
        } else {
            Err(Problem::new(ProblemKind::Forbidden, "the keys do not have the permission for this"))
        }
    }
}

#[cfg(test)]
mod tests {
    use slipstream_core::ids::OpenDentalKeyId;

    use super::*;

    fn key(developer: &str, customer: &str, practice: &str) -> OpenDentalKey {
        OpenDentalKey {
            id: OpenDentalKeyId(uuid::Uuid::nil()),
            developer: KeyHash::of(developer),
            customer: KeyHash::of(customer),
            practice: practice.into(),
            permissions: vec![OpenDentalPermission::Subscriptions],
            revision: 1,
        }
    }

    fn pairs() -> KeyPairs {
        [key("dev", "mill", "mill-lane"), key("dev", "high", "high-street")].iter().collect()
    }

    fn ask(pairs: &KeyPairs, values: &[&str]) -> Option<String> {
        let values = values.iter().map(|value| (http::header::AUTHORIZATION, value.parse().unwrap()));
        let principal = pairs.check(&values.collect()).ok()?;
        principal.open_dental().map(|pair| pair.practice().to_owned())
    }

    #[test]
    fn both_keys_name_the_practice() {
        let pairs = pairs();
        assert_eq!(ask(&pairs, &["ODFHIR dev/mill"]).as_deref(), Some("mill-lane"));
        assert_eq!(ask(&pairs, &["odfhir dev/high"]).as_deref(), Some("high-street"));
        for values in [
            &[][..],
            &["ODFHIR dev"],
            &["ODFHIR dev/"],
            &["ODFHIR /mill"],
            &["ODFHIR mill/dev"],
            &["ODFHIR dev/mill/"],
            &["ODFHIR dev/Mill"],
            &["Bearer dev/mill"],
            &["ODFHIR dev/mill", "ODFHIR dev/high"],
        ] {
            assert_eq!(ask(&pairs, values), None, "{values:?}");
        }
        assert_eq!(ask(&KeyPairs::default(), &["ODFHIR dev/mill"]), None);
    }

    #[test]
    fn keys_of_two_practices_open_neither() {
        let pairs: KeyPairs = [key("dev", "mill", "mill-lane"), key("dev", "mill", "high-street")].iter().collect();
        assert_eq!(ask(&pairs, &["ODFHIR dev/mill"]), None);
    }

    #[test]
    fn keys_do_not_print() {
        let printed = format!("{:?}", pairs());
        assert!(!printed.contains("KeyHash") && printed.contains("mill-lane/"), "{printed}");
    }

    #[test]
    fn a_permission_that_is_not_given_is_missing() {
        let pair = pairs().find("dev/mill").unwrap();
        let principal = Principal::of_key_pair(pair);
        assert!(principal.require_open_dental(OpenDentalPermission::Subscriptions).is_ok());
        assert!(principal.require_open_dental(OpenDentalPermission::UiEvents).is_err());
    }
}
