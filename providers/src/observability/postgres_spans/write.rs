//! Rows in, by one statement.

use domain::ports::telemetry::{Failure, Span, Tenant, Written};
use serde_json::{Value, json};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgPool, Postgres};

use super::COLUMNS;
use crate::observability::days::DayTable;
use crate::observability::failures::{FAILURE, Failures};

/// What all spans have, each as an array; in the order of [`COLUMNS`], with what went wrong behind them.
fn statement() -> String {
    format!(
        "INSERT INTO public.spans (team_id, project_id, {COLUMNS}, {FAILURE})
         SELECT $1, $2, {COLUMNS}, {FAILURE} FROM unnest(
             $3::bytea[], $4::bytea[], $5::date[], $6::bytea[], $7::boolean[], $8::text[], $9::text[], $10::text[],
             $11::text[], $12::timestamptz[], $13::bigint[], $14::text[], $15::uuid[], $16::text[], $17::text[],
             $18::jsonb[], $19::text[], $20::text[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[],
             $25::bigint[], $26::bigint[], $27::bigint[], $28::smallint[], $29::bigint[], $30::text[], $31::jsonb[],
             $32::jsonb[], $33::jsonb[], $34::jsonb[], $35::bytea[], $36::text[], $37::text[]) r ({COLUMNS}, {FAILURE})
         ON CONFLICT DO NOTHING"
    )
}

/// Stores what is not known yet.
pub(super) async fn write(table: &DayTable, tenant: Tenant, mut spans: Vec<Span>) -> sqlx::Result<Written> {
    // Two that write the same rows wait for each other in the same order.
    spans.sort_by_key(|span| (span.trace_id, span.span_id, span.started_at));
    let days = spans.iter().map(|span| span.started_at.date_naive()).collect();
    let tries = [(); 2].map(|()| insert(&table.pool, tenant, &spans));
    let stored = table.insert(&days, tries).await?;
    Ok(Written { stored, repeated: spans.len() as u64 - stored })
}

async fn insert(pool: &PgPool, tenant: Tenant, spans: &[Span]) -> sqlx::Result<u64> {
    let statement = statement();
    let query = sqlx::query(&statement).bind(tenant.team.0).bind(tenant.project.0);
    let query = identity(query, spans);
    let query = usage(sender(query, spans), spans);
    let failures = Failures::of(spans.iter().map(Failure::of_span));
    let query = failures.bind(documents(query, spans));
    Ok(query.execute(pool).await?.rows_affected())
}

type Insert<'q> = Query<'q, Postgres, PgArguments>;

/// A column of all spans.
fn each<'a, T>(spans: &'a [Span], of: impl Fn(&'a Span) -> T) -> Vec<T> {
    spans.iter().map(of).collect()
}

/// $3 to $13: which span it is, and how it went.
fn identity<'q>(query: Insert<'q>, spans: &'q [Span]) -> Insert<'q> {
    query
        .bind(each(spans, |span| span.trace_id.as_bytes()))
        .bind(each(spans, |span| span.span_id.as_bytes()))
        .bind(each(spans, |span| span.started_at.date_naive()))
        .bind(each(spans, |span| span.parent_id.as_ref().map(|id| id.as_bytes())))
        .bind(each(spans, |span| span.is_root))
        .bind(each(spans, |span| span.name.as_str()))
        .bind(each(spans, |span| span.kind.as_str()))
        .bind(each(spans, |span| span.status.as_str()))
        .bind(each(spans, |span| span.status_message.as_deref()))
        .bind(each(spans, |span| span.started_at))
        .bind(each(spans, |span| span.duration_us))
}

/// $14 to $20: whom it is from, and for.
fn sender<'q>(query: Insert<'q>, spans: &'q [Span]) -> Insert<'q> {
    query
        .bind(each(spans, |span| span.service.as_deref()))
        .bind(each(spans, |span| span.deployment_id.map(|id| id.0)))
        .bind(each(spans, |span| span.user_id.as_deref()))
        .bind(each(spans, |span| span.session_id.as_deref()))
        .bind(each(spans, |span| json!(span.tags)))
        .bind(each(spans, |span| span.model.as_deref()))
        .bind(each(spans, |span| span.provider.as_deref()))
}

/// $21 to $30: tokens and money.
fn usage<'q>(query: Insert<'q>, spans: &'q [Span]) -> Insert<'q> {
    query
        .bind(each(spans, |span| span.usage.input))
        .bind(each(spans, |span| span.usage.output))
        .bind(each(spans, |span| span.usage.cache_read))
        .bind(each(spans, |span| span.usage.cache_write))
        .bind(each(spans, |span| span.usage.audio_input))
        .bind(each(spans, |span| span.usage.reasoning))
        .bind(each(spans, |span| span.usage.audio_output))
        .bind(each(spans, |span| span.counting.as_i16()))
        .bind(each(spans, |span| span.cost.as_ref().map(|cost| cost.picos)))
        .bind(each(spans, |span| span.cost.as_ref().map(|cost| cost.price.as_str())))
}

/// $31 to $34: everything else.
fn documents<'q>(query: Insert<'q>, spans: &'q [Span]) -> Insert<'q> {
    query
        .bind(each(spans, |span| Value::Object(span.attributes.clone())))
        .bind(each(spans, |span| Value::Object(span.resource.clone())))
        .bind(each(spans, |span| Value::Array(span.events.clone())))
        .bind(each(spans, |span| Value::Array(span.links.clone())))
}
