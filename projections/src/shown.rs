//! What git hosts show of environments, by the ids that it has there. Not made of the log.

use domain::ids::{BuildId, EnvironmentId, ProjectId};
use sqlx::PgPool;
use sqlx::Row;

use crate::row::Columns;

/// A deployment that a host shows.
#[derive(Clone, Debug)]
pub struct ShownDeployment {
    /// Its environment.
    pub environment_id: EnvironmentId,
    /// Its build.
    pub build_id: BuildId,
    /// Its project.
    pub project_id: ProjectId,
    /// Name of the environment there.
    pub name: String,
    /// Its id there.
    pub host_id: i64,
    /// Whether it is said to serve, or to come to that.
    pub is_live: bool,
    /// What was said of it last.
    pub said: String,
}

/// The comment below a pull request.
#[derive(Clone, Debug)]
pub struct ShownComment {
    /// The project that it is about.
    pub project_id: ProjectId,
    /// The pull request's number.
    pub number: u32,
    /// The preview that it is about.
    pub environment_id: EnvironmentId,
    /// Its id there, once it is known.
    pub host_id: Option<i64>,
    /// What it says.
    pub said: Option<String>,
}

/// The id of the deployment of a build in an environment, and what was said of it last.
pub async fn deployment(
    pool: &PgPool,
    environment: EnvironmentId,
    build: BuildId,
) -> sqlx::Result<Option<(i64, String)>> {
    let query = "SELECT host_id, said FROM shown_deployments WHERE environment_id = $1 AND build_id = $2";
    sqlx::query_as(query).bind(environment.0).bind(build.0).fetch_optional(pool).await
}

/// The deployments of a project that are said to serve.
pub async fn live_deployments(pool: &PgPool, project: ProjectId) -> sqlx::Result<Vec<ShownDeployment>> {
    sqlx::query(
        "SELECT environment_id, build_id, project_id, name, host_id, is_live, said FROM shown_deployments
          WHERE project_id = $1 AND is_live ORDER BY environment_id, build_id",
    )
    .bind(project.0)
    .try_map(|row: sqlx::postgres::PgRow| {
        Ok(ShownDeployment {
            environment_id: row.id("environment_id")?,
            build_id: row.id("build_id")?,
            project_id: row.id("project_id")?,
            name: row.try_get("name")?,
            host_id: row.try_get("host_id")?,
            is_live: row.try_get("is_live")?,
            said: row.try_get("said")?,
        })
    })
    .fetch_all(pool)
    .await
}

/// Writes down what is shown of a deployment.
pub async fn note_deployment(pool: &PgPool, shown: &ShownDeployment) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO shown_deployments (environment_id, build_id, project_id, name, host_id, is_live, said)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (environment_id, build_id) DO UPDATE SET host_id = $5, is_live = $6, said = $7",
    )
    .bind(shown.environment_id.0)
    .bind(shown.build_id.0)
    .bind(shown.project_id.0)
    .bind(&shown.name)
    .bind(shown.host_id)
    .bind(shown.is_live)
    .bind(&shown.said)
    .execute(pool)
    .await
    .map(drop)
}

/// The comments about previews of a project.
pub async fn comments(pool: &PgPool, project: ProjectId) -> sqlx::Result<Vec<ShownComment>> {
    sqlx::query(
        "SELECT project_id, number, environment_id, host_id, said FROM shown_comments WHERE project_id = $1",
    )
    .bind(project.0)
    .try_map(|row: sqlx::postgres::PgRow| {
        let number: i32 = row.try_get("number")?;
        Ok(ShownComment {
            project_id: row.id("project_id")?,
            number: number.unsigned_abs(),
            environment_id: row.id("environment_id")?,
            host_id: row.try_get("host_id")?,
            said: row.try_get("said")?,
        })
    })
    .fetch_all(pool)
    .await
}

/// Writes down which preview the comment below a pull request is about, and its id once that is known.
pub async fn note_comment(pool: &PgPool, shown: &ShownComment) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO shown_comments (project_id, number, environment_id, host_id, said) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (project_id, number) DO UPDATE
            SET environment_id = $3, host_id = coalesce($4, shown_comments.host_id),
                said = coalesce($5, shown_comments.said)",
    )
    .bind(shown.project_id.0)
    .bind(i32::try_from(shown.number).unwrap_or(i32::MAX))
    .bind(shown.environment_id.0)
    .bind(shown.host_id)
    .bind(&shown.said)
    .execute(pool)
    .await
    .map(drop)
}
