//! A command with an `Idempotency-Key` happens once; its repeats get its first answer, byte for byte.
//!
//! The log itself keeps a key from being used twice (its receipt names what the first command made). Here the
//! answer is kept, too, once it was given; only answers of commands that were carried out are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::Response;
use commands::answers::{self, KeptAnswer};
use commands::{IdempotencyKey, Mode};
use domain::sealed::{KeyOwner, Sealed};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::is_safe;
use crate::body;
use crate::caller::Caller;
use crate::error::{self, ApiError, Problem};
use crate::platform::Platform;
use crate::reply::{X_EVENT_POSITION, X_PROJECTION_LAG};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What a kept answer is sealed for.
const PURPOSE: &str = "answer";
/// The headers that are part of an answer; all others are the same for every answer.
const KEPT: [HeaderName; 5] =
    [header::CONTENT_TYPE, header::ETAG, header::LOCATION, X_EVENT_POSITION, X_PROJECTION_LAG];

/// Keys whose commands are under way in this process: a repeat waits for the first answer. Between processes
/// the log settles it.
#[derive(Default)]
pub(crate) struct Locks(Mutex<HashMap<(String, String), Weak<tokio::sync::Mutex<()>>>>);

impl Locks {
    fn of(&self, key: &IdempotencyKey) -> Arc<tokio::sync::Mutex<()>> {
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

/// Runs the handler, unless its answer is there already.
pub(super) async fn run(
    platform: &Platform,
    caller: Caller,
    mut parts: Parts,
    body: Body,
    next: Next,
) -> Result<Response, ApiError> {
    let key = key(&parts.headers)?.filter(|_| !is_safe(&parts.method));
    let Some(key) = key.filter(|_| caller.facts().mode == Mode::Append) else {
        leave(&mut parts, caller);
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let bytes = body::read(body).await?;
    let request_hash = request_hash(&parts, &bytes);
    let key = IdempotencyKey { scope: caller.actor().to_string(), key, request_hash };
    let lock = platform.locks.of(&key);
    let _one_at_a_time = lock.lock().await;
    if let Some(kept) = answers::find(&platform.pool, &key).await? {
        if kept.request_hash != key.request_hash {
            return Err(error::key_reused().into());
        }
        return replay(platform, kept).await;
    }
    let caller = caller.with_key(key.clone());
    leave(&mut parts, caller);
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    keep(platform, &key, response).await
}

/// Leaves the caller for the handler.
fn leave(parts: &mut Parts, caller: Caller) {
    parts.extensions.insert(caller.facts().clone());
    parts.extensions.insert(caller);
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=255).contains(&text.len()));
    let text =
        text.ok_or_else(|| Problem::malformed("Idempotency-Key must have 1 to 255 ASCII characters"))?;
    Ok(Some(text.to_owned()))
}

/// Method, path, query and body: another of these is another request.
fn request_hash(parts: &Parts, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    for part in [parts.method.as_str().as_bytes(), target.as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(<[u8; 32]>::from(hash.finalize()))
}

async fn replay(platform: &Platform, kept: KeptAnswer) -> Result<Response, ApiError> {
    let damaged = |what: &str| Problem::internal(format!("a kept answer has {what}").into());
    let sealed: Sealed = serde_json::from_str(&kept.body).map_err(|_| damaged("no sealed body"))?;
    let body = platform.commands.vault().open_sealed(&sealed, PURPOSE).await?;
    let mut response = Response::new(Body::from(body.expose().to_vec()));
    *response.status_mut() = StatusCode::from_u16(kept.status).map_err(|_| damaged("no status"))?;
    for (name, value) in kept.headers.as_object().into_iter().flatten() {
        let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
        if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

async fn keep(platform: &Platform, key: &IdempotencyKey, response: Response) -> Result<Response, ApiError> {
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = body::read(body).await?;
    let (now, id) = ((platform.now)(), (platform.new_id)().into());
    let sealed = platform.commands.vault().seal(KeyOwner::System, PURPOSE, id, &bytes, now).await?;
    let headers: Map<String, Value> = KEPT
        .iter()
        .filter_map(|name| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.into())))
        .collect();
    let answer = KeptAnswer {
        request_hash: key.request_hash.clone(),
        status: parts.status.as_u16(),
        headers: headers.into(),
        body: serde_json::to_string(&sealed).expect("a sealed value serialises"),
    };
    // The command is done, whether or not its answer can be kept: a repeat finds its receipt in the log.
    if let Err(error) = answers::keep(&platform.pool, key, &answer, now).await {
        tracing::warn!(%error, "an answer could not be kept for its repeats");
    }
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(method: &str, uri: &str, body: &str) -> String {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        request_hash(&request.into_parts().0, body.as_bytes())
    }

    #[test]
    fn another_request_has_another_hash() {
        let one = hash("POST", "/a?b=1", "{}");
        assert_eq!(one, hash("POST", "/a?b=1", "{}"));
        for other in [hash("PUT", "/a?b=1", "{}"), hash("POST", "/a", "{}"), hash("POST", "/a?b=1", "{ }")] {
            assert_ne!(one, other);
        }
    }

    #[tokio::test]
    async fn a_repeat_waits_for_the_first() {
        let locks = Locks::default();
        let name = |key: &str| IdempotencyKey {
            scope: "user:1".to_owned(),
            key: key.to_owned(),
            request_hash: String::new(),
        };
        let first = locks.of(&name("a"));
        let held = first.lock().await;
        assert!(locks.of(&name("a")).try_lock().is_err());
        assert!(locks.of(&name("b")).try_lock().is_ok());
        drop(held);
        assert!(locks.of(&name("a")).try_lock().is_ok());
    }
}
