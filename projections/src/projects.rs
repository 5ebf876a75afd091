//! Projects and their environments.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{EnvironmentId, ProjectId, TeamId};
use domain::project::{Environment, ProjectEvent, ProjectSettings};
use domain::team::TeamEvent;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};

use crate::feed::Consumer;
use crate::row::Columns;

/// One project that was not deleted.
#[derive(Clone, Debug)]
pub struct ProjectRow {
    /// Its id.
    pub id: ProjectId,
    /// Its team.
    pub team_id: TeamId,
    /// Its settings.
    pub settings: ProjectSettings,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Number of its last event, for `ETag`.
    pub version: i64,
}

/// One environment that was not deleted.
#[derive(Clone, Debug)]
pub struct EnvironmentRow {
    /// It.
    pub environment: Environment,
    /// Its project.
    pub project_id: ProjectId,
    /// Its project's team.
    pub team_id: TeamId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Version of its project, which guards it: for `ETag`.
    pub version: i64,
}

const PROJECT: &str = "SELECT id, team_id, settings, created_at, updated_at, version FROM projects";
const ENVIRONMENT: &str = "SELECT e.environment, e.project_id, e.team_id, e.created_at, e.updated_at, p.version \
    FROM environments e JOIN projects p ON p.id = e.project_id";

impl FromRow<'_, PgRow> for ProjectRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            settings: row.json("settings")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
        })
    }
}

impl FromRow<'_, PgRow> for EnvironmentRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            environment: row.json("environment")?,
            project_id: row.id("project_id")?,
            team_id: row.id("team_id")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
        })
    }
}

/// The project with this id.
pub async fn find(db: impl PgExecutor<'_>, id: ProjectId) -> sqlx::Result<Option<ProjectRow>> {
    sqlx::query_as(&format!("{PROJECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The projects of a team, newest first, before the project `before`.
pub async fn of_team(
    db: impl PgExecutor<'_>,
    team: TeamId,
    before: Option<ProjectId>,
    limit: i64,
) -> sqlx::Result<Vec<ProjectRow>> {
    let query =
        format!("{PROJECT} WHERE team_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3");
    sqlx::query_as(&query).bind(team.0).bind(before.map(|id| id.0)).bind(limit).fetch_all(db).await
}

/// The environment with this id.
pub async fn find_environment(
    db: impl PgExecutor<'_>,
    id: EnvironmentId,
) -> sqlx::Result<Option<EnvironmentRow>> {
    sqlx::query_as(&format!("{ENVIRONMENT} WHERE e.id = $1")).bind(id.0).fetch_optional(db).await
}

/// The environments of a project, newest first.
pub async fn environments(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<EnvironmentRow>> {
    sqlx::query_as(&format!("{ENVIRONMENT} WHERE e.project_id = $1 ORDER BY e.id DESC"))
        .bind(project.0)
        .fetch_all(db)
        .await
}

/// The read model.
pub struct Projects;

#[async_trait]
impl Consumer for Projects {
    fn name(&self) -> &'static str {
        "projects"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE projects (
            id         uuid        PRIMARY KEY,
            team_id    uuid        NOT NULL,
            slug       text        NOT NULL,
            settings   jsonb       NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            version    bigint      NOT NULL,
            UNIQUE (team_id, slug)
        );
        CREATE TABLE environments (
            id          uuid        PRIMARY KEY,
            project_id  uuid        NOT NULL,
            team_id     uuid        NOT NULL,
            slug        text        NOT NULL,
            environment jsonb       NOT NULL,
            created_at  timestamptz NOT NULL,
            updated_at  timestamptz NOT NULL,
            UNIQUE (project_id, slug)
        );
        CREATE INDEX ON environments (team_id);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["projects", "environments"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(recorded.fact, Fact::Project(..) | Fact::Team(..))
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        use ProjectEvent::*;
        if let Fact::Team(id, TeamEvent::TeamDeleted { .. }) = &recorded.fact {
            for table in ["environments", "projects"] {
                let query = format!("DELETE FROM {table} WHERE team_id = $1");
                sqlx::query(&query).bind(id.0).execute(&mut *db).await?;
            }
        }
        let Fact::Project(id, event) = &recorded.fact else { return Ok(()) };
        match event {
            ProjectCreated { team_id, settings } => {
                sqlx::query(
                    "INSERT INTO projects (id, team_id, slug, settings, created_at, updated_at, version)
                     VALUES ($1, $2, $3, $4, $5, $5, 0)",
                )
                .bind(id.0)
                .bind(team_id.0)
                .bind(settings.slug.as_str())
                .bind(Json(settings))
                .bind(recorded.at)
                .execute(&mut *db)
                .await?;
            }
            ProjectSettingsChanged { settings, .. } => {
                sqlx::query("UPDATE projects SET slug = $2, settings = $3 WHERE id = $1")
                    .bind(id.0)
                    .bind(settings.slug.as_str())
                    .bind(Json(settings))
                    .execute(&mut *db)
                    .await?;
            }
            ProjectDeleted { .. } => {
                sqlx::query("DELETE FROM environments WHERE project_id = $1")
                    .bind(id.0)
                    .execute(&mut *db)
                    .await?;
                sqlx::query("DELETE FROM projects WHERE id = $1").bind(id.0).execute(&mut *db).await?;
            }
            ProjectEnvironmentCreated { environment } | ProjectEnvironmentChanged { environment, .. } => {
                put_environment(db, *id, environment, recorded).await?;
            }
            ProjectEnvironmentDeleted { environment_id, .. } => {
                sqlx::query("DELETE FROM environments WHERE id = $1")
                    .bind(environment_id.0)
                    .execute(&mut *db)
                    .await?;
            }
            ProjectEnvVarSet { .. }
            | ProjectEnvVarDeleted { .. }
            | ProjectEnvVarsRevealed { .. }
            | ProjectTokenCreated { .. }
            | ProjectTokenRevoked { .. } => {}
        }
        sqlx::query("UPDATE projects SET version = $2, updated_at = $3 WHERE id = $1")
            .bind(id.0)
            .bind(recorded.sequence)
            .bind(recorded.at)
            .execute(db)
            .await
            .map(drop)
    }
}

async fn put_environment(
    db: &mut PgConnection,
    project: ProjectId,
    environment: &Environment,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO environments (id, project_id, team_id, slug, environment, created_at, updated_at)
         SELECT $1, p.id, p.team_id, $3, $4, $5, $5 FROM projects p WHERE p.id = $2
         ON CONFLICT (id) DO UPDATE SET environment = excluded.environment, updated_at = excluded.updated_at",
    )
    .bind(environment.id.0)
    .bind(project.0)
    .bind(environment.slug.as_str())
    .bind(Json(environment))
    .bind(recorded.at)
    .execute(db)
    .await
    .map(drop)
}
