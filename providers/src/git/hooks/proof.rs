//! Whether somebody who knows the secret sent this, and under which id. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use domain::ports::git_host::{Headers, ReceiveError};
use domain::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::PREFIX;

/// How far the sender's clock and ours may be apart, and how long a delivery may be on its way: as Standard Webhooks say.
const TOLERANCE: i64 = 300;

/// The id of a delivery that one of the secrets proves.
///
/// A signature is asked for where there is one: who could leave it out would not need it.
pub(super) fn prove(
    secrets: &[Secret],
    header: &Headers<'_>,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<String, ReceiveError> {
    if let Some(signatures) = header("webhook-signature") {
        return standard(secrets, header, &signatures, body, now);
    }
    if let Some(signature) = header("x-gitea-signature") {
        let signature = hex::decode(signature).unwrap_or_default();
        let is_signed = |secret: &Secret| is_hmac(secret.expose(), &[body], &signature);
        proved(secrets.iter().any(is_signed), "the signature is not that of the body")?;
        return Ok(header("x-gitea-delivery").unwrap_or_default());
    }
    let Some(token) = header("x-gitlab-token") else {
        return Err(ReceiveError::Unproved("there is no signature"));
    };
    proved(secrets.iter().any(|secret| is_same(secret.expose(), token.as_bytes())), "the token is another")?;
    // What stays the same when it is sent again; GitLab before 17.4 tells only of the event.
    Ok(header("idempotency-key").or_else(|| header("x-gitlab-event-uuid")).unwrap_or_default())
}

fn proved(is_so: bool, why: &'static str) -> Result<(), ReceiveError> {
    if is_so { Ok(()) } else { Err(ReceiveError::Unproved(why)) }
}

/// As Standard Webhooks say: `v1,` and base64 of the HMAC over id, time and body; one of several is enough.
fn standard(
    secrets: &[Secret],
    header: &Headers<'_>,
    signatures: &str,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<String, ReceiveError> {
    let (id, sent) = (header("webhook-id"), header("webhook-timestamp"));
    let (Some(id), Some(sent)) = (id, sent) else {
        return Err(ReceiveError::Unproved("the signature is without webhook-id and webhook-timestamp"));
    };
    let Ok(at) = sent.parse::<i64>() else {
        return Err(ReceiveError::Unproved("webhook-timestamp is no number of seconds"));
    };
    let signatures: Vec<Vec<u8>> = signatures
        .split(' ')
        .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok())
        .take(10)
        .collect();
    let parts = [id.as_bytes(), b".", sent.as_bytes(), b".", body];
    let is_signed = |secret: &Secret| {
        let Some(key) = key(secret) else { return false };
        signatures.iter().any(|signature| is_hmac(key.expose(), &parts, signature))
    };
    proved(secrets.iter().any(is_signed), "the signature is not that of id, time and body")?;
    proved(
        now.timestamp().abs_diff(at) <= TOLERANCE.unsigned_abs(),
        "it is older than five minutes, or of the future",
    )?;
    Ok(id)
}

/// What Standard Webhooks sign with.
fn key(secret: &Secret) -> Option<Secret> {
    STANDARD.decode(secret.expose_str()?.strip_prefix(PREFIX)?).ok().map(Secret::new)
}

/// In constant time.
fn is_hmac(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(signature).is_ok()
}

/// Whether two texts are the same, in a time that says nothing of where they differ: their keyed hashes are compared.
fn is_same(secret: &[u8], given: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(given);
    let of_given = mac.finalize().into_bytes();
    is_hmac(secret, &[secret], &of_given)
}
