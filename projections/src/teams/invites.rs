//! Invites of addresses into a team.

use chrono::{DateTime, Utc};
use domain::ids::{InviteId, TeamId, UserId};
use domain::sealed::Sealed;
use domain::team::MemberRole;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use crate::page::{Listed, Page};
use crate::row::Columns;

/// How an invite stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteStatus {
    /// It can be accepted, until it expires.
    Pending,
    /// Somebody did.
    Accepted,
    /// It ran out of time.
    Expired,
    /// Somebody took it back.
    Revoked,
}

/// One invite.
#[derive(Clone, Debug)]
pub struct InviteRow {
    /// Its id.
    pub id: InviteId,
    /// Into which team.
    pub team_id: TeamId,
    /// The address.
    pub email: Sealed,
    /// Keyed hash of the address.
    pub email_hash: String,
    /// As what.
    pub role: MemberRole,
    /// The secret of the mail, sealed; gone when the invite is over.
    pub token: Option<Sealed>,
    /// How it stands.
    pub status: InviteStatus,
    /// By whom.
    pub invited_by: UserId,
    /// By whom it was accepted.
    pub accepted_by: Option<UserId>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Position of the event that made it: its place in lists.
    pub position: i64,
}

const SELECT: &str = "SELECT id, team_id, email, email_hash, role, token, status, invited_by, accepted_by, \
    expires_at, created_at, position FROM team_invites";

impl FromRow<'_, PgRow> for InviteRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            email: row.json("email")?,
            email_hash: row.try_get("email_hash")?,
            role: row.text("role")?,
            token: row.maybe_json("token")?,
            status: row.text("status")?,
            invited_by: row.id("invited_by")?,
            accepted_by: row.maybe_id("accepted_by")?,
            expires_at: row.try_get("expires_at")?,
            created_at: row.try_get("created_at")?,
            position: row.try_get("position")?,
        })
    }
}

/// The invites of a team, whatever became of them.
pub async fn invites(db: impl PgExecutor<'_>, team: TeamId, page: Page) -> sqlx::Result<Listed<InviteRow>> {
    let query = format!("{SELECT} WHERE team_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let items =
        sqlx::query_as(&query).bind(team.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |invite: &InviteRow| invite.position))
}

/// The invite with this id.
pub async fn find_invite(db: impl PgExecutor<'_>, id: InviteId) -> sqlx::Result<Option<InviteRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The invite whose secret has this SHA-256 (hex).
pub async fn find_invite_by_token_hash(
    db: impl PgExecutor<'_>,
    hash: &str,
) -> sqlx::Result<Option<InviteRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE token_hash = $1")).bind(hash).fetch_optional(db).await
}
