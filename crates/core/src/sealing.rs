//! How secrets are kept: sealed with an AEAD, wherever they rest or travel (THREATS 5).
//!
//! Two levels of keys. Each [`Tenant`] has a [`DataKey`] of its own, which seals what belongs to it; the one
//! [`MasterKey`], which comes from a file and is stored nowhere, wraps the data keys. So the master key can be replaced
//! by wrapping some keys anew, and whoever deletes a tenant's data key has deleted all that it sealed.
//!
//! What is sealed names its place, the *associated data*: a value that was moved to another row, column or tenant does
//! not open there. A nonce is 96 random bits and comes from the caller, as all chance does here; under one key far fewer
//! than 2^32 values are ever sealed, so that no two get the same nonce.
//!
//! [`SecretText`] is how a secret stands in a record, sealed or open. It can be read either way, and written only while it
//! is sealed: nothing can store or send a secret in clear by oversight.

mod key;
mod place;
mod sealed;
mod secret;
mod tenant;
mod url;

pub use self::key::{BadMasterKey, DataKey, KeyId, MasterKey, NotAKeyId};
pub use self::place::Place;
pub use self::sealed::{NotSealed, SEALED_PREFIX, Sealed};
pub use self::secret::{SecretText, StillSealed};
pub use self::tenant::{NotATenant, Tenant};
pub use self::url::SecretUrl;

/// Bytes of a key, of either level.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;

/// A nonce. Never the same twice under one key: draw it at random.
pub type Nonce = [u8; NONCE_BYTES];

/// A sealed value stays closed. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It names another key.
    #[error("it is sealed under key {named}, not under {given}")]
    OtherKey {
        /// The key that it names.
        named: KeyId,
        /// The key that was to open it.
        given: KeyId,
    },
    /// It was changed, moved from another place, or sealed with other bytes of that key.
    #[error("it was changed, or belongs to another place or key")]
    Refused,
    /// It holds what was never sealed for this purpose.
    #[error("what is in it has the wrong form")]
    WrongForm,
}

#[cfg(test)]
mod tests;
