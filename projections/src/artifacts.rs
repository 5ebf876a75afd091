//! Which artifacts are still needed.

use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::{BuildId, TeamId};
use sqlx::PgExecutor;
use sqlx::postgres::PgRow;

use crate::row::Columns;

/// What is kept; one of the two is enough.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Of each environment, what served last: so many builds.
    pub deployments: u32,
    /// And whatever was built since then.
    pub age: TimeDelta,
}

/// The builds whose artifacts nobody needs any more, the oldest first. Of a team that is closed nothing is lost.
pub async fn needless(
    db: impl PgExecutor<'_>,
    retention: Retention,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<(BuildId, TeamId)>> {
    // A build is of several deployments: promoted, restarted, gone back to.
    sqlx::query(
        "WITH served AS (
             SELECT d.build_id, row_number() OVER (
                        PARTITION BY d.environment_id ORDER BY max(d.requested) DESC) AS place
               FROM deployments d JOIN environments e ON e.id = d.environment_id
              WHERE d.activated_at IS NOT NULL
              GROUP BY d.environment_id, d.build_id
         )
         SELECT b.id, b.team_id FROM builds b
          WHERE b.artifact IS NOT NULL AND b.artifact_pruned_at IS NULL AND b.finished_at < $1
            AND NOT EXISTS (SELECT FROM closed_teams c WHERE c.id = b.team_id)
            AND NOT EXISTS (SELECT FROM served s WHERE s.build_id = b.id AND s.place <= $2)
            AND NOT EXISTS (SELECT FROM deployments d
                             WHERE d.finished_at IS NULL AND (d.build_id = b.id OR d.artifact = b.artifact))
          ORDER BY b.id",
    )
    .bind(now - retention.age)
    .bind(i64::from(retention.deployments))
    .try_map(|row: PgRow| Ok((row.id("id")?, row.id("team_id")?)))
    .fetch_all(db)
    .await
}

/// Who needs an artifact. The same content of several builds is stored once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nobody.
    None,
    /// A build that keeps it.
    Build,
    /// A deployment that is not over.
    Deployment,
}

/// Who needs the artifact of this hash.
pub async fn need(db: impl PgExecutor<'_>, sha256: &str) -> sqlx::Result<Need> {
    let (build, deployment): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM builds WHERE artifact->>'sha256' = $1 AND artifact_pruned_at IS NULL),
                EXISTS (SELECT FROM deployments WHERE artifact->>'sha256' = $1 AND finished_at IS NULL)",
    )
    .bind(sha256)
    .fetch_one(db)
    .await?;
    Ok(match (build, deployment) {
        (_, true) => Need::Deployment,
        (true, false) => Need::Build,
        (false, false) => Need::None,
    })
}
