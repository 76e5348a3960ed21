//! An issuer of tokens for the ECG surface of one `slipstream up`, so that whoever tries it out needs no identity provider.
//!
//! Its key lies in the data directory, for the owner's eyes only: whoever can read it can read the operator's token too, so
//! it gives nobody more than they have. The services are told of it in memory; no setting and no variable names it, and
//! services as processes of their own know nothing of it. It steps back where it would be more than a convenience: when the
//! settings name issuers of ECG tokens, and when the listener can be reached from other machines.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use slipstream_service::auth::{AuthConfig, EcgIssuerConfig};
use zeroize::Zeroizing;

use crate::credentials::write_private;
use crate::data_dir::DataDir;

/// The issuer, as its tokens and the audit log name it (`token:slipstream-up/{sub}`), and its only key.
pub(crate) const NAME: &str = "slipstream-up";
/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "slipstream";
/// The file in the data directory: PKCS #8 in Base64.
const KEY_FILE: &str = "ecg-issuer.key";
/// Bytes of a coordinate of P-256.
const COORDINATE_LEN: usize = 32;

/// The issuer.
pub(crate) struct EcgIssuer {
    pair: EcdsaKeyPair,
}

impl EcgIssuer {
    /// Whether `slipstream up` takes tokens of its own making, with these settings and this public address.
    pub(crate) fn is_wanted(auth: &AuthConfig, public: SocketAddr) -> bool {
        auth.ecg.is_empty() && public.ip().is_loopback()
    }

    /// The issuer of this data directory: made at the first start, the same ever after.
    ///
    /// # Errors
    /// When the key cannot be read or written, or is none.
    pub(crate) fn find_or_make(data: &DataDir) -> anyhow::Result<Self> {
        if let Some(there) = Self::find(data.root())? {
            return Ok(there);
        }
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let made = made.map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
        let text = Zeroizing::new(format!("{}\n", STANDARD.encode(made.as_ref())));
        write_private(&data.file(KEY_FILE), text.as_bytes())?;
        Self::find(data.root())?.context("the key that was written just now is gone")
    }

    /// The issuer of the data directory `root`, if it has one.
    ///
    /// # Errors
    /// When its key cannot be read, or is none.
    pub(crate) fn find(root: &Path) -> anyhow::Result<Option<Self>> {
        let path = root.join(KEY_FILE);
        let text = match std::fs::read_to_string(&path).map(Zeroizing::new) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let no_key = || format!("{} holds no key: delete it, and the next start makes another", path.display());
        let der = STANDARD.decode(text.trim()).map(Zeroizing::new).with_context(no_key)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &SystemRandom::new());
        Ok(Some(Self { pair: pair.ok().with_context(no_key)? }))
    }

    /// What the services are told, to trust it.
    pub(crate) fn settings(&self) -> EcgIssuerConfig {
        // A byte that says "not compressed", then the two coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(COORDINATE_LEN);
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        let key = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": NAME, "x": x, "y": y });
        EcgIssuerConfig::of_this_process(NAME, AUDIENCE, &json!({ "keys": [key] }).to_string())
    }

    /// A token (RFC 7519) with these claims, beside those that name issuer and audience.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn sign(&self, mut claims: Value) -> anyhow::Result<String> {
        (claims["iss"], claims["aud"]) = (NAME.into(), AUDIENCE.into());
        let header = json!({ "alg": "ES256", "kid": NAME, "typ": "JWT" });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use slipstream_service::auth::token::Verifier;
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
    async fn a_token_is_good_where_its_key_is_trusted_and_nowhere_else() {
        slipstream_test_support::install_crypto();
        let verifier = |issuer: &EcgIssuer| Verifier::new(&[issuer.settings().into()], &TaskTracker::new()).unwrap();
        let issuer = async || {
            let root = tempfile::tempdir().unwrap();
            let data = DataDir::open(root.path()).await.unwrap();
            let issuer = EcgIssuer::find_or_make(&data).unwrap();
            let mode = std::fs::metadata(data.file(KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            // The same once more: what was made is found.
            let again = EcgIssuer::find_or_make(&data).unwrap();
            assert_eq!(again.settings(), issuer.settings());
            issuer
        };
        let (one, other) = (issuer().await, issuer().await);
        let now = slipstream_service::clock::now().as_seconds();
        let token = one.sign(json!({ "sub": "somebody", "exp": now + 60 })).unwrap();
        assert_eq!(verifier(&one).verify(&token).await.unwrap().issuer_name, NAME);
        assert!(verifier(&other).verify(&token).await.is_err());
        let expired = one.sign(json!({ "sub": "somebody", "exp": now - 3600 })).unwrap();
        assert!(verifier(&one).verify(&expired).await.is_err());
    }

    #[tokio::test]
    async fn a_file_that_holds_no_key_is_told() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).await.unwrap();
        for text in ["", "nonsense!", "bm9uc2Vuc2U="] {
            std::fs::write(data.file(KEY_FILE), text).unwrap();
            let error = EcgIssuer::find_or_make(&data).err().unwrap().to_string();
            assert!(error.contains("holds no key"), "{error}");
        }
    }

    #[test]
    fn it_steps_back_for_other_issuers_and_other_machines() {
        let wanted = |auth: &AuthConfig, address: &str| EcgIssuer::is_wanted(auth, address.parse().unwrap());
        let mut auth = AuthConfig::default();
        assert!(wanted(&auth, "127.0.0.1:8080") && wanted(&auth, "[::1]:8080"));
        assert!(!wanted(&auth, "0.0.0.0:8080") && !wanted(&auth, "10.0.0.1:8080") && !wanted(&auth, "[::]:8080"));
        auth.ecg.push(EcgIssuerConfig::of_this_process("another", "slipstream", "{}"));
        assert!(!wanted(&auth, "127.0.0.1:8080"));
    }
}
