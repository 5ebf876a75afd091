//! What is uploaded to be built, from the address that it is sent to until nobody needs it any more.
//!
//! Mutable and outside the log: an upload is no fact until a build is made of it. Several rows may have the same bytes,
//! which are stored once.

use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::values::BranchName;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use subtle::ConstantTimeEq;

/// How long something may be sent to an address, and then be asked to be built.
pub const GOOD_FOR: TimeDelta = TimeDelta::hours(1);

/// How many a team may have begun and not asked to be built.
const OPEN: i64 = 20;

/// The uploads that this database knows of.
#[derive(Clone)]
pub struct Uploads {
    pool: PgPool,
}

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The build that it is to be the code of.
    pub build_id: BuildId,
    /// Its team.
    pub team_id: TeamId,
    /// Its project.
    pub project_id: ProjectId,
    /// The environment that the build is for.
    pub environment_id: EnvironmentId,
    /// What who sends it says of its branch.
    pub branch: Option<BranchName>,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// What was sent, once it was.
    pub archive: Option<Artifact>,
}

/// What became of an address when somebody came to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is his.
    Yes(Box<Upload>),
    /// There is none such.
    Unknown,
    /// It was used before, or its time is over.
    Over,
}

impl Uploads {
    /// Those of this database.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Makes room for one; `false` when its team has too many that are neither sent nor asked for. A team's are begun
    /// one after the other: who counts sees those that were begun before.
    pub async fn begin(&self, upload: &Upload, secret_hash: &[u8]) -> sqlx::Result<bool> {
        let mut db = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('uploads/' || $1::text, 0))")
            .bind(upload.team_id.0)
            .execute(&mut *db)
            .await?;
        let begun = sqlx::query(
            "INSERT INTO uploads (build_id, team_id, project_id, environment_id, branch, secret_hash, created_at,
                                  expires_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8
              WHERE (SELECT count(*) FROM uploads u
                      WHERE u.team_id = $2 AND u.asked_at IS NULL AND u.over_at IS NULL AND u.expires_at > $7) < $9",
        )
        .bind(upload.build_id.0)
        .bind(upload.team_id.0)
        .bind(upload.project_id.0)
        .bind(upload.environment_id.0)
        .bind(upload.branch.as_ref().map(BranchName::as_str))
        .bind(secret_hash)
        .bind(upload.created_at)
        .bind(upload.created_at + GOOD_FOR)
        .bind(OPEN)
        .execute(&mut *db)
        .await?;
        db.commit().await?;
        Ok(begun.rows_affected() == 1)
    }

    /// Uses an address up, on whichever server somebody comes first.
    pub async fn take(&self, id: BuildId, secret_hash: &[u8], now: DateTime<Utc>) -> sqlx::Result<Taken> {
        let kept = sqlx::query("SELECT secret_hash FROM uploads WHERE build_id = $1")
            .bind(id.0)
            .try_map(|row: PgRow| row.try_get::<Vec<u8>, _>("secret_hash"))
            .fetch_optional(&self.pool)
            .await?;
        if !kept.is_some_and(|kept| bool::from(kept.ct_eq(secret_hash))) {
            return Ok(Taken::Unknown);
        }
        let query = format!(
            "UPDATE uploads SET taken_at = $2
              WHERE build_id = $1 AND taken_at IS NULL AND over_at IS NULL AND expires_at > $2 RETURNING {ALL}"
        );
        let taken = sqlx::query(&query).bind(id.0).bind(now).try_map(row).fetch_optional(&self.pool).await?;
        Ok(taken.map_or(Taken::Over, |upload| Taken::Yes(Box::new(upload))))
    }

    /// Notes what was sent; `false` when its time was over meanwhile.
    pub async fn keep(&self, id: BuildId, archive: &Artifact) -> sqlx::Result<bool> {
        let kept = sqlx::query(
            "UPDATE uploads SET sha256 = $2, bytes = $3
              WHERE build_id = $1 AND over_at IS NULL AND sha256 IS NULL",
        )
        .bind(id.0)
        .bind(&archive.sha256)
        .bind(i64::try_from(archive.bytes).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await?;
        Ok(kept.rows_affected() == 1)
    }

    /// One that is not over.
    pub async fn find(&self, id: BuildId) -> sqlx::Result<Option<Upload>> {
        let query = format!("SELECT {ALL} FROM uploads WHERE build_id = $1 AND over_at IS NULL");
        sqlx::query(&query).bind(id.0).try_map(row).fetch_optional(&self.pool).await
    }

    /// Notes that it is the code of a build.
    pub async fn asked(&self, id: BuildId, now: DateTime<Utc>) -> sqlx::Result<()> {
        let query = "UPDATE uploads SET asked_at = $2 WHERE build_id = $1 AND asked_at IS NULL";
        sqlx::query(query).bind(id.0).bind(now).execute(&self.pool).await.map(drop)
    }

    /// Those that are not over and were begun before a time, the oldest first.
    pub async fn begun_before(&self, time: DateTime<Utc>) -> sqlx::Result<Vec<Upload>> {
        let query = format!(
            "SELECT {ALL} FROM uploads WHERE over_at IS NULL AND created_at < $1
              ORDER BY created_at, build_id LIMIT 1000"
        );
        sqlx::query(&query).bind(time).try_map(row).fetch_all(&self.pool).await
    }

    /// Says that nobody needs one any more.
    pub async fn end(&self, id: BuildId, now: DateTime<Utc>) -> sqlx::Result<()> {
        let query = "UPDATE uploads SET over_at = $2 WHERE build_id = $1 AND over_at IS NULL";
        sqlx::query(query).bind(id.0).bind(now).execute(&self.pool).await.map(drop)
    }

    /// The bytes that nobody needs any more.
    pub async fn needless(&self) -> sqlx::Result<Vec<Artifact>> {
        sqlx::query(
            "SELECT sha256, max(bytes) AS bytes FROM uploads WHERE sha256 IS NOT NULL
              GROUP BY sha256 HAVING bool_and(over_at IS NOT NULL)",
        )
        .try_map(|row: PgRow| artifact(&row))
        .fetch_all(&self.pool)
        .await
        .map(|all| all.into_iter().flatten().collect())
    }

    /// Forgets all that is over and has these bytes, which are gone; and all that is over and never had any.
    pub async fn forget(&self, gone: Option<&Artifact>) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM uploads WHERE over_at IS NOT NULL AND sha256 IS NOT DISTINCT FROM $1")
            .bind(gone.map(|gone| &gone.sha256))
            .execute(&self.pool)
            .await
            .map(drop)
    }
}

const ALL: &str = "build_id, team_id, project_id, environment_id, branch, created_at, sha256, bytes";

fn row(row: PgRow) -> sqlx::Result<Upload> {
    let branch: Option<String> = row.try_get("branch")?;
    Ok(Upload {
        build_id: BuildId(row.try_get("build_id")?),
        team_id: TeamId(row.try_get("team_id")?),
        project_id: ProjectId(row.try_get("project_id")?),
        environment_id: EnvironmentId(row.try_get("environment_id")?),
        branch: branch.and_then(|branch| branch.parse().ok()),
        created_at: row.try_get("created_at")?,
        archive: artifact(&row)?,
    })
}

fn artifact(row: &PgRow) -> sqlx::Result<Option<Artifact>> {
    let (sha256, bytes): (Option<String>, Option<i64>) = (row.try_get("sha256")?, row.try_get("bytes")?);
    Ok(sha256.zip(bytes).map(|(sha256, bytes)| Artifact { sha256, bytes: bytes.unsigned_abs() }))
}
