//! Deployments, newest first, and which of them run.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::build::FailureCode;
use domain::deployment::{DeploymentEvent, DeploymentKind};
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::project::EnvVar;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};
use uuid::Uuid;

use crate::feed::Consumer;
use crate::parked::Grain;
use crate::row::{Columns, stored};

/// One deployment.
#[derive(Clone, Debug)]
pub struct DeploymentRow {
    /// Its id.
    pub id: DeploymentId,
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

const SELECT: &str = "SELECT id, team_id, project_id, environment_id, build_id, kind, status, artifact, \
    node_version, env_vars, address, failure, crashes, superseded_by, created_by, created_at, activated_at, \
    finished_at, updated_at, version FROM deployments";

impl FromRow<'_, PgRow> for DeploymentRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            project_id: row.id("project_id")?,
            environment_id: row.id("environment_id")?,
            build_id: row.id("build_id")?,
            kind: row.text("kind")?,
            status: row.try_get("status")?,
            artifact: row.json("artifact")?,
            node_version: row.try_get("node_version")?,
            env_vars: row.json("env_vars")?,
            address: row.try_get("address")?,
            failure: row.maybe_json("failure")?,
            crashes: row.try_get("crashes")?,
            superseded_by: row.maybe_id("superseded_by")?,
            created_by: row.try_get("created_by")?,
            created_at: row.try_get("created_at")?,
            activated_at: row.try_get("activated_at")?,
            finished_at: row.try_get("finished_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
        })
    }
}

/// The deployment with this id.
pub async fn find(db: impl PgExecutor<'_>, id: DeploymentId) -> sqlx::Result<Option<DeploymentRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The deployments of an environment, newest first, before the deployment `before`.
pub async fn of_environment(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
    before: Option<DeploymentId>,
    limit: i64,
) -> sqlx::Result<Vec<DeploymentRow>> {
    let query = format!(
        "{SELECT} WHERE environment_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"
    );
    sqlx::query_as(&query).bind(environment.0).bind(before.map(|id| id.0)).bind(limit).fetch_all(db).await
}

/// Every deployment that serves requests, or should.
pub async fn all_running(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<DeploymentRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE status = 'running' ORDER BY id")).fetch_all(db).await
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
    let query = format!(
        "{SELECT} WHERE environment_id = $1 AND activated_at IS NOT NULL ORDER BY requested DESC OFFSET 1 LIMIT 1"
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

#[async_trait]
impl Consumer for Deployments {
    fn name(&self) -> &'static str {
        "deployments"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE deployments (
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
        CREATE INDEX ON deployments (status) WHERE finished_at IS NULL;"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["deployments"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(recorded.fact, Fact::Deployment(..))
    }

    fn grain(&self) -> Grain {
        Grain::Stream
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        use DeploymentEvent::*;
        let Fact::Deployment(id, event) = &recorded.fact else { return Ok(()) };
        let at = recorded.at;
        let query = match event {
            DeploymentRequested { .. } => return insert(db, *id, event, recorded).await,
            DeploymentStarting { .. } => {
                sqlx::query("UPDATE deployments SET status = 'starting', address = NULL WHERE id = $1").bind(id.0)
            }
            DeploymentActivated { address } => sqlx::query(
                "UPDATE deployments SET status = 'running', address = $2, activated_at = coalesce(activated_at, $3)
                  WHERE id = $1",
            )
            .bind(id.0)
            .bind(address.to_string())
            .bind(at),
            DeploymentCrashed { crashes, .. } => sqlx::query(
                "UPDATE deployments SET status = 'starting', address = NULL, crashes = $2 WHERE id = $1",
            )
            .bind(id.0)
            .bind(i32::try_from(*crashes).unwrap_or(i32::MAX)),
            DeploymentFailed { code, message, exit_code } => {
                let failure = Failure { code: *code, message: message.clone(), exit_code: *exit_code };
                sqlx::query(
                    "UPDATE deployments SET status = 'failed', address = NULL, failure = $2, finished_at = $3
                      WHERE id = $1",
                )
                .bind(id.0)
                .bind(Json(failure))
                .bind(at)
            }
            DeploymentSuperseded { by } => sqlx::query(
                "UPDATE deployments SET status = 'superseded', address = NULL, superseded_by = $2, finished_at = $3
                  WHERE id = $1",
            )
            .bind(id.0)
            .bind(by.0)
            .bind(at),
            DeploymentStopped {} => sqlx::query(
                "UPDATE deployments SET status = 'stopped', address = NULL, finished_at = $2 WHERE id = $1",
            )
            .bind(id.0)
            .bind(at),
        };
        query.execute(&mut *db).await?;
        sqlx::query("UPDATE deployments SET version = $2, updated_at = $3 WHERE id = $1")
            .bind(id.0)
            .bind(recorded.sequence)
            .bind(at)
            .execute(db)
            .await
            .map(drop)
    }
}

async fn insert(
    db: &mut PgConnection,
    id: DeploymentId,
    event: &DeploymentEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
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
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO deployments (id, requested, team_id, project_id, environment_id, build_id, kind, status,
                                  artifact, node_version, env_vars, created_by, created_at, updated_at, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9, $10, $11, $12, $12, $13)",
    )
    .bind(id.0)
    .bind(recorded.position)
    .bind(team_id.0)
    .bind(project_id.0)
    .bind(environment_id.0)
    .bind(build_id.0)
    .bind(stored(kind))
    .bind(Json(artifact))
    .bind(node_version)
    .bind(Json(env_vars))
    .bind(recorded.envelope.actor.to_string())
    .bind(recorded.at)
    .bind(recorded.sequence)
    .execute(db)
    .await
    .map(drop)
}
