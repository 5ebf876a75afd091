//! A row of the audit trail as it is shown: with the address and the program of the caller, which are sealed.

use domain::envelope::Actor;
use domain::sealed::KeyOwner;
use projections::audit_trail::AuditRow;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::platform::Platform;

/// A row with what was sealed in it. What was erased reads `[erased]`.
pub(crate) struct Shown {
    pub(crate) row: AuditRow,
    pub(crate) source_ip: Option<String>,
    pub(crate) user_agent: Option<String>,
}

impl Shown {
    /// As the API answers it.
    pub(crate) fn to_json(&self) -> Value {
        let row = &self.row;
        json!({
            "position": row.position,
            "eventId": row.event_id,
            "at": row.at,
            "teamId": row.team_id,
            "projectId": row.project_id,
            "actor": row.actor,
            "onBehalfOf": row.on_behalf_of,
            "action": row.action,
            "command": row.command,
            "resource": row.resource,
            "resourceId": row.resource_id,
            "outcome": row.outcome,
            "before": row.before,
            "after": row.after,
            "requestId": row.request_id,
            "causation": row.causation,
            "correlation": row.correlation,
            "sourceIp": self.source_ip,
            "userAgent": self.user_agent,
        })
    }
}

/// Opens what the envelope keeps sealed under the key of who acted.
pub(crate) async fn show(platform: &Platform, row: AuditRow) -> Result<Shown, ApiError> {
    let source_ip = note(platform, &row, "source_ip", row.source_ip.as_deref()).await?;
    let user_agent = note(platform, &row, "user_agent", row.user_agent.as_deref()).await?;
    Ok(Shown { row, source_ip, user_agent })
}

async fn note(
    platform: &Platform,
    row: &AuditRow,
    field: &str,
    sealed: Option<&str>,
) -> Result<Option<String>, ApiError> {
    let Some(sealed) = sealed else { return Ok(None) };
    let person =
        [Some(row.actor.as_str()), row.on_behalf_of.as_deref()].into_iter().flatten().find_map(|actor| {
            match actor.parse() {
                Ok(Actor::User(id)) => Some(KeyOwner::User(id)),
                _ => None,
            }
        });
    let owner = person.unwrap_or(KeyOwner::System);
    let aad = format!("{}|{field}", row.event_id);
    let opened = platform.commands.vault().open_note(owner, &aad, sealed).await?;
    Ok(Some(opened.unwrap_or_else(|| "[erased]".to_owned())))
}
