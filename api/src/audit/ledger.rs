//! `GET /audit/checkpoint`, `/audit/key`, `/audit/proof/{position}` — what proves that the log was not changed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use projections::ledger::{self, LedgerError, Proof};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::{EventAt, Scoped};
use crate::platform::Platform;

/// Seconds until a checkpoint that is not there yet may be.
const SOON: u64 = 5;

/// What the checkpoint is to be compared with.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    /// Size of a checkpoint that the caller has.
    from: Option<i64>,
}

/// The newest one; with `from`, also the proof that the log goes on from there.
pub(crate) async fn checkpoint(
    State(platform): State<Arc<Platform>>,
    Query(Since { from }): Query<Since>,
) -> Result<Json<Value>, ApiError> {
    let mut db = platform.pool.acquire().await?;
    let newest = ledger::newest(&mut *db).await?.ok_or_else(not_yet)?;
    let extension = match from {
        Some(from) => {
            let extension = ledger::extension(&mut db, &newest, from).await?;
            let message = "must be the size of an earlier checkpoint";
            Some(extension.ok_or_else(|| ApiError::field("from", "out_of_range", message))?)
        }
        None => None,
    };
    let checkpoint = newest.checkpoint;
    Ok(Json(json!({
        "checkpoint": newest.note,
        "number": checkpoint.number,
        "size": checkpoint.size,
        "at": checkpoint.at,
        "consistency": extension,
    })))
}

pub(crate) async fn key(State(platform): State<Arc<Platform>>) -> Result<Json<Value>, ApiError> {
    let keys = platform.ledger_keys.public().map_err(|error| {
        tracing::warn!("the ledger's public keys are not known: {error}");
        not_yet()
    })?;
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "keys": keys })))
}

pub(crate) async fn proof(
    State(platform): State<Arc<Platform>>,
    event: Scoped<EventAt>,
) -> Result<Json<Proof>, ApiError> {
    let mut db = platform.pool.acquire().await?;
    Ok(Json(ledger::prove(&mut db, event.it.0).await?.ok_or_else(not_yet)?))
}

fn not_yet() -> ApiError {
    let detail = "No checkpoint covers this yet; there will be one within seconds.";
    ApiError::new(StatusCode::NOT_FOUND, "not_covered_yet", detail).with_retry_after(SOON)
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Database(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}
