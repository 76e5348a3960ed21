//! Who calls (SPEC 5.1, 6.1, 7.2; THREATS 6).
//!
//! A request shows credentials; [`Guards`] finds out whose they are; the result is a [`Principal`]. Which kind a route
//! takes, and what the principal needs there, says [`crate::access`].
//!
//! | kind | how it comes | checked by | module |
//! | --- | --- | --- | --- |
//! | API account | `X-API-KEY: {account}_{random}` | the [`Directory`]'s hashes | `api_key` |
//! | token of an issuer | `Authorization: Bearer {JWT}`; on S1 also `?access_token=` | the issuer's keys | [`token`], `bearer` |
//! | operator | `Authorization: Bearer {token}` | the configured token | `operator` |
//! | ECG | `Authorization: Bearer {JWT}` with roles and organizations | the issuer's keys | `ecg` |
//! | Open Dental | `Authorization: ODFHIR {DeveloperKey}/{CustomerKey}` | hashes of both | `open_dental` |
//!
//! Every credential that is shown must be valid. Two different ones of a kind are refused, and so is one of a kind that
//! the route does not take. An API key and a token together are refused too, each valid or not: an account and the holder
//! of a token are two callers, and nothing says on whose behalf the request is. All of that is 401, and no detail tells a
//! key that is malformed from one that is unknown.
//!
//! API keys, the operator's token and key pairs are checked in memory: no database, no cache, and what was revoked is
//! refused as soon as the registry's change has arrived.

mod api_key;
mod authorization;
mod bearer;
mod config;
mod ecg;
mod guards;
mod open_dental;
mod operator;
mod principal;
pub mod token;

pub use self::api_key::API_KEY;
pub(crate) use self::bearer::{ACCESS_TOKEN, in_query};
pub use self::config::{AuthConfig, EcgIssuerConfig};
pub use self::ecg::{AtOrganization, Caller, EcgCaller, EcgRole};
pub use self::guards::Guards;
pub(crate) use self::guards::{Credential, Granted};
pub use self::open_dental::{KeyPair, KeyPairs};
pub use self::principal::{Actor, AtSite, Principal, TokenActor};
pub use slipstream_core::config::OpenDentalPermission;
