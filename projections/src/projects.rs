//! Projects and their environments. Deleted ones are gone; those of a deleted team stay until each is deleted,
//! for who has to end them, and nobody may see them any more.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{EnvironmentId, ProjectId, TeamId};
use domain::project::{EnvironmentType, ProjectEvent, ProjectSettings};
use domain::values::{BranchName, DisplayName, Slug};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};

use crate::feed::Consumer;
use crate::page::{Listed, Page};
use crate::row::{Columns, stored};

/// One project.
#[derive(Clone, Debug)]
pub struct ProjectRow {
    /// Its id.
    pub id: ProjectId,
    /// Its team.
    pub team_id: TeamId,
    /// Its settings, name and slug among them.
    pub settings: ProjectSettings,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its settings last changed.
    pub updated_at: DateTime<Utc>,
    /// Number of its last event, for `ETag`; of its environments, variables and tokens too.
    pub version: i64,
    /// Position of the event that made it: its place in lists.
    pub position: i64,
}

/// One environment.
#[derive(Clone, Debug)]
pub struct EnvironmentRow {
    /// Its id.
    pub id: EnvironmentId,
    /// Its project.
    pub project_id: ProjectId,
    /// Its project's team.
    pub team_id: TeamId,
    /// Its name.
    pub name: DisplayName,
    /// Its name in URLs.
    pub slug: Slug,
    /// What it is for.
    pub kind: EnvironmentType,
    /// The branch it follows, instead of the project's.
    pub branch: Option<BranchName>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// Number of its project's last event, for `ETag`.
    pub version: i64,
    /// Position of the event that made it: its place in lists.
    pub position: i64,
}

const SELECT: &str = "SELECT id, team_id, settings, created_at, updated_at, version, position FROM projects";

const SELECT_ENVIRONMENT: &str = "SELECT e.id, e.project_id, p.team_id, e.name, e.slug, e.kind, e.branch, \
    e.created_at, e.updated_at, p.version, e.position FROM environments e JOIN projects p ON p.id = e.project_id";

impl FromRow<'_, PgRow> for ProjectRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            settings: row.json("settings")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
            position: row.try_get("position")?,
        })
    }
}

impl FromRow<'_, PgRow> for EnvironmentRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            project_id: row.id("project_id")?,
            team_id: row.id("team_id")?,
            name: row.text("name")?,
            slug: row.text("slug")?,
            kind: row.text("kind")?,
            branch: row.maybe_text("branch")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
            position: row.try_get("position")?,
        })
    }
}

/// The project with this id.
pub async fn find(db: impl PgExecutor<'_>, id: ProjectId) -> sqlx::Result<Option<ProjectRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The team's project with this slug.
pub async fn find_by_slug(
    db: impl PgExecutor<'_>,
    team: TeamId,
    slug: &Slug,
) -> sqlx::Result<Option<ProjectRow>> {
    let query = format!("{SELECT} WHERE team_id = $1 AND slug = $2");
    sqlx::query_as(&query).bind(team.0).bind(slug.as_str()).fetch_optional(db).await
}

/// The projects of a team.
pub async fn of_team(db: impl PgExecutor<'_>, team: TeamId, page: Page) -> sqlx::Result<Listed<ProjectRow>> {
    let query = format!("{SELECT} WHERE team_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let items =
        sqlx::query_as(&query).bind(team.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |project: &ProjectRow| project.position))
}

/// The ids of all projects of a team, also of a deleted team.
pub async fn ids_of_team(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<ProjectId>> {
    sqlx::query("SELECT id FROM projects WHERE team_id = $1 ORDER BY position")
        .bind(team.0)
        .try_map(|row: PgRow| row.id("id"))
        .fetch_all(db)
        .await
}

/// The environments of a project.
pub async fn environments(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    page: Page,
) -> sqlx::Result<Listed<EnvironmentRow>> {
    let query = format!(
        "{SELECT_ENVIRONMENT} WHERE e.project_id = $1 AND e.position < $2 ORDER BY e.position DESC LIMIT $3"
    );
    let items =
        sqlx::query_as(&query).bind(project.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |environment: &EnvironmentRow| environment.position))
}

/// The environment with this id.
pub async fn find_environment(
    db: impl PgExecutor<'_>,
    id: EnvironmentId,
) -> sqlx::Result<Option<EnvironmentRow>> {
    sqlx::query_as(&format!("{SELECT_ENVIRONMENT} WHERE e.id = $1")).bind(id.0).fetch_optional(db).await
}

/// The project's environment with this slug.
pub async fn find_environment_by_slug(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    slug: &Slug,
) -> sqlx::Result<Option<EnvironmentRow>> {
    let query = format!("{SELECT_ENVIRONMENT} WHERE e.project_id = $1 AND e.slug = $2");
    sqlx::query_as(&query).bind(project.0).bind(slug.as_str()).fetch_optional(db).await
}

/// The project's production environment.
pub async fn production(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Option<EnvironmentRow>> {
    let query = format!("{SELECT_ENVIRONMENT} WHERE e.project_id = $1 AND e.kind = 'production'");
    sqlx::query_as(&query).bind(project.0).fetch_optional(db).await
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
            position   bigint      NOT NULL,
            UNIQUE (team_id, slug)
        );
        CREATE INDEX projects_team ON projects (team_id, position);
        CREATE TABLE environments (
            id         uuid        PRIMARY KEY,
            project_id uuid        NOT NULL,
            name       text        NOT NULL,
            slug       text        NOT NULL,
            kind       text        NOT NULL,
            branch     text,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            position   bigint      NOT NULL,
            UNIQUE (project_id, slug)
        );
        CREATE INDEX environments_project ON environments (project_id, position);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["projects", "environments"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let Fact::Project(id, event) = &recorded.fact else { return Ok(()) };
        write(db, *id, event, recorded).await?;
        sqlx::query("UPDATE projects SET version = $2 WHERE id = $1")
            .bind(id.0)
            .bind(recorded.sequence)
            .execute(db)
            .await
            .map(drop)
    }
}

async fn write(
    db: &mut PgConnection,
    id: ProjectId,
    event: &ProjectEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let query = match event {
        ProjectEvent::ProjectCreated { team_id, settings } => sqlx::query(
            "INSERT INTO projects (id, updated_at, created_at, slug, settings, team_id, version, position)
             VALUES ($1, $2, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id.0)
        .bind(recorded.at)
        .bind(settings.slug.as_str())
        .bind(Json(settings))
        .bind(team_id.0)
        .bind(recorded.sequence)
        .bind(recorded.position),
        ProjectEvent::ProjectSettingsChanged { settings, .. } => {
            sqlx::query("UPDATE projects SET updated_at = $2, slug = $3, settings = $4 WHERE id = $1")
                .bind(id.0)
                .bind(recorded.at)
                .bind(settings.slug.as_str())
                .bind(Json(settings))
        }
        ProjectEvent::ProjectDeleted { .. } => {
            sqlx::query("DELETE FROM environments WHERE project_id = $1").bind(id.0).execute(&mut *db).await?;
            sqlx::query("DELETE FROM projects WHERE id = $1").bind(id.0)
        }
        ProjectEvent::ProjectEnvironmentCreated { environment } => sqlx::query(
            "INSERT INTO environments (id, updated_at, created_at, name, branch, slug, kind, project_id, position)
             VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(environment.id.0)
        .bind(recorded.at)
        .bind(environment.name.as_str())
        .bind(environment.branch.as_ref().map(BranchName::as_str))
        .bind(environment.slug.as_str())
        .bind(stored(&environment.kind))
        .bind(id.0)
        .bind(recorded.position),
        ProjectEvent::ProjectEnvironmentChanged { environment, .. } => {
            sqlx::query("UPDATE environments SET updated_at = $2, name = $3, branch = $4, slug = $5 WHERE id = $1")
                .bind(environment.id.0)
                .bind(recorded.at)
                .bind(environment.name.as_str())
                .bind(environment.branch.as_ref().map(BranchName::as_str))
                .bind(environment.slug.as_str())
        }
        ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. } => {
            sqlx::query("DELETE FROM environments WHERE id = $1").bind(environment_id.0)
        }
        ProjectEvent::ProjectEnvVarSet { .. }
        | ProjectEvent::ProjectEnvVarDeleted { .. }
        | ProjectEvent::ProjectTokenCreated { .. }
        | ProjectEvent::ProjectTokenRevoked { .. } => return Ok(()),
    };
    query.execute(db).await.map(drop)
}
