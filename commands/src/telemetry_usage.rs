//! How many rows of telemetry a project has brought on a day. Mutable, outside the log; all servers count together.

use chrono::NaiveDate;
use domain::ids::ProjectId;
use sqlx::PgPool;

/// Counts rows before they are stored, unless there are as many as may be; whether they are counted. A batch that begins
/// below the limit is taken as a whole.
pub async fn take(
    db: &PgPool,
    (project, day): (ProjectId, NaiveDate),
    rows: u64,
    most: u32,
) -> sqlx::Result<bool> {
    if rows == 0 {
        return Ok(of_day(db, project, day).await? < u64::from(most));
    }
    let counted = sqlx::query(
        "INSERT INTO telemetry_usage (project_id, day, rows) VALUES ($1, $2, $3)
         ON CONFLICT (project_id, day) DO UPDATE SET rows = telemetry_usage.rows + excluded.rows
          WHERE telemetry_usage.rows < $4",
    );
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let counted = counted.bind(project.0).bind(day).bind(rows).bind(i64::from(most)).execute(db).await?;
    Ok(counted.rows_affected() > 0)
}

/// Rows that were counted and are not stored, or were before.
pub async fn give_back(db: &PgPool, (project, day): (ProjectId, NaiveDate), rows: u64) -> sqlx::Result<()> {
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let query = "UPDATE telemetry_usage SET rows = greatest(rows - $3, 0) WHERE project_id = $1 AND day = $2";
    sqlx::query(query).bind(project.0).bind(day).bind(rows).execute(db).await.map(drop)
}

/// Rows of a day.
pub async fn of_day(db: &PgPool, project: ProjectId, day: NaiveDate) -> sqlx::Result<u64> {
    let query = "SELECT rows FROM telemetry_usage WHERE project_id = $1 AND day = $2";
    let rows: Option<i64> = sqlx::query_scalar(query).bind(project.0).bind(day).fetch_optional(db).await?;
    Ok(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or_default())
}

/// Forgets the days before this one.
pub async fn forget_before(db: &PgPool, day: NaiveDate) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM telemetry_usage WHERE day < $1").bind(day).execute(db).await.map(drop)
}
