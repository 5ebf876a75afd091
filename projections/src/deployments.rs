//! Deployments: what runs, ran or will run in environments.

use std::net::SocketAddr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::build::FailureCode;
use domain::deployment::{DeploymentEvent, DeploymentKind};
use domain::envelope::Actor;
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
use crate::page::{Listed, Page};
use crate::row::{Columns, stored};

/// How a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentStatus {
    /// It waits for a worker, for the first time or after a crash.
    Pending,
    /// A worker starts it.
    Starting,
    /// It is healthy.
    Running,
    /// It will not run.
    Failed,
    /// Somebody ended it.
    Stopped,
    /// A later one serves its environment.
    Superseded,
}

/// Why a deployment will not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentFailure {
    /// Stable code.
    pub code: FailureCode,
    /// What the owner can do about it.
    pub message: String,
    /// Exit code, when it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

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
    /// The packed output of that build.
    pub artifact: Artifact,
    /// Node that built it.
    pub node_version: String,
    /// The variables it runs with, without their values.
    pub env_vars: Vec<EnvVar>,
    /// Why it was made.
    pub kind: DeploymentKind,
    /// How it stands.
    pub status: DeploymentStatus,
    /// Name of the runner, once a worker has it.
    pub runner: Option<String>,
    /// Where it listens while it runs.
    pub address: Option<SocketAddr>,
    /// Crashes in a row.
    pub crashes: i32,
    /// What is known of the last crash.
    pub last_crash: Option<String>,
    /// Why it will not run.
    pub failure: Option<DeploymentFailure>,
    /// Which later one serves its environment.
    pub superseded_by: Option<DeploymentId>,
    /// Who wanted it.
    pub created_by: Actor,
    /// When it was wanted.
    pub created_at: DateTime<Utc>,
    /// When it was first healthy; never, when absent.
    pub activated_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
    /// Number of its last event, for `ETag`.
    pub version: i64,
    /// Position of the event that made it: its place in lists.
    pub position: i64,
}

/// Whose builds or deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the thing of its name")]
pub enum Of {
    Team(TeamId),
    Project(ProjectId),
    Environment(EnvironmentId),
}

impl Of {
    /// The column that names it, and its id.
    pub(crate) fn column(self) -> (&'static str, Uuid) {
        match self {
            Self::Team(id) => ("team_id", id.0),
            Self::Project(id) => ("project_id", id.0),
            Self::Environment(id) => ("environment_id", id.0),
        }
    }
}

const SELECT: &str = "SELECT id, team_id, project_id, environment_id, build_id, artifact, node_version, env_vars, \
    kind, status, runner, address, crashes, last_crash, failure, superseded_by, created_by, created_at, \
    activated_at, finished_at, version, position FROM deployments";

/// Those that are not over.
const OPEN: &str = "status IN ('pending', 'starting', 'running')";

impl FromRow<'_, PgRow> for DeploymentRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            project_id: row.id("project_id")?,
            environment_id: row.id("environment_id")?,
            build_id: row.id("build_id")?,
            artifact: row.json("artifact")?,
            node_version: row.try_get("node_version")?,
            env_vars: row.json("env_vars")?,
            kind: row.text("kind")?,
            status: row.text("status")?,
            runner: row.try_get("runner")?,
            address: row.maybe_text("address")?,
            crashes: row.try_get("crashes")?,
            last_crash: row.try_get("last_crash")?,
            failure: row.maybe_json("failure")?,
            superseded_by: row.maybe_id("superseded_by")?,
            created_by: row.text("created_by")?,
            created_at: row.try_get("created_at")?,
            activated_at: row.try_get("activated_at")?,
            finished_at: row.try_get("finished_at")?,
            version: row.try_get("version")?,
            position: row.try_get("position")?,
        })
    }
}

/// The deployment with this id.
pub async fn find(db: impl PgExecutor<'_>, id: DeploymentId) -> sqlx::Result<Option<DeploymentRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The deployments of an environment.
pub async fn of_environment(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
    page: Page,
) -> sqlx::Result<Listed<DeploymentRow>> {
    let query =
        format!("{SELECT} WHERE environment_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let items = sqlx::query_as(&query)
        .bind(environment.0)
        .bind(page.before())
        .bind(page.read())
        .fetch_all(db)
        .await?;
    Ok(Listed::cut(items, page, |deployment: &DeploymentRow| deployment.position))
}

/// The running deployments of an environment, newest first: the first is the one that serves.
pub async fn running(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
) -> sqlx::Result<Vec<DeploymentRow>> {
    let query = format!("{SELECT} WHERE environment_id = $1 AND status = 'running' ORDER BY position DESC");
    sqlx::query_as(&query).bind(environment.0).fetch_all(db).await
}

/// The deployment of an environment that last was healthy before this one was wanted: where a rollback goes.
pub async fn served_before(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
    deployment: DeploymentId,
) -> sqlx::Result<Option<DeploymentRow>> {
    let query = format!(
        "{SELECT} WHERE environment_id = $1 AND activated_at IS NOT NULL
            AND position < (SELECT position FROM deployments WHERE id = $2)
          ORDER BY position DESC LIMIT 1"
    );
    sqlx::query_as(&query).bind(environment.0).bind(deployment.0).fetch_optional(db).await
}

/// The deployments of an environment that are not over and were wanted before this one.
pub async fn older_than(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
    deployment: DeploymentId,
) -> sqlx::Result<Vec<DeploymentId>> {
    let query = format!(
        "SELECT id FROM deployments WHERE environment_id = $1 AND {OPEN}
            AND position < (SELECT position FROM deployments WHERE id = $2)
          ORDER BY position"
    );
    sqlx::query(&query)
        .bind(environment.0)
        .bind(deployment.0)
        .try_map(|row: PgRow| row.id("id"))
        .fetch_all(db)
        .await
}

/// The deployments of something that are not over, oldest first.
pub async fn open(db: impl PgExecutor<'_>, of: Of) -> sqlx::Result<Vec<(DeploymentId, TeamId)>> {
    let (column, id) = of.column();
    let query =
        format!("SELECT id, team_id FROM deployments WHERE {column} = $1 AND {OPEN} ORDER BY position");
    sqlx::query(&query)
        .bind(id)
        .try_map(|row: PgRow| Ok((row.id("id")?, row.id("team_id")?)))
        .fetch_all(db)
        .await
}

/// Every running deployment of every team, oldest first, for reconcilers.
pub async fn all_running(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<DeploymentRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE status = 'running' ORDER BY position")).fetch_all(db).await
}

/// Every deployment of every team that is not over, oldest first, for reconcilers.
pub async fn all_open(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<DeploymentRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE {OPEN} ORDER BY position")).fetch_all(db).await
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
            team_id        uuid        NOT NULL,
            project_id     uuid        NOT NULL,
            environment_id uuid        NOT NULL,
            build_id       uuid        NOT NULL,
            artifact       jsonb       NOT NULL,
            node_version   text        NOT NULL,
            env_vars       jsonb       NOT NULL,
            kind           text        NOT NULL,
            status         text        NOT NULL,
            runner         text,
            address        text,
            crashes        integer     NOT NULL,
            last_crash     text,
            failure        jsonb,
            superseded_by  uuid,
            created_by     text        NOT NULL,
            created_at     timestamptz NOT NULL,
            activated_at   timestamptz,
            finished_at    timestamptz,
            version        bigint      NOT NULL,
            position       bigint      NOT NULL
        );
        CREATE INDEX deployments_environment ON deployments (environment_id, position);
        CREATE INDEX deployments_open ON deployments (team_id) WHERE status IN ('pending', 'starting', 'running');"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["deployments"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let Fact::Deployment(id, event) = &recorded.fact else { return Ok(()) };
        if let DeploymentEvent::DeploymentRequested { .. } = event {
            return insert(db, *id, event, recorded).await;
        }
        update(db, *id, event, recorded).await
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
        unreachable!("called with a request only")
    };
    sqlx::query(
        "INSERT INTO deployments (id, team_id, project_id, environment_id, build_id, artifact, node_version,
                                  env_vars, kind, status, crashes, created_by, created_at, version, position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', 0, $10, $11, $12, $13)",
    )
    .bind(id.0)
    .bind(team_id.0)
    .bind(project_id.0)
    .bind(environment_id.0)
    .bind(build_id.0)
    .bind(Json(artifact))
    .bind(node_version)
    .bind(Json(env_vars))
    .bind(stored(kind))
    .bind(recorded.envelope.actor.to_string())
    .bind(recorded.at)
    .bind(recorded.sequence)
    .bind(recorded.position)
    .execute(db)
    .await
    .map(drop)
}

async fn update(
    db: &mut PgConnection,
    id: DeploymentId,
    event: &DeploymentEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let start = |text| sqlx::query(text).bind(id.0).bind(recorded.sequence);
    let query = match event {
        DeploymentEvent::DeploymentRequested { .. } => unreachable!("it is inserted"),
        DeploymentEvent::DeploymentStarting { runner, .. } => {
            start("UPDATE deployments SET version = $2, status = 'starting', runner = $3 WHERE id = $1").bind(runner)
        }
        DeploymentEvent::DeploymentActivated { address } => start(
            "UPDATE deployments SET version = $2, status = 'running', address = $3,
                    activated_at = coalesce(activated_at, $4)
              WHERE id = $1",
        )
        .bind(address.to_string())
        .bind(recorded.at),
        DeploymentEvent::DeploymentCrashed { message, crashes, .. } => start(
            "UPDATE deployments SET version = $2, status = 'pending', address = NULL, last_crash = $3, crashes = $4
              WHERE id = $1",
        )
        .bind(message)
        .bind(i32::try_from(*crashes).unwrap_or(i32::MAX)),
        DeploymentEvent::DeploymentFailed { code, message, exit_code } => start(
            "UPDATE deployments SET version = $2, status = 'failed', address = NULL, failure = $3, finished_at = $4
              WHERE id = $1",
        )
        .bind(Json(DeploymentFailure { code: *code, message: message.clone(), exit_code: *exit_code }))
        .bind(recorded.at),
        DeploymentEvent::DeploymentSuperseded { by } => start(
            "UPDATE deployments SET version = $2, status = 'superseded', address = NULL, superseded_by = $3,
                    finished_at = $4
              WHERE id = $1",
        )
        .bind(by.0)
        .bind(recorded.at),
        DeploymentEvent::DeploymentStopped {} => start(
            "UPDATE deployments SET version = $2, status = 'stopped', address = NULL, finished_at = $3 WHERE id = $1",
        )
        .bind(recorded.at),
    };
    query.execute(db).await.map(drop)
}
