//! Costs of calls, read page by page in the order of the primary key of a day, and written in small statements.

use async_trait::async_trait;
use chrono::NaiveDate;
use domain::ports::telemetry::{
    Call, Cost, NewCost, Period, Rating, SpanId, TelemetryError, Tenant, TraceId,
};
use domain::pricing::{ASKED_MODEL, ASKED_MODEL_OF_MASTRA, EXPLICIT};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::read::{Query, tokens, within};

/// So many rows are locked at a time, for a moment: who writes others is not hindered.
const AT_ONCE: usize = 1000;

/// The model that was asked, in the spellings that are read when a span comes; kept where there is no cost.
fn asked() -> String {
    let within = |path: &[&str]| format!("nullif(s.attributes #>> ARRAY['{}'], '')", path.join("', '"));
    let all = ASKED_MODEL.iter().map(|name| within(&[name]));
    let all = all.chain(ASKED_MODEL_OF_MASTRA.map(within)).collect::<Vec<_>>().join(", ");
    format!("CASE WHEN s.price IS NULL THEN coalesce({all}) END")
}

/// What calls cost in PostgreSQL.
pub struct PostgresRating {
    pool: PgPool,
}

impl PostgresRating {
    /// Of this database.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl Rating for PostgresRating {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    async fn days(&self, tenant: Tenant, period: Period) -> Result<Vec<NaiveDate>, TelemetryError> {
        let mut query = Query::new("SELECT DISTINCT s.day FROM public.spans s WHERE s.counting > 0 AND ");
        within(&mut query, "s", tenant, period);
        query.push(" ORDER BY 1");
        query.build_query_scalar().fetch_all(&self.pool).await.map_err(failed)
    }

    async fn calls(
        &self,
        tenant: Tenant,
        day: NaiveDate,
        period: Period,
        after: Option<&Call>,
        limit: usize,
    ) -> Result<Vec<Call>, TelemetryError> {
        let mut query = Query::new(format!(
            "SELECT s.trace_id, s.span_id, s.started_at, s.model, {} AS asked, s.input_tokens, s.output_tokens,
                    s.cache_read, s.cache_write, s.audio_input, s.reasoning, s.audio_output, s.cost_picos, s.price
               FROM public.spans s WHERE s.counting > 0 AND s.price IS DISTINCT FROM ",
            asked()
        ));
        query.push_bind(EXPLICIT).push(" AND s.day = ").push_bind(day).push(" AND ");
        within(&mut query, "s", tenant, period);
        if let Some(after) = after {
            query.push(" AND (s.trace_id, s.span_id) > (").push_bind(after.trace_id.as_bytes().to_vec());
            query.push(", ").push_bind(after.span_id.as_bytes().to_vec()).push(")");
        }
        query
            .push(" ORDER BY s.trace_id, s.span_id LIMIT ")
            .push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(call).collect::<sqlx::Result<_>>().map_err(failed)
    }

    async fn set_costs(
        &self,
        tenant: Tenant,
        day: NaiveDate,
        costs: &[NewCost],
    ) -> Result<(), TelemetryError> {
        for some in costs.chunks(AT_ONCE) {
            set(&self.pool, tenant, day, some).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn changed(&self, _tenant: Tenant, _day: NaiveDate) -> Result<(), TelemetryError> {
        // Every question reads the rows themselves: nothing is kept that is made of them.
        Ok(())
    }
}

async fn set(pool: &PgPool, tenant: Tenant, day: NaiveDate, costs: &[NewCost]) -> sqlx::Result<()> {
    let each = |of: &dyn Fn(&NewCost) -> Vec<u8>| costs.iter().map(of).collect::<Vec<_>>();
    sqlx::query(
        "UPDATE public.spans s SET cost_picos = n.picos, price = n.price
           FROM unnest($4::bytea[], $5::bytea[], $6::bigint[], $7::text[]) n (trace_id, span_id, picos, price)
          WHERE s.team_id = $1 AND s.project_id = $2 AND s.day = $3
            AND s.trace_id = n.trace_id AND s.span_id = n.span_id AND s.price IS DISTINCT FROM $8",
    )
    .bind(tenant.team.0)
    .bind(tenant.project.0)
    .bind(day)
    .bind(each(&|new| new.call.trace_id.as_bytes().to_vec()))
    .bind(each(&|new| new.call.span_id.as_bytes().to_vec()))
    .bind(costs.iter().map(|new| new.cost.picos).collect::<Vec<_>>())
    .bind(costs.iter().map(|new| new.cost.price.as_str()).collect::<Vec<_>>())
    .bind(EXPLICIT)
    .execute(pool)
    .await?;
    Ok(())
}

fn call(row: &PgRow) -> sqlx::Result<Call> {
    let id = |error| sqlx::Error::Decode(Box::new(error));
    let cost = row.try_get::<Option<i64>, _>("cost_picos")?.zip(row.try_get("price")?);
    Ok(Call {
        trace_id: TraceId::try_from(row.try_get::<&[u8], _>("trace_id")?).map_err(id)?,
        span_id: SpanId::try_from(row.try_get::<&[u8], _>("span_id")?).map_err(id)?,
        at: row.try_get("started_at")?,
        model: row.try_get("model")?,
        asked_model: row.try_get("asked")?,
        usage: tokens(row)?,
        cost: cost.map(|(picos, price)| Cost { picos, price }),
    })
}

fn failed(error: sqlx::Error) -> TelemetryError {
    TelemetryError::Store(Box::new(error))
}
