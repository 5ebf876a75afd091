//! `PUT /v1/uploads/{build}/{secret}` — takes what is to be built.
//!
//! The address is the credential: it is made for one upload, works once and for an hour, and its secret is stored as a
//! hash. What comes is written to a file as it comes, up to a size, and then goes to the store of uploads.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use commands::uploads::{Taken, Upload, Uploads};
use domain::ids::BuildId;
use domain::ports::artifacts::{ArtifactError, Artifacts};
use futures_util::StreamExt;
use http::StatusCode;
use tempfile::NamedTempFile;
use tokio::time::timeout;

use crate::auth::token::{random, sha256};
use crate::error::ApiError;
use crate::platform::Platform;

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(60);

/// How long it may take as a whole.
const LONGEST: Duration = Duration::from_secs(3600);

/// Where uploads are kept until they are built.
pub struct UploadRoom {
    /// Which there are.
    pub rows: Uploads,
    /// Their bytes.
    pub store: Arc<dyn Artifacts>,
    /// What is still coming: files that are gone when the server is.
    pub incoming: PathBuf,
    /// How large one may be.
    pub max_bytes: u64,
}

/// The address of a new upload, which says all that is needed.
pub(super) async fn begin(platform: &Platform, upload: &Upload) -> Result<String, ApiError> {
    let secret = random();
    if !platform.uploads.rows.begin(upload, &sha256(&secret)).await? {
        let text = "Too many uploads of this team wait to be sent or asked for; try again within the hour.";
        return Err(ApiError::new(StatusCode::CONFLICT, "too_many_uploads", text));
    }
    let base = platform.settings.public_url.trim_end_matches('/');
    Ok(format!("{base}/v1/uploads/{}/{secret}", upload.build_id))
}

pub(crate) async fn put(
    State(platform): State<Arc<Platform>>,
    Path((build, secret)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    super::count(&platform, &parts)?;
    let id: BuildId = build.parse().map_err(|_| ApiError::not_found())?;
    let room = &platform.uploads;
    if body.size_hint().exact().is_some_and(|told| told > room.max_bytes) {
        // The address is not used up by what is not even read.
        return Err(too_large(room));
    }
    match room.rows.take(id, &sha256(&secret), (platform.now)()).await? {
        Taken::Yes(_) => {}
        Taken::Unknown => return Err(ApiError::not_found()),
        Taken::Over => {
            let text = "This address was used before, or its time is over. Begin another deploy.";
            return Err(ApiError::new(StatusCode::GONE, "upload_over", text));
        }
    }
    let received = timeout(LONGEST, receive(room, body)).await.map_err(|_| too_slow())??;
    let kept = room.store.put(received.path()).await.map_err(|error| unkept(&error))?;
    if !room.rows.keep(id, &kept).await? {
        return Err(ApiError::new(StatusCode::GONE, "upload_over", "The time of this upload is over."));
    }
    tracing::info!(build.id = %id, bytes = kept.bytes, "took an upload of {} bytes for build {id}", kept.bytes);
    Ok(StatusCode::OK.into_response())
}

/// Writes what comes to a file, which goes when nobody needs it.
async fn receive(room: &UploadRoom, body: Body) -> Result<NamedTempFile, ApiError> {
    let disk = |error: io::Error| unkept(&ArtifactError::Unavailable(error.kind().to_string()));
    let file = NamedTempFile::new_in(&room.incoming).map_err(disk)?;
    // Another handle of the same file, for a thread that may wait for the disk.
    let mut writer = Some(file.reopen().map_err(disk)?);
    let (mut frames, mut left) = (body.into_data_stream(), room.max_bytes);
    while let Some(frame) = timeout(SILENCE, frames.next()).await.map_err(|_| too_slow())? {
        let frame = frame.map_err(|_| {
            let text = "The upload ended before it was complete.";
            ApiError::new(StatusCode::BAD_REQUEST, "malformed", text)
        })?;
        left = left.checked_sub(frame.len() as u64).ok_or_else(|| too_large(room))?;
        let Some(mut open) = writer.take() else { break };
        let written = tokio::task::spawn_blocking(move || open.write_all(&frame).map(|()| open)).await;
        writer = Some(written.map_err(io::Error::other).flatten().map_err(disk)?);
    }
    Ok(file)
}

fn too_large(room: &UploadRoom) -> ApiError {
    let text = format!("An upload may have {} MiB at most.", room.max_bytes >> 20);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
}

fn too_slow() -> ApiError {
    let text = "The upload came to a halt.";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", text)
}

fn unkept(error: &ArtifactError) -> ApiError {
    tracing::error!(%error, "an upload cannot be kept: {error}");
    ApiError::unavailable()
}
