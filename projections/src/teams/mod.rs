//! Teams, their members, invites and installations.

mod apply;

use chrono::{DateTime, Utc};
use domain::ids::{InstallationId, InviteId, TeamId, UserId};
use domain::sealed::Sealed;
use domain::team::{InstallationStatus, MemberRole};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use crate::row::Columns;

pub use apply::Teams;

/// One team that was not deleted.
#[derive(Clone, Debug)]
pub struct TeamRow {
    /// Its id.
    pub id: TeamId,
    /// Its name.
    pub name: String,
    /// Its slug.
    pub slug: String,
    /// Who made it.
    pub created_by: UserId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Number of its last event, for `ETag`.
    pub version: i64,
}

/// One membership.
#[derive(Clone, Debug)]
pub struct MemberRow {
    /// Who.
    pub user_id: UserId,
    /// As what.
    pub role: MemberRole,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// One invite.
#[derive(Clone, Debug)]
pub struct InviteRow {
    /// Its id.
    pub id: InviteId,
    /// Its team.
    pub team_id: TeamId,
    /// The address.
    pub email: Sealed,
    /// Keyed hash of the address.
    pub email_hash: String,
    /// As what.
    pub role: MemberRole,
    /// By whom.
    pub invited_by: UserId,
    /// `pending`, `accepted`, `expired` or `revoked`.
    pub status: String,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// One installation of the GitHub App.
#[derive(Clone, Debug)]
pub struct InstallationRow {
    /// Our id.
    pub id: InstallationId,
    /// GitHub's id.
    pub github_id: i64,
    /// Login of its account.
    pub organization: String,
    /// What GitHub says of it.
    pub status: InstallationStatus,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

const TEAM: &str =
    "SELECT t.id, t.name, t.slug, t.created_by, t.created_at, t.updated_at, t.version FROM teams t";
const INVITE: &str = "SELECT id, team_id, email, email_hash, role, invited_by, status, expires_at, created_at \
    FROM team_invites";

impl FromRow<'_, PgRow> for TeamRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            name: row.try_get("name")?,
            slug: row.try_get("slug")?,
            created_by: row.id("created_by")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
        })
    }
}

impl FromRow<'_, PgRow> for MemberRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            user_id: row.id("user_id")?,
            role: row.text("role")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

impl FromRow<'_, PgRow> for InviteRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            email: row.json("email")?,
            email_hash: row.try_get("email_hash")?,
            role: row.text("role")?,
            invited_by: row.id("invited_by")?,
            status: row.try_get("status")?,
            expires_at: row.try_get("expires_at")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

impl FromRow<'_, PgRow> for InstallationRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            github_id: row.try_get("github_id")?,
            organization: row.try_get("organization")?,
            status: row.text("status")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

/// The team with this id.
pub async fn find(db: impl PgExecutor<'_>, id: TeamId) -> sqlx::Result<Option<TeamRow>> {
    sqlx::query_as(&format!("{TEAM} WHERE t.id = $1")).bind(id.0).fetch_optional(db).await
}

/// The team with this slug.
pub async fn find_by_slug(db: impl PgExecutor<'_>, slug: &str) -> sqlx::Result<Option<TeamRow>> {
    sqlx::query_as(&format!("{TEAM} WHERE t.slug = $1")).bind(slug).fetch_optional(db).await
}

/// The teams that a user belongs to, newest first, before the team `before`.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: UserId,
    before: Option<TeamId>,
    limit: i64,
) -> sqlx::Result<Vec<TeamRow>> {
    let query = format!(
        "{TEAM} JOIN team_members m ON m.team_id = t.id
          WHERE m.user_id = $1 AND ($2::uuid IS NULL OR t.id < $2) ORDER BY t.id DESC LIMIT $3"
    );
    sqlx::query_as(&query).bind(user.0).bind(before.map(|id| id.0)).bind(limit).fetch_all(db).await
}

/// The role of a user in a team.
pub async fn membership(
    db: impl PgExecutor<'_>,
    team: TeamId,
    user: UserId,
) -> sqlx::Result<Option<MemberRole>> {
    let row = sqlx::query("SELECT role FROM team_members WHERE team_id = $1 AND user_id = $2")
        .bind(team.0)
        .bind(user.0)
        .fetch_optional(db)
        .await?;
    row.map(|row| row.text("role")).transpose()
}

/// The members of a team, newest first.
pub async fn members(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<MemberRow>> {
    sqlx::query_as(
        "SELECT user_id, role, created_at FROM team_members WHERE team_id = $1 ORDER BY user_id DESC",
    )
    .bind(team.0)
    .fetch_all(db)
    .await
}

/// The invites of a team, newest first.
pub async fn invites(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<InviteRow>> {
    sqlx::query_as(&format!("{INVITE} WHERE team_id = $1 ORDER BY id DESC")).bind(team.0).fetch_all(db).await
}

/// The invite with this secret, by its SHA-256 in hex.
pub async fn find_invite(db: impl PgExecutor<'_>, token_hash: &str) -> sqlx::Result<Option<InviteRow>> {
    sqlx::query_as(&format!("{INVITE} WHERE token_hash = $1")).bind(token_hash).fetch_optional(db).await
}

/// The installations of a team, newest first.
pub async fn installations(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<InstallationRow>> {
    sqlx::query_as(
        "SELECT id, github_id, organization, status, created_at FROM team_installations
          WHERE team_id = $1 ORDER BY id DESC",
    )
    .bind(team.0)
    .fetch_all(db)
    .await
}
