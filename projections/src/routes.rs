//! What the router needs: which servers stand behind a path.

use async_trait::async_trait;
use domain::deployment::DeploymentEvent;
use domain::fact::{Fact, Recorded};
use domain::ids::{DeploymentId, EnvironmentId};
use domain::project::ProjectEvent;
use domain::team::TeamEvent;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use crate::feed::Consumer;
use crate::row::Columns;

/// One environment and the servers that run for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRow {
    /// Slug of its team.
    pub team: String,
    /// Slug of its project.
    pub project: String,
    /// Its own slug.
    pub environment: String,
    /// Its id.
    pub environment_id: EnvironmentId,
    /// The running deployments with their addresses, newest first.
    pub servers: Vec<(DeploymentId, String)>,
}

/// Every environment, and the position of the log that this is true for.
pub async fn load_all(pool: &PgPool) -> sqlx::Result<(i64, Vec<RouteRow>)> {
    let mut db = pool.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *db).await?;
    let position: i64 = sqlx::query_scalar("SELECT position FROM consumers WHERE name = 'routes'")
        .fetch_optional(&mut *db)
        .await?
        .unwrap_or(0);
    let rows = sqlx::query(
        "SELECT t.slug AS team, p.slug AS project, e.slug AS environment, e.id,
                array_agg(s.deployment_id ORDER BY s.requested DESC) FILTER (WHERE s.address IS NOT NULL) AS ids,
                array_agg(s.address ORDER BY s.requested DESC) FILTER (WHERE s.address IS NOT NULL) AS addresses
           FROM route_environments e
           JOIN route_projects p ON p.id = e.project_id
           JOIN route_teams t ON t.id = p.team_id
           LEFT JOIN route_servers s ON s.environment_id = e.id
          GROUP BY t.slug, p.slug, e.slug, e.id",
    )
    .try_map(|row: PgRow| {
        let ids: Vec<uuid::Uuid> = row.try_get::<Option<_>, _>("ids")?.unwrap_or_default();
        let addresses: Vec<String> = row.try_get::<Option<_>, _>("addresses")?.unwrap_or_default();
        Ok(RouteRow {
            team: row.try_get("team")?,
            project: row.try_get("project")?,
            environment: row.try_get("environment")?,
            environment_id: row.id("id")?,
            servers: ids.into_iter().map(DeploymentId).zip(addresses).collect(),
        })
    })
    .fetch_all(&mut *db)
    .await?;
    db.commit().await?;
    Ok((position, rows))
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
        "CREATE TABLE route_teams (id uuid PRIMARY KEY, slug text NOT NULL);
        CREATE TABLE route_projects (id uuid PRIMARY KEY, team_id uuid NOT NULL, slug text NOT NULL);
        CREATE TABLE route_environments (id uuid PRIMARY KEY, project_id uuid NOT NULL, slug text NOT NULL);
        CREATE TABLE route_servers (
            deployment_id  uuid   PRIMARY KEY,
            environment_id uuid   NOT NULL,
            requested      bigint NOT NULL,
            address        text
        );
        CREATE INDEX ON route_servers (environment_id);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["route_teams", "route_projects", "route_environments", "route_servers"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(recorded.fact, Fact::Team(..) | Fact::Project(..) | Fact::Deployment(..))
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let query = match &recorded.fact {
            Fact::Team(id, TeamEvent::TeamCreated { slug, .. } | TeamEvent::TeamRenamed { slug, .. }) => {
                sqlx::query(
                    "INSERT INTO route_teams (id, slug) VALUES ($1, $2)
                 ON CONFLICT (id) DO UPDATE SET slug = excluded.slug",
                )
                .bind(id.0)
                .bind(slug.as_str())
            }
            Fact::Team(id, TeamEvent::TeamDeleted { .. }) => {
                sqlx::query("DELETE FROM route_teams WHERE id = $1").bind(id.0)
            }
            Fact::Project(
                id,
                ProjectEvent::ProjectCreated { team_id, settings }
                | ProjectEvent::ProjectSettingsChanged { team_id, settings, .. },
            ) => sqlx::query(
                "INSERT INTO route_projects (id, team_id, slug) VALUES ($1, $2, $3)
                 ON CONFLICT (id) DO UPDATE SET slug = excluded.slug",
            )
            .bind(id.0)
            .bind(team_id.0)
            .bind(settings.slug.as_str()),
            Fact::Project(id, ProjectEvent::ProjectDeleted { .. }) => {
                sqlx::query("DELETE FROM route_projects WHERE id = $1").bind(id.0)
            }
            Fact::Project(id, ProjectEvent::ProjectEnvironmentCreated { environment }) => {
                sqlx::query("INSERT INTO route_environments (id, project_id, slug) VALUES ($1, $2, $3)")
                    .bind(environment.id.0)
                    .bind(id.0)
                    .bind(environment.slug.as_str())
            }
            Fact::Project(_, ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. }) => {
                sqlx::query("DELETE FROM route_environments WHERE id = $1").bind(environment_id.0)
            }
            Fact::Deployment(id, event) => return server(db, *id, event, recorded.position).await,
            _ => return Ok(()),
        };
        query.execute(db).await.map(drop)
    }
}

async fn server(
    db: &mut PgConnection,
    id: DeploymentId,
    event: &DeploymentEvent,
    position: i64,
) -> sqlx::Result<()> {
    use DeploymentEvent::*;
    let query = match event {
        DeploymentRequested { environment_id, .. } => sqlx::query(
            "INSERT INTO route_servers (deployment_id, environment_id, requested) VALUES ($1, $2, $3)",
        )
        .bind(id.0)
        .bind(environment_id.0)
        .bind(position),
        DeploymentActivated { address } => {
            sqlx::query("UPDATE route_servers SET address = $2 WHERE deployment_id = $1")
                .bind(id.0)
                .bind(address.to_string())
        }
        DeploymentStarting { .. } | DeploymentCrashed { .. } => {
            sqlx::query("UPDATE route_servers SET address = NULL WHERE deployment_id = $1").bind(id.0)
        }
        DeploymentFailed { .. } | DeploymentSuperseded { .. } | DeploymentStopped {} => {
            sqlx::query("DELETE FROM route_servers WHERE deployment_id = $1").bind(id.0)
        }
    };
    query.execute(db).await.map(drop)
}
