//! A row of the audit trail as it is shown: with the address and the program of the caller, which are sealed.

use chrono::{DateTime, Utc};
use commands::{Vault, VaultError};
use domain::envelope::Actor;
use domain::ids::{EventId, ProjectId, TeamId};
use domain::sealed::KeyOwner;
use projections::audit_trail::AuditRow;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::platform::Platform;

/// A row of the audit trail as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = AuditRow)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    position: i64,
    #[schema(value_type = uuid::Uuid)]
    event_id: EventId,
    at: DateTime<Utc>,
    #[schema(value_type = Option<uuid::Uuid>)]
    team_id: Option<TeamId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    project_id: Option<ProjectId>,
    actor: &'a str,
    on_behalf_of: Option<&'a str>,
    action: &'a str,
    command: &'a str,
    resource: &'a str,
    resource_id: &'a str,
    /// `success`, `denied` or `failed`.
    outcome: &'a str,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
    request_id: &'a str,
    /// What caused it: `event:…`, `request:…` and others.
    causation: &'a str,
    /// The first cause of all.
    correlation: &'a str,
    source_ip: Option<&'a str>,
    user_agent: Option<&'a str>,
}

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
        json!(View {
            position: row.position,
            event_id: row.event_id,
            at: row.at,
            team_id: row.team_id,
            project_id: row.project_id,
            actor: &row.actor,
            on_behalf_of: row.on_behalf_of.as_deref(),
            action: &row.action,
            command: &row.command,
            resource: &row.resource,
            resource_id: &row.resource_id,
            outcome: &row.outcome,
            before: row.before.as_ref(),
            after: row.after.as_ref(),
            request_id: &row.request_id,
            causation: &row.causation,
            correlation: &row.correlation,
            source_ip: self.source_ip.as_deref(),
            user_agent: self.user_agent.as_deref(),
        })
    }
}

/// Opens what the envelope keeps sealed under the key of who acted.
pub(crate) async fn show(platform: &Platform, row: AuditRow) -> Result<Shown, ApiError> {
    Ok(opened(platform.commands.vault(), row).await?)
}

/// An event as `GET /events` answers it, for who may see all of its team.
pub async fn show_event(vault: &Vault, row: AuditRow) -> Result<Value, VaultError> {
    Ok(opened(vault, row).await?.to_json())
}

async fn opened(vault: &Vault, row: AuditRow) -> Result<Shown, VaultError> {
    let source_ip = note(vault, &row, "source_ip", row.source_ip.as_deref()).await?;
    let user_agent = note(vault, &row, "user_agent", row.user_agent.as_deref()).await?;
    Ok(Shown { row, source_ip, user_agent })
}

async fn note(
    vault: &Vault,
    row: &AuditRow,
    field: &str,
    sealed: Option<&str>,
) -> Result<Option<String>, VaultError> {
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
    let opened = vault.open_note(owner, &aad, sealed).await?;
    Ok(Some(opened.unwrap_or_else(|| "[erased]".to_owned())))
}
