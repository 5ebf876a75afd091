//! Uploads whose builds have ended, or were never asked for, go: a reconciler.
//!
//! Their bytes go an hour later at the earliest, for somebody may have sent the same just now.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use commands::uploads::{GOOD_FOR, Uploads};
use domain::ports::artifacts::{Artifacts, Removal};
use tokio_util::sync::CancellationToken;

use crate::{JobError, World};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(600);

/// How long bytes that were just sent may wait for the row that says so.
const GRACE: TimeDelta = TimeDelta::hours(1);

/// How long the query tables may take to know all that is there.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// Looks at once and then every ten minutes, until `stop`.
pub async fn forget_uploads(world: World, store: Arc<dyn Artifacts>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            forgotten = forget(&world, &*store) => {
                if let Err(error) = forgotten {
                    tracing::warn!(%error, "uploads that nobody needs are still kept: {error}");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn forget(world: &World, store: &dyn Artifacts) -> Result<(), JobError> {
    let head = projections::log::head(&world.pool).await?;
    if !world.feed.wait_for(head, CATCHING_UP).await {
        return Err(JobError::Retry("the query tables are behind".to_owned()));
    }
    let (uploads, now) = (Uploads::new(world.pool.clone()), (world.now)());
    // Whoever has asked for a build in time did so long ago.
    for upload in uploads.begun_before(now - GOOD_FOR - GOOD_FOR).await? {
        let build = projections::builds::find(&world.pool, upload.build_id).await?;
        if build.is_none_or(|build| build.finished_at.is_some()) {
            uploads.end(upload.build_id, now).await?;
        }
    }
    for archive in uploads.needless().await? {
        match store.remove(&archive, (now - GRACE).into()).await? {
            Removal::Gone => uploads.forget(Some(&archive)).await?,
            Removal::Spared => {}
        }
    }
    Ok(uploads.forget(None).await?)
}
