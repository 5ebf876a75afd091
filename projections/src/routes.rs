//! What the router needs: which servers stand behind a path.

use domain::deployment::DeploymentEvent;
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{DeploymentId, EnvironmentId, ProjectId, TeamId};
use domain::project::{ProjectEvent, Protection};
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
    /// Its project.
    pub project_id: ProjectId,
    /// Its team.
    pub team_id: TeamId,
    /// Who may use what is deployed there.
    pub protection: Protection,
    /// The running deployments with the addresses of their servers, newest first.
    pub servers: Vec<(DeploymentId, Vec<String>)>,
    /// The newest deployment that sleeps, or wakes up, with the position of the event since which it does.
    pub asleep: Option<(DeploymentId, i64)>,
}

/// Every environment, and the position of the log that this is true for. Those under the present slugs of their teams
/// come last.
pub async fn load_all(pool: &PgPool) -> sqlx::Result<(i64, Vec<RouteRow>)> {
    let mut db = pool.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *db).await?;
    let position: i64 = sqlx::query_scalar("SELECT position FROM consumers WHERE name = 'routes'")
        .fetch_optional(&mut *db)
        .await?
        .unwrap_or(0);
    let rows = sqlx::query(
        "SELECT t.slug AS team, p.slug AS project, e.slug AS environment, e.id, e.project_id, p.team_id, e.protection,
                array_agg(s.deployment_id ORDER BY s.requested DESC) FILTER (WHERE s.addresses <> '{}') AS ids,
                array_agg(array_to_string(s.addresses, ' ') ORDER BY s.requested DESC)
                    FILTER (WHERE s.addresses <> '{}') AS addresses,
                (array_agg(s.deployment_id ORDER BY s.requested DESC) FILTER (WHERE s.asleep IS NOT NULL))[1] AS sleeper,
                (array_agg(s.asleep ORDER BY s.requested DESC) FILTER (WHERE s.asleep IS NOT NULL))[1] AS asleep
           FROM route_environments e
           JOIN route_projects p ON p.id = e.project_id
           JOIN (SELECT id, slug, true AS is_current FROM route_teams WHERE NOT closed
                 UNION ALL SELECT o.team_id, o.slug, false FROM route_old_slugs o
                             JOIN route_teams n ON n.id = o.team_id AND NOT n.closed) t ON t.id = p.team_id
           LEFT JOIN route_servers s ON s.environment_id = e.id
          GROUP BY t.slug, t.is_current, p.slug, e.slug, e.id, e.project_id, p.team_id, e.protection
          ORDER BY t.is_current, t.slug, e.id",
    )
    .try_map(|row: PgRow| {
        let ids: Vec<uuid::Uuid> = row.try_get::<Option<_>, _>("ids")?.unwrap_or_default();
        let addresses: Vec<String> = row.try_get::<Option<_>, _>("addresses")?.unwrap_or_default();
        let each = |all: String| all.split(' ').map(str::to_owned).collect();
        Ok(RouteRow {
            team: row.try_get("team")?,
            project: row.try_get("project")?,
            environment: row.try_get("environment")?,
            environment_id: row.id("id")?,
            project_id: row.id("project_id")?,
            team_id: row.id("team_id")?,
            protection: row.text("protection")?,
            asleep: row.try_get::<Option<_>, _>("sleeper")?.map(DeploymentId).zip(row.try_get("asleep")?),
            servers: ids.into_iter().map(DeploymentId).zip(addresses.into_iter().map(each)).collect(),
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
        closed: bool,
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
        protection: Protection,
    }
}

row! {
    struct Server in "route_servers" by (deployment_id: DeploymentId) {
        deployment_id: DeploymentId,
        environment_id: EnvironmentId,
        requested: i64,
        addresses: Vec<String>,
        asleep: Option<i64>,
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
    /// 5: where each of several servers of a deployment is.
    const VERSION: i32 = 5;
    const KINDS: &'static [&'static str] = &[kind::TEAM, kind::PROJECT, kind::DEPLOYMENT];
    const PASSES_OVER: &'static [&'static str] =
        &["project.env_var_set", "project.env_var_deleted", "project.env_vars_revealed"];
    const TABLE_NAMES: &'static [&'static str] =
        &["route_teams", "route_old_slugs", "route_projects", "route_environments", "route_servers"];
    const TABLES: &'static str =
        "CREATE TABLE route_teams (id uuid PRIMARY KEY, slug text NOT NULL, closed boolean NOT NULL);
    CREATE TABLE route_old_slugs (slug text PRIMARY KEY, team_id uuid NOT NULL);
    CREATE TABLE route_projects (id uuid PRIMARY KEY, team_id uuid NOT NULL, slug text NOT NULL);
    CREATE TABLE route_environments (
        id         uuid PRIMARY KEY,
        project_id uuid NOT NULL,
        slug       text NOT NULL,
        protection text NOT NULL
    );
    CREATE TABLE route_servers (
        deployment_id  uuid   PRIMARY KEY,
        environment_id uuid   NOT NULL,
        requested      bigint NOT NULL,
        addresses      text[] NOT NULL,
        asleep         bigint
    );
    CREATE INDEX ON route_servers (environment_id);";

    type Rows = RouteRows;

    fn foresee(rows: &mut RouteRows, recorded: &Recorded, fact: &Fact) {
        match fact {
            Fact::Team(
                id,
                TeamEvent::TeamCreated { .. } | TeamEvent::TeamClosed { .. } | TeamEvent::TeamReopened {},
            ) => rows.teams.want(*id),
            Fact::Team(id, TeamEvent::TeamRenamed { slug, old_slug, .. }) => {
                rows.teams.want(*id);
                rows.old_slugs.want(slug.as_str().to_owned());
                rows.old_slugs.want(old_slug.as_str().to_owned());
            }
            Fact::Project(
                id,
                ProjectEvent::ProjectCreated { .. } | ProjectEvent::ProjectSettingsChanged { .. },
            ) => rows.projects.want(*id),
            Fact::Project(_, ProjectEvent::ProjectEnvironmentChanged { environment, .. }) => {
                rows.environments.want(environment.id);
            }
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
                    None => rows.teams.insert(TeamSlug { id: *id, slug, closed: false })?,
                }
            }
            Fact::Team(id, event @ (TeamEvent::TeamClosed { .. } | TeamEvent::TeamReopened {})) => {
                if let Some(team) = rows.teams.get(db, id).await? {
                    team.closed = matches!(event, TeamEvent::TeamClosed { .. });
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
                    protection: environment.protection,
                })?;
            }
            Fact::Project(_, ProjectEvent::ProjectEnvironmentChanged { environment, .. }) => {
                if let Some(row) = rows.environments.get(db, &environment.id).await? {
                    row.protection = environment.protection;
                }
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
    if let DeploymentRequested { environment_id, .. } = event {
        let environment_id = *environment_id;
        let (requested, addresses, asleep) = (position, Vec::new(), None);
        return servers.insert(Server { deployment_id: id, environment_id, requested, addresses, asleep });
    }
    if matches!(event, DeploymentFailed { .. } | DeploymentSuperseded { .. } | DeploymentStopped {}) {
        return servers.remove(db, &id).await;
    }
    let Some(server) = servers.get(db, &id).await? else { return Ok(()) };
    server.addresses = event.addresses().unwrap_or_default().iter().map(ToString::to_string).collect();
    match event {
        DeploymentSlept {} => server.asleep = Some(position),
        // Who wakes up is waited for as is who sleeps.
        DeploymentStarting { .. } => {}
        _ => server.asleep = None,
    }
    Ok(())
}
