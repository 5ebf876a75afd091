//! `Idempotency-Key`: the same command twice is done once and answered the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use commands::IdempotencyKey;
use commands::answers::{Answers, FirstAnswer};
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::search::ORGANIZATION;
use super::{Principal, is_unsafe};
use crate::error::ApiError;
use crate::platform::Platform;
use crate::telemetry::Room;

/// The largest body of a request.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// The same of what GitHub sends: it sends nothing larger.
pub(super) const MAX_DELIVERY: usize = 25 * 1024 * 1024;
pub(super) const GITHUB: &str = "/api/webhooks/github";
/// Beyond this the connection is cut instead.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;
/// Headers that belong to an answer.
const KEPT: [&str; 4] = ["content-type", "etag", "x-event-position", "location"];

/// Reads the body of a command, no more than `most` bytes into the room there is, and hashes the request, so that
/// another request under the same key is noticed.
pub(super) async fn hash_body(
    parts: &Parts,
    body: Body,
    most: usize,
    room: Option<&Room>,
) -> Result<(Bytes, String), ApiError> {
    if !is_unsafe(&parts.method) {
        // A question has none, and what is sent with it is not read.
        return Ok((Bytes::new(), String::new()));
    }
    let too_large = || {
        let detail = format!("The body is larger than {} MiB.", most >> 20);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    let Some(bytes) = read(body, most, room).await? else { return Err(too_large()) };
    let mut hash = Sha256::new();
    for part in [parts.method.as_str(), &parts.uri.to_string()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    // Where the path names no team, this does.
    if let Some(team) = parts.headers.get(ORGANIZATION) {
        hash.update(team.as_bytes());
        hash.update([0]);
    }
    hash.update(&bytes);
    Ok((bytes.into(), hex::encode(hash.finalize())))
}

/// The body, or nothing when it is larger than allowed. Somewhat more is read and thrown away: a client that is
/// still sending would otherwise see a broken connection instead of the answer.
async fn read(body: Body, most: usize, room: Option<&Room>) -> Result<Option<Vec<u8>>, ApiError> {
    let mut frames = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = frames.next().await {
        // Whoever has gone does not read the answer.
        let Ok(frame) = frame else { return Ok(None) };
        length += frame.len();
        if length <= most {
            room.map_or(Ok(()), |room| room.take(frame.len()))?;
            bytes.extend_from_slice(&frame);
        } else if length > most.max(MAX_DISCARDED) {
            break;
        }
    }
    Ok((length <= most).then_some(bytes))
}

/// The caller's key, in the caller's own scope.
pub(super) fn key(
    principal: &Principal,
    headers: &HeaderMap,
    request_hash: String,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(key) = headers.get("idempotency-key").filter(|_| !request_hash.is_empty()) else {
        return Ok(None);
    };
    let good = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    let Some(key) = good else {
        return Err(ApiError::field(
            "Idempotency-Key",
            "invalid",
            "must be 1 to 255 visible ASCII characters",
        ));
    };
    let scope = match principal {
        // Strangers never meet: without credentials only the same request is the same caller's.
        Principal::Nobody => format!("nobody:{request_hash}"),
        Principal::Session { user, .. }
        | Principal::PersonalToken { user, .. }
        | Principal::ProviderToken { user } => format!("user:{user}"),
        Principal::ProjectToken { token, .. } => format!("token:{token}"),
        Principal::Deployment { deployment, .. } => format!("deployment:{deployment}"),
    };
    Ok(Some(IdempotencyKey { scope, key: key.to_owned(), request_hash }))
}

/// Keys whose commands are under way in this process: a repeat waits for the first answer. Between processes the
/// log settles which of two does it, and both show its result.
#[derive(Default)]
pub struct UnderWay(Mutex<HashMap<(String, String), Weak<Turn>>>);

/// Whose turn it is among those with the same key.
type Turn = tokio::sync::Mutex<()>;

impl UnderWay {
    fn lock(&self, key: &IdempotencyKey) -> Arc<Turn> {
        let mut locks = self.0.lock().expect("no holder panics");
        locks.retain(|_, lock| lock.strong_count() > 0);
        let name = (key.scope.clone(), key.key.clone());
        if let Some(lock) = locks.get(&name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(name, Arc::downgrade(&lock));
        lock
    }
}

/// Answers as the first time, or lets the request through and remembers the answer.
pub(super) async fn answer(
    platform: &Platform,
    key: IdempotencyKey,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let lock = platform.under_way.lock(&key);
    let _one_at_a_time = lock.lock().await;
    let answers = Answers::new(platform.pool.clone(), platform.commands.vault());
    if let Some(first) = answers.find(&key).await? {
        if first.request_hash != key.request_hash {
            return Err(ApiError::key_reused());
        }
        return Ok(again(first));
    }
    let response = next.run(request).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| ApiError::unavailable())?;
    let headers = KEPT.iter().filter_map(|name| {
        let value = parts.headers.get(*name)?.to_str().ok()?;
        Some(((*name).to_owned(), value.to_owned()))
    });
    let first = FirstAnswer {
        request_hash: key.request_hash.clone(),
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: body.to_vec(),
    };
    if let Err(error) = answers.remember(&key, &first, (platform.now)()).await {
        // The command is done; a repeat is answered from its receipt.
        tracing::warn!(%error, "an answer could not be remembered");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn again(first: FirstAnswer) -> Response {
    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::OK);
    let mut response = (status, first.body).into_response();
    for (name, value) in &first.headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_repeat_waits_for_the_first_and_nobody_else_does() {
        let under_way = UnderWay::default();
        let key = |key: &str| IdempotencyKey {
            scope: "user:1".to_owned(),
            key: key.to_owned(),
            request_hash: String::new(),
        };
        let first = under_way.lock(&key("a"));
        let held = first.lock().await;
        assert!(under_way.lock(&key("a")).try_lock().is_err());
        assert!(under_way.lock(&key("b")).try_lock().is_ok());
        drop(held);
        assert!(under_way.lock(&key("a")).try_lock().is_ok());
    }
}
