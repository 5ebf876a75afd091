//! Deployments, newest first, and which of them run.

use chrono::{DateTime, Utc};
use domain::build::FailureCode;
use domain::deployment::{DeploymentEvent, DeploymentKind};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::project::EnvVar;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use crate::model::ReadModel;
use crate::parked::Grain;
use crate::row::Columns;
use crate::rows::{Row, Table, row};

row! {
    /// One deployment.
    pub struct DeploymentRow in "deployments" by (id: DeploymentId) {
        /// Its id.
        pub id: DeploymentId,
        /// Position of the event that asked for it: deployments are asked for in this order.
        pub requested: i64,
        /// Its team.
        pub team_id: TeamId,
        /// Its project.
        pub project_id: ProjectId,
        /// Where it runs.
        pub environment_id: EnvironmentId,
        /// What it runs.
        pub build_id: BuildId,
        /// Why it was made.
        pub kind: DeploymentKind,
        /// `pending`, `starting`, `running`, `sleeping`, `failed`, `rolled_back`, `stopped` or `superseded`.
        pub status: String,
        /// Packed output of its build.
        pub artifact: Artifact,
        /// Node that built it.
        pub node_version: String,
        /// The variables it runs with, without values.
        pub env_vars: Vec<EnvVar>,
        /// Where it listens, while it runs; the first of its servers when there are several.
        pub address: Option<String>,
        /// How many servers of it serve.
        pub replicas: i32,
        /// Why it failed.
        pub failure: Option<Failure>,
        /// How often it crashed in a row.
        pub crashes: i32,
        /// Which one took its place.
        pub superseded_by: Option<DeploymentId>,
        /// Which one serves again because it failed.
        pub rolled_back_to: Option<DeploymentId>,
        /// Who made it.
        pub created_by: String,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// Since when it serves.
        pub activated_at: Option<DateTime<Utc>>,
        /// When it ended.
        pub finished_at: Option<DateTime<Utc>>,
        /// When it was last changed.
        pub updated_at: DateTime<Utc>,
        /// Number of its last event, for `ETag`.
        pub version: i64,
    }
}

/// Why a deployment failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Stable code.
    pub code: FailureCode,
    /// What the owner can do about it.
    pub message: String,
    /// Its exit code, when it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// Whose builds or deployments.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// Of all projects of a team.
    Team(TeamId),
    /// Of a project.
    Project(ProjectId),
    /// Of an environment.
    Environment(EnvironmentId),
}

impl Of {
    pub(crate) fn column(self) -> (&'static str, Uuid) {
        match self {
            Self::Team(id) => ("team_id", id.0),
            Self::Project(id) => ("project_id", id.0),
            Self::Environment(id) => ("environment_id", id.0),
        }
    }
}

/// The deployment with this id.
pub async fn find(db: impl PgExecutor<'_>, id: DeploymentId) -> sqlx::Result<Option<DeploymentRow>> {
    sqlx::query_as(&DeploymentRow::select("WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The deployments of an environment, newest first, before the deployment `before`.
pub async fn of_environment(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
    before: Option<DeploymentId>,
    limit: i64,
) -> sqlx::Result<Vec<DeploymentRow>> {
    let query = DeploymentRow::select(
        "WHERE environment_id = $1
           AND ($2::uuid IS NULL OR requested < (SELECT b.requested FROM deployments b WHERE b.id = $2))
         ORDER BY requested DESC LIMIT $3",
    );
    sqlx::query_as(&query).bind(environment.0).bind(before.map(|id| id.0)).bind(limit).fetch_all(db).await
}

/// In which environments these deployments of a project are; those alone that it has.
pub async fn places_of(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    ids: &[DeploymentId],
) -> sqlx::Result<Vec<(DeploymentId, EnvironmentId)>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let query = "SELECT id, environment_id FROM deployments WHERE project_id = $1 AND id = ANY($2)";
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(query).bind(project.0).bind(ids).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id, environment)| (DeploymentId(id), EnvironmentId(environment))).collect())
}

/// The newest deployment of each of these builds in the environment that the build was for.
pub async fn newest_of(db: impl PgExecutor<'_>, builds: &[BuildId]) -> sqlx::Result<Vec<DeploymentRow>> {
    let ids: Vec<Uuid> = builds.iter().map(|id| id.0).collect();
    let query = DeploymentRow::select(
        "WHERE id IN (SELECT DISTINCT ON (d.build_id) d.id
                        FROM builds b
                        JOIN deployments d ON d.environment_id = b.environment_id AND d.build_id = b.id
                       WHERE b.id = ANY($1) ORDER BY d.build_id, d.requested DESC)",
    );
    sqlx::query_as(&query).bind(ids).fetch_all(db).await
}

/// The newest deployment of a build in an environment.
pub async fn newest_in(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
    build: BuildId,
) -> sqlx::Result<Option<DeploymentRow>> {
    let query = "WHERE environment_id = $1 AND build_id = $2 ORDER BY requested DESC LIMIT 1";
    sqlx::query_as(&DeploymentRow::select(query)).bind(environment.0).bind(build.0).fetch_optional(db).await
}

/// Every deployment that serves requests, or should.
pub async fn all_running(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<DeploymentRow>> {
    sqlx::query_as(&DeploymentRow::select("WHERE status = 'running' ORDER BY id")).fetch_all(db).await
}

/// The deployment that serves an environment: the newest that runs, or sleeps and runs when it is asked.
pub async fn running_in(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
) -> sqlx::Result<Option<DeploymentRow>> {
    let query = "WHERE environment_id = $1 AND status IN ('running', 'sleeping')
        ORDER BY requested DESC LIMIT 1";
    sqlx::query_as(&DeploymentRow::select(query)).bind(environment.0).fetch_optional(db).await
}

/// Every deployment that sleeps although it may not, or not any more.
pub async fn asleep_without_leave(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<DeploymentRow>> {
    let query = "WHERE status = 'sleeping' AND EXISTS (SELECT FROM projects p
                  WHERE p.id = project_id AND (p.settings->>'min_scale')::int IS DISTINCT FROM 0) ORDER BY id";
    sqlx::query_as(&DeploymentRow::select(query)).fetch_all(db).await
}

/// Every deployment that serves requests and may sleep when there are none, with the time since which it was not asked
/// for anything, as far as the routers have written it down.
pub async fn that_may_sleep(
    db: impl PgExecutor<'_>,
) -> sqlx::Result<Vec<(DeploymentId, TeamId, DateTime<Utc>)>> {
    sqlx::query(
        "SELECT d.id, d.team_id, GREATEST(d.updated_at, u.used_at) AS since
           FROM deployments d JOIN projects p ON p.id = d.project_id
           LEFT JOIN deployment_uses u ON u.deployment_id = d.id
          WHERE d.status = 'running' AND (p.settings->>'min_scale')::int = 0
          ORDER BY d.id",
    )
    .try_map(|row: PgRow| Ok((row.id("id")?, row.id("team_id")?, row.try_get("since")?)))
    .fetch_all(db)
    .await
}

/// Writes down that a deployment was asked for something at a time.
pub async fn note_use(db: impl PgExecutor<'_>, id: DeploymentId, at: DateTime<Utc>) -> sqlx::Result<()> {
    let query = "INSERT INTO deployment_uses (deployment_id, used_at) VALUES ($1, $2)
        ON CONFLICT (deployment_id) DO UPDATE SET used_at = GREATEST(deployment_uses.used_at, EXCLUDED.used_at)";
    sqlx::query(query).bind(id.0).bind(at).execute(db).await.map(drop)
}

/// Forgets the uses of deployments that are over.
pub async fn forget_uses(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    let query = "DELETE FROM deployment_uses u USING deployments d
                  WHERE d.id = u.deployment_id AND d.finished_at IS NOT NULL";
    sqlx::query(query).execute(db).await.map(drop)
}

/// The deployments of an environment that were made before this one and are not over.
pub async fn older_than(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
    newer: DeploymentId,
) -> sqlx::Result<Vec<DeploymentId>> {
    sqlx::query(
        "SELECT d.id FROM deployments d, deployments n
          WHERE n.id = $2 AND d.environment_id = $1 AND d.requested < n.requested AND d.finished_at IS NULL
          ORDER BY d.requested",
    )
    .bind(environment.0)
    .bind(newer.0)
    .try_map(|row: PgRow| row.id("id"))
    .fetch_all(db)
    .await
}

/// The deployments that are not over, with their teams.
pub async fn open(db: impl PgExecutor<'_>, of: Of) -> sqlx::Result<Vec<(DeploymentId, TeamId)>> {
    let (column, id) = of.column();
    sqlx::query(&format!("SELECT id, team_id FROM deployments WHERE {column} = $1 AND finished_at IS NULL"))
        .bind(id)
        .try_map(|row: PgRow| Ok((row.id("id")?, row.id("team_id")?)))
        .fetch_all(db)
        .await
}

/// The deployments of a team that were stopped at or after this time, in the order in which they were asked for.
pub async fn stopped_since(
    db: impl PgExecutor<'_>,
    team: TeamId,
    since: DateTime<Utc>,
) -> sqlx::Result<Vec<DeploymentRow>> {
    let query = "WHERE team_id = $1 AND status = 'stopped' AND finished_at >= $2 ORDER BY requested";
    sqlx::query_as(&DeploymentRow::select(query)).bind(team.0).bind(since).fetch_all(db).await
}

/// The read model.
pub struct Deployments;

impl ReadModel for Deployments {
    const NAME: &'static str = "deployments";
    /// 4: how many servers of it serve.
    const VERSION: i32 = 4;
    const KINDS: &'static [&'static str] = &[kind::DEPLOYMENT];
    const TABLE_NAMES: &'static [&'static str] = &["deployments"];
    const TABLES: &'static str = "CREATE TABLE deployments (
        id             uuid        PRIMARY KEY,
        requested      bigint      NOT NULL,
        team_id        uuid        NOT NULL,
        project_id     uuid        NOT NULL,
        environment_id uuid        NOT NULL,
        build_id       uuid        NOT NULL,
        kind           text        NOT NULL,
        status         text        NOT NULL,
        artifact       jsonb       NOT NULL,
        node_version   text        NOT NULL,
        env_vars       jsonb       NOT NULL,
        address        text,
        replicas       integer     NOT NULL DEFAULT 0,
        failure        jsonb,
        crashes        integer     NOT NULL DEFAULT 0,
        superseded_by  uuid,
        rolled_back_to uuid,
        created_by     text        NOT NULL,
        created_at     timestamptz NOT NULL,
        activated_at   timestamptz,
        finished_at    timestamptz,
        updated_at     timestamptz NOT NULL,
        version        bigint      NOT NULL
    );
    CREATE INDEX ON deployments (environment_id, requested);
    CREATE INDEX ON deployments (status) WHERE finished_at IS NULL;";

    const GRAIN: Grain = Grain::Stream;

    type Rows = Table<DeploymentRow>;

    fn foresee(deployments: &mut Table<DeploymentRow>, recorded: &Recorded, fact: &Fact) {
        if let Fact::Deployment(id, _) = fact
            && recorded.sequence > 1
        {
            deployments.want(*id);
        }
    }

    async fn apply(
        deployments: &mut Table<DeploymentRow>,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        let Fact::Deployment(id, event) = fact else { return Ok(()) };
        if let Some(new) = requested(*id, event, recorded) {
            return deployments.insert(new);
        }
        if let Some(deployment) = deployments.get(db, id).await? {
            change(deployment, event, recorded.at);
            deployment.version = recorded.sequence;
            deployment.updated_at = recorded.at;
        }
        Ok(())
    }
}

fn change(deployment: &mut DeploymentRow, event: &DeploymentEvent, at: DateTime<Utc>) {
    use DeploymentEvent::*;
    // It listens while it runs.
    let addresses = event.addresses().unwrap_or_default();
    deployment.address = addresses.first().map(ToString::to_string);
    deployment.replicas = i32::try_from(addresses.len()).unwrap_or(i32::MAX);
    deployment.status = match event {
        DeploymentRequested { .. } => "pending",
        DeploymentStarting { .. } => "starting",
        DeploymentReplicasChanged { .. } => "running",
        DeploymentActivated { .. } => {
            deployment.activated_at = deployment.activated_at.or(Some(at));
            "running"
        }
        DeploymentSlept {} => "sleeping",
        DeploymentCrashed { crashes, .. } => {
            deployment.crashes = i32::try_from(*crashes).unwrap_or(i32::MAX);
            "starting"
        }
        DeploymentFailed { code, message, exit_code } => {
            deployment.failure =
                Some(Failure { code: *code, message: message.clone(), exit_code: *exit_code });
            "failed"
        }
        DeploymentRolledBack { to, .. } => {
            deployment.rolled_back_to = Some(*to);
            "rolled_back"
        }
        DeploymentSuperseded { by } => {
            deployment.superseded_by = Some(*by);
            "superseded"
        }
        DeploymentStopped {} => "stopped",
    }
    .to_owned();
    if matches!(event, DeploymentFailed { .. } | DeploymentSuperseded { .. } | DeploymentStopped {}) {
        deployment.finished_at = Some(at);
    }
}

/// The deployment that an event begins.
fn requested(id: DeploymentId, event: &DeploymentEvent, recorded: &Recorded) -> Option<DeploymentRow> {
    let DeploymentEvent::DeploymentRequested {
        team_id,
        project_id,
        environment_id,
        build_id,
        artifact,
        node_version,
        env_vars,
        kind,
    } = event
    else {
        return None;
    };
    Some(DeploymentRow {
        id,
        requested: recorded.position,
        team_id: *team_id,
        project_id: *project_id,
        environment_id: *environment_id,
        build_id: *build_id,
        kind: *kind,
        status: "pending".to_owned(),
        artifact: artifact.clone(),
        node_version: node_version.clone(),
        env_vars: env_vars.clone(),
        address: None,
        replicas: 0,
        failure: None,
        crashes: 0,
        superseded_by: None,
        rolled_back_to: None,
        created_by: recorded.envelope().actor.to_string(),
        created_at: recorded.at,
        activated_at: None,
        finished_at: None,
        updated_at: recorded.at,
        version: recorded.sequence,
    })
}
