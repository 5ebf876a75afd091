//! Where a team is told what happens: webhooks, Slack, mail. The management of endpoints, and what was sent to them.

pub(crate) mod deliveries;
pub(crate) mod replay;
mod settings;
pub(crate) mod write;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::endpoint::{EventPattern, Kind, Target};
use domain::ids::{EndpointId, ProjectId, TeamId, UserId};
use domain::sealed::{Sealed, purpose};
use projections::endpoints::EndpointRow;
use projections::teams::TeamRow;
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Page, items, resource, versioned};

/// An endpoint as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Endpoint)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    #[schema(value_type = uuid::Uuid)]
    id: EndpointId,
    #[schema(value_type = uuid::Uuid)]
    team_id: TeamId,
    name: String,
    /// `webhook`, `slack` or `email`.
    kind: &'static str,
    /// Where it leads. Of Slack's only the host: whoever has the whole may post.
    url: Option<String>,
    /// Who gets the mails.
    #[schema(value_type = Vec<uuid::Uuid>)]
    to: Vec<UserId>,
    /// Types of events (`build.failed`), or all of a kind (`build.*`); everything when empty.
    events: Vec<String>,
    /// About which projects; everything of the team when empty.
    #[schema(value_type = Vec<uuid::Uuid>)]
    projects: Vec<ProjectId>,
    enabled: bool,
    /// `asked`, `gone` (it answered 410) or `failing` (nothing arrived for three days).
    disabled_reason: Option<String>,
    /// The last position of the log that it could be told of.
    disabled_at: Option<i64>,
    /// Until when messages are signed with the secret before, too.
    old_secret_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let rows = projections::endpoints::of_team(&platform.pool, team.it.id).await?;
    let (rows, next) = page.cut(rows, |row| row.id.0)?;
    let mut views = Vec::with_capacity(rows.len());
    for row in &rows {
        views.push(view(&platform, row).await?);
    }
    Ok(versioned(items(views, next), team.it.version))
}

pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
) -> Result<Response, ApiError> {
    Ok(resource(view(&platform, &endpoint.it).await?, endpoint.it.version))
}

/// An endpoint as the API shows it.
async fn view(platform: &Platform, row: &EndpointRow) -> Result<Value, ApiError> {
    let settings = &row.settings;
    let url = match settings.target.url() {
        Some(url) => Some(opened(platform, url).await?),
        None => None,
    };
    let to = match &settings.target {
        Target::Email { to } => to.iter().copied().collect(),
        _ => vec![],
    };
    let kind = settings.target.kind();
    Ok(json!(View {
        id: row.id,
        team_id: row.team_id,
        name: settings.name.to_string(),
        kind: kind.as_str(),
        url: url.map(|url| if kind == Kind::Slack { host_of(&url) } else { url }),
        to,
        events: settings.events.iter().map(EventPattern::to_string).collect(),
        projects: settings.projects.iter().copied().collect(),
        enabled: row.disabled.is_none(),
        disabled_reason: row.disabled.clone(),
        disabled_at: row.disabled_at,
        old_secret_until: row.old_until.filter(|until| *until > (platform.now)()),
        created_at: row.created_at,
    }))
}

async fn opened(platform: &Platform, url: &Sealed) -> Result<String, ApiError> {
    Ok(platform.commands.vault().open_text(url, purpose::ENDPOINT_URL).await?)
}

/// As much of a secret address as may be seen.
fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    format!("https://{host}/…")
}
