//! Keys that sign tokens.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// ring makes no RSA keys, so these are made beforehand. They protect nothing: they are in this repository.
const RSA_PEM: [&str; 2] = [include_str!("rsa-1.pem"), include_str!("rsa-2.pem")];

/// A private key with the id under which its public half is published.
#[derive(Debug)]
pub struct SigningKey {
    id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
}

impl SigningKey {
    /// One of two keys for RS256: an odd `number` gives the first, an even one the second.
    pub fn rsa(id: &str, number: u32) -> Self {
        let pem = RSA_PEM[(number as usize + 1) % RSA_PEM.len()];
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).expect("the file is a PEM file");
        let pair = RsaKeyPair::from_pkcs8(&der).expect("the file holds a PKCS #8 key for RSA");
        Self { id: id.to_owned(), pair: Pair::Rsa(Box::new(pair)) }
    }

    /// A new key for ES256.
    pub fn ec(id: &str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("the system has randomness");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).expect("the key was made just now");
        Self { id: id.to_owned(), pair: Pair::Ec(Box::new(pair)) }
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `RS256` or `ES256`.
    pub const fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
        }
    }

    /// The public half as a JSON Web Key. It names no `alg`, as Entra ID's do not.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "use": "sig", "kid": self.id, "n": encode(&public.n), "e": encode(&public.e) })
            }
            Pair::Ec(pair) => {
                // A byte that says "not compressed", then the two coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": encode(x), "y": encode(y) })
            }
        }
    }

    /// The public half as bytes: the modulus, or the point. What an attacker would try as the secret of HS256.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => PublicKeyComponents::<Vec<u8>>::from(pair.public()).n,
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// Signs `bytes` by the key's own algorithm.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature)
                    .expect("the buffer is as long as the modulus");
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, bytes).expect("the system has randomness").as_ref().to_vec(),
        }
    }
}
