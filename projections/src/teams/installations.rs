//! Installations of the GitHub App that belong to a team.

use chrono::{DateTime, Utc};
use domain::ids::{InstallationId, TeamId};
use domain::team::InstallationStatus;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use crate::page::{Listed, Page};
use crate::row::Columns;

/// One installation.
#[derive(Clone, Debug)]
pub struct InstallationRow {
    /// Our id.
    pub id: InstallationId,
    /// Its team.
    pub team_id: TeamId,
    /// GitHub's id.
    pub github_id: i64,
    /// Login of the account it is installed on.
    pub organization: String,
    /// What GitHub says of it.
    pub status: InstallationStatus,
    /// When it was connected.
    pub created_at: DateTime<Utc>,
    /// Position of the event that connected it: its place in lists.
    pub position: i64,
}

const SELECT: &str = "SELECT id, team_id, github_id, organization, status, created_at, position \
    FROM team_installations";

impl FromRow<'_, PgRow> for InstallationRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            github_id: row.try_get("github_id")?,
            organization: row.try_get("organization")?,
            status: row.text("status")?,
            created_at: row.try_get("created_at")?,
            position: row.try_get("position")?,
        })
    }
}

/// The installations of a team.
pub async fn installations(
    db: impl PgExecutor<'_>,
    team: TeamId,
    page: Page,
) -> sqlx::Result<Listed<InstallationRow>> {
    let query = format!("{SELECT} WHERE team_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let items =
        sqlx::query_as(&query).bind(team.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |installation: &InstallationRow| installation.position))
}

/// The installation with this id.
pub async fn find_installation(
    db: impl PgExecutor<'_>,
    id: InstallationId,
) -> sqlx::Result<Option<InstallationRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// What teams have connected of one installation of GitHub's, for its webhooks.
pub async fn installations_of_github(
    db: impl PgExecutor<'_>,
    github_id: i64,
) -> sqlx::Result<Vec<InstallationRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE github_id = $1 ORDER BY position"))
        .bind(github_id)
        .fetch_all(db)
        .await
}
