//! Projects and their environments.

use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{EnvironmentId, ProjectId, TeamId};
use domain::project::{Environment, ProjectEvent, ProjectSettings};
use domain::team::TeamEvent;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use crate::model::ReadModel;
use crate::row::Columns;
use crate::rows::{Row, Rows, Store, Table, row};
use crate::teams::IN_AN_OPEN_TEAM;

row! {
    /// One project that was not deleted.
    pub struct ProjectRow in "projects" by (id: ProjectId) found by (team_id) {
        /// Its id.
        pub id: ProjectId,
        /// Its team.
        pub team_id: TeamId,
        /// Its slug, as in its settings.
        pub slug: String,
        /// Its settings.
        pub settings: ProjectSettings,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was last changed.
        pub updated_at: DateTime<Utc>,
        /// Number of its last event, for `ETag`.
        pub version: i64,
    }
}

row! {
    /// One environment that was not deleted, as it is stored.
    struct PlacedEnvironment in "environments" by (id: EnvironmentId) found by (project_id, team_id) {
        id: EnvironmentId,
        project_id: ProjectId,
        team_id: TeamId,
        slug: String,
        environment: Environment,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
    }
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

const ENVIRONMENT: &str = "SELECT e.environment, e.project_id, e.team_id, e.created_at, e.updated_at, p.version \
    FROM environments e JOIN projects p ON p.id = e.project_id";

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

/// The project with this id, if its team is open.
pub async fn find(db: impl PgExecutor<'_>, id: ProjectId) -> sqlx::Result<Option<ProjectRow>> {
    let query = ProjectRow::select(&format!("WHERE id = $1 AND {IN_AN_OPEN_TEAM}"));
    sqlx::query_as(&query).bind(id.0).fetch_optional(db).await
}

/// The projects of a team, newest first, before the project `before`.
pub async fn of_team(
    db: impl PgExecutor<'_>,
    team: TeamId,
    before: Option<ProjectId>,
    limit: i64,
) -> sqlx::Result<Vec<ProjectRow>> {
    let query =
        ProjectRow::select("WHERE team_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3");
    sqlx::query_as(&query).bind(team.0).bind(before.map(|id| id.0)).bind(limit).fetch_all(db).await
}

/// The projects that are made of a repository at a git host, in open teams.
pub async fn of_repository(db: impl PgExecutor<'_>, repository: i64) -> sqlx::Result<Vec<ProjectRow>> {
    let query = ProjectRow::select(&format!(
        "WHERE settings ->> 'repository_id' = $1 AND {IN_AN_OPEN_TEAM} ORDER BY id"
    ));
    sqlx::query_as(&query).bind(repository.to_string()).fetch_all(db).await
}

/// The projects whose repository is known at a git host, in open teams.
pub async fn connected(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<ProjectRow>> {
    let query = ProjectRow::select(&format!(
        "WHERE settings ->> 'repository_id' IS NOT NULL AND {IN_AN_OPEN_TEAM} ORDER BY id"
    ));
    sqlx::query_as(&query).fetch_all(db).await
}

/// The projects that keep their telemetry for fewer days than the installation, and for how many.
pub async fn forgetful(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(TeamId, ProjectId, u16)>> {
    let query = ProjectRow::select("WHERE settings ->> 'telemetry_days' IS NOT NULL ORDER BY id");
    let projects: Vec<ProjectRow> = sqlx::query_as(&query).fetch_all(db).await?;
    let days = |project: ProjectRow| Some((project.team_id, project.id, project.settings.telemetry_days?));
    Ok(projects.into_iter().filter_map(days).collect())
}

/// The projects that are there, or this one of them, each with its team, the oldest first; also those of closed teams.
pub async fn tenants(
    db: impl PgExecutor<'_>,
    project: Option<ProjectId>,
) -> sqlx::Result<Vec<(ProjectId, TeamId)>> {
    let query = "SELECT id, team_id FROM projects WHERE $1::uuid IS NULL OR id = $1 ORDER BY id";
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(query).bind(project.map(|id| id.0)).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(project, team)| (ProjectId(project), TeamId(team))).collect())
}

/// The projects that were deleted since a moment, or whose teams were, with their teams. Read from the log: no query table has
/// them any more.
pub async fn deleted_since(
    db: impl PgExecutor<'_>,
    moment: DateTime<Utc>,
) -> sqlx::Result<Vec<(TeamId, ProjectId)>> {
    let query = "WITH gone AS (
                   SELECT aggregate_type, aggregate_id, team_id FROM public.events
                    WHERE event_type IN ('project.deleted', 'team.deleted') AND recorded_at >= $1)
                 SELECT team_id, aggregate_id::uuid FROM gone WHERE aggregate_type = 'project' AND team_id IS NOT NULL
                  UNION
                 SELECT born.team_id, born.aggregate_id::uuid
                   FROM gone JOIN public.events born ON born.team_id = gone.aggregate_id::uuid AND born.sequence = 1
                  WHERE gone.aggregate_type = 'team' AND born.aggregate_type = 'project'";
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(query).bind(moment).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(team, project)| (TeamId(team), ProjectId(project))).collect())
}

/// The environment with this id, if its team is open.
pub async fn find_environment(
    db: impl PgExecutor<'_>,
    id: EnvironmentId,
) -> sqlx::Result<Option<EnvironmentRow>> {
    let of_an_open_team = IN_AN_OPEN_TEAM.replace("team_id", "e.team_id");
    let query = format!("{ENVIRONMENT} WHERE e.id = $1 AND {of_an_open_team}");
    sqlx::query_as(&query).bind(id.0).fetch_optional(db).await
}

/// The projects of these open teams, and these projects of open teams, each with its team, the oldest first.
pub async fn of_any(
    db: impl PgExecutor<'_>,
    teams: &[TeamId],
    projects: &[ProjectId],
) -> sqlx::Result<Vec<(ProjectId, TeamId)>> {
    let teams: Vec<Uuid> = teams.iter().map(|id| id.0).collect();
    let projects: Vec<Uuid> = projects.iter().map(|id| id.0).collect();
    let query = format!(
        "SELECT id, team_id FROM projects WHERE (team_id = ANY($1) OR id = ANY($2)) AND {IN_AN_OPEN_TEAM} ORDER BY id"
    );
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(&query).bind(teams).bind(projects).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(project, team)| (ProjectId(project), TeamId(team))).collect())
}

/// The environments of a project, newest first.
pub async fn environments(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<EnvironmentRow>> {
    sqlx::query_as(&format!("{ENVIRONMENT} WHERE e.project_id = $1 ORDER BY e.id DESC"))
        .bind(project.0)
        .fetch_all(db)
        .await
}

/// The slugs of an open team and of its project.
pub async fn slugs(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Option<(String, String)>> {
    let query = "SELECT t.slug, p.slug FROM projects p JOIN teams t ON t.id = p.team_id WHERE p.id = $1";
    sqlx::query_as(query).bind(project.0).fetch_optional(db).await
}

/// The tables of the read model.
#[derive(Default)]
pub(crate) struct ProjectRows {
    projects: Table<ProjectRow>,
    environments: Table<PlacedEnvironment>,
}

impl Rows for ProjectRows {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![&mut self.projects, &mut self.environments]
    }
}

/// The read model.
pub struct Projects;

impl ReadModel for Projects {
    const NAME: &'static str = "projects";
    const VERSION: i32 = 2;
    const KINDS: &'static [&'static str] = &[kind::PROJECT, kind::TEAM];
    const TABLE_NAMES: &'static [&'static str] = &["projects", "environments"];
    const TABLES: &'static str = "CREATE TABLE projects (
        id         uuid        PRIMARY KEY,
        team_id    uuid        NOT NULL,
        slug       text        NOT NULL,
        settings   jsonb       NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        version    bigint      NOT NULL,
        UNIQUE (team_id, slug)
    );
    CREATE INDEX ON projects ((settings ->> 'repository_id'));
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
    CREATE INDEX ON environments (team_id);";

    type Rows = ProjectRows;

    fn foresee(rows: &mut ProjectRows, _recorded: &Recorded, fact: &Fact) {
        use ProjectEvent::*;
        let Fact::Project(id, event) = fact else { return };
        rows.projects.want(*id);
        match event {
            ProjectEnvironmentCreated { environment } | ProjectEnvironmentChanged { environment, .. } => {
                rows.environments.want(environment.id);
            }
            ProjectEnvironmentDeleted { environment_id, .. }
            | ProjectPreviewApproved { environment_id, .. } => {
                rows.environments.want(*environment_id);
            }
            _ => {}
        }
    }

    async fn apply(
        rows: &mut ProjectRows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        use ProjectEvent::*;
        let ProjectRows { projects, environments } = rows;
        let (id, event) = match fact {
            Fact::Team(id, TeamEvent::TeamDeleted { .. }) => {
                environments.remove_by(db, "team_id", id).await?;
                return projects.remove_by(db, "team_id", id).await;
            }
            Fact::Project(id, event) => (id, event),
            _ => return Ok(()),
        };
        match event {
            ProjectCreated { team_id, settings } => projects.insert(ProjectRow {
                id: *id,
                team_id: *team_id,
                slug: settings.slug.as_str().to_owned(),
                settings: settings.clone(),
                created_at: recorded.at,
                updated_at: recorded.at,
                version: recorded.sequence,
            })?,
            ProjectDeleted { .. } => {
                environments.remove_by(db, "project_id", id).await?;
                projects.remove(db, id).await?;
            }
            ProjectEnvironmentDeleted { environment_id, .. } => {
                environments.remove(db, environment_id).await?
            }
            _ => {}
        }
        let Some(project) = projects.get(db, id).await? else { return Ok(()) };
        project.version = recorded.sequence;
        project.updated_at = recorded.at;
        match event {
            ProjectSettingsChanged { settings, .. } => {
                project.slug = settings.slug.as_str().to_owned();
                project.settings = settings.clone();
            }
            ProjectEnvironmentCreated { environment } | ProjectEnvironmentChanged { environment, .. } => {
                let team_id = project.team_id;
                put_environment(environments, db, (*id, team_id), environment, recorded).await?;
            }
            ProjectPreviewApproved { environment_id, commit } => {
                if let Some(row) = environments.get(db, environment_id).await?
                    && let Some(pull_request) = &mut row.environment.pull_request
                {
                    pull_request.approved = Some(commit.clone());
                    row.updated_at = recorded.at;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

async fn put_environment(
    environments: &mut Table<PlacedEnvironment>,
    db: &mut PgConnection,
    (project_id, team_id): (ProjectId, TeamId),
    environment: &Environment,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    if let Some(row) = environments.get(db, &environment.id).await? {
        row.environment = environment.clone();
        row.updated_at = recorded.at;
        return Ok(());
    }
    environments.insert(PlacedEnvironment {
        id: environment.id,
        project_id,
        team_id,
        slug: environment.slug.as_str().to_owned(),
        environment: environment.clone(),
        created_at: recorded.at,
        updated_at: recorded.at,
    })
}
