//! Single spans, newest first.

use domain::ports::telemetry::{Span, SpanFilter, Tenant};
use sqlx::PgPool;

use super::COLUMNS;
use super::read::{of_itself, span, within};
use crate::observability::days::reading;
use crate::observability::pages;

const CURSOR: &str = "page_of_spans";

pub(super) async fn find(pool: &PgPool, tenant: Tenant, filter: &SpanFilter) -> sqlx::Result<Vec<Span>> {
    let mut query = pages::question(CURSOR, format!("SELECT {COLUMNS} FROM public.spans r WHERE "));
    within(&mut query, "r", tenant, filter.period);
    of_itself(
        &mut query,
        (filter.status, filter.name.as_deref(), filter.min_duration_us, filter.deployment_id),
    );
    let texts = [("user_id", &filter.user_id), ("session_id", &filter.session_id), ("model", &filter.model)];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            query.push(format!(" AND r.{column} = ")).push_bind(wanted.clone());
        }
    }
    if let Some(tag) = &filter.tag {
        query.push(" AND r.tags ? ").push_bind(tag.clone());
    }
    if let Some(trace) = filter.trace_id {
        query.push(" AND r.trace_id = ").push_bind(trace.as_bytes().to_vec());
    }
    if let Some(after) = filter.after {
        query
            .push(" AND (r.day, r.started_at, r.trace_id, r.span_id) < (")
            .push_bind(after.started_at.date_naive());
        query.push(", ").push_bind(after.started_at);
        query.push(", ").push_bind(after.trace_id.as_bytes().to_vec());
        query.push(", ").push_bind(after.span_id.as_bytes().to_vec()).push(")");
    }
    query.push(" ORDER BY r.day DESC, r.started_at DESC, r.trace_id DESC, r.span_id DESC LIMIT ");
    query.push_bind(filter.limit);
    let mut db = reading(pool).await?;
    pages::page(&mut db, CURSOR, query, span).await
}
