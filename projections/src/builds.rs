//! Builds of projects.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::build::{BuildEvent, Phase};
use domain::envelope::Actor;
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::ports::runner::BuildFailure;
use domain::values::{BranchName, CommitSha};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};

use crate::deployments::Of;
use crate::feed::Consumer;
use crate::page::{Listed, Page};
use crate::row::{Columns, stored};

/// How a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStatus {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Building,
    /// There is something to deploy.
    Ready,
    /// It ended without a result.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// One build.
#[derive(Clone, Debug)]
pub struct BuildRow {
    /// Its id.
    pub id: BuildId,
    /// Its team.
    pub team_id: TeamId,
    /// Its project.
    pub project_id: ProjectId,
    /// The environment it is for.
    pub environment_id: EnvironmentId,
    /// How it stands.
    pub status: BuildStatus,
    /// What goes on, or went on when it ended.
    pub phase: Option<Phase>,
    /// The branch it is of.
    pub branch: BranchName,
    /// The commit, once it is known.
    pub commit: Option<CommitSha>,
    /// Whether it is deployed when it is ready.
    pub deploy: bool,
    /// Whether somebody wants it to end.
    pub cancel_requested: bool,
    /// Name of the runner, once a worker has it.
    pub runner: Option<String>,
    /// The packed output.
    pub artifact: Option<Artifact>,
    /// Node that built it.
    pub node_version: Option<String>,
    /// What the owner should know.
    pub warnings: Vec<String>,
    /// Environment variables that the code reads.
    pub env_refs: Vec<String>,
    /// Why it failed.
    pub failure: Option<BuildFailure>,
    /// Who wanted it.
    pub created_by: Actor,
    /// When it was wanted.
    pub created_at: DateTime<Utc>,
    /// When a worker last took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Number of its last event, for `ETag`.
    pub version: i64,
    /// Position of the event that made it: its place in lists.
    pub position: i64,
}

const SELECT: &str = "SELECT id, team_id, project_id, environment_id, status, phase, branch, commit_sha, deploy, \
    cancel_requested, runner, artifact, node_version, warnings, env_refs, failure, created_by, created_at, \
    started_at, finished_at, version, position FROM builds";

impl FromRow<'_, PgRow> for BuildRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            project_id: row.id("project_id")?,
            environment_id: row.id("environment_id")?,
            status: row.text("status")?,
            phase: row.maybe_text("phase")?,
            branch: row.text("branch")?,
            commit: row.maybe_text("commit_sha")?,
            deploy: row.try_get("deploy")?,
            cancel_requested: row.try_get("cancel_requested")?,
            runner: row.try_get("runner")?,
            artifact: row.maybe_json("artifact")?,
            node_version: row.try_get("node_version")?,
            warnings: row.json("warnings")?,
            env_refs: row.json("env_refs")?,
            failure: row.maybe_json("failure")?,
            created_by: row.text("created_by")?,
            created_at: row.try_get("created_at")?,
            started_at: row.try_get("started_at")?,
            finished_at: row.try_get("finished_at")?,
            version: row.try_get("version")?,
            position: row.try_get("position")?,
        })
    }
}

/// The build with this id.
pub async fn find(db: impl PgExecutor<'_>, id: BuildId) -> sqlx::Result<Option<BuildRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The builds of a project.
pub async fn of_project(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    page: Page,
) -> sqlx::Result<Listed<BuildRow>> {
    let query = format!("{SELECT} WHERE project_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let items =
        sqlx::query_as(&query).bind(project.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |build: &BuildRow| build.position))
}

/// The builds of something that have not ended, oldest first.
pub async fn open(db: impl PgExecutor<'_>, of: Of) -> sqlx::Result<Vec<(BuildId, TeamId)>> {
    let (column, id) = of.column();
    let query = format!(
        "SELECT id, team_id FROM builds WHERE {column} = $1 AND status IN ('queued', 'building') ORDER BY position"
    );
    sqlx::query(&query)
        .bind(id)
        .try_map(|row: PgRow| Ok((row.id("id")?, row.id("team_id")?)))
        .fetch_all(db)
        .await
}

/// Every build that has not ended, oldest first, for reconcilers.
pub async fn all_open(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<BuildRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE status IN ('queued', 'building') ORDER BY position"))
        .fetch_all(db)
        .await
}

/// The read model.
pub struct Builds;

#[async_trait]
impl Consumer for Builds {
    fn name(&self) -> &'static str {
        "builds"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE builds (
            id               uuid        PRIMARY KEY,
            team_id          uuid        NOT NULL,
            project_id       uuid        NOT NULL,
            environment_id   uuid        NOT NULL,
            status           text        NOT NULL,
            phase            text,
            branch           text        NOT NULL,
            commit_sha       text,
            deploy           boolean     NOT NULL,
            cancel_requested boolean     NOT NULL,
            runner           text,
            artifact         jsonb,
            node_version     text,
            warnings         jsonb       NOT NULL,
            env_refs         jsonb       NOT NULL,
            failure          jsonb,
            created_by       text        NOT NULL,
            created_at       timestamptz NOT NULL,
            started_at       timestamptz,
            finished_at      timestamptz,
            version          bigint      NOT NULL,
            position         bigint      NOT NULL
        );
        CREATE INDEX builds_project ON builds (project_id, position);
        CREATE INDEX builds_open ON builds (team_id) WHERE status IN ('queued', 'building');"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["builds"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let Fact::Build(id, event) = &recorded.fact else { return Ok(()) };
        match event {
            BuildEvent::BuildRequested { .. } => insert(db, *id, event, recorded).await,
            BuildEvent::BuildSucceeded { .. }
            | BuildEvent::BuildFailed { .. }
            | BuildEvent::BuildCancelled {} => finish(db, *id, event, recorded).await,
            BuildEvent::BuildStarted { .. }
            | BuildEvent::BuildCommitResolved { .. }
            | BuildEvent::BuildPhaseEntered { .. }
            | BuildEvent::BuildCancelRequested {} => progress(db, *id, event, recorded).await,
        }
    }
}

async fn insert(
    db: &mut PgConnection,
    id: BuildId,
    event: &BuildEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let BuildEvent::BuildRequested { team_id, project_id, environment_id, branch, commit, deploy } = event
    else {
        unreachable!("called with a request only")
    };
    sqlx::query(
        "INSERT INTO builds (id, team_id, project_id, environment_id, status, branch, commit_sha, deploy,
                             cancel_requested, warnings, env_refs, created_by, created_at, version, position)
         VALUES ($1, $2, $3, $4, 'queued', $5, $6, $7, false, '[]', '[]', $8, $9, $10, $11)",
    )
    .bind(id.0)
    .bind(team_id.0)
    .bind(project_id.0)
    .bind(environment_id.0)
    .bind(branch.as_str())
    .bind(commit.as_ref().map(CommitSha::as_str))
    .bind(deploy)
    .bind(recorded.envelope.actor.to_string())
    .bind(recorded.at)
    .bind(recorded.sequence)
    .bind(recorded.position)
    .execute(db)
    .await
    .map(drop)
}

async fn progress(
    db: &mut PgConnection,
    id: BuildId,
    event: &BuildEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let query = match event {
        BuildEvent::BuildStarted { runner, .. } => sqlx::query(
            "UPDATE builds SET version = $2, status = 'building', phase = NULL, runner = $3, started_at = $4
              WHERE id = $1",
        )
        .bind(id.0)
        .bind(recorded.sequence)
        .bind(runner)
        .bind(recorded.at),
        BuildEvent::BuildCommitResolved { commit } => {
            sqlx::query("UPDATE builds SET version = $2, commit_sha = $3 WHERE id = $1")
                .bind(id.0)
                .bind(recorded.sequence)
                .bind(commit.as_str())
        }
        BuildEvent::BuildPhaseEntered { phase } => {
            sqlx::query("UPDATE builds SET version = $2, phase = $3 WHERE id = $1")
                .bind(id.0)
                .bind(recorded.sequence)
                .bind(stored(phase))
        }
        _ => sqlx::query("UPDATE builds SET version = $2, cancel_requested = true WHERE id = $1")
            .bind(id.0)
            .bind(recorded.sequence),
    };
    query.execute(db).await.map(drop)
}

async fn finish(
    db: &mut PgConnection,
    id: BuildId,
    event: &BuildEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let query = match event {
        BuildEvent::BuildSucceeded { artifact, node_version, warnings, env_refs } => sqlx::query(
            "UPDATE builds SET version = $2, finished_at = $3, status = 'ready', artifact = $4, node_version = $5,
                    warnings = $6, env_refs = $7
              WHERE id = $1",
        )
        .bind(id.0)
        .bind(recorded.sequence)
        .bind(recorded.at)
        .bind(Json(artifact))
        .bind(node_version)
        .bind(Json(warnings))
        .bind(Json(env_refs)),
        BuildEvent::BuildFailed { failure } => sqlx::query(
            "UPDATE builds SET version = $2, finished_at = $3, status = 'failed', failure = $4 WHERE id = $1",
        )
        .bind(id.0)
        .bind(recorded.sequence)
        .bind(recorded.at)
        .bind(Json(failure)),
        _ => sqlx::query(
            "UPDATE builds SET version = $2, finished_at = $3, status = 'cancelled' WHERE id = $1",
        )
        .bind(id.0)
        .bind(recorded.sequence)
        .bind(recorded.at),
    };
    query.execute(db).await.map(drop)
}
