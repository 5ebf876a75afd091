//! The queue of builds: which one is taken next, and what another waits for.
//!
//! Invariants: no more builds run than the limits say, over all servers on the database, and one of an environment at
//! a time. Nobody waits for ever: teams take turns, and within a team each fourth turn is the oldest build's.
//! The decision is one statement under one lock, so it is the same whoever asks (ADR 0023).

use std::time::Duration;

use domain::ids::BuildId;
use serde::Serialize;
use sqlx::{PgExecutor, PgPool};

use crate::work::{self, Claimed, IS_LOST, TAKE, TAKEN};

/// The process whose rows of work these are; their payload names team, project and rank.
pub const PROCESS: &str = "run_build";

/// How many builds run at a time, over all servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of everybody.
    pub total: u32,
    /// Of one team.
    pub team: u32,
    /// Of one project.
    pub project: u32,
}

/// What a queued build waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum WaitingFor {
    /// The pause after a try that failed by the platform's fault.
    Retry,
    /// Another build of its environment runs, or is newer.
    EnvironmentBusy,
    /// As many builds of its project run as may.
    ProjectLimit,
    /// As many builds of its team run as may.
    TeamLimit,
    /// As many builds run as may.
    GlobalLimit,
    /// A worker: it is about to start.
    Worker,
}

/// Where a build stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it waits for.
    pub waiting_for: WaitingFor,
    /// How many builds of its team are to be taken before it, as things are.
    pub before: i64,
}

/// What waits and what runs, with what the choice depends on. Of an environment only the newest build waits for a
/// worker; it has the place of the oldest.
const OPEN: &str = "
    open AS MATERIALIZED (
        SELECT id, key, lane, state, run_at, lease_until, cause_position,
               min(arrived) FILTER (WHERE state = 'ready') OVER (PARTITION BY lane) AS arrived,
               payload ->> 'team_id' AS team, payload ->> 'project_id' AS project,
               coalesce((payload ->> 'rank')::integer, 0) AS rank
          FROM work WHERE process = 'run_build' AND state IN ('ready', 'running')
    ),
    busy AS MATERIALIZED (SELECT lane, team, project FROM open WHERE state = 'running'),
    busy_teams AS (SELECT team, count(*) AS running FROM busy GROUP BY team),
    busy_projects AS (SELECT project, count(*) AS running FROM busy GROUP BY project),
    newest AS (
        SELECT DISTINCT ON (lane) id, key, lane, run_at, arrived, team, project, rank FROM open
         WHERE state = 'ready'
         ORDER BY lane, cause_position DESC, id DESC
    ),
    waiting AS (
        SELECT id, key, lane, run_at, arrived, team, project, rank, coalesce(t.running, 0) AS of_team,
               coalesce(p.running, 0) AS of_project,
               EXISTS (SELECT FROM busy WHERE busy.lane = newest.lane) AS is_lane_busy,
               (SELECT count(*) FROM busy) AS of_all
          FROM newest LEFT JOIN busy_teams t USING (team) LEFT JOIN busy_projects p USING (project)
    )";

/// Takes the build whose turn it is, if the limits let one begin. A build whose worker has been silent past its lease
/// is taken over before: it counts already.
///
/// Of the teams that have something to begin, the one with the fewest running builds has its turn; of these, the one
/// whose last turn, or whose oldest build if that came later, is longest ago. So a team that comes with one build
/// waits for one turn of each other team at most, however much that has queued, and newcomers never overtake for ever.
/// Of that team it is production before staging before previews, and each fourth time the oldest.
pub async fn claim(
    pool: &PgPool,
    limits: Limits,
    worker: &str,
    lease: Duration,
) -> sqlx::Result<Option<Claimed>> {
    let mut db = pool.begin().await?;
    // Each look sees what the one before has taken.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('queue/run_build', 0))")
        .execute(&mut *db)
        .await?;
    let claimed = sqlx::query(&format!(
        "WITH {OPEN},
         free AS (
             SELECT id, team, rank, arrived, of_team FROM waiting
              WHERE run_at <= now() AND NOT is_lane_busy AND of_all < $4 AND of_team < $5 AND of_project < $6
         ),
         team AS (
             SELECT team, coalesce(t.turns, 0) AS turns FROM free LEFT JOIN build_turns t ON t.team_id = free.team
              GROUP BY team, of_team, t.turns, t.last
              ORDER BY of_team, greatest(t.last, min(arrived)), team LIMIT 1
         ),
         lost AS (
             SELECT id, true AS is_lost FROM open w
              WHERE state = 'running' AND {IS_LOST} ORDER BY lease_until, id LIMIT 1
         ),
         next AS (
             SELECT id, false AS is_lost FROM free JOIN team USING (team)
              ORDER BY CASE WHEN turns % 4 = 3 THEN 0 ELSE rank END, arrived, id LIMIT 1
         ),
         choice AS (
             SELECT id, is_lost FROM lost UNION ALL SELECT id, is_lost FROM next WHERE NOT EXISTS (SELECT FROM lost)
         ),
         taken AS (
             UPDATE work w SET {TAKE}
               FROM choice
              WHERE w.id = choice.id
                AND CASE WHEN is_lost THEN w.state = 'running' AND {IS_LOST} ELSE w.state = 'ready' END
             RETURNING {TAKEN}
         ),
         turned AS (
             INSERT INTO build_turns (team_id, last, turns)
             SELECT payload ->> 'team_id', fence, 1 FROM taken WHERE NOT is_lost
             ON CONFLICT (team_id) DO UPDATE SET last = excluded.last, turns = build_turns.turns + 1
         )
         SELECT {TAKEN} FROM taken w"
    ))
    .bind(worker)
    .bind(lease)
    .bind(work::LOST)
    .bind(i64::from(limits.total))
    .bind(i64::from(limits.team))
    .bind(i64::from(limits.project))
    .try_map(|row| work::claimed(&row))
    .fetch_optional(&mut *db)
    .await?;
    db.commit().await?;
    Ok(claimed)
}

/// Where a build stands. `None` when it does not wait, or its row is not there yet.
pub async fn place(db: impl PgExecutor<'_>, build: BuildId, limits: Limits) -> sqlx::Result<Option<Place>> {
    let place = sqlx::query_as::<_, (WaitingFor, i64)>(&format!(
        "WITH {OPEN}
         SELECT CASE WHEN me.run_at > now() THEN 'retry'
                     WHEN lane.is_lane_busy OR lane.key <> me.key THEN 'environment_busy'
                     WHEN lane.of_all >= $2 THEN 'global_limit'
                     WHEN lane.of_team >= $3 THEN 'team_limit'
                     WHEN lane.of_project >= $4 THEN 'project_limit'
                     ELSE 'worker' END,
                (SELECT count(*) FROM waiting other
                  WHERE other.team = me.team AND (other.rank, other.arrived) < (lane.rank, lane.arrived))
           FROM open me JOIN waiting lane USING (lane) WHERE me.key = $1 AND me.state = 'ready'"
    ))
    .bind(build.to_string())
    .bind(i64::from(limits.total))
    .bind(i64::from(limits.team))
    .bind(i64::from(limits.project))
    .fetch_optional(db)
    .await?;
    Ok(place.map(|(waiting_for, before)| Place { waiting_for, before }))
}
