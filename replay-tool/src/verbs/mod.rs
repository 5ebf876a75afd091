//! What the tool can do, a file a verb.

pub(crate) mod consumer;
pub(crate) mod diff;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod gc;
pub(crate) mod history;
pub(crate) mod ledger;
pub(crate) mod rebuild;
pub(crate) mod rollback;
pub(crate) mod shred;
pub(crate) mod status;
pub(crate) mod telemetry;
pub(crate) mod transfer;
pub(crate) mod verify;

/// How many events of a consumer wait.
async fn parked_events(pool: &sqlx::PgPool, consumer: &str) -> Result<i64, crate::failure::Failure> {
    let counts = projections::parked::count(pool).await?;
    Ok(counts.into_iter().find(|(name, _)| name == consumer).map_or(0, |(_, events)| events))
}
