use serde_json::json;
use slipstream_test_support::issuer::SigningKey;

use super::*;

/// The signed part of the examples in RFC 7515, without the header.
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn read(jwks: &[Value]) -> KeySet {
    KeySet::read("test", json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn the_rs256_example_of_rfc_7515_is_verified() {
    let keys = read(&[json!({
        "kty": "RSA",
        "kid": "a.2",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-\
              pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca\
              pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb5\
              4h4FRWyuXpoQ",
        "e": "AQAB",
    })]);
    let key = keys.get("a.2").unwrap();
    let signed = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}");
    let signature = decode(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t\
         1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j\
         zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ\
         Ge77Rw",
    );
    assert_eq!(key.verify("RS256", signed.as_bytes(), &signature), Ok(()));
    assert_eq!(key.verify("RS256", PAYLOAD.as_bytes(), &signature), Err(TokenError::Signature));
}

#[test]
fn the_es256_example_of_rfc_7515_is_verified() {
    let keys = read(&[json!({
        "kty": "EC",
        "kid": "a.3",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })]);
    let key = keys.get("a.3").unwrap();
    let signed = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}");
    let signature = decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    assert_eq!(key.verify("ES256", signed.as_bytes(), &signature), Ok(()));
    assert_eq!(key.verify("ES256", PAYLOAD.as_bytes(), &signature), Err(TokenError::Signature));
}

#[test]
fn a_key_verifies_by_its_own_algorithm_only() {
    for key in [SigningKey::rsa("k", 1), SigningKey::ec("k")] {
        let (public, signature) = (read(&[key.jwk()]).get("k").unwrap(), key.sign(b"text"));
        assert_eq!(public.verify(key.algorithm(), b"text", &signature), Ok(()));
        for other in ["RS256", "ES256", "HS256", "PS256", "RS512", "none", "", "rs256"] {
            if other != key.algorithm() {
                assert_eq!(public.verify(other, b"text", &signature), Err(TokenError::Algorithm), "{other}");
            }
        }
        for signature in [&[][..], &[0; 64], &signature[1..]] {
            assert_eq!(public.verify(key.algorithm(), b"text", signature), Err(TokenError::Signature));
        }
    }
}

#[test]
fn keys_of_no_use_are_left_out_and_the_others_kept() {
    let (rsa, ec) = (SigningKey::rsa("rsa", 1), SigningKey::ec("ec"));
    let weak = URL_SAFE_NO_PAD.encode([0xff; 2040 / 8]);
    let padded = URL_SAFE_NO_PAD.encode([&[0, 0], &[0x7f; 2040 / 8][..]].concat());
    let huge = URL_SAFE_NO_PAD.encode([0xff; 8200 / 8]);
    for useless in [
        without(rsa.jwk(), "kid"),
        with(rsa.jwk(), "kid", 5),
        with(rsa.jwk(), "use", "enc"),
        with(rsa.jwk(), "use", json!(null)),
        with(rsa.jwk(), "alg", "RS512"),
        with(rsa.jwk(), "alg", "ES256"),
        with(rsa.jwk(), "alg", "HS256"),
        with(rsa.jwk(), "key_ops", json!(["encrypt"])),
        with(rsa.jwk(), "key_ops", "verify"),
        with(rsa.jwk(), "n", weak),
        with(rsa.jwk(), "n", padded),
        with(rsa.jwk(), "n", huge),
        with(rsa.jwk(), "n", "not base64!"),
        without(rsa.jwk(), "e"),
        with(rsa.jwk(), "kty", "oct"),
        json!({ "kty": "oct", "kid": "rsa", "k": "c2VjcmV0", "alg": "HS256" }),
        with(with(ec.jwk(), "kid", "rsa"), "crv", "P-384"),
        with(with(ec.jwk(), "kid", "rsa"), "x", "AAAA"),
        json!({}),
    ] {
        let keys = read(&[useless.clone(), ec.jwk()]);
        assert!(keys.get("rsa").is_none() && keys.get("ec").is_some() && keys.len() == 1, "{useless}");
    }
    for useful in [
        with(rsa.jwk(), "alg", "RS256"),
        without(rsa.jwk(), "use"),
        with(rsa.jwk(), "key_ops", json!(["verify"])),
        with(rsa.jwk(), "x5c", json!(["whatever"])),
    ] {
        assert!(read(std::slice::from_ref(&useful)).get("rsa").is_some(), "{useful}");
    }
}

#[test]
fn of_several_keys_under_one_id_none_is_used() {
    let (rsa, ec) = (SigningKey::rsa("same", 1), SigningKey::ec("same"));
    assert_eq!(read(&[rsa.jwk(), ec.jwk()]).len(), 0);
    assert_eq!(read(&[rsa.jwk(), rsa.jwk(), ec.jwk()]).len(), 0);
    assert_eq!(read(&[with(rsa.jwk(), "use", "enc"), ec.jwk()]).len(), 1, "one for encryption is in nobody's way");
}

#[test]
fn what_is_not_a_key_set_is_refused_as_a_whole() {
    let refusal = |text: &str| KeySet::read("test", text.as_bytes()).unwrap_err();
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[],"keys":[]}"#, "<html>"] {
        assert_eq!(refusal(text), KeySetError::Malformed, "{text}");
    }
    let keys = |count: usize| {
        let ec = SigningKey::ec("").jwk();
        let keys: Vec<Value> = (0..count).map(|number| with(ec.clone(), "kid", number.to_string())).collect();
        json!({ "keys": keys }).to_string()
    };
    assert_eq!(refusal(&keys(KEYS_MAX + 1)), KeySetError::TooMany);
    assert_eq!(KeySet::read("test", keys(KEYS_MAX).as_bytes()).unwrap().len(), KEYS_MAX);
    assert_eq!(KeySet::read("test", br#"{"keys":[]}"#).unwrap().len(), 0, "an issuer may withdraw all");
}
