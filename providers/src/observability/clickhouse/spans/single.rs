//! Single spans, newest first.

use chrono::Utc;
use clickhouse::Client;
use domain::ports::telemetry::{Period, Span, SpanFilter, Tenant};

use super::read::{LOOK_BACK, of_itself};
use super::row::SpanRow;
use crate::observability::clickhouse::fault::Fault;
use crate::observability::clickhouse::look::{self, Found};
use crate::observability::clickhouse::sql::Sql;

pub(super) async fn find(client: &Client, tenant: Tenant, filter: &SpanFilter) -> Result<Vec<Span>, Fault> {
    let parts = look::back(filter.period, filter.after.map(|after| after.started_at), &LOOK_BACK, Utc::now());
    let question = |part, left| {
        let mut sql = matching(tenant, part, filter);
        sql.push(" ORDER BY started_at DESC, trace_id DESC, span_id DESC LIMIT ").number(left);
        sql
    };
    let found = look::gather::<Found>(client, parts, filter.limit, question).await?;
    look::fetch::<SpanRow>(client, tenant, &found).await
}

fn matching(tenant: Tenant, period: Period, filter: &SpanFilter) -> Sql {
    let mut sql =
        Sql::new("SELECT started_at AS at, trace_id AS id, span_id AS part FROM spans FINAL WHERE ");
    sql.append(&Sql::of(tenant)).within("started_at", period);
    of_itself(
        &mut sql,
        (filter.status, filter.name.as_deref(), filter.min_duration_us, filter.deployment_id),
    );
    let texts = [("user_id", &filter.user_id), ("session_id", &filter.session_id), ("model", &filter.model)];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            sql.push(" AND ").push(column).push(" = ").text(wanted);
        }
    }
    if let Some(tag) = &filter.tag {
        sql.push(" AND has(tags, ").text(tag).push(")");
    }
    if let Some(trace) = filter.trace_id {
        sql.push(" AND ").any_of("trace_id", [trace.as_bytes()]);
    }
    if let Some(after) = filter.after {
        sql.push(" AND (started_at, trace_id, span_id) < (")
            .moment(after.started_at)
            .push(", toFixedString(");
        sql.bytes(after.trace_id.as_bytes()).push(", 16), toFixedString(");
        sql.bytes(after.span_id.as_bytes()).push(", 8))");
    }
    sql
}
