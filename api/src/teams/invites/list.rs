//! `GET /teams/{team}/invites` — who was invited.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ids::{InviteId, TeamId, UserId};
use domain::sealed::purpose;
use domain::team::MemberRole;
use projections::teams::{InviteRow, TeamRow};
use serde::Serialize;
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Page, items, versioned};
use crate::shape;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let invites = projections::teams::invites(team.view(), team.it.id).await?;
    let (invites, next) = page.cut(invites, |invite| invite.id.0)?;
    let now = team.view().at((platform.now)());
    let mut views = Vec::with_capacity(invites.len());
    for invite in &invites {
        views.push(view(&platform, invite, now).await?);
    }
    Ok(versioned(items(views, next), team.it.version))
}

/// An invite as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Invite)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: InviteId,
    #[schema(value_type = uuid::Uuid)]
    team_id: TeamId,
    email: String,
    #[schema(value_type = shape::MemberRole)]
    role: MemberRole,
    #[schema(value_type = uuid::Uuid)]
    invited_by_id: UserId,
    /// `pending`, `accepted`, `revoked` or `expired`.
    status: &'a str,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

/// An invite without its secret, as it is at the time `now`.
pub(crate) async fn view(
    platform: &Platform,
    invite: &InviteRow,
    now: DateTime<Utc>,
) -> Result<Value, ApiError> {
    let over = invite.status == "pending" && invite.expires_at <= now;
    Ok(json!(View {
        id: invite.id,
        team_id: invite.team_id,
        email: platform.commands.vault().open_text(&invite.email, purpose::INVITE_EMAIL).await?,
        role: invite.role,
        invited_by_id: invite.invited_by,
        status: if over { "expired" } else { &invite.status },
        expires_at: invite.expires_at,
        created_at: invite.created_at,
    }))
}
