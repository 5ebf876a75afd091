//! What the router needs: which servers stand behind a path.

use domain::deployment::DeploymentEvent;
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{DeploymentId, EnvironmentId, ProjectId, TeamId};
use domain::project::ProjectEvent;
use domain::team::TeamEvent;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};

use crate::model::ReadModel;
use crate::row::Columns;
use crate::rows::{Rows, Store, Table, row};

/// One environment and the servers that run for it, under a slug of its team: there is one for each slug that the
/// team has or had.
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
           JOIN (SELECT id, slug FROM route_teams
                 UNION ALL SELECT team_id, slug FROM route_old_slugs) t ON t.id = p.team_id
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

row! {
    struct TeamSlug in "route_teams" by (id: TeamId) {
        id: TeamId,
        slug: String,
    }
}

row! {
    struct OldTeamSlug in "route_old_slugs" by (slug: String) {
        slug: String,
        team_id: TeamId,
    }
}

row! {
    struct ProjectSlug in "route_projects" by (id: ProjectId) {
        id: ProjectId,
        team_id: TeamId,
        slug: String,
    }
}

row! {
    struct EnvironmentSlug in "route_environments" by (id: EnvironmentId) {
        id: EnvironmentId,
        project_id: ProjectId,
        slug: String,
    }
}

row! {
    struct Server in "route_servers" by (deployment_id: DeploymentId) {
        deployment_id: DeploymentId,
        environment_id: EnvironmentId,
        requested: i64,
        address: Option<String>,
    }
}

/// The tables of the read model.
#[derive(Default)]
pub(crate) struct RouteRows {
    teams: Table<TeamSlug>,
    old_slugs: Table<OldTeamSlug>,
    projects: Table<ProjectSlug>,
    environments: Table<EnvironmentSlug>,
    servers: Table<Server>,
}

impl Rows for RouteRows {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![
            &mut self.teams,
            &mut self.old_slugs,
            &mut self.projects,
            &mut self.environments,
            &mut self.servers,
        ]
    }
}

/// The read model.
pub struct Routes;

impl ReadModel for Routes {
    const NAME: &'static str = "routes";
    const VERSION: i32 = 2;
    const KINDS: &'static [&'static str] = &[kind::TEAM, kind::PROJECT, kind::DEPLOYMENT];
    const TABLE_NAMES: &'static [&'static str] =
        &["route_teams", "route_old_slugs", "route_projects", "route_environments", "route_servers"];
    const TABLES: &'static str = "CREATE TABLE route_teams (id uuid PRIMARY KEY, slug text NOT NULL);
    CREATE TABLE route_old_slugs (slug text PRIMARY KEY, team_id uuid NOT NULL);
    CREATE TABLE route_projects (id uuid PRIMARY KEY, team_id uuid NOT NULL, slug text NOT NULL);
    CREATE TABLE route_environments (id uuid PRIMARY KEY, project_id uuid NOT NULL, slug text NOT NULL);
    CREATE TABLE route_servers (
        deployment_id  uuid   PRIMARY KEY,
        environment_id uuid   NOT NULL,
        requested      bigint NOT NULL,
        address        text
    );
    CREATE INDEX ON route_servers (environment_id);";

    type Rows = RouteRows;

    fn foresee(rows: &mut RouteRows, recorded: &Recorded, fact: &Fact) {
        match fact {
            Fact::Team(id, TeamEvent::TeamCreated { .. }) => rows.teams.want(*id),
            Fact::Team(id, TeamEvent::TeamRenamed { slug, old_slug, .. }) => {
                rows.teams.want(*id);
                rows.old_slugs.want(slug.as_str().to_owned());
                rows.old_slugs.want(old_slug.as_str().to_owned());
            }
            Fact::Project(
                id,
                ProjectEvent::ProjectCreated { .. } | ProjectEvent::ProjectSettingsChanged { .. },
            ) => rows.projects.want(*id),
            Fact::Deployment(id, _) if recorded.sequence > 1 => rows.servers.want(*id),
            _ => {}
        }
    }

    async fn apply(
        rows: &mut RouteRows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        if let Fact::Team(team_id, TeamEvent::TeamRenamed { slug, old_slug, old_slug_kept, .. }) = fact {
            rows.old_slugs.remove(db, &slug.as_str().to_owned()).await?;
            if *old_slug_kept {
                let slug = old_slug.as_str().to_owned();
                rows.old_slugs.insert(OldTeamSlug { slug, team_id: *team_id })?;
            }
        }
        match fact {
            Fact::Team(id, TeamEvent::TeamCreated { slug, .. } | TeamEvent::TeamRenamed { slug, .. }) => {
                let slug = slug.as_str().to_owned();
                match rows.teams.get(db, id).await? {
                    Some(team) => team.slug = slug,
                    None => rows.teams.insert(TeamSlug { id: *id, slug })?,
                }
            }
            Fact::Team(id, TeamEvent::TeamDeleted { .. }) => rows.teams.remove(db, id).await?,
            Fact::Project(
                id,
                ProjectEvent::ProjectCreated { team_id, settings }
                | ProjectEvent::ProjectSettingsChanged { team_id, settings, .. },
            ) => {
                let slug = settings.slug.as_str().to_owned();
                match rows.projects.get(db, id).await? {
                    Some(project) => project.slug = slug,
                    None => rows.projects.insert(ProjectSlug { id: *id, team_id: *team_id, slug })?,
                }
            }
            Fact::Project(id, ProjectEvent::ProjectDeleted { .. }) => rows.projects.remove(db, id).await?,
            Fact::Project(id, ProjectEvent::ProjectEnvironmentCreated { environment }) => {
                rows.environments.insert(EnvironmentSlug {
                    id: environment.id,
                    project_id: *id,
                    slug: environment.slug.as_str().to_owned(),
                })?;
            }
            Fact::Project(_, ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. }) => {
                rows.environments.remove(db, environment_id).await?;
            }
            Fact::Deployment(id, event) => {
                server(&mut rows.servers, db, *id, event, recorded.position).await?
            }
            _ => {}
        }
        Ok(())
    }
}

async fn server(
    servers: &mut Table<Server>,
    db: &mut PgConnection,
    id: DeploymentId,
    event: &DeploymentEvent,
    position: i64,
) -> sqlx::Result<()> {
    use DeploymentEvent::*;
    let address = match event {
        DeploymentRequested { environment_id, .. } => {
            let environment_id = *environment_id;
            return servers.insert(Server {
                deployment_id: id,
                environment_id,
                requested: position,
                address: None,
            });
        }
        DeploymentFailed { .. } | DeploymentSuperseded { .. } | DeploymentStopped {} => {
            return servers.remove(db, &id).await;
        }
        DeploymentActivated { address } => Some(address.to_string()),
        DeploymentStarting { .. } | DeploymentCrashed { .. } => None,
    };
    if let Some(server) = servers.get(db, &id).await? {
        server.address = address;
    }
    Ok(())
}
