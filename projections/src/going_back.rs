//! What there is to go back to in an environment. Questions to the deployments; no table of its own.

use domain::ids::{DeploymentId, EnvironmentId};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, PgPool};

use crate::deployments::DeploymentRow;
use crate::row::Columns;
use crate::rows::Row as _;

/// The last good deployment before the present one of an environment, for a rollback without a target. The present one
/// is the newest that serves; where none does, the newest that ever did.
pub async fn before_present(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
) -> sqlx::Result<Option<DeploymentRow>> {
    let query = DeploymentRow::select(
        "WHERE environment_id = $1 AND activated_at IS NOT NULL AND status NOT IN ('failed', 'rolled_back')
           AND requested < (SELECT coalesce(max(requested) FILTER (WHERE finished_at IS NULL), max(requested))
                              FROM deployments WHERE environment_id = $1 AND activated_at IS NOT NULL)
         ORDER BY requested DESC LIMIT 1",
    );
    sqlx::query_as(&query).bind(environment.0).fetch_optional(db).await
}

/// The deployment that was made before this one in its environment and serves it in its place: one that was not over
/// when this one failed, and has served.
pub async fn still_serving_before(
    db: impl PgExecutor<'_>,
    failed: &DeploymentRow,
) -> sqlx::Result<Option<DeploymentId>> {
    let query = "SELECT id FROM deployments
                  WHERE environment_id = $1 AND requested < $2 AND finished_at IS NULL AND activated_at IS NOT NULL
                  ORDER BY requested DESC LIMIT 1";
    sqlx::query(query)
        .bind(failed.environment_id.0)
        .bind(failed.requested)
        .try_map(|row: PgRow| row.id("id"))
        .fetch_optional(db)
        .await
}

/// What this one has replaced in its environment and others before it, the last first, at most so many; and whether
/// somebody other than `maker` has asked for a newer deployment there meanwhile.
pub async fn replaced_before(
    pool: &PgPool,
    failed: &DeploymentRow,
    maker: &str,
    limit: i64,
) -> sqlx::Result<(Vec<DeploymentRow>, bool)> {
    let query = DeploymentRow::select(
        "WHERE environment_id = $1 AND requested < $2 AND status = 'superseded' AND activated_at IS NOT NULL
         ORDER BY requested DESC LIMIT $3",
    );
    let (environment, requested) = (failed.environment_id.0, failed.requested);
    let replaced =
        sqlx::query_as(&query).bind(environment).bind(requested).bind(limit).fetch_all(pool).await?;
    let query = "SELECT EXISTS (SELECT FROM deployments
                                 WHERE environment_id = $1 AND requested > $2 AND created_by <> $3)";
    let newer =
        sqlx::query_scalar(query).bind(environment).bind(requested).bind(maker).fetch_one(pool).await?;
    Ok((replaced, newer))
}
