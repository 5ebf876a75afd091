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
use sqlx::{PgConnection, PgExecutor};
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
        /// `pending`, `starting`, `running`, `failed`, `stopped` or `superseded`.
        pub status: String,
        /// Packed output of its build.
        pub artifact: Artifact,
        /// Node that built it.
        pub node_version: String,
        /// The variables it runs with, without values.
        pub env_vars: Vec<EnvVar>,
        /// Where it listens, while it runs.
        pub address: Option<String>,
        /// Why it failed.
        pub failure: Option<Failure>,
        /// How often it crashed in a row.
        pub crashes: i32,
        /// Which one took its place.
        pub superseded_by: Option<DeploymentId>,
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
        "WHERE environment_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
    );
    sqlx::query_as(&query).bind(environment.0).bind(before.map(|id| id.0)).bind(limit).fetch_all(db).await
}

/// Every deployment that serves requests, or should.
pub async fn all_running(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<DeploymentRow>> {
    sqlx::query_as(&DeploymentRow::select("WHERE status = 'running' ORDER BY id")).fetch_all(db).await
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

/// The deployment that ran before the newest one that ever ran in an environment; for a rollback without a target.
pub async fn before_last(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
) -> sqlx::Result<Option<DeploymentRow>> {
    let query = DeploymentRow::select(
        "WHERE environment_id = $1 AND activated_at IS NOT NULL ORDER BY requested DESC OFFSET 1 LIMIT 1",
    );
    sqlx::query_as(&query).bind(environment.0).fetch_optional(db).await
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

/// The read model.
pub struct Deployments;

impl ReadModel for Deployments {
    const NAME: &'static str = "deployments";
    const VERSION: i32 = 1;
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
        failure        jsonb,
        crashes        integer     NOT NULL DEFAULT 0,
        superseded_by  uuid,
        created_by     text        NOT NULL,
        created_at     timestamptz NOT NULL,
        activated_at   timestamptz,
        finished_at    timestamptz,
        updated_at     timestamptz NOT NULL,
        version        bigint      NOT NULL
    );
    CREATE INDEX ON deployments (environment_id, id);
    CREATE INDEX ON deployments (status) WHERE finished_at IS NULL;";

    const GRAIN: Grain = Grain::Stream;

    type Rows = Table<DeploymentRow>;

    fn foresee(deployments: &mut Table<DeploymentRow>, recorded: &Recorded) {
        if let Fact::Deployment(id, _) = &recorded.fact
            && recorded.sequence > 1
        {
            deployments.want(*id);
        }
    }

    async fn apply(
        deployments: &mut Table<DeploymentRow>,
        db: &mut PgConnection,
        recorded: &Recorded,
    ) -> sqlx::Result<()> {
        let Fact::Deployment(id, event) = &recorded.fact else { return Ok(()) };
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
    deployment.address = None; // it listens while it runs
    deployment.status = match event {
        DeploymentRequested { .. } => "pending",
        DeploymentStarting { .. } => "starting",
        DeploymentActivated { address } => {
            deployment.address = Some(address.to_string());
            deployment.activated_at = deployment.activated_at.or(Some(at));
            "running"
        }
        DeploymentCrashed { crashes, .. } => {
            deployment.crashes = i32::try_from(*crashes).unwrap_or(i32::MAX);
            "starting"
        }
        DeploymentFailed { code, message, exit_code } => {
            deployment.failure =
                Some(Failure { code: *code, message: message.clone(), exit_code: *exit_code });
            "failed"
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
        failure: None,
        crashes: 0,
        superseded_by: None,
        created_by: recorded.envelope().actor.to_string(),
        created_at: recorded.at,
        activated_at: None,
        finished_at: None,
        updated_at: recorded.at,
        version: recorded.sequence,
    })
}
