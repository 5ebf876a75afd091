//! Builds, newest first.

use chrono::{DateTime, Utc};
use domain::build::{BuildEvent, Peak, Phase, Source};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::ports::runner::BuildFailure;
use domain::push::Trigger;
use domain::values::CommitSha;
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
        /// Position of the event that asked for it: builds are asked for in this order, whatever the clocks said.
        pub requested: i64,
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
        /// The archive it is made of, where that is no commit.
        pub upload: Option<Artifact>,
        /// Whether it is deployed when it is ready.
        pub deploy: bool,
        /// Whether somebody wants it to end.
        pub cancel_requested: bool,
        /// Why it failed.
        pub failure: Option<BuildFailure>,
        /// How often a worker has taken it.
        pub tries: i32,
        /// Why the last try ended that was followed, or is to be followed, by another.
        pub last_try: Option<BuildFailure>,
        /// The newer build of its environment that made it needless.
        pub superseded_by: Option<BuildId>,
        /// Its packed output.
        pub artifact: Option<Artifact>,
        /// Since when that is not kept any longer.
        pub artifact_pruned_at: Option<DateTime<Utc>>,
        /// Node that built it.
        pub node_version: Option<String>,
        /// What the owner should know.
        pub warnings: Vec<String>,
        /// Environment variables that the code reads.
        pub env_refs: Vec<String>,
        /// What it used at most, once it has ended.
        pub peak: Option<Peak>,
        /// What asked for it, when that was nobody's own wish.
        pub trigger: Option<Trigger>,
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

impl BuildRow {
    /// The branch that its code is known to be of. Of an upload there is only the word of who sent it, and on that no
    /// right is founded.
    pub fn known_branch(&self) -> Option<String> {
        self.upload.is_none().then(|| self.branch.clone())
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
    let query = BuildRow::select(
        "WHERE project_id = $1
               AND ($2::uuid IS NULL OR requested < (SELECT b.requested FROM builds b WHERE b.id = $2))
             ORDER BY requested DESC LIMIT $3",
    );
    sqlx::query_as(&query).bind(project.0).bind(before.map(|id| id.0)).bind(limit).fetch_all(db).await
}

/// The newest build for an environment that is ready.
pub async fn newest_ready(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
) -> sqlx::Result<Option<BuildRow>> {
    let query = "WHERE environment_id = $1 AND status = 'ready' ORDER BY requested DESC LIMIT 1";
    sqlx::query_as(&BuildRow::select(query)).bind(environment.0).fetch_optional(db).await
}

/// The newest build for an environment, whatever became of it.
pub async fn newest(db: impl PgExecutor<'_>, environment: EnvironmentId) -> sqlx::Result<Option<BuildRow>> {
    let query = "WHERE environment_id = $1 ORDER BY requested DESC LIMIT 1";
    sqlx::query_as(&BuildRow::select(query)).bind(environment.0).fetch_optional(db).await
}

/// Whether an environment ever had a build of a commit that was to be deployed.
pub async fn was_built(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
    commit: &CommitSha,
) -> sqlx::Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM builds WHERE environment_id = $1 AND commit = $2 AND deploy)";
    sqlx::query_scalar(query).bind(environment.0).bind(commit.as_str()).fetch_one(db).await
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

/// The queued builds of an environment that a newer one makes needless, each with its team and the newest such. What
/// is built only to see whether it builds makes nothing needless that is to be deployed.
pub async fn superseded(
    db: impl PgExecutor<'_>,
    environment: EnvironmentId,
) -> sqlx::Result<Vec<(BuildId, TeamId, BuildId)>> {
    sqlx::query(
        "SELECT older.id, older.team_id, newer.id AS newer_id FROM builds older CROSS JOIN LATERAL (
             SELECT id FROM builds n
              WHERE n.environment_id = $1 AND n.requested > older.requested
                AND n.status IN ('queued', 'building', 'ready') AND NOT n.cancel_requested
                AND (n.deploy OR NOT older.deploy)
              ORDER BY n.requested DESC LIMIT 1
         ) newer
          WHERE older.environment_id = $1 AND older.status = 'queued'",
    )
    .bind(environment.0)
    .try_map(|row: PgRow| Ok((row.id("id")?, row.id("team_id")?, row.id("newer_id")?)))
    .fetch_all(db)
    .await
}

/// The read model.
pub struct Builds;

impl ReadModel for Builds {
    const NAME: &'static str = "builds";
    const VERSION: i32 = 6;
    const KINDS: &'static [&'static str] = &[kind::BUILD];
    const TABLE_NAMES: &'static [&'static str] = &["builds"];
    const TABLES: &'static str = "CREATE TABLE builds (
        id               uuid        PRIMARY KEY,
        requested        bigint      NOT NULL,
        team_id          uuid        NOT NULL,
        project_id       uuid        NOT NULL,
        environment_id   uuid        NOT NULL,
        status           text        NOT NULL,
        phase            text,
        branch           text        NOT NULL,
        commit           text,
        upload           jsonb,
        deploy           boolean     NOT NULL,
        cancel_requested boolean     NOT NULL DEFAULT false,
        failure          jsonb,
        tries            integer     NOT NULL DEFAULT 0,
        last_try         jsonb,
        superseded_by    uuid,
        artifact         jsonb,
        artifact_pruned_at timestamptz,
        node_version     text,
        warnings         text[]      NOT NULL DEFAULT '{}',
        env_refs         text[]      NOT NULL DEFAULT '{}',
        peak             jsonb,
        trigger          jsonb,
        created_by       text        NOT NULL,
        created_at       timestamptz NOT NULL,
        started_at       timestamptz,
        finished_at      timestamptz,
        updated_at       timestamptz NOT NULL,
        version          bigint      NOT NULL
    );
    CREATE INDEX ON builds (project_id, requested);
    CREATE INDEX ON builds (environment_id, requested);
    CREATE INDEX ON builds (team_id) WHERE finished_at IS NULL;
    CREATE INDEX ON builds ((artifact->>'sha256')) WHERE artifact_pruned_at IS NULL;";

    const GRAIN: Grain = Grain::Stream;

    type Rows = Table<BuildRow>;

    fn foresee(builds: &mut Table<BuildRow>, recorded: &Recorded, fact: &Fact) {
        if let Fact::Build(id, _) = fact
            && recorded.sequence > 1
        {
            builds.want(*id);
        }
    }

    async fn apply(
        builds: &mut Table<BuildRow>,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        let Fact::Build(id, event) = fact else { return Ok(()) };
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
            build.tries += 1;
        }
        BuildRequeued { failure, .. } => {
            build.status = "queued".to_owned();
            build.phase = None;
            build.last_try = Some(failure.clone());
        }
        BuildCommitResolved { commit } => build.commit = Some(commit.as_str().to_owned()),
        BuildPhaseEntered { phase } => build.phase = Some(*phase),
        BuildSucceeded { artifact, node_version, warnings, env_refs, peak } => {
            end("ready");
            build.artifact = Some(artifact.clone());
            build.node_version = Some(node_version.clone());
            build.warnings.clone_from(warnings);
            build.env_refs.clone_from(env_refs);
            build.peak = *peak;
        }
        BuildFailed { failure, peak } => {
            end("failed");
            build.peak = *peak;
            build.failure = Some(failure.clone());
        }
        BuildSuperseded { by } => {
            end("cancelled");
            build.superseded_by = Some(*by);
        }
        BuildArtifactPruned {} => build.artifact_pruned_at = Some(at),
        BuildCancelRequested {} => build.cancel_requested = true,
        BuildCancelled {} => end("cancelled"),
    }
}

/// The build that an event begins.
fn requested(id: BuildId, event: &BuildEvent, recorded: &Recorded) -> Option<BuildRow> {
    let BuildEvent::BuildRequested {
        team_id,
        project_id,
        environment_id,
        branch,
        commit,
        source,
        deploy,
        trigger,
        ..
    } = event
    else {
        return None;
    };
    Some(BuildRow {
        id,
        requested: recorded.position,
        team_id: *team_id,
        project_id: *project_id,
        environment_id: *environment_id,
        status: "queued".to_owned(),
        phase: None,
        branch: branch.as_str().to_owned(),
        commit: commit.as_ref().map(|commit| commit.as_str().to_owned()),
        upload: match source {
            Source::Repository => None,
            Source::Upload(archive) => Some(archive.clone()),
        },
        deploy: *deploy,
        cancel_requested: false,
        failure: None,
        tries: 0,
        last_try: None,
        superseded_by: None,
        artifact: None,
        artifact_pruned_at: None,
        node_version: None,
        warnings: vec![],
        env_refs: vec![],
        peak: None,
        trigger: trigger.clone(),
        created_by: recorded.envelope().actor.to_string(),
        created_at: recorded.at,
        started_at: None,
        finished_at: None,
        updated_at: recorded.at,
        version: recorded.sequence,
    })
}
