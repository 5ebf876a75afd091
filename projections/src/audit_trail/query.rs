//! Questions to the audit trail. Each names what may be seen, and only the conditions that are asked for: PostgreSQL
//! plans for these, not for any that might be.

use chrono::{DateTime, Utc};
use domain::ids::{EventId, ProjectId, TeamId};
use sqlx::{PgExecutor, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{AuditRow, words};

const COLUMNS: &str = "position, event_id, at, team_id, project_id, actor, on_behalf_of, action, command, outcome, \
    resource, resource_id, before, after, request_id, causation, correlation, source_ip, user_agent";
/// What a query answers. Words are there to be looked for: nobody reads them.
const SHOWN: &str = "position, event_id, at, team_id, project_id, actor, on_behalf_of, action, command, outcome, \
    resource, resource_id, before, after, request_id, causation, correlation, source_ip, user_agent, \
    '{}'::text[] AS words";
/// Rows of a chain that are shown; more than a click leads to.
const LONGEST_CHAIN: i64 = 5_000;
/// Rows among which words are looked for first.
const NEWEST: i64 = 10_000;
/// Positions that one look at the log's newest part goes over.
const WINDOW: i64 = 5_000;

/// Which rows are wanted. What is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who: `user:ID`.
    pub actor: Option<String>,
    /// In which project.
    pub project: Option<ProjectId>,
    /// On what kind of thing: `project`.
    pub resource: Option<String>,
    /// On which.
    pub resource_id: Option<String>,
    /// What: `project.env_var_set`.
    pub action: Option<String>,
    /// How it ended: `success`, `denied`, `failed`.
    pub outcome: Option<String>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
    /// Words that it has, all of them.
    pub text: Option<String>,
}

impl Filter {
    /// Whether the free text asks for anything that can be found.
    pub fn has_words(&self) -> bool {
        self.text.as_deref().is_none_or(|text| words::query(text).is_some())
    }
}

/// A row's place in the order of the trail: by time, and by position where the time is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its time.
    pub at: DateTime<Utc>,
    /// Its position.
    pub position: i64,
}

impl From<(DateTime<Utc>, i64)> for Place {
    fn from((at, position): (DateTime<Utc>, i64)) -> Self {
        Self { at, position }
    }
}

impl From<&AuditRow> for Place {
    fn from(row: &AuditRow) -> Self {
        Self { at: row.at, position: row.position }
    }
}

/// Whose events somebody may see.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Everything.
    pub everywhere: bool,
    /// All of these teams.
    pub teams: Vec<TeamId>,
    /// All of these projects.
    pub projects: Vec<ProjectId>,
}

impl Reach {
    /// Whether all that `other` reaches is reached by this too.
    pub fn covers(&self, other: &Self) -> bool {
        self.everywhere
            || (!other.everywhere
                && other.teams.iter().all(|team| self.teams.contains(team))
                && other.projects.iter().all(|project| self.projects.contains(project)))
    }
}

/// Rows of a team, newest first, after a place in that order.
///
/// Words are looked for among the newest rows first, and only then in the index of words: a common word is found at
/// once, and of a rare one the index has few rows. PostgreSQL, left to choose, would go through the whole trail for
/// words that are common and never meet.
pub async fn newest(
    pool: &PgPool,
    team: TeamId,
    filter: &Filter,
    after: Option<Place>,
    limit: i64,
) -> sqlx::Result<Vec<AuditRow>> {
    if filter.text.is_some() {
        let rows = fetch(pool, newest_query("", team, filter, after, limit, Words::AmongNewest)).await?;
        if i64::try_from(rows.len()).is_ok_and(|found| found >= limit) {
            return Ok(rows);
        }
    }
    fetch(pool, newest_query("", team, filter, after, limit, Words::ByIndex)).await
}

/// How PostgreSQL would find [`newest`] in the end, for tests and for who wonders.
pub async fn explain(pool: &PgPool, team: TeamId, filter: &Filter, limit: i64) -> sqlx::Result<String> {
    let mut query = newest_query("EXPLAIN ", team, filter, None, limit, Words::ByIndex);
    let lines: Vec<String> = query.build_query_scalar().persistent(false).fetch_all(pool).await?;
    Ok(lines.join("\n"))
}

async fn fetch(pool: &PgPool, mut query: QueryBuilder<'_, Postgres>) -> sqlx::Result<Vec<AuditRow>> {
    query.build_query_as().persistent(false).fetch_all(pool).await
}

/// Where words are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    AmongNewest,
    ByIndex,
}

fn newest_query<'a>(
    verb: &str,
    team: TeamId,
    filter: &'a Filter,
    after: Option<Place>,
    limit: i64,
    words: Words,
) -> QueryBuilder<'a, Postgres> {
    const NEWEST_FIRST: &str = " ORDER BY at DESC, position DESC LIMIT ";
    let mut query = QueryBuilder::new(format!("{verb}SELECT {SHOWN} FROM (SELECT {COLUMNS}, words"));
    of_team(&mut query, team, filter);
    if let Some(Place { at, position }) = after {
        query.push(" AND (at, position) < (").push_bind(at).push(", ").push_bind(position).push(")");
    }
    match (&filter.text, words) {
        (None, _) => query.push(") trail"),
        (Some(text), Words::AmongNewest) => {
            query.push(NEWEST_FIRST).push_bind(NEWEST).push(") trail WHERE ");
            has_words(&mut query, text)
        }
        (Some(text), Words::ByIndex) => {
            query.push(" AND ");
            // A fence: first what has the words, then its order.
            has_words(&mut query, text).push(" OFFSET 0) trail")
        }
    };
    query.push(NEWEST_FIRST).push_bind(limit);
    query
}

/// Rows of a team, oldest first, after a place in that order and before a position of the log.
pub async fn oldest(
    pool: &PgPool,
    team: TeamId,
    filter: &Filter,
    after: Option<Place>,
    before: i64,
    limit: i64,
) -> sqlx::Result<Vec<AuditRow>> {
    let mut query = QueryBuilder::new(format!("SELECT {SHOWN}"));
    of_team(&mut query, team, filter);
    if let Some(text) = &filter.text {
        has_words(query.push(" AND "), text);
    }
    query.push(" AND position < ").push_bind(before);
    if let Some(Place { at, position }) = after {
        query.push(" AND (at, position) > (").push_bind(at).push(", ").push_bind(position).push(")");
    }
    query.push(" ORDER BY at, position LIMIT ").push_bind(limit);
    fetch(pool, query).await
}

/// All conditions but the words.
fn of_team<'a>(query: &mut QueryBuilder<'a, Postgres>, team: TeamId, filter: &'a Filter) {
    query.push(" FROM audit_trail WHERE team_id = ").push_bind(team.0);
    for (column, value) in [
        ("actor", &filter.actor),
        ("resource", &filter.resource),
        ("resource_id", &filter.resource_id),
        ("action", &filter.action),
        ("outcome", &filter.outcome),
    ] {
        if let Some(value) = value {
            query.push(format!(" AND {column} = ")).push_bind(value);
        }
    }
    if filter.outcome.as_ref().is_some_and(|outcome| outcome != "success") {
        query.push(" AND outcome <> 'success'"); // names the index of the few
    }
    if let Some(project) = filter.project {
        query.push(" AND project_id = ").push_bind(project.0);
    }
    if let Some(from) = filter.from {
        query.push(" AND at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND at < ").push_bind(to);
    }
}

fn has_words<'q, 'a>(
    query: &'q mut QueryBuilder<'a, Postgres>,
    text: &str,
) -> &'q mut QueryBuilder<'a, Postgres> {
    let words = words::query(text).unwrap_or_default();
    query.push("array_to_tsvector(words) @@ ").push_bind(words).push("::text::tsquery")
}

/// The row of one event.
pub async fn find(db: impl PgExecutor<'_>, event: EventId) -> sqlx::Result<Option<AuditRow>> {
    // The log knows the position of an event; an index for that here would be a second one.
    let query = format!(
        "SELECT {SHOWN} FROM audit_trail WHERE position = (SELECT position FROM events WHERE event_id = $1)"
    );
    sqlx::query_as(&query).bind(event.0).fetch_optional(db).await
}

/// Id and first cause of the event that began something. Read from the log: it is never late.
pub async fn beginning(
    db: impl PgExecutor<'_>,
    aggregate_type: &str,
    aggregate_id: Uuid,
) -> sqlx::Result<Option<(EventId, String)>> {
    let row: Option<(Uuid, Option<String>)> = sqlx::query_as(
        "SELECT event_id, metadata ->> 'correlation' FROM events
          WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = 1",
    )
    .bind(aggregate_type)
    .bind(aggregate_id.to_string())
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(id, correlation)| (EventId(id), correlation.unwrap_or_default())))
}

/// The rows of a team (of one of its projects, when given) that have the same first cause, oldest first.
pub async fn chain(
    db: impl PgExecutor<'_>,
    team: TeamId,
    project: Option<ProjectId>,
    correlation: &str,
) -> sqlx::Result<Vec<AuditRow>> {
    let query = format!(
        "SELECT {SHOWN} FROM audit_trail
          WHERE correlation = $1 AND team_id = $2 AND ($3::uuid IS NULL OR project_id = $3)
          ORDER BY position LIMIT {LONGEST_CHAIN}"
    );
    sqlx::query_as(&query).bind(correlation).bind(team.0).bind(project.map(|id| id.0)).fetch_all(db).await
}

/// The last position of a bounded part of the trail after a position; that position itself when nothing follows. Rows
/// come in the order of the log: up to there the trail is complete.
pub async fn window(db: impl PgExecutor<'_>, after: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT coalesce(max(position), $1) FROM (
             SELECT position FROM audit_trail WHERE position > $1 ORDER BY position LIMIT $2) w",
    )
    .bind(after)
    .bind(WINDOW)
    .fetch_one(db)
    .await
}

/// What somebody may see of the events after a position and up to another, in the order of the log.
pub async fn between(
    db: impl PgExecutor<'_>,
    reach: &Reach,
    types: &[String],
    (after, upto): (i64, i64),
    limit: i64,
) -> sqlx::Result<Vec<AuditRow>> {
    let teams: Vec<Uuid> = reach.teams.iter().map(|id| id.0).collect();
    let projects: Vec<Uuid> = reach.projects.iter().map(|id| id.0).collect();
    let query = format!(
        "SELECT {SHOWN} FROM audit_trail
          WHERE position > $1 AND position <= $2 AND ($3 OR team_id = ANY($4) OR project_id = ANY($5))
            AND (cardinality($6::text[]) = 0 OR action = ANY($6))
          ORDER BY position LIMIT $7"
    );
    sqlx::query_as(&query)
        .bind(after)
        .bind(upto)
        .bind(reach.everywhere)
        .bind(teams)
        .bind(projects)
        .bind(types)
        .bind(limit)
        .fetch_all(db)
        .await
}
