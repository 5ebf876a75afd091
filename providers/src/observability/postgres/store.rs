//! The statements on `log_lines`.

use chrono::{DateTime, Utc};
use domain::ports::logs::{LogLine, LogSource, LogStream};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::budget::{TRUNCATED, dropped_in, truncated};
use super::source::Line;
use super::writer::Part;

/// What is stored of a source already.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Number of the last line.
    pub(super) last: i64,
    /// Lines that count against the cap.
    pub(super) lines: u64,
    /// Bytes of those lines.
    pub(super) bytes: u64,
    /// Lines that were cut off for good.
    pub(super) dropped: Option<u64>,
}

/// Looks a source up. Of a deployment only the last number matters.
pub(super) async fn past(pool: &PgPool, source: LogSource) -> sqlx::Result<Past> {
    let (kind, id) = key(source);
    if let LogSource::Deployment(_) = source {
        let last = last_seqs(pool, &[source]).await?;
        return Ok(Past { last: last.first().map_or(0, |(_, last)| *last), ..Past::default() });
    }
    let row = sqlx::query(
        "SELECT coalesce(max(seq), 0) AS last, \
                count(*) FILTER (WHERE stream <> 'platform') AS lines, \
                coalesce(sum(octet_length(text)) FILTER (WHERE stream <> 'platform'), 0)::bigint AS bytes, \
                min(text) FILTER (WHERE stream = 'platform' AND starts_with(text, $3)) AS truncated \
           FROM log_lines WHERE source_kind = $1 AND source_id = $2",
    )
    .bind(kind)
    .bind(id)
    .bind(TRUNCATED)
    .fetch_one(pool)
    .await?;
    Ok(Past {
        last: row.try_get("last")?,
        lines: row.try_get::<i64, _>("lines")?.unsigned_abs(),
        bytes: row.try_get::<i64, _>("bytes")?.unsigned_abs(),
        dropped: row.try_get::<Option<String>, _>("truncated")?.map(|text| dropped_in(&text)),
    })
}

/// Lines after a number.
pub(super) async fn read(
    pool: &PgPool,
    source: LogSource,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<LogLine>> {
    let (kind, id) = key(source);
    let rows = sqlx::query(
        "SELECT seq, at, stream, text FROM log_lines \
          WHERE source_kind = $1 AND source_id = $2 AND seq > $3 ORDER BY seq LIMIT $4",
    )
    .bind(kind)
    .bind(id)
    .bind(after)
    .bind(limit.max(0))
    .fetch_all(pool)
    .await?;
    let line = |row: &sqlx::postgres::PgRow| {
        Ok(LogLine {
            seq: row.try_get("seq")?,
            at: row.try_get("at")?,
            stream: match row.try_get("stream")? {
                "stdout" => LogStream::Stdout,
                "stderr" => LogStream::Stderr,
                _ => LogStream::Platform,
            },
            text: row.try_get("text")?,
        })
    };
    rows.iter().map(line).collect()
}

/// The last numbers of those sources that have lines.
pub(super) async fn last_seqs(pool: &PgPool, sources: &[LogSource]) -> sqlx::Result<Vec<(LogSource, i64)>> {
    let (kinds, ids): (Vec<_>, Vec<_>) = sources.iter().copied().map(key).unzip();
    let rows = sqlx::query(
        "SELECT place, seq FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS wanted (kind, id, place), \
                LATERAL (SELECT seq FROM log_lines WHERE source_kind = kind AND source_id = id \
                          ORDER BY seq DESC LIMIT 1) AS last",
    )
    .bind(kinds)
    .bind(ids)
    .fetch_all(pool)
    .await?;
    let last = |row: &sqlx::postgres::PgRow| {
        let place = usize::try_from(row.try_get::<i64, _>("place")?).expect("counted from 1") - 1;
        Ok((sources[place], row.try_get("seq")?))
    };
    rows.iter().map(last).collect()
}

/// Whether this very line has this number.
pub(super) async fn holds(pool: &PgPool, source: LogSource, seq: i64, line: &Line) -> sqlx::Result<bool> {
    let (kind, id) = key(source);
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM log_lines WHERE source_kind = $1 AND source_id = $2 AND seq = $3 \
                           AND at = $4 AND stream = $5 AND text = $6)",
    )
    .bind(kind)
    .bind(id)
    .bind(seq)
    .bind(line.at)
    .bind(stream(line.stream))
    .bind(&line.text)
    .fetch_one(pool)
    .await
}

/// Stores lines of several sources in one statement: all or none.
pub(super) async fn insert(pool: &PgPool, parts: &[Part]) -> sqlx::Result<()> {
    let mut columns = Columns::default();
    for part in parts {
        let origin = &part.source.origin;
        let (kind, id) = key(origin.source);
        for (line, seq) in part.taken.lines.iter().zip(part.taken.last + 1..) {
            columns.kinds.push(kind);
            columns.ids.push(id);
            columns.seqs.push(seq);
            columns.ats.push(line.at);
            columns.streams.push(stream(line.stream));
            columns.texts.push(&line.text);
            columns.projects.push(origin.project.0);
            columns.teams.push(origin.team.0);
        }
    }
    sqlx::query(
        "INSERT INTO log_lines (source_kind, source_id, seq, at, stream, text, project_id, team_id) \
         SELECT kind, id, seq, at, stream, text, project, team \
           FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[], \
                       $7::uuid[], $8::uuid[]) AS line (kind, id, seq, at, stream, text, project, team)",
    )
    .bind(columns.kinds)
    .bind(columns.ids)
    .bind(columns.seqs)
    .bind(columns.ats)
    .bind(columns.streams)
    .bind(columns.texts)
    .bind(columns.projects)
    .bind(columns.teams)
    .execute(pool)
    .await
    .map(|_| ())
}

#[derive(Default)]
struct Columns<'a> {
    kinds: Vec<&'static str>,
    ids: Vec<Uuid>,
    seqs: Vec<i64>,
    ats: Vec<DateTime<Utc>>,
    streams: Vec<&'static str>,
    texts: Vec<&'a str>,
    projects: Vec<Uuid>,
    teams: Vec<Uuid>,
}

/// Fills in how many lines were cut off.
pub(super) async fn fill_in(pool: &PgPool, source: LogSource, dropped: u64) -> sqlx::Result<()> {
    let (kind, id) = key(source);
    sqlx::query(
        "UPDATE log_lines SET text = $4 \
          WHERE source_kind = $1 AND source_id = $2 AND stream = 'platform' AND starts_with(text, $3)",
    )
    .bind(kind)
    .bind(id)
    .bind(TRUNCATED)
    .bind(truncated(dropped))
    .execute(pool)
    .await
    .map(|_| ())
}

/// How a source is written in the table.
fn key(source: LogSource) -> (&'static str, Uuid) {
    match source {
        LogSource::Build(id) => ("build", id.0),
        LogSource::Deployment(id) => ("deployment", id.0),
    }
}

fn stream(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::Platform => "platform",
    }
}
