//! What operators do leaves an event: the only one that this side of the house can append.

use cqrs_es::DomainEvent;
use domain::envelope::{Actor, Envelope};
use domain::ids::{EventId, OperationId, ProjectId};
use domain::operation::OperationEvent;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Records that it was done, by whom; answers the event's position. To be called last in the transaction that does
/// it, so that there is both or neither, and so that nobody who appends waits for the rest of it.
///
/// # Errors
/// When the database refuses, as it does for an actor that is neither operator nor system.
pub async fn record(db: &mut PgConnection, actor: &Actor, done: &OperationEvent) -> sqlx::Result<i64> {
    let (operation, event) = (OperationId(Uuid::now_v7()), EventId(Uuid::now_v7()));
    let request = format!("operation:{operation}");
    let envelope = Envelope {
        actor: actor.clone(),
        on_behalf_of: None,
        request_id: operation.to_string(),
        command: done.command().to_owned(),
        causation: request.clone(),
        correlation: request,
        source_ip: None,
        user_agent: None,
        traceparent: None,
        app_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    sqlx::query_scalar("SELECT public.record_operation($1, $2, $3, $4, $5::json, $6::json)")
        .bind(operation.0)
        .bind(event.0)
        .bind(done.event_type())
        .bind(done.event_version())
        .bind(serde_json::to_string(done).expect("events serialise"))
        .bind(serde_json::to_string(&envelope).expect("strings serialise"))
        .fetch_one(db)
        .await
}

/// Whether costs of a project were begun to be reckoned again, and nothing says that this came to its end.
///
/// # Errors
/// When the database cannot be asked.
pub async fn is_rerate_unfinished(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<bool> {
    let query = "SELECT event_type = 'ops.telemetry_rerate_begun' FROM public.events
                  WHERE aggregate_type = 'operation' AND payload ->> 'project_id' = $1
                    AND event_type IN ('ops.telemetry_rerate_begun', 'ops.telemetry_rerated')
                  ORDER BY position DESC LIMIT 1";
    let last: Option<bool> = sqlx::query_scalar(query).bind(project.to_string()).fetch_optional(db).await?;
    Ok(last.unwrap_or(false))
}
