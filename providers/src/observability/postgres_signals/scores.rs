//! Scores: in by one statement, out newest first.

use domain::ports::telemetry::{Score, ScoreFilter, ScoreKind, Tenant, Written};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::rows::{deployment_id, each, object, record_id, span_id, trace_id, within};
use crate::observability::days::{DayTable, reading};
use crate::observability::pages;

/// What a score has, besides whose it is.
const COLUMNS: &str =
    "id, day, kind, at, name, value, text, comment, source, user_id, trace_id, span_id, deployment_id,
    details";

/// Stores what is not known yet.
pub(super) async fn write(table: &DayTable, tenant: Tenant, mut scores: Vec<Score>) -> sqlx::Result<Written> {
    // Two that write the same rows wait for each other in the same order.
    scores.sort_by_key(|score| (score.id, score.at));
    let days = scores.iter().map(|score| score.at.date_naive()).collect();
    let tries = [(); 2].map(|()| insert(&table.pool, tenant, &scores));
    let stored = table.insert(&days, tries).await?;
    Ok(Written { stored, repeated: scores.len() as u64 - stored })
}

async fn insert(pool: &PgPool, tenant: Tenant, scores: &[Score]) -> sqlx::Result<u64> {
    let statement = format!(
        "INSERT INTO public.scores (team_id, project_id, {COLUMNS})
         SELECT $1, $2, {COLUMNS} FROM unnest(
             $3::bytea[], $4::date[], $5::text[], $6::timestamptz[], $7::text[], $8::float8[], $9::text[], $10::text[],
             $11::text[], $12::text[], $13::bytea[], $14::bytea[], $15::uuid[], $16::jsonb[]) r ({COLUMNS})
         ON CONFLICT DO NOTHING"
    );
    let stored = sqlx::query(&statement)
        .bind(tenant.team.0)
        .bind(tenant.project.0)
        .bind(each(scores, |score| score.id.as_bytes()))
        .bind(each(scores, |score| score.at.date_naive()))
        .bind(each(scores, |score| score.kind.as_str()))
        .bind(each(scores, |score| score.at))
        .bind(each(scores, |score| score.name.as_str()))
        .bind(each(scores, |score| score.value))
        .bind(each(scores, |score| score.text.as_deref()))
        .bind(each(scores, |score| score.comment.as_deref()))
        .bind(each(scores, |score| score.source.as_deref()))
        .bind(each(scores, |score| score.user_id.as_deref()))
        .bind(each(scores, |score| score.trace_id.as_ref().map(|id| id.as_bytes())))
        .bind(each(scores, |score| score.span_id.as_ref().map(|id| id.as_bytes())))
        .bind(each(scores, |score| score.deployment_id.map(|id| id.0)))
        .bind(each(scores, |score| Value::Object(score.details.clone())))
        .execute(pool)
        .await?;
    Ok(stored.rows_affected())
}

/// Newest first.
pub(super) async fn find(pool: &PgPool, tenant: Tenant, filter: &ScoreFilter) -> sqlx::Result<Vec<Score>> {
    let mut query =
        pages::question("page_of_scores", format!("SELECT {COLUMNS} FROM public.scores r WHERE "));
    within(&mut query, tenant, filter.period);
    if let Some(kind) = filter.kind {
        query.push(" AND r.kind = ").push_bind(kind.as_str());
    }
    if let Some(name) = &filter.name {
        query.push(" AND r.name = ").push_bind(name.clone());
    }
    if let Some(trace) = filter.trace_id {
        query.push(" AND r.trace_id = ").push_bind(trace.as_bytes().to_vec());
    }
    if let Some((at, id)) = filter.after {
        query.push(" AND (r.day, r.at, r.id) < (").push_bind(at.date_naive()).push(", ").push_bind(at);
        query.push(", ").push_bind(id.as_bytes().to_vec()).push(")");
    }
    query.push(" ORDER BY r.day DESC, r.at DESC, r.id DESC LIMIT ").push_bind(filter.limit);
    let mut db = reading(pool).await?;
    pages::page(&mut db, "page_of_scores", query, score).await
}

fn score(row: &PgRow) -> sqlx::Result<Score> {
    Ok(Score {
        id: record_id(row)?,
        kind: ScoreKind::from_name(row.try_get("kind")?).unwrap_or_default(),
        at: row.try_get("at")?,
        name: row.try_get("name")?,
        value: row.try_get("value")?,
        text: row.try_get("text")?,
        comment: row.try_get("comment")?,
        source: row.try_get("source")?,
        user_id: row.try_get("user_id")?,
        trace_id: trace_id(row)?,
        span_id: span_id(row)?,
        deployment_id: deployment_id(row)?,
        details: object(row, "details")?,
    })
}
