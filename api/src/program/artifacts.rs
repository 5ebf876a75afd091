//! Where packed builds are kept, and for how long, as the settings say.

use std::sync::Arc;

use anyhow::Context as _;
use api::UploadRoom;
use chrono::TimeDelta;
use commands::uploads::Uploads;
use domain::ports::artifacts::Artifacts;
use projections::artifacts::Retention;
use providers::artifacts::folder::FolderArtifacts;
use providers::artifacts::s3::{S3Artifacts, S3Config};
use serde::Deserialize;
use sqlx::PgPool;

use super::config::Config;
use super::secrets::Secrets;
use super::settings::Settings;

/// Where packed builds are kept.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ArtifactsKind {
    /// In the data directory.
    #[default]
    Folder,
    /// In a bucket of S3 or of what speaks it.
    S3,
}

/// The bucket, when they are kept there, and for how long they are.
pub(super) fn read(
    given: &Settings,
    file: &Settings,
    secrets: &Secrets,
) -> anyhow::Result<(Option<S3Config>, Retention)> {
    let deployments = given.artifacts_deployments.or(file.artifacts_deployments).unwrap_or(10);
    let days = given.artifacts_days.or(file.artifacts_days).unwrap_or(30);
    // One runs, and one is there to go back to; a build takes a while from its end to its deployment.
    if deployments < 2 || days < 1 {
        anyhow::bail!("MASTRA_ADMIN_ARTIFACTS_DEPLOYMENTS begins at 2, MASTRA_ADMIN_ARTIFACTS_DAYS at 1");
    }
    let retention = Retention { deployments, age: TimeDelta::days(days.into()) };
    if given.artifacts.or(file.artifacts).unwrap_or_default() == ArtifactsKind::Folder {
        return Ok((None, retention));
    }
    let text = |given: &Option<String>, file: &Option<String>| given.clone().or_else(|| file.clone());
    let keys = "MASTRA_ADMIN_S3_ACCESS_KEY_ID or MASTRA_ADMIN_S3_SECRET_ACCESS_KEY is missing";
    let (access_key_id, secret_access_key) = secrets.s3.clone().context(keys)?;
    let s3 = S3Config {
        endpoint: text(&given.s3_endpoint, &file.s3_endpoint),
        bucket: text(&given.s3_bucket, &file.s3_bucket).context("MASTRA_ADMIN_S3_BUCKET is missing")?,
        prefix: text(&given.s3_prefix, &file.s3_prefix).unwrap_or_else(|| "artifacts".to_owned()),
        region: text(&given.s3_region, &file.s3_region).unwrap_or_else(|| "us-east-1".to_owned()),
        access_key_id,
        secret_access_key,
    };
    Ok((Some(s3), retention))
}

/// Where uploads are kept until they are built: beside the artifacts, and apart from them, for they go by other rules.
pub(super) async fn open_uploads(config: &Config) -> anyhow::Result<Arc<dyn Artifacts>> {
    Ok(match config.s3.clone() {
        Some(mut s3) => {
            s3.prefix = format!("{}-uploads", s3.prefix);
            Arc::new(S3Artifacts::new(&s3).context("uploads (MASTRA_ADMIN_S3_…)")?)
        }
        None => Arc::new(
            FolderArtifacts::open(config.data_dir.join("uploads")).await.context("uploads cannot be kept")?,
        ),
    })
}

/// Room for uploads. What was on its way when an earlier life ended is gone.
pub(super) fn upload_room(
    config: &Config,
    pool: &PgPool,
    store: Arc<dyn Artifacts>,
) -> anyhow::Result<UploadRoom> {
    let incoming = config.data_dir.join("incoming");
    match std::fs::remove_dir_all(&incoming) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(&incoming),
    }
    .with_context(|| format!("{} cannot be made", incoming.display()))?;
    let (rows, max_bytes) = (Uploads::new(pool.clone()), config.upload_max_bytes);
    Ok(UploadRoom { rows, store, incoming, max_bytes })
}

/// The store that the settings name; a bucket is not asked before something is kept there.
pub(super) async fn open(config: &Config) -> anyhow::Result<Arc<dyn Artifacts>> {
    Ok(match &config.s3 {
        Some(s3) => Arc::new(S3Artifacts::new(s3).context("artifacts (MASTRA_ADMIN_S3_…)")?),
        None => Arc::new(
            FolderArtifacts::open(config.data_dir.join("artifacts"))
                .await
                .context("artifacts cannot be kept")?,
        ),
    })
}
