//! Who belongs to a team.

use chrono::{DateTime, Utc};
use domain::ids::{EventId, TeamId, UserId};
use domain::team::MemberRole;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use crate::page::{Listed, Page};
use crate::row::Columns;

/// One member.
#[derive(Clone, Debug)]
pub struct MemberRow {
    /// The team.
    pub team_id: TeamId,
    /// The person.
    pub user_id: UserId,
    /// The role.
    pub role: MemberRole,
    /// The event that gave the role.
    pub event_id: EventId,
    /// Since when the person belongs to the team.
    pub joined_at: DateTime<Utc>,
    /// Since when the role is this one.
    pub updated_at: DateTime<Utc>,
    /// Position of the event that added the member: its place in lists.
    pub position: i64,
}

const SELECT: &str =
    "SELECT team_id, user_id, role, event_id, joined_at, updated_at, position FROM team_members";

impl FromRow<'_, PgRow> for MemberRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            team_id: row.id("team_id")?,
            user_id: row.id("user_id")?,
            role: row.text("role")?,
            event_id: row.id("event_id")?,
            joined_at: row.try_get("joined_at")?,
            updated_at: row.try_get("updated_at")?,
            position: row.try_get("position")?,
        })
    }
}

/// The members of a team.
pub async fn members(db: impl PgExecutor<'_>, team: TeamId, page: Page) -> sqlx::Result<Listed<MemberRow>> {
    let query = format!("{SELECT} WHERE team_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let items =
        sqlx::query_as(&query).bind(team.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |member: &MemberRow| member.position))
}

/// One member of a team.
pub async fn find_member(
    db: impl PgExecutor<'_>,
    team: TeamId,
    user: UserId,
) -> sqlx::Result<Option<MemberRow>> {
    let query = format!("{SELECT} WHERE team_id = $1 AND user_id = $2");
    sqlx::query_as(&query).bind(team.0).bind(user.0).fetch_optional(db).await
}

/// The role of a user in a team; `None` for everybody else.
pub async fn membership(
    db: impl PgExecutor<'_>,
    user: UserId,
    team: TeamId,
) -> sqlx::Result<Option<MemberRole>> {
    Ok(find_member(db, team, user).await?.map(|member| member.role))
}

/// The owners of a team.
pub async fn owners(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<UserId>> {
    sqlx::query("SELECT user_id FROM team_members WHERE team_id = $1 AND role = 'owner' ORDER BY position")
        .bind(team.0)
        .try_map(|row: PgRow| row.id("user_id"))
        .fetch_all(db)
        .await
}
