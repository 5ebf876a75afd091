//! Teams with their members, invites and installations. Those of a deleted team are gone.

mod apply;
mod installations;
mod invites;
mod members;

use chrono::{DateTime, Utc};
use domain::ids::{TeamId, UserId};
use domain::team::MemberRole;
use domain::values::{DisplayName, Slug};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use crate::page::{Listed, Page};
use crate::row::Columns;

pub use apply::Teams;
pub use installations::{InstallationRow, find_installation, installations, installations_of_github};
pub use invites::{InviteRow, InviteStatus, find_invite, find_invite_by_token_hash, invites};
pub use members::{MemberRow, find_member, members, membership, owners};

/// One team.
#[derive(Clone, Debug)]
pub struct TeamRow {
    /// Its id.
    pub id: TeamId,
    /// Its name.
    pub name: DisplayName,
    /// Its name in URLs.
    pub slug: Slug,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When name or slug last changed.
    pub updated_at: DateTime<Utc>,
    /// Number of its last event, for `ETag`; of its members and invites too.
    pub version: i64,
    /// Position of the event that made it: its place in lists.
    pub position: i64,
}

const COLUMNS: &str = "t.id, t.name, t.slug, t.created_at, t.updated_at, t.version, t.position";

impl FromRow<'_, PgRow> for TeamRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            name: row.text("name")?,
            slug: row.text("slug")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
            position: row.try_get("position")?,
        })
    }
}

/// The team with this id.
pub async fn find(db: impl PgExecutor<'_>, id: TeamId) -> sqlx::Result<Option<TeamRow>> {
    sqlx::query_as(&format!("SELECT {COLUMNS} FROM teams t WHERE t.id = $1"))
        .bind(id.0)
        .fetch_optional(db)
        .await
}

/// The team with this slug.
pub async fn find_by_slug(db: impl PgExecutor<'_>, slug: &Slug) -> sqlx::Result<Option<TeamRow>> {
    let query = format!("SELECT {COLUMNS} FROM teams t WHERE t.slug = $1");
    sqlx::query_as(&query).bind(slug.as_str()).fetch_optional(db).await
}

/// The teams a user belongs to, with the role there.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: UserId,
    page: Page,
) -> sqlx::Result<Listed<(TeamRow, MemberRole)>> {
    let query = format!(
        "SELECT {COLUMNS}, m.role FROM team_members m JOIN teams t ON t.id = m.team_id
          WHERE m.user_id = $1 AND t.position < $2 ORDER BY t.position DESC LIMIT $3"
    );
    let items = sqlx::query(&query)
        .bind(user.0)
        .bind(page.before())
        .bind(page.read())
        .try_map(|row: PgRow| Ok((TeamRow::from_row(&row)?, row.text("role")?)))
        .fetch_all(db)
        .await?;
    Ok(Listed::cut(items, page, |(team, _)| team.position))
}
