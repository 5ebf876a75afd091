use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

const ISSUER: &str = "https://id.example.org";

/// A key of the provider, and what it signs with it.
struct Signer {
    key: EncodingKey,
    keys: Keys,
    jwk: Value,
}

fn signer() -> Signer {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": x, "y": y });
    let keys = Keys::read(&json!({ "keys": [{ "kty": "martian" }, jwk] })).unwrap();
    Signer { key: EncodingKey::from_ec_der(pkcs8.as_ref()), keys, jwk }
}

fn claims() -> Value {
    let now = jsonwebtoken::get_current_timestamp();
    json!({ "iss": ISSUER, "sub": "ann", "aud": "api", "exp": now + 60, "iat": now, "nbf": now })
}

impl Signer {
    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    fn prove(&self, token: &str) -> Result<Claims, String> {
        let audiences = ["api".to_owned()];
        Shown::read(token, Purpose::Access)?.prove(&self.keys, ISSUER, &For::Audience(&audiences))
    }
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn header(header: Value) -> String {
    format!("{}.e30.AA", BASE64.encode(header.to_string()))
}

#[test]
fn a_good_token_proves_who_it_is_for() {
    let signer = signer();
    assert_eq!(signer.prove(&signer.sign(&claims())).unwrap()["sub"], "ann");
    let several = signer.sign(&with("aud", json!(["other", "api"])));
    assert!(signer.prove(&several).is_ok());
}

#[test]
fn what_is_missing_or_out_of_its_time_or_for_others_is_refused() {
    let (signer, now) = (signer(), jsonwebtoken::get_current_timestamp());
    for name in ["exp", "iss", "aud", "sub"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        assert!(signer.prove(&signer.sign(&claims)).is_err(), "without {name}");
    }
    for (name, value) in [
        ("exp", json!(now - 31)),
        ("exp", json!("soon")),
        ("nbf", json!(now + 40)),
        ("iat", json!(now + 40)),
        ("iat", json!("now")),
        ("iss", json!("https://id.example.org/")),
        ("iss", json!([ISSUER, "https://evil.test"])),
        ("aud", json!("other")),
        ("sub", json!("")),
        ("sub", json!("a\u{0}b")),
        ("sub", json!("x".repeat(256))),
        ("sub", json!(7)),
    ] {
        assert!(signer.prove(&signer.sign(&with(name, value.clone()))).is_err(), "{name}: {value}");
    }
    for (name, value) in [("exp", json!(now - 20)), ("nbf", json!(now + 20))] {
        assert!(signer.prove(&signer.sign(&with(name, value))).is_ok(), "clocks differ a little: {name}");
    }
}

#[test]
fn a_header_that_asks_for_anything_is_refused_before_a_key_is_looked_for() {
    let read = |value: Value, purpose| Shown::read(&header(value), purpose).map(|_| ());
    let base = |more: Value| {
        let mut all = json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    assert_eq!(read(base(json!({})), Purpose::Identity), Ok(()));
    for odd in [
        json!({ "jku": "https://evil.test/keys" }),
        json!({ "x5u": "https://evil.test/cert" }),
        json!({ "jwk": { "kty": "EC" } }),
        json!({ "x5c": ["MII"] }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "alg": "none" }),
        json!({ "alg": "None" }),
        json!({ "alg": 7 }),
        json!({ "kid": "" }),
        json!({ "kid": "k".repeat(201) }),
        json!({ "kid": 1 }),
        json!({ "typ": "logout+jwt" }),
        json!({ "typ": "dpop+jwt" }),
        json!({ "typ": 1 }),
    ] {
        assert!(read(base(odd.clone()), Purpose::Access).is_err(), "{odd}");
    }
    assert!(read(json!({ "alg": "ES256" }), Purpose::Access).is_err(), "no key is named");
    assert_eq!(read(base(json!({ "typ": "at+jwt" })), Purpose::Access), Ok(()));
    assert!(read(base(json!({ "typ": "at+jwt" })), Purpose::Identity).is_err());
    let huge = format!("{}.{}.AA", BASE64.encode(base(json!({})).to_string()), "A".repeat(MAX_TOKEN));
    assert_eq!(Shown::read(&huge, Purpose::Access).unwrap_err(), "it is too large");
    for broken in ["", "a.b", "a.b.c.d", "!.e30.AA", "e30..AA", "e30.e30."] {
        assert!(Shown::read(broken, Purpose::Access).is_err(), "{broken}");
    }
}

#[test]
fn the_algorithm_is_that_of_the_key_alone() {
    let signer = signer();
    let hmac = |secret: &[u8], alg| {
        let header = Header { kid: Some("k1".into()), ..Header::new(alg) };
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    // The classic: the published key as the secret of a keyed hash.
    for secret in [signer.jwk.to_string(), signer.jwk["x"].as_str().unwrap().to_owned()] {
        assert!(signer.prove(&hmac(secret.as_bytes(), Algorithm::HS256)).is_err());
    }
    // A secret that the provider publishes by mistake is nobody's proof either.
    let published =
        Keys::read(&json!({ "keys": [{ "kty": "oct", "kid": "k1", "k": BASE64.encode("secret") }] }));
    let token = hmac(b"secret", Algorithm::HS256);
    let audiences = ["api".to_owned()];
    let shown = Shown::read(&token, Purpose::Access).unwrap();
    assert!(shown.prove(&published.unwrap(), ISSUER, &For::Audience(&audiences)).is_err());
    // A key for something else, or of another algorithm, is none.
    for (name, value) in [("use", json!("enc")), ("alg", json!("RS256")), ("key_ops", json!(["sign"]))] {
        let mut jwk = signer.jwk.clone();
        jwk[name] = value;
        let keys = Keys::read(&json!({ "keys": [jwk] })).unwrap();
        let token = signer.sign(&claims());
        let shown = Shown::read(&token, Purpose::Access).unwrap();
        assert!(shown.prove(&keys, ISSUER, &For::Audience(&audiences)).is_err(), "{name}");
    }
    let weak = json!({ "kty": "RSA", "kid": "k", "n": BASE64.encode([0xff; 128]), "e": "AQAB" });
    assert!(algorithms(&serde_json::from_value(weak).unwrap()).is_empty(), "1024 bits");
}

#[test]
fn another_key_or_a_changed_byte_is_refused() {
    let (signer, other) = (signer(), super::tests::signer());
    assert!(signer.prove(&other.sign(&claims())).is_err());
    let token = signer.sign(&claims());
    let changed = token.replace(&BASE64.encode(claims().to_string())[..4], "eyJa");
    assert!(changed == token || signer.prove(&changed).is_err());
    let parts: Vec<&str> = token.split('.').collect();
    let forged = BASE64.encode(with("sub", json!("root")).to_string());
    assert!(signer.prove(&format!("{}.{forged}.{}", parts[0], parts[2])).is_err());
}

#[test]
fn tokens_without_an_audience_name_their_party() {
    let signer = signer();
    let parties = ["https://app.example.org".to_owned()];
    let prove = |azp: Value| {
        let mut claims = with("azp", azp);
        claims.as_object_mut().unwrap().remove("aud");
        let token = signer.sign(&claims);
        let shown = Shown::read(&token, Purpose::Access).unwrap();
        shown.prove(&signer.keys, ISSUER, &For::Party(&parties)).map(|_| ())
    };
    assert_eq!(prove(json!("https://app.example.org")), Ok(()));
    for other in [json!("https://evil.test"), Value::Null, json!(["https://app.example.org"])] {
        assert!(prove(other.clone()).is_err(), "{other}");
    }
}
