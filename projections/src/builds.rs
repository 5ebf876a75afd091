//! Builds, newest first.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::build::{BuildEvent, Phase};
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::ports::runner::BuildFailure;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};

use crate::deployments::Of;
use crate::feed::Consumer;
use crate::parked::Grain;
use crate::row::{Columns, stored};

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
    /// `queued`, `building`, `ready`, `failed` or `cancelled`.
    pub status: String,
    /// The part that is going on, or was last.
    pub phase: Option<Phase>,
    /// The branch it is of.
    pub branch: String,
    /// The commit, once it is known.
    pub commit: Option<String>,
    /// Whether it is deployed when it is ready.
    pub deploy: bool,
    /// Whether somebody wants it to end.
    pub cancel_requested: bool,
    /// Why it failed.
    pub failure: Option<BuildFailure>,
    /// Its packed output.
    pub artifact: Option<Artifact>,
    /// Node that built it.
    pub node_version: Option<String>,
    /// What the owner should know.
    pub warnings: Vec<String>,
    /// Environment variables that the code reads.
    pub env_refs: Vec<String>,
    /// Who asked for it.
    pub created_by: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Number of its last event, for `ETag`.
    pub version: i64,
}

const SELECT: &str = "SELECT id, team_id, project_id, environment_id, status, phase, branch, commit, deploy, \
    cancel_requested, failure, artifact, node_version, warnings, env_refs, created_by, created_at, started_at, \
    finished_at, updated_at, version FROM builds";

impl FromRow<'_, PgRow> for BuildRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            project_id: row.id("project_id")?,
            environment_id: row.id("environment_id")?,
            status: row.try_get("status")?,
            phase: row.maybe_text("phase")?,
            branch: row.try_get("branch")?,
            commit: row.try_get("commit")?,
            deploy: row.try_get("deploy")?,
            cancel_requested: row.try_get("cancel_requested")?,
            failure: row.maybe_json("failure")?,
            artifact: row.maybe_json("artifact")?,
            node_version: row.try_get("node_version")?,
            warnings: row.try_get("warnings")?,
            env_refs: row.try_get("env_refs")?,
            created_by: row.try_get("created_by")?,
            created_at: row.try_get("created_at")?,
            started_at: row.try_get("started_at")?,
            finished_at: row.try_get("finished_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
        })
    }
}

/// The build with this id.
pub async fn find(db: impl PgExecutor<'_>, id: BuildId) -> sqlx::Result<Option<BuildRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The builds of a project, newest first, before the build `before`.
pub async fn of_project(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    before: Option<BuildId>,
    limit: i64,
) -> sqlx::Result<Vec<BuildRow>> {
    let query =
        format!("{SELECT} WHERE project_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3");
    sqlx::query_as(&query).bind(project.0).bind(before.map(|id| id.0)).bind(limit).fetch_all(db).await
}

/// The builds that have not ended, with their teams.
pub async fn open(db: impl PgExecutor<'_>, of: Of) -> sqlx::Result<Vec<(BuildId, TeamId)>> {
    let (column, id) = of.column();
    sqlx::query(&format!("SELECT id, team_id FROM builds WHERE {column} = $1 AND finished_at IS NULL"))
        .bind(id)
        .try_map(|row: PgRow| Ok((row.id("id")?, row.id("team_id")?)))
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
            commit           text,
            deploy           boolean     NOT NULL,
            cancel_requested boolean     NOT NULL DEFAULT false,
            failure          jsonb,
            artifact         jsonb,
            node_version     text,
            warnings         text[]      NOT NULL DEFAULT '{}',
            env_refs         text[]      NOT NULL DEFAULT '{}',
            created_by       text        NOT NULL,
            created_at       timestamptz NOT NULL,
            started_at       timestamptz,
            finished_at      timestamptz,
            updated_at       timestamptz NOT NULL,
            version          bigint      NOT NULL
        );
        CREATE INDEX ON builds (project_id, id);
        CREATE INDEX ON builds (environment_id) WHERE finished_at IS NULL;
        CREATE INDEX ON builds (team_id) WHERE finished_at IS NULL;"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["builds"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(recorded.fact, Fact::Build(..))
    }

    fn grain(&self) -> Grain {
        Grain::Stream
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        use BuildEvent::*;
        let Fact::Build(id, event) = &recorded.fact else { return Ok(()) };
        let (at, db) = (recorded.at, &mut *db);
        let query = match event {
            BuildRequested { .. } => return insert(db, *id, event, recorded).await,
            BuildStarted { .. } => sqlx::query(
                "UPDATE builds SET status = 'building', started_at = $2, phase = NULL WHERE id = $1",
            )
            .bind(id.0)
            .bind(at),
            BuildCommitResolved { commit } => {
                sqlx::query("UPDATE builds SET commit = $2 WHERE id = $1").bind(id.0).bind(commit.as_str())
            }
            BuildPhaseEntered { phase } => {
                sqlx::query("UPDATE builds SET phase = $2 WHERE id = $1").bind(id.0).bind(stored(phase))
            }
            BuildSucceeded { artifact, node_version, warnings, env_refs } => sqlx::query(
                "UPDATE builds SET status = 'ready', finished_at = $2, artifact = $3, node_version = $4,
                        warnings = $5, env_refs = $6 WHERE id = $1",
            )
            .bind(id.0)
            .bind(at)
            .bind(Json(artifact))
            .bind(node_version)
            .bind(warnings)
            .bind(env_refs),
            BuildFailed { failure } => sqlx::query(
                "UPDATE builds SET status = 'failed', finished_at = $2, failure = $3 WHERE id = $1",
            )
            .bind(id.0)
            .bind(at)
            .bind(Json(failure)),
            BuildCancelRequested {} => {
                sqlx::query("UPDATE builds SET cancel_requested = true WHERE id = $1").bind(id.0)
            }
            BuildCancelled {} => {
                sqlx::query("UPDATE builds SET status = 'cancelled', finished_at = $2 WHERE id = $1")
                    .bind(id.0)
                    .bind(at)
            }
        };
        query.execute(&mut *db).await?;
        sqlx::query("UPDATE builds SET version = $2, updated_at = $3 WHERE id = $1")
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
    id: BuildId,
    event: &BuildEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let BuildEvent::BuildRequested { team_id, project_id, environment_id, branch, commit, deploy } = event
    else {
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO builds (id, team_id, project_id, environment_id, status, branch, commit, deploy, created_by,
                             created_at, updated_at, version)
         VALUES ($1, $2, $3, $4, 'queued', $5, $6, $7, $8, $9, $9, $10)",
    )
    .bind(id.0)
    .bind(team_id.0)
    .bind(project_id.0)
    .bind(environment_id.0)
    .bind(branch.as_str())
    .bind(commit.as_ref().map(|commit| commit.as_str()))
    .bind(deploy)
    .bind(recorded.envelope.actor.to_string())
    .bind(recorded.at)
    .bind(recorded.sequence)
    .execute(db)
    .await
    .map(drop)
}
