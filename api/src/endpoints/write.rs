//! `POST /teams/{team}/endpoints`, `PATCH/DELETE /endpoints/{endpoint}`, `POST …/rotate`, `POST …/ping`.

use std::sync::Arc;

use axum::extract::State;
use chrono::TimeDelta;
use commands::{Context, Receipt};
use domain::endpoint::{EndpointCommand, EndpointSettings, Kind, Target};
use domain::ids::{EndpointId, ProjectId, UserId};
use domain::sealed::{KeyOwner, Sealed, purpose};
use domain::values::DisplayName;
use http::StatusCode;
use projections::endpoints::EndpointRow;
use projections::teams::TeamRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::{events, members, must_see_events, projects, sealed_url, target};
use super::view;
use crate::auth::token::endpoint_secret;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::shape;

/// Endpoints of a team at most: each is told of everything that happens.
const MOST: usize = 50;
/// How long the secret before signs too, in hours.
const OVERLAP: u16 = 24;

/// An endpoint to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateEndpoint {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
    /// `webhook`, `slack` or `email`.
    #[schema(value_type = shape::EndpointKind)]
    kind: Kind,
    /// Where a webhook or Slack's incoming webhook is: `https://…`.
    #[schema(max_length = 2048)]
    url: Option<String>,
    /// Members of the team who get the mails.
    #[schema(value_type = Option<Vec<uuid::Uuid>>)]
    to: Option<Vec<UserId>>,
    /// Types of events (`build.failed`), or all of a kind (`build.*`); everything when empty. Slack and mail are told of
    /// results alone: `build.succeeded`, `build.failed`, `deployment.activated`, `deployment.failed`,
    /// `deployment.rolled_back`.
    #[serde(default)]
    events: Vec<String>,
    /// About which projects; everything of the team when empty.
    #[serde(default)]
    #[schema(value_type = Vec<uuid::Uuid>)]
    projects: Vec<ProjectId>,
}

/// What is to be otherwise; what is absent stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeEndpoint {
    #[schema(value_type = Option<shape::Name>)]
    name: Option<DisplayName>,
    #[schema(max_length = 2048)]
    url: Option<String>,
    #[schema(value_type = Option<Vec<uuid::Uuid>>)]
    to: Option<Vec<UserId>>,
    events: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<uuid::Uuid>>)]
    projects: Option<Vec<ProjectId>>,
    enabled: Option<bool>,
}

/// How a secret is to be replaced.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RotateEndpoint {
    /// For how many hours messages are signed with the secret before, too; 24 when absent.
    #[schema(maximum = 168)]
    overlap_hours: Option<u16>,
}

/// An endpoint that was made or got another secret.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EndpointSecret)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSecret {
    #[schema(value_type = super::View)]
    endpoint: Value,
    /// What a webhook's messages are signed with: shown here and never again.
    secret: Option<String>,
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(body): Body<CreateEndpoint>,
) -> Result<Done, ApiError> {
    must_see_events(&platform, &team, body.kind).await?;
    let (team_id, id, context) = (team.it.id, platform.new_id(), team.context());
    if projections::endpoints::of_team(&platform.pool, team_id).await?.len() >= MOST {
        let detail = format!("A team has at most {MOST} endpoints.");
        return Err(ApiError::new(StatusCode::CONFLICT, "too_many", detail));
    }
    let settings = EndpointSettings {
        name: body.name,
        events: events(body.events)?,
        projects: projects(&platform, team_id, body.projects).await?,
        target: target(&platform, &context, (team_id, id), body.kind, (body.url.as_deref(), body.to)).await?,
    };
    let secret = match body.kind {
        Kind::Webhook => Some(new_secret(&platform, &context, id).await?),
        Kind::Slack | Kind::Email => None,
    };
    let (secret, plain) = secret.unzip();
    let command = EndpointCommand::CreateEndpoint { team_id, settings, secret };
    let receipt = platform.commands.endpoint(id, command, &context).await?;
    // With a repeated key it is the endpoint of the first time.
    let id = receipt.aggregate_id.parse().unwrap_or(id);
    made(&platform, StatusCode::CREATED, receipt, id, plain).await
}

pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
    Body(change): Body<ChangeEndpoint>,
) -> Result<Done, ApiError> {
    let (id, team, context) = (endpoint.it.id, endpoint.team_id, endpoint.context());
    let mut settings = endpoint.it.settings.clone();
    must_see_events(&platform, &endpoint, settings.target.kind()).await?;
    match (&mut settings.target, change.url, change.to) {
        (Target::Webhook { url } | Target::Slack { url }, Some(other), None) => {
            *url = sealed_url(&platform, &context, id, &other).await?;
        }
        (Target::Email { to }, None, Some(others)) => *to = members(&platform, team, others).await?,
        (_, None, None) => {}
        (Target::Email { .. }, Some(_), _) => return Err(misplaced("url")),
        (_, _, Some(_)) => return Err(misplaced("to")),
    }
    if let Some(name) = change.name {
        settings.name = name;
    }
    if let Some(texts) = change.events {
        settings.events = events(texts)?;
    }
    if let Some(ids) = change.projects {
        settings.projects = projects(&platform, team, ids).await?;
    }
    let command = EndpointCommand::ChangeEndpoint { settings, enabled: change.enabled };
    let receipt = platform.commands.endpoint(id, command, &context).await?;
    changed(&platform, StatusCode::OK, receipt, id).await
}

fn misplaced(field: &str) -> ApiError {
    ApiError::field(field, "not_for_this_kind", "does not belong to this kind")
}

pub(crate) async fn rotate(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
    Body(RotateEndpoint { overlap_hours }): Body<RotateEndpoint>,
) -> Result<Done, ApiError> {
    let hours = overlap_hours.unwrap_or(OVERLAP);
    if hours > 168 {
        return Err(ApiError::field("overlapHours", "out_of_range", "must be 0 to 168"));
    }
    let (id, context) = (endpoint.it.id, endpoint.context());
    let (secret, plain) = new_secret(&platform, &context, id).await?;
    let overlap_until = context.at + TimeDelta::hours(hours.into());
    let command = EndpointCommand::RotateSecret { secret, overlap_until };
    let receipt = platform.commands.endpoint(id, command, &context).await?;
    made(&platform, StatusCode::OK, receipt, id, Some(plain)).await
}

pub(crate) async fn ping(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
) -> Result<Done, ApiError> {
    let (id, context) = (endpoint.it.id, endpoint.context());
    let receipt = platform.commands.endpoint(id, EndpointCommand::PingEndpoint, &context).await?;
    changed(&platform, StatusCode::ACCEPTED, receipt, id).await
}

/// What waits for it is not sent, and its address and secret are destroyed.
pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
) -> Result<Done, ApiError> {
    let (id, context) = (endpoint.it.id, endpoint.context());
    let receipt = platform.commands.endpoint(id, EndpointCommand::DeleteEndpoint, &context).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": id, "deleted": true }))).await
}

/// A secret, sealed and in clear.
async fn new_secret(
    platform: &Platform,
    context: &Context,
    id: EndpointId,
) -> Result<(Sealed, String), ApiError> {
    let vault = platform.commands.vault();
    let plain = endpoint_secret(context.key.as_ref(), vault).await?;
    let (owner, value) = (KeyOwner::Endpoint(id), plain.as_bytes());
    let sealed = vault.seal_for(context, owner, purpose::ENDPOINT_SECRET, platform.new_id(), value).await?;
    Ok((sealed, plain))
}

async fn made(
    platform: &Platform,
    status: StatusCode,
    receipt: Receipt,
    id: EndpointId,
    secret: Option<String>,
) -> Result<Done, ApiError> {
    Done::new(platform, status, receipt, async || {
        Ok(json!(NewSecret { endpoint: shown(platform, id).await?, secret }))
    })
    .await
}

/// Answers with the endpoint as it is now.
pub(super) async fn changed(
    platform: &Platform,
    status: StatusCode,
    receipt: Receipt,
    id: EndpointId,
) -> Result<Done, ApiError> {
    Done::new(platform, status, receipt, async || shown(platform, id).await).await
}

async fn shown(platform: &Platform, id: EndpointId) -> Result<Value, ApiError> {
    let row = projections::endpoints::find(&platform.pool, id).await?;
    view(platform, &row.ok_or_else(ApiError::not_found)?).await
}
