//! Costs of calls, read page by page in the order of time, and written as rows that take the place of those before them.
//!
//! Of rows that are one span, the engine keeps the one with the highest precedence, which is the one that came first. A row
//! with another cost is a copy of that one with a precedence higher by one: whoever reads sees the one or the other, nothing is
//! rewritten in place, and merges take the former away. What comes again meanwhile is younger than both (ADR 0056).

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use clickhouse::{Client, Row};
use domain::ports::telemetry::{Call, Cost, NewCost, Period, Rating, Span, TelemetryError, Tenant, Usage};
use domain::pricing::{ASKED_MODEL, ASKED_MODEL_OF_MASTRA, EXPLICIT, dollars};
use serde::Deserialize;

use super::fault::Fault;
use super::look::LEAST;
use super::row::{id, moment, odd};
use super::sql::Sql;
use super::target::Target;
use super::write::Kept;
use super::{in_time, rollups, schema};

/// How long a question or a statement may take: nobody waits for it but the operator.
const WORKING: Duration = Duration::from_secs(120);
/// So many rows are written by a statement, which has a largest size: each insert makes a part for the engine to merge.
const AT_ONCE: usize = 2000;
/// The largest statement: a row of it has less than 400 bytes.
const STATEMENT: &str = "1048576";

/// The model that was asked, in the spellings that are read when a span comes; kept where there is no cost.
fn asked() -> String {
    let within = |path: &[&str]| format!("JSONExtractString(attributes, '{}')", path.join("', '"));
    let all = ASKED_MODEL.iter().map(|name| within(&[name]));
    let all = all.chain(ASKED_MODEL_OF_MASTRA.map(within)).collect::<Vec<_>>().join(", ");
    format!("if(price IS NOT NULL, '', arrayFirst(name -> name != '', [{all}]))")
}

/// What calls cost in ClickHouse.
pub struct ClickHouseRating {
    client: Client,
}

impl ClickHouseRating {
    /// Of this engine, as a server has made it.
    ///
    /// # Errors
    /// When it cannot be reached, or has another schema than this release.
    pub async fn open(target: &Target) -> Result<Self, TelemetryError> {
        in_time(WORKING, schema::is_present(target)).await?;
        let client = target.client().with_setting("max_execution_time", WORKING.as_secs().to_string());
        Ok(Self { client })
    }
}

#[async_trait]
impl Rating for ClickHouseRating {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    async fn days(&self, tenant: Tenant, period: Period) -> Result<Vec<NaiveDate>, TelemetryError> {
        let mut sql = Sql::new(
            "SELECT DISTINCT toUInt16(toDate(started_at)) AS day FROM spans WHERE counting > 0 AND ",
        );
        sql.append(&Sql::of(tenant)).within("started_at", period).push(" ORDER BY day");
        let days = async { Ok::<_, Fault>(sql.into_query(&self.client).fetch_all::<u16>().await?) };
        let days = in_time(WORKING, days).await?;
        days.into_iter().map(rollups::date).collect::<Result<_, Fault>>().map_err(TelemetryError::from)
    }

    async fn calls(
        &self,
        tenant: Tenant,
        day: NaiveDate,
        period: Period,
        after: Option<&Call>,
        limit: usize,
    ) -> Result<Vec<Call>, TelemetryError> {
        let mut sql = Sql::new(format!(
            "SELECT trace_id, span_id, started_at, model, {} AS asked, input_tokens, output_tokens, cache_read,
                    cache_write, audio_input, reasoning, audio_output, cost, price
               FROM spans FINAL WHERE counting > 0 AND (price IS NULL OR price != ",
            asked()
        ));
        sql.text(EXPLICIT).push(") AND ").append(&Sql::of(tenant));
        sql.within("started_at", rollups::whole(day)).within("started_at", period);
        if let Some(after) = after {
            sql.push(" AND started_at >= ").moment(after.at);
            sql.push(" AND (started_at, trace_id, span_id) > (").moment(after.at);
            sql.push(", toFixedString(").bytes(after.trace_id.as_bytes()).push(", 16), toFixedString(");
            sql.bytes(after.span_id.as_bytes()).push(", 8))");
        }
        sql.push(" ORDER BY started_at, trace_id, span_id LIMIT ");
        sql.number(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = async { Ok(sql.into_query(&self.client).fetch_all::<CallRow>().await?) };
        let rows = in_time(WORKING, rows).await?;
        rows.into_iter().map(CallRow::call).collect::<Result<_, Fault>>().map_err(TelemetryError::from)
    }

    async fn set_costs(
        &self,
        tenant: Tenant,
        _day: NaiveDate,
        costs: &[NewCost],
    ) -> Result<(), TelemetryError> {
        for some in costs.chunks(AT_ONCE) {
            in_time(WORKING, set(&self.client, tenant, some)).await?;
        }
        Ok(())
    }

    async fn changed(&self, tenant: Tenant, day: NaiveDate) -> Result<(), TelemetryError> {
        in_time(WORKING, rollups::touch(&self.client, [(tenant, day)])).await
    }
}

/// Copies of these calls' rows with other costs, above them. All of them are of one day, so there is one part, or a few.
async fn set(client: &Client, tenant: Tenant, costs: &[NewCost]) -> Result<(), Fault> {
    let times = || costs.iter().map(|new| new.call.at);
    let Some((first, last)) = times().min().zip(times().max()) else { return Ok(()) };
    let period = Period { from: Some(first), to: last.checked_add_signed(LEAST) };
    let columns: Vec<&str> = <<Span as Kept>::Row as Row>::COLUMN_NAMES.to_vec();
    let kept = columns.iter().filter(|name| !["cost", "price"].contains(name)).copied();
    let kept = kept.collect::<Vec<_>>().join(", ");
    let mut sql = Sql::new(format!(
        "INSERT INTO spans ({kept}, cost, price, precedence)
         SELECT {kept}, toDecimal128(new_cost, 12), new_price, precedence + 1
           FROM (SELECT {kept}, precedence FROM spans FINAL WHERE (price IS NULL OR price != "
    ));
    sql.text(EXPLICIT).push(") AND ").append(&Sql::of(tenant)).within("started_at", period).push(" AND ");
    sql.any_of("trace_id", costs.iter().map(|new| new.call.trace_id.as_bytes()));
    sql.push(
        ") s INNER JOIN values('its_trace FixedString(16), its_span FixedString(8), new_cost String, new_price String'",
    );
    for NewCost { call, cost } in costs {
        sql.push(",(").bytes(call.trace_id.as_bytes()).push(",").bytes(call.span_id.as_bytes());
        sql.push(",").text(&dollars(cost.picos.into())).push(",").text(&cost.price).push(")");
    }
    sql.push(") n ON s.trace_id = n.its_trace AND s.span_id = n.its_span");
    let statement = sql.into_query(client).with_setting("insert_allow_materialized_columns", "1");
    Ok(statement.with_setting("max_query_size", STATEMENT).execute().await?)
}

#[derive(Row, Deserialize)]
struct CallRow {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    started_at: i64,
    model: Option<String>,
    asked: String,
    input_tokens: i64,
    output_tokens: i64,
    cache_read: i64,
    cache_write: i64,
    audio_input: i64,
    reasoning: i64,
    audio_output: i64,
    cost: Option<i128>,
    price: Option<String>,
}

impl CallRow {
    fn call(self) -> Result<Call, Fault> {
        let cost = self.cost.zip(self.price);
        let cost = cost
            .map(|(picos, price)| Ok::<_, Fault>(Cost { picos: i64::try_from(picos).map_err(odd)?, price }));
        let at: DateTime<Utc> = moment(self.started_at)?;
        Ok(Call {
            trace_id: id(&self.trace_id)?,
            span_id: id(&self.span_id)?,
            at,
            model: self.model,
            asked_model: Some(self.asked).filter(|name| !name.is_empty()),
            usage: Usage {
                input: self.input_tokens,
                output: self.output_tokens,
                cache_read: self.cache_read,
                cache_write: self.cache_write,
                audio_input: self.audio_input,
                reasoning: self.reasoning,
                audio_output: self.audio_output,
            },
            cost: cost.transpose()?,
        })
    }
}
