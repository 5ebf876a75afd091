//! The inbox: what git hosts have told by webhooks, each delivery once, and what came of it. Not made of the log:
//! a delivery is stored with its row of work before its sender is answered, and what it leads to are events.

use chrono::{DateTime, Utc};
use domain::ids::{BuildId, DeliveryId, EnvironmentId, ProjectId, TeamId};
use domain::ports::git_host::Received;
use domain::push::Nothing;
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row};
use uuid::Uuid;

use crate::row::Columns;

/// The process whose rows of work deliveries are; their payload names the delivery.
pub const PROCESS: &str = "take_delivery";

/// The ref of the note that the open pull requests of a repository were looked at for the first time.
pub const PULLS: &str = "refs/pull";

const COLUMNS: &str = "id, source, delivery_id, kind, action, installation, repository, project, repository_name, \
                       reference, commit, sender, received_at, log_head, settled_at";

/// One delivery.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Our id; ids sort by when they came.
    pub id: DeliveryId,
    /// The host: `github`; of a project's own webhook the form: `gitlab`, `gitea`, `webhook`.
    pub source: String,
    /// What it is, by the sender's word.
    pub told: Received,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// The log's length then; unknown of those that were only noted.
    pub log_head: Option<i64>,
    /// Since when it is known what came of it.
    pub settled_at: Option<DateTime<Utc>>,
}

/// What came of a delivery, for one team, project or environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The team; none when the delivery concerned nobody.
    pub team_id: Option<TeamId>,
    /// The project.
    pub project_id: Option<ProjectId>,
    /// The environment.
    pub environment_id: Option<EnvironmentId>,
    /// The build that was asked for.
    pub build_id: Option<BuildId>,
    /// Whether anything was done.
    pub acted: bool,
    /// What was done, or why nothing was: a stable word.
    pub reason: String,
    /// The same for people.
    pub detail: String,
}

impl Outcome {
    /// Nothing was done.
    pub fn nothing(team_id: Option<TeamId>, why: Nothing) -> Self {
        let (reason, detail) = (why.code().to_owned(), why.detail().to_owned());
        Self { team_id, project_id: None, environment_id: None, build_id: None, acted: false, reason, detail }
    }

    /// Something was.
    pub fn acted(team_id: TeamId, reason: &str, detail: impl Into<String>) -> Self {
        Self {
            team_id: Some(team_id),
            project_id: None,
            environment_id: None,
            build_id: None,
            acted: true,
            reason: reason.to_owned(),
            detail: detail.into(),
        }
    }

    /// The same about a project.
    pub fn of(self, project: ProjectId) -> Self {
        Self { project_id: Some(project), ..self }
    }

    /// The same about an environment.
    pub fn within(self, environment: EnvironmentId) -> Self {
        Self { environment_id: Some(environment), ..self }
    }

    /// The same in other words.
    pub fn saying(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}

impl FromRow<'_, PgRow> for DeliveryRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            source: row.try_get("source")?,
            told: Received {
                id: row.try_get("delivery_id")?,
                kind: row.try_get("kind")?,
                action: row.try_get("action")?,
                installation: row.try_get("installation")?,
                repository: row.try_get("repository")?,
                project: row.try_get::<Option<Uuid>, _>("project")?.map(Into::into),
                repository_name: row.try_get("repository_name")?,
                reference: row.try_get("reference")?,
                commit: row.try_get("commit")?,
                sender: row.try_get("sender")?,
            },
            received_at: row.try_get("received_at")?,
            log_head: row.try_get("log_head")?,
            settled_at: row.try_get("settled_at")?,
        })
    }
}

impl FromRow<'_, PgRow> for Outcome {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let id = |column: &str| row.try_get::<Option<Uuid>, _>(column);
        Ok(Self {
            team_id: id("team_id")?.map(Into::into),
            project_id: id("project_id")?.map(Into::into),
            environment_id: id("environment_id")?.map(Into::into),
            build_id: id("build_id")?.map(Into::into),
            acted: row.try_get("acted")?,
            reason: row.try_get("reason")?,
            detail: row.try_get("detail")?,
        })
    }
}

/// Stores a delivery with its row of work, in one statement; `false` when it was there already. Deliveries about one
/// repository are worked on one after the other.
pub async fn store(
    pool: &PgPool,
    id: DeliveryId,
    source: &str,
    told: &Received,
    body: &[u8],
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let about = told.project.map(|id| format!("project/{id}"));
    let about = about.or_else(|| told.repository.map(|id| format!("repository/{id}")));
    let about = about.or_else(|| told.installation.map(|id| format!("installation/{id}")));
    let lane = format!("{PROCESS}:{source}/{}", about.unwrap_or_else(|| id.to_string()));
    let stored = sqlx::query(
        "WITH new AS (
             INSERT INTO deliveries (id, source, delivery_id, kind, action, installation, repository,
                                     repository_name, reference, commit, sender, body, received_at, project, log_head)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $17, position FROM log_head
             ON CONFLICT (source, delivery_id) DO NOTHING RETURNING id
         )
         INSERT INTO work (id, process, key, lane, payload, run_at, cause_event, cause_position, correlation,
                           created_at)
         SELECT $1, $14, $1::text, $15, $16, now(), $1, 0, 'request:' || $1, now() FROM new",
    )
    .bind(id.0)
    .bind(source)
    .bind(&told.id)
    .bind(&told.kind)
    .bind(&told.action)
    .bind(told.installation)
    .bind(told.repository)
    .bind(&told.repository_name)
    .bind(&told.reference)
    .bind(&told.commit)
    .bind(&told.sender)
    .bind(body)
    .bind(now)
    .bind(PROCESS)
    .bind(lane)
    .bind(json!({ "delivery_id": id }))
    .bind(told.project.map(|id| id.0))
    .execute(pool)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// Stores what was seen without being told, with what came of it; nothing is to be worked on.
pub async fn note(
    pool: &PgPool,
    id: DeliveryId,
    source: &str,
    told: &Received,
    outcome: &Outcome,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "WITH new AS (
             INSERT INTO deliveries (id, source, delivery_id, kind, action, installation, repository,
                                     repository_name, reference, commit, received_at, settled_at, project)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $16)
             ON CONFLICT (source, delivery_id) DO NOTHING RETURNING id
         )
         INSERT INTO delivery_outcomes (delivery, number, team_id, project_id, acted, reason, detail)
         SELECT id, 0, $12, $13, false, $14, $15 FROM new",
    )
    .bind(id.0)
    .bind(source)
    .bind(&told.id)
    .bind(&told.kind)
    .bind(&told.action)
    .bind(told.installation)
    .bind(told.repository)
    .bind(&told.repository_name)
    .bind(&told.reference)
    .bind(&told.commit)
    .bind(now)
    .bind(outcome.team_id.map(|id| id.0))
    .bind(outcome.project_id.map(|id| id.0))
    .bind(&outcome.reason)
    .bind(&outcome.detail)
    .bind(told.project.map(|id| id.0))
    .execute(pool)
    .await
    .map(drop)
}

/// The delivery with this id.
pub async fn find(pool: &PgPool, id: DeliveryId) -> sqlx::Result<Option<DeliveryRow>> {
    let query = format!("SELECT {COLUMNS} FROM deliveries WHERE id = $1");
    sqlx::query_as(&query).bind(id.0).fetch_optional(pool).await
}

/// Its body; gone once it was worked on.
pub async fn body(pool: &PgPool, id: DeliveryId) -> sqlx::Result<Option<Vec<u8>>> {
    let query = "SELECT body FROM deliveries WHERE id = $1";
    Ok(sqlx::query_scalar(query).bind(id.0).fetch_optional(pool).await?.flatten())
}

/// Which deliveries are of the same ref: of the same project's own webhooks, or of the same repository at a host.
const OF_REF: &str = "reference = $3 AND (project = $4 OR $4 IS NULL AND source = $1 AND repository = $2)";

/// The last that was told of a ref.
pub async fn last_of(pool: &PgPool, source: &str, told: &Received) -> sqlx::Result<Option<DeliveryRow>> {
    let query = format!("SELECT {COLUMNS} FROM deliveries WHERE {OF_REF} ORDER BY id DESC LIMIT 1");
    let query = sqlx::query_as(&query).bind(source).bind(told.repository).bind(&told.reference);
    query.bind(told.project.map(|id| id.0)).fetch_optional(pool).await
}

/// Whether a ref was at this commit when it was looked at for the first time, and nobody has told of it since.
pub async fn is_first_seen(pool: &PgPool, source: &str, told: &Received, commit: &str) -> sqlx::Result<bool> {
    let query = format!(
        "SELECT coalesce(bool_and(coalesce(o.reason, '') = $6), false)
           FROM deliveries d LEFT JOIN delivery_outcomes o ON o.delivery = d.id
          WHERE {OF_REF} AND d.commit = $5"
    );
    let query = sqlx::query_scalar(&query).bind(source).bind(told.repository).bind(&told.reference);
    let query = query.bind(told.project.map(|id| id.0)).bind(commit);
    query.bind(Nothing::FirstSeen.code()).fetch_one(pool).await
}

/// Writes down what came of a delivery, once, and forgets its body.
pub async fn settle(
    pool: &PgPool,
    id: DeliveryId,
    outcomes: &[Outcome],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let mut db = pool.begin().await?;
    let query = "UPDATE deliveries SET settled_at = $2, body = NULL WHERE id = $1 AND settled_at IS NULL";
    if sqlx::query(query).bind(id.0).bind(now).execute(&mut *db).await?.rows_affected() == 0 {
        return Ok(());
    }
    for (number, outcome) in outcomes.iter().enumerate() {
        sqlx::query(
            "INSERT INTO delivery_outcomes (delivery, number, team_id, project_id, environment_id, build_id, acted,
                                            reason, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(id.0)
        .bind(i32::try_from(number).unwrap_or(i32::MAX))
        .bind(outcome.team_id.map(|id| id.0))
        .bind(outcome.project_id.map(|id| id.0))
        .bind(outcome.environment_id.map(|id| id.0))
        .bind(outcome.build_id.map(|id| id.0))
        .bind(outcome.acted)
        .bind(&outcome.reason)
        .bind(&outcome.detail)
        .execute(&mut *db)
        .await?;
    }
    db.commit().await
}

/// Which deliveries are a team's: those that came to something for it, and those of its installations since it has
/// them, and of its projects' own webhooks, that nobody has worked on yet.
const OF_TEAM: &str = "(EXISTS (SELECT FROM delivery_outcomes o WHERE o.delivery = deliveries.id AND o.team_id = $1)
     OR settled_at IS NULL AND EXISTS (SELECT FROM team_installations i
         WHERE i.team_id = $1 AND i.github_id = deliveries.installation AND i.created_at <= deliveries.received_at)
     OR settled_at IS NULL AND EXISTS (SELECT FROM projects p WHERE p.team_id = $1 AND p.id = deliveries.project))";

/// A delivery of a team.
pub async fn find_of_team(pool: &PgPool, team: TeamId, id: DeliveryId) -> sqlx::Result<Option<DeliveryRow>> {
    let query = format!("SELECT {COLUMNS} FROM deliveries WHERE id = $2 AND {OF_TEAM}");
    sqlx::query_as(&query).bind(team.0).bind(id.0).fetch_optional(pool).await
}

/// The deliveries of a team, or only those that concerned one project, newest first, before the delivery `before`.
pub async fn of_team(
    pool: &PgPool,
    team: TeamId,
    project: Option<ProjectId>,
    before: Option<DeliveryId>,
    limit: i64,
) -> sqlx::Result<Vec<DeliveryRow>> {
    let query = format!(
        "SELECT {COLUMNS} FROM deliveries WHERE {OF_TEAM} AND ($2::uuid IS NULL OR id < $2)
            AND ($3::uuid IS NULL OR EXISTS (SELECT FROM delivery_outcomes o
                                              WHERE o.delivery = deliveries.id AND o.project_id = $3))
          ORDER BY id DESC LIMIT $4"
    );
    let query = sqlx::query_as(&query).bind(team.0).bind(before.map(|id| id.0)).bind(project.map(|id| id.0));
    query.bind(limit).fetch_all(pool).await
}

/// What came of deliveries, as far as it concerns a team.
pub async fn outcomes(
    pool: &PgPool,
    team: TeamId,
    of: &[DeliveryId],
) -> sqlx::Result<Vec<(DeliveryId, Outcome)>> {
    let ids: Vec<Uuid> = of.iter().map(|id| id.0).collect();
    sqlx::query(
        "SELECT delivery, team_id, project_id, environment_id, build_id, acted, reason, detail
           FROM delivery_outcomes WHERE team_id = $1 AND delivery = ANY($2) ORDER BY delivery, number",
    )
    .bind(team.0)
    .bind(ids)
    .try_map(|row: PgRow| Ok((row.id("delivery")?, Outcome::from_row(&row)?)))
    .fetch_all(pool)
    .await
}

/// Forgets what was settled before a time, but for the last that was told of each branch that a project or one of its
/// environments names and of each pull request that is open where there are previews, and for the note that pull requests
/// were looked at ([`PULLS`]): what happens while nobody listens is found by it.
pub async fn forget_before(pool: &PgPool, time: DateTime<Utc>) -> sqlx::Result<()> {
    let query = "DELETE FROM deliveries d WHERE settled_at < $1 AND d.reference IS DISTINCT FROM 'refs/pull'
                    AND (EXISTS (
                        SELECT FROM deliveries n WHERE n.reference = d.reference AND n.id > d.id
                           AND (n.source = d.source AND n.repository = d.repository OR n.project = d.project))
                     OR NOT EXISTS (
                        SELECT FROM projects p LEFT JOIN environments e ON e.project_id = p.id
                         WHERE (p.settings ->> 'repository_id' = d.repository::text OR p.id = d.project)
                           AND (d.reference IN ('refs/heads/' || (p.settings ->> 'branch'),
                                                'refs/heads/' || (e.environment ->> 'branch'))
                             OR d.reference LIKE 'refs/pull/%' AND d.action IS DISTINCT FROM 'closed'
                                AND p.settings -> 'previews' IS NOT NULL)))";
    sqlx::query(query).bind(time).execute(pool).await.map(drop)
}
