//! Invites into a team.

mod accept;
mod create;
mod list;
mod revoke;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::ids::{InviteId, UserId};
use domain::sealed::purpose;
use domain::secret::Secret;
use domain::team::MemberRole;
use projections::teams::InviteRow;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::secret_token::{Kind, SecretToken};

pub(crate) fn routes() -> OpenApiRouter<Arc<Platform>> {
    OpenApiRouter::new()
        .routes(routes!(list::handler))
        .routes(routes!(create::handler))
        .routes(routes!(revoke::handler))
        .routes(routes!(accept::handler))
}

/// An invite. Its secret is in its mail alone.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InviteView {
    #[schema(value_type = Uuid)]
    id: InviteId,
    email: String,
    /// `owner`, `admin`, `developer` or `viewer`.
    #[schema(value_type = String)]
    role: MemberRole,
    /// `pending`, `accepted`, `expired` or `revoked`.
    status: String,
    #[schema(value_type = Uuid)]
    invited_by: UserId,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

async fn view(platform: &Platform, row: InviteRow) -> Result<InviteView, ApiError> {
    let is_late = row.status == PENDING && row.expires_at <= (platform.now)();
    Ok(InviteView {
        id: row.id,
        email: platform.commands.vault().open_text(&row.email, purpose::INVITE_EMAIL).await?,
        role: row.role,
        status: if is_late { "expired".to_owned() } else { row.status },
        invited_by: row.invited_by,
        expires_at: row.expires_at,
        created_at: row.created_at,
    })
}

/// The status of an invite that can be accepted.
const PENDING: &str = "pending";

/// The invite with this secret. One that is over is 410, one that never was 404.
pub(crate) async fn find_open(
    platform: &Platform,
    secret: &Secret,
    now: DateTime<Utc>,
) -> Result<InviteRow, ApiError> {
    let token = secret.expose_str().and_then(|text| SecretToken::parse(Kind::Invite, text));
    let token = token.ok_or_else(Problem::not_found)?;
    let row = projections::teams::find_invite(&platform.pool, &token.hash_hex()).await?;
    let row = row.ok_or_else(Problem::not_found)?;
    if row.status != PENDING || row.expires_at <= now {
        return Err(Problem::new(410, "invite_over", "The invite is over")
            .detail("this invite is no longer valid")
            .into());
    }
    Ok(row)
}
