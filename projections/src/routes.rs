//! Where the router sends requests: names in URLs to addresses of running servers.

use std::net::SocketAddr;

use async_trait::async_trait;
use domain::deployment::DeploymentEvent;
use domain::fact::{Fact, Recorded};
use domain::ids::{DeploymentId, EnvironmentId, ProjectId, TeamId};
use domain::project::{EnvironmentType, ProjectEvent};
use domain::team::TeamEvent;
use domain::values::Slug;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor};

use crate::feed::Consumer;
use crate::row::{Columns, stored};

/// One environment and what serves it.
#[derive(Clone, Debug)]
pub struct RouteRow {
    /// The team.
    pub team_id: TeamId,
    /// The project.
    pub project_id: ProjectId,
    /// The environment.
    pub environment_id: EnvironmentId,
    /// The team's name in URLs.
    pub team_slug: Slug,
    /// The project's name in URLs.
    pub project_slug: Slug,
    /// The environment's name in URLs.
    pub environment_slug: Slug,
    /// What the environment is for; production is reached without its name.
    pub kind: EnvironmentType,
    /// What serves it: the running deployment that was wanted last. None, when nothing runs.
    pub active: Option<Target>,
    /// The one before, while it still runs: where requests go when the active one fails.
    pub previous: Option<Target>,
}

/// A running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// Where it listens.
    pub address: SocketAddr,
}

const SELECT: &str = "SELECT t.team_id, p.project_id, e.environment_id, t.slug AS team_slug, \
        p.slug AS project_slug, e.slug AS environment_slug, e.kind, r.targets \
    FROM route_environments e \
    JOIN route_projects p ON p.project_id = e.project_id \
    JOIN route_teams t ON t.team_id = p.team_id \
    CROSS JOIN LATERAL ( \
        SELECT coalesce(jsonb_agg(jsonb_build_object('deployment_id', d.deployment_id, 'address', d.address) \
                                  ORDER BY d.position DESC), '[]') AS targets \
          FROM (SELECT deployment_id, address, position FROM route_deployments \
                 WHERE environment_id = e.environment_id AND address IS NOT NULL \
                 ORDER BY position DESC LIMIT 2) d \
    ) r";

impl FromRow<'_, PgRow> for RouteRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let targets: Vec<Target> = row.json("targets")?;
        Ok(Self {
            team_id: row.id("team_id")?,
            project_id: row.id("project_id")?,
            environment_id: row.id("environment_id")?,
            team_slug: row.text("team_slug")?,
            project_slug: row.text("project_slug")?,
            environment_slug: row.text("environment_slug")?,
            kind: row.text("kind")?,
            active: targets.first().copied(),
            previous: targets.get(1).copied(),
        })
    }
}

/// What serves `/p/{team}/{project}/{environment}`; without an environment it is production.
pub async fn find(
    db: impl PgExecutor<'_>,
    team: &str,
    project: &str,
    environment: Option<&str>,
) -> sqlx::Result<Option<RouteRow>> {
    let query = format!(
        "{SELECT} WHERE t.slug = $1 AND p.slug = $2
            AND (e.slug = $3 OR $3 IS NULL AND e.kind = 'production')"
    );
    sqlx::query_as(&query).bind(team).bind(project).bind(environment).fetch_optional(db).await
}

/// What serves one environment.
pub async fn find_by_environment(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
) -> sqlx::Result<Option<RouteRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE e.environment_id = $1"))
        .bind(environment.0)
        .fetch_optional(db)
        .await
}

/// Every route, for a cache.
pub async fn all(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<RouteRow>> {
    sqlx::query_as(SELECT).fetch_all(db).await
}

/// The read model.
pub struct Routes;

#[async_trait]
impl Consumer for Routes {
    fn name(&self) -> &'static str {
        "routes"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE route_teams (
            team_id uuid PRIMARY KEY,
            slug    text NOT NULL UNIQUE
        );
        CREATE TABLE route_projects (
            project_id uuid PRIMARY KEY,
            team_id    uuid NOT NULL,
            slug       text NOT NULL,
            UNIQUE (team_id, slug)
        );
        CREATE TABLE route_environments (
            environment_id uuid PRIMARY KEY,
            project_id     uuid NOT NULL,
            slug           text NOT NULL,
            kind           text NOT NULL,
            UNIQUE (project_id, slug)
        );
        CREATE TABLE route_deployments (
            deployment_id  uuid   PRIMARY KEY,
            environment_id uuid   NOT NULL,
            project_id     uuid   NOT NULL,
            -- While it runs.
            address        text,
            -- When it was wanted: of two that run, the later serves.
            position       bigint NOT NULL
        );
        CREATE INDEX route_deployments_environment ON route_deployments (environment_id, position);
        CREATE INDEX route_deployments_project ON route_deployments (project_id);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["route_teams", "route_projects", "route_environments", "route_deployments"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        match &recorded.fact {
            Fact::Team(id, event) => team(db, *id, event).await,
            Fact::Project(id, event) => project(db, *id, event).await,
            Fact::Deployment(id, event) => deployment(db, *id, event, recorded.position).await,
            _ => Ok(()),
        }
    }
}

async fn team(db: &mut PgConnection, id: TeamId, event: &TeamEvent) -> sqlx::Result<()> {
    let query = match event {
        TeamEvent::TeamCreated { slug, .. } => {
            sqlx::query("INSERT INTO route_teams (team_id, slug) VALUES ($1, $2)")
                .bind(id.0)
                .bind(slug.as_str())
        }
        TeamEvent::TeamRenamed { slug, .. } => {
            sqlx::query("UPDATE route_teams SET slug = $2 WHERE team_id = $1").bind(id.0).bind(slug.as_str())
        }
        TeamEvent::TeamDeleted { .. } => sqlx::query("DELETE FROM route_teams WHERE team_id = $1").bind(id.0),
        _ => return Ok(()),
    };
    query.execute(db).await.map(drop)
}

async fn project(db: &mut PgConnection, id: ProjectId, event: &ProjectEvent) -> sqlx::Result<()> {
    let query = match event {
        ProjectEvent::ProjectCreated { team_id, settings } => {
            sqlx::query("INSERT INTO route_projects (project_id, team_id, slug) VALUES ($1, $2, $3)")
                .bind(id.0)
                .bind(team_id.0)
                .bind(settings.slug.as_str())
        }
        ProjectEvent::ProjectSettingsChanged { settings, .. } => {
            sqlx::query("UPDATE route_projects SET slug = $2 WHERE project_id = $1")
                .bind(id.0)
                .bind(settings.slug.as_str())
        }
        ProjectEvent::ProjectDeleted { .. } => {
            for statement in [
                "DELETE FROM route_deployments WHERE project_id = $1",
                "DELETE FROM route_environments WHERE project_id = $1",
            ] {
                sqlx::query(statement).bind(id.0).execute(&mut *db).await?;
            }
            sqlx::query("DELETE FROM route_projects WHERE project_id = $1").bind(id.0)
        }
        ProjectEvent::ProjectEnvironmentCreated { environment } => sqlx::query(
            "INSERT INTO route_environments (environment_id, project_id, slug, kind) VALUES ($1, $2, $3, $4)",
        )
        .bind(environment.id.0)
        .bind(id.0)
        .bind(environment.slug.as_str())
        .bind(stored(&environment.kind)),
        ProjectEvent::ProjectEnvironmentChanged { environment, .. } => {
            sqlx::query("UPDATE route_environments SET slug = $2 WHERE environment_id = $1")
                .bind(environment.id.0)
                .bind(environment.slug.as_str())
        }
        ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. } => {
            sqlx::query("DELETE FROM route_deployments WHERE environment_id = $1")
                .bind(environment_id.0)
                .execute(&mut *db)
                .await?;
            sqlx::query("DELETE FROM route_environments WHERE environment_id = $1").bind(environment_id.0)
        }
        _ => return Ok(()),
    };
    query.execute(db).await.map(drop)
}

async fn deployment(
    db: &mut PgConnection,
    id: DeploymentId,
    event: &DeploymentEvent,
    position: i64,
) -> sqlx::Result<()> {
    let query = match event {
        DeploymentEvent::DeploymentRequested { project_id, environment_id, .. } => sqlx::query(
            "INSERT INTO route_deployments (deployment_id, environment_id, project_id, position)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(id.0)
        .bind(environment_id.0)
        .bind(project_id.0)
        .bind(position),
        DeploymentEvent::DeploymentStarting { .. } => return Ok(()),
        DeploymentEvent::DeploymentActivated { address } => {
            sqlx::query("UPDATE route_deployments SET address = $2 WHERE deployment_id = $1")
                .bind(id.0)
                .bind(address.to_string())
        }
        DeploymentEvent::DeploymentCrashed { .. } => {
            sqlx::query("UPDATE route_deployments SET address = NULL WHERE deployment_id = $1").bind(id.0)
        }
        DeploymentEvent::DeploymentFailed { .. }
        | DeploymentEvent::DeploymentSuperseded { .. }
        | DeploymentEvent::DeploymentStopped {} => {
            sqlx::query("DELETE FROM route_deployments WHERE deployment_id = $1").bind(id.0)
        }
    };
    query.execute(db).await.map(drop)
}
