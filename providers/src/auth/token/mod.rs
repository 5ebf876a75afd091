//! Signed tokens of a provider: what is believed of them, and what they must have.
//!
//! Nothing that the token says about itself chooses how it is checked: the key does. It is found by its name among
//! the provider's keys, its own kind decides the algorithm, and where keys come from is configured.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

/// A token is no larger than this, in bytes; headers of requests end not far above.
const MAX_TOKEN: usize = 16 * 1024;
/// Its header.
const MAX_HEADER: usize = 2 * 1024;
/// The name of a key.
const MAX_KID: usize = 200;
/// The subject, as OpenID Connect has it.
const MAX_SUBJECT: usize = 255;
/// Seconds that clocks may differ.
const LEEWAY: u64 = 30;
/// Bits of an RSA key at least.
const MIN_RSA_BITS: usize = 2048;
/// Members of a header that say how or with what to check it, or what must be understood.
const REFUSED: [&str; 7] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip"];

/// What is no text reads as this, which is never right.
const ODD: &str = "\0";

/// Claims of a token.
pub(super) type Claims = Map<String, Value>;

/// The keys of a provider.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Jwk>);

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It tells a client who signed in.
    Identity,
    /// It opens an API.
    Access,
}

/// Whom a token must be for.
#[derive(Clone, Debug)]
pub(super) enum For<'a> {
    /// One of these stands in `aud`.
    Audience(&'a [String]),
    /// One of these stands in `azp`: of providers whose tokens have no audience.
    Party(&'a [String]),
}

/// A token whose header was read and does not ask for anything odd. Nothing of it is proved.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    token: &'a str,
    kid: String,
    algorithm: Algorithm,
}

impl Keys {
    /// The keys of a JWKS document. One that is not understood is left out.
    pub(super) fn read(document: &Value) -> Option<Self> {
        let keys = document["keys"].as_array()?;
        Some(Self(keys.iter().filter_map(|key| serde_json::from_value(key.clone()).ok()).collect()))
    }

    /// Whether there is a key of this name.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.find(kid).is_some()
    }

    fn find(&self, kid: &str) -> Option<&Jwk> {
        self.0.iter().find(|key| key.common.key_id.as_deref() == Some(kid))
    }
}

impl<'a> Shown<'a> {
    /// Reads the header. The error says what is wrong with it.
    pub(super) fn read(token: &'a str, purpose: Purpose) -> Result<Self, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("it is too large");
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else { return Err("it is no signed token") };
        if payload.is_empty() || signature.is_empty() {
            return Err("it is not signed");
        }
        if header.len() > MAX_HEADER {
            return Err("its header is too large");
        }
        let header = object(header).ok_or("its header is no JSON")?;
        if REFUSED.iter().any(|name| header.contains_key(*name)) {
            return Err("its header asks for what only we decide");
        }
        let text = |name: &str| header.get(name).map(|value| value.as_str().unwrap_or(ODD));
        let typ = text("typ").map(str::to_ascii_lowercase);
        let typ = typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        let is_good = match typ {
            None | Some("jwt") => true,
            Some("at+jwt") => purpose == Purpose::Access,
            Some(_) => false,
        };
        if !is_good {
            return Err("it is a token of another type");
        }
        let kid = text("kid").filter(|kid| (1..=MAX_KID).contains(&kid.len()) && *kid != ODD);
        let kid = kid.ok_or("it does not name its key")?.to_owned();
        let algorithm = text("alg").and_then(|name| Algorithm::from_str(name).ok());
        Ok(Self { token, kid, algorithm: algorithm.ok_or("its algorithm is not known")? })
    }

    /// The name of its key.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Who it says it is from.
    pub(super) fn issuer(&self) -> Option<String> {
        let claims = object(self.token.split('.').nth(1)?)?;
        claims.get("iss")?.as_str().map(str::to_owned)
    }

    /// Its claims, once all is proved. The error says what is wrong.
    pub(super) fn prove(self, keys: &Keys, issuer: &str, whom: &For<'_>) -> Result<Claims, String> {
        let jwk = keys.find(&self.kid).ok_or("its key is not known")?;
        if !algorithms(jwk).contains(&self.algorithm) {
            return Err("its algorithm is not that of its key".to_owned());
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|_| "its key is not understood")?;
        let mut rules = Validation::new(self.algorithm);
        rules.leeway = LEEWAY;
        rules.validate_nbf = true;
        rules.set_issuer(&[issuer]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        match whom {
            For::Audience(audiences) => rules.set_audience(audiences),
            For::Party(_) => {
                rules.validate_aud = false;
                rules.required_spec_claims.remove("aud");
            }
        }
        let claims = jsonwebtoken::decode::<Claims>(self.token, &key, &rules);
        let claims = claims.map_err(|error| error.to_string())?.claims;
        check(&claims, issuer, whom)?;
        Ok(claims)
    }
}

/// What the library leaves open.
fn check(claims: &Claims, issuer: &str, whom: &For<'_>) -> Result<(), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(issuer) {
        return Err("it is from another issuer");
    }
    let subject = text("sub").unwrap_or_default();
    if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
        return Err("its subject is none");
    }
    if let For::Party(parties) = whom
        && !text("azp").is_some_and(|azp| parties.iter().any(|party| party == azp))
    {
        return Err("it was made for another party");
    }
    let issued_at = claims.get("iat").map(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact for a long time to come")]
    let latest = (jsonwebtoken::get_current_timestamp() + LEEWAY) as f64;
    match issued_at {
        Some(Some(at)) if at > latest => Err("it was made in the future"),
        Some(None) => Err("it does not say when it was made"),
        _ => Ok(()),
    }
}

/// The algorithms that a key may be used with: those of one family, or the one that it names.
fn algorithms(key: &Jwk) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let signs = key.common.public_key_use.as_ref().is_none_or(|uses| *uses == PublicKeyUse::Signature);
    let operations = key.common.key_operations.as_ref();
    if !signs || !operations.is_none_or(|all| all.contains(&KeyOperations::Verify)) {
        return vec![];
    }
    let family: &[Algorithm] = match &key.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let bits = BASE64.decode(&rsa.n).map_or(0, |n| n.len() * 8);
            if bits < MIN_RSA_BITS { &[] } else { &[RS256, RS384, RS512, PS256, PS384, PS512] }
        }
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[EdDSA],
        // A secret that is published is none.
        _ => &[],
    };
    let named = key.common.key_algorithm.as_ref().map(|named| named.to_string().parse::<Algorithm>());
    match named {
        None => family.to_vec(),
        Some(named) => family.iter().copied().filter(|known| named.as_ref() == Ok(known)).collect(),
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&BASE64.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests;
