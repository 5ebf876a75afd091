//! Questions, each in a transaction of its own that the database ends after ten seconds.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    Cost, Counting, Filter, ModelUsage, Period, Span, SpanId, Stats, Status, Tenant, TraceId, TraceSummary,
    Usage,
};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::COLUMNS;
use crate::observability::days::reading;

/// Whether the tokens of `s` are its own: those of a sum are not where a call is one or two levels below it,
/// on its day, the one before or the one after.
pub(super) const COUNTS: &str = "(s.counting = 1 OR (s.counting = 2 AND NOT EXISTS (
    SELECT FROM public.spans c LEFT JOIN public.spans m
        ON m.team_id = c.team_id AND m.project_id = c.project_id AND m.trace_id = c.trace_id
           AND m.span_id = c.parent_id AND m.day BETWEEN s.day - 1 AND s.day + 1
     WHERE c.team_id = s.team_id AND c.project_id = s.project_id AND c.trace_id = s.trace_id AND c.counting = 1
       AND c.day BETWEEN s.day - 1 AND s.day + 1 AND (c.parent_id = s.span_id OR m.parent_id = s.span_id))))";

/// Whether `r` is the root that its trace is listed by: its first.
const FIRST_ROOT: &str = " AND r.is_root AND NOT EXISTS (
    SELECT FROM public.spans o WHERE o.team_id = r.team_id AND o.project_id = r.project_id AND o.trace_id = r.trace_id
       AND o.is_root AND o.day <= r.day AND (o.started_at, o.span_id) < (r.started_at, r.span_id))";

pub(super) type Query = QueryBuilder<'static, Postgres>;

/// Newest first; sums over all spans of each.
pub(super) async fn traces(
    pool: &PgPool,
    tenant: Tenant,
    filter: &Filter,
) -> sqlx::Result<Vec<TraceSummary>> {
    let mut query = Query::new(format!(
        "SELECT {COLUMNS}, a.spans, a.errors, a.in_all, a.out_all, a.cost_all
           FROM (SELECT team_id, project_id, {COLUMNS} FROM public.spans r WHERE "
    ));
    within(&mut query, "r", tenant, filter.period);
    query.push(FIRST_ROOT);
    of_itself(
        &mut query,
        (filter.status, filter.name.as_deref(), filter.min_duration_us, filter.deployment_id),
    );
    of_any(&mut query, tenant, filter);
    if let Some(after) = filter.after {
        query.push(" AND (r.day, r.started_at, r.trace_id) < (").push_bind(after.started_at.date_naive());
        query.push(", ").push_bind(after.started_at);
        query.push(", ").push_bind(after.trace_id.as_bytes().to_vec()).push(")");
    }
    query.push(" ORDER BY r.day DESC, r.started_at DESC, r.trace_id DESC LIMIT ").push_bind(filter.limit);
    query.push(format!(
        ") t CROSS JOIN LATERAL (
             SELECT count(*) AS spans, count(*) FILTER (WHERE s.status = 'error') AS errors,
                    {} AS in_all, {} AS out_all, sum(s.cost_picos) FILTER (WHERE {COUNTS})::text AS cost_all
               FROM public.spans s
              WHERE s.team_id = t.team_id AND s.project_id = t.project_id AND s.trace_id = t.trace_id
                AND s.day >= t.day - 1) a
           ORDER BY t.day DESC, t.started_at DESC, t.trace_id DESC",
        total("input_tokens", &format!("FILTER (WHERE {COUNTS})")),
        total("output_tokens", &format!("FILTER (WHERE {COUNTS})")),
    ));
    let mut db = reading(pool).await?;
    query.build().fetch_all(&mut *db).await?.iter().map(summary).collect()
}

/// Of the oldest project that has it.
pub(super) async fn who_has(pool: &PgPool, those: &[Tenant], id: TraceId) -> sqlx::Result<Option<Tenant>> {
    let (teams, projects): (Vec<Uuid>, Vec<Uuid>) =
        those.iter().map(|tenant| (tenant.team.0, tenant.project.0)).unzip();
    let mut db = reading(pool).await?;
    // Project by project, from the oldest on, until one has it.
    let found: Option<Uuid> = sqlx::query_scalar(
        "SELECT t.project FROM unnest($1::uuid[], $2::uuid[]) t (team, project)
          WHERE EXISTS (SELECT FROM public.spans s
                         WHERE s.team_id = t.team AND s.project_id = t.project AND s.trace_id = $3)
          ORDER BY t.project LIMIT 1",
    )
    .bind(teams)
    .bind(projects)
    .bind(id.as_bytes())
    .fetch_optional(&mut *db)
    .await?;
    Ok(those.iter().find(|tenant| Some(tenant.project.0) == found).copied())
}

/// In the order in which they began.
pub(super) async fn trace(pool: &PgPool, tenant: Tenant, id: TraceId, limit: i64) -> sqlx::Result<Vec<Span>> {
    let mut db = reading(pool).await?;
    let rows = sqlx::query(&format!(
        "SELECT {COLUMNS} FROM public.spans WHERE team_id = $1 AND project_id = $2 AND trace_id = $3
          ORDER BY started_at, span_id LIMIT $4"
    ))
    .bind(tenant.team.0)
    .bind(tenant.project.0)
    .bind(id.as_bytes())
    .bind(limit)
    .fetch_all(&mut *db)
    .await?;
    rows.iter().map(span).collect()
}

/// Dearest first.
pub(super) async fn usage(pool: &PgPool, tenant: Tenant, period: Period) -> sqlx::Result<Vec<ModelUsage>> {
    let sums = [
        "input_tokens",
        "output_tokens",
        "cache_read",
        "cache_write",
        "audio_input",
        "reasoning",
        "audio_output",
    ];
    let sums: Vec<String> = sums.iter().map(|name| format!("{} AS {name}", total(name, ""))).collect();
    let mut query = Query::new(format!(
        "SELECT s.model, s.provider, count(*) AS calls, count(*) FILTER (WHERE s.cost_picos IS NULL) AS no_cost,
                sum(s.cost_picos)::text AS cost_all, {} FROM public.spans s WHERE s.counting > 0 AND ",
        sums.join(", ")
    ));
    within(&mut query, "s", tenant, period);
    query.push(format!(
        " AND {COUNTS} GROUP BY s.model, s.provider
          ORDER BY sum(s.cost_picos) DESC NULLS LAST, count(*) DESC, s.model, s.provider LIMIT 500"
    ));
    let mut db = reading(pool).await?;
    let rows = query.build().fetch_all(&mut *db).await?;
    let of_model = |row: &PgRow| {
        Ok(ModelUsage {
            model: row.try_get("model")?,
            provider: row.try_get("provider")?,
            calls: row.try_get("calls")?,
            calls_without_cost: row.try_get("no_cost")?,
            usage: tokens(row)?,
            cost_picos: money(row)?,
        })
    };
    rows.iter().map(of_model).collect()
}

/// Each trace once, with its first root.
pub(super) async fn stats(pool: &PgPool, tenant: Tenant, period: Period) -> sqlx::Result<Stats> {
    let mut query = Query::new(
        "SELECT count(*) AS traces, count(*) FILTER (WHERE r.status = 'error') AS errors,
                coalesce(round(avg(r.duration_us)), 0)::bigint AS average, coalesce(min(r.duration_us), 0) AS least,
                coalesce(max(r.duration_us), 0) AS most,
                coalesce(percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY r.duration_us),
                         ARRAY[0, 0, 0]::bigint[]) AS parts
           FROM public.spans r WHERE ",
    );
    within(&mut query, "r", tenant, period);
    query.push(FIRST_ROOT);
    let mut db = reading(pool).await?;
    let row = query.build().fetch_one(&mut *db).await?;
    let parts: Vec<i64> = row.try_get("parts")?;
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    Ok(Stats {
        traces: row.try_get("traces")?,
        errors: row.try_get("errors")?,
        average_us: row.try_get("average")?,
        min_us: row.try_get("least")?,
        p50_us: part(0),
        p95_us: part(1),
        p99_us: part(2),
        max_us: row.try_get("most")?,
    })
}

/// Of the tenant, in the period; the days let whole partitions out.
pub(super) fn within(query: &mut Query, of: &str, tenant: Tenant, period: Period) {
    query.push(format!("{of}.team_id = ")).push_bind(tenant.team.0);
    query.push(format!(" AND {of}.project_id = ")).push_bind(tenant.project.0);
    if let Some(from) = period.from {
        query.push(format!(" AND {of}.day >= ")).push_bind(from.date_naive());
        query.push(format!(" AND {of}.started_at >= ")).push_bind(from);
    }
    if let Some(to) = period.to {
        query.push(format!(" AND {of}.day <= ")).push_bind(to.date_naive());
        query.push(format!(" AND {of}.started_at < ")).push_bind(to);
    }
}

/// What must hold of a span `r`: how it ended, a part of its name, how long it took at least, where it came from.
pub(super) type Itself<'a> = (Option<Status>, Option<&'a str>, Option<i64>, Option<DeploymentId>);

pub(super) fn of_itself(query: &mut Query, (status, name, least, deployment): Itself<'_>) {
    if let Some(status) = status {
        query.push(" AND r.status = ").push_bind(status.as_str());
    }
    if let Some(name) = name {
        query.push(" AND strpos(lower(r.name), lower(").push_bind(name.to_owned()).push(")) > 0");
    }
    if let Some(least) = least {
        query.push(" AND r.duration_us >= ").push_bind(least);
    }
    if let Some(deployment) = deployment {
        query.push(" AND r.deployment_id = ").push_bind(deployment.0);
    }
}

/// What must hold of some span of the trace.
fn of_any(query: &mut Query, tenant: Tenant, filter: &Filter) {
    let texts = [("user_id", &filter.user_id), ("session_id", &filter.session_id), ("model", &filter.model)];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            some_span(query, tenant);
            query.push(format!("f.{column} = ")).push_bind(wanted.clone()).push(")");
        }
    }
    if let Some(tag) = &filter.tag {
        some_span(query, tenant);
        query.push("f.tags ? ").push_bind(tag.clone()).push(")");
    }
}

fn some_span(query: &mut Query, tenant: Tenant) {
    query.push(" AND r.trace_id IN (SELECT f.trace_id FROM public.spans f WHERE f.team_id = ");
    query.push_bind(tenant.team.0).push(" AND f.project_id = ").push_bind(tenant.project.0).push(" AND ");
}

/// A sum that stays a bigint, whatever senders make up.
pub(super) fn total(column: &str, filter: &str) -> String {
    format!("least(coalesce(sum(s.{column}) {filter}, 0), 9000000000000000000)::bigint")
}

fn summary(row: &PgRow) -> sqlx::Result<TraceSummary> {
    Ok(TraceSummary {
        trace_id: trace_id(row)?,
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        status: status(row)?,
        status_message: row.try_get("status_message")?,
        started_at: row.try_get("started_at")?,
        duration_us: row.try_get("duration_us")?,
        deployment_id: row.try_get::<Option<_>, _>("deployment_id")?.map(DeploymentId),
        user_id: row.try_get("user_id")?,
        session_id: row.try_get("session_id")?,
        tags: tags(row)?,
        spans: row.try_get("spans")?,
        errors: row.try_get("errors")?,
        input_tokens: row.try_get("in_all")?,
        output_tokens: row.try_get("out_all")?,
        cost_picos: money(row)?,
    })
}

pub(super) fn span(row: &PgRow) -> sqlx::Result<Span> {
    let object = |name: &str| match row.try_get(name)? {
        Value::Object(map) => Ok(map),
        _ => Ok::<_, sqlx::Error>(serde_json::Map::new()),
    };
    let list = |name: &str| match row.try_get(name)? {
        Value::Array(list) => Ok(list),
        _ => Ok::<_, sqlx::Error>(Vec::new()),
    };
    let cost = row.try_get::<Option<i64>, _>("cost_picos")?.zip(row.try_get("price")?);
    let parent = row.try_get::<Option<&[u8]>, _>("parent_id")?;
    Ok(Span {
        trace_id: trace_id(row)?,
        span_id: SpanId::try_from(row.try_get::<&[u8], _>("span_id")?).map_err(corrupt)?,
        parent_id: parent.map(SpanId::try_from).transpose().map_err(corrupt)?,
        is_root: row.try_get("is_root")?,
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        status: status(row)?,
        status_message: row.try_get("status_message")?,
        started_at: row.try_get("started_at")?,
        duration_us: row.try_get("duration_us")?,
        service: row.try_get("service")?,
        deployment_id: row.try_get::<Option<_>, _>("deployment_id")?.map(DeploymentId),
        user_id: row.try_get("user_id")?,
        session_id: row.try_get("session_id")?,
        tags: tags(row)?,
        model: row.try_get("model")?,
        provider: row.try_get("provider")?,
        usage: tokens(row)?,
        counting: Counting::from_i16(row.try_get("counting")?),
        cost: cost.map(|(picos, price)| Cost { picos, price }),
        attributes: object("attributes")?,
        resource: object("resource")?,
        events: list("events")?,
        links: list("links")?,
    })
}

pub(super) fn tokens(row: &PgRow) -> sqlx::Result<Usage> {
    Ok(Usage {
        input: row.try_get("input_tokens")?,
        output: row.try_get("output_tokens")?,
        cache_read: row.try_get("cache_read")?,
        cache_write: row.try_get("cache_write")?,
        audio_input: row.try_get("audio_input")?,
        reasoning: row.try_get("reasoning")?,
        audio_output: row.try_get("audio_output")?,
    })
}

fn trace_id(row: &PgRow) -> sqlx::Result<TraceId> {
    TraceId::try_from(row.try_get::<&[u8], _>("trace_id")?).map_err(corrupt)
}

fn status(row: &PgRow) -> sqlx::Result<Status> {
    Ok(Status::from_name(row.try_get("status")?).unwrap_or_default())
}

fn tags(row: &PgRow) -> sqlx::Result<Vec<String>> {
    row.try_get::<sqlx::types::Json<Vec<String>>, _>("tags").map(|tags| tags.0)
}

pub(super) fn money(row: &PgRow) -> sqlx::Result<i128> {
    row.try_get::<Option<&str>, _>("cost_all")?.map_or(Ok(0), |sum| sum.parse().map_err(corrupt))
}

fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
