//! Builds, newest first.

use chrono::{DateTime, Utc};
use domain::build::{BuildEvent, Phase};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::ports::runner::BuildFailure;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor};

use crate::deployments::Of;
use crate::model::ReadModel;
use crate::parked::Grain;
use crate::row::Columns;
use crate::rows::{Row, Table, row};

row! {
    /// One build.
    pub struct BuildRow in "builds" by (id: BuildId) {
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
}

/// The build with this id.
pub async fn find(db: impl PgExecutor<'_>, id: BuildId) -> sqlx::Result<Option<BuildRow>> {
    sqlx::query_as(&BuildRow::select("WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The builds of a project, newest first, before the build `before`.
pub async fn of_project(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    before: Option<BuildId>,
    limit: i64,
) -> sqlx::Result<Vec<BuildRow>> {
    let query =
        BuildRow::select("WHERE project_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3");
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

impl ReadModel for Builds {
    const NAME: &'static str = "builds";
    const VERSION: i32 = 1;
    const KINDS: &'static [&'static str] = &[kind::BUILD];
    const TABLE_NAMES: &'static [&'static str] = &["builds"];
    const TABLES: &'static str = "CREATE TABLE builds (
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
    CREATE INDEX ON builds (team_id) WHERE finished_at IS NULL;";

    const GRAIN: Grain = Grain::Stream;

    type Rows = Table<BuildRow>;

    fn foresee(builds: &mut Table<BuildRow>, recorded: &Recorded) {
        if let Fact::Build(id, _) = &recorded.fact
            && recorded.sequence > 1
        {
            builds.want(*id);
        }
    }

    async fn apply(
        builds: &mut Table<BuildRow>,
        db: &mut PgConnection,
        recorded: &Recorded,
    ) -> sqlx::Result<()> {
        let Fact::Build(id, event) = &recorded.fact else { return Ok(()) };
        if let Some(new) = requested(*id, event, recorded) {
            return builds.insert(new);
        }
        if let Some(build) = builds.get(db, id).await? {
            change(build, event, recorded.at);
            build.version = recorded.sequence;
            build.updated_at = recorded.at;
        }
        Ok(())
    }
}

fn change(build: &mut BuildRow, event: &BuildEvent, at: DateTime<Utc>) {
    use BuildEvent::*;
    let mut end = |status: &str| {
        build.status = status.to_owned();
        build.finished_at = Some(at);
    };
    match event {
        BuildRequested { .. } => {}
        BuildStarted { .. } => {
            build.status = "building".to_owned();
            build.started_at = Some(at);
            build.phase = None;
        }
        BuildCommitResolved { commit } => build.commit = Some(commit.as_str().to_owned()),
        BuildPhaseEntered { phase } => build.phase = Some(*phase),
        BuildSucceeded { artifact, node_version, warnings, env_refs } => {
            end("ready");
            build.artifact = Some(artifact.clone());
            build.node_version = Some(node_version.clone());
            build.warnings.clone_from(warnings);
            build.env_refs.clone_from(env_refs);
        }
        BuildFailed { failure } => {
            end("failed");
            build.failure = Some(failure.clone());
        }
        BuildCancelRequested {} => build.cancel_requested = true,
        BuildCancelled {} => end("cancelled"),
    }
}

/// The build that an event begins.
fn requested(id: BuildId, event: &BuildEvent, recorded: &Recorded) -> Option<BuildRow> {
    let BuildEvent::BuildRequested { team_id, project_id, environment_id, branch, commit, deploy } = event
    else {
        return None;
    };
    Some(BuildRow {
        id,
        team_id: *team_id,
        project_id: *project_id,
        environment_id: *environment_id,
        status: "queued".to_owned(),
        phase: None,
        branch: branch.as_str().to_owned(),
        commit: commit.as_ref().map(|commit| commit.as_str().to_owned()),
        deploy: *deploy,
        cancel_requested: false,
        failure: None,
        artifact: None,
        node_version: None,
        warnings: vec![],
        env_refs: vec![],
        created_by: recorded.envelope().actor.to_string(),
        created_at: recorded.at,
        started_at: None,
        finished_at: None,
        updated_at: recorded.at,
        version: recorded.sequence,
    })
}
