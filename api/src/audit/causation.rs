//! `GET /causation/{event}` — what led to an event, and what it led to: from the push or click down to the deployment.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::policy::{Action, Resource};
use projections::audit_trail::AuditRow;
use serde_json::{Value, json};

use super::show;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;

/// Every event with the same first cause, oldest first, each with its parent. `root` is what nothing of ours caused:
/// a request, a delivery, a run.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    event: Scoped<AuditRow>,
) -> Result<Json<Value>, ApiError> {
    // Who may audit one project only sees what belongs to it.
    let whole_team = event.may(&platform, None, Resource::Audit, Action::Read).await?;
    let project = event.it.project_id.filter(|_| !whole_team);
    let correlation = &event.it.correlation;
    let rows = projections::audit_trail::chain(&platform.pool, event.team_id, project, correlation).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let parent = row.causation.strip_prefix("event:").map(str::to_owned);
        let mut view = show(&platform, row).await?.to_json();
        view["parentId"] = json!(parent);
        items.push(view);
    }
    Ok(Json(json!({ "eventId": event.it.event_id, "root": correlation, "items": items })))
}
