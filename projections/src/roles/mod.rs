//! Custom roles of teams, and roles given to users.
//!
//! Somebody who leaves a team loses what was given to him there: the assignments lapse, until they are given
//! again. A deleted role, project or team takes its assignments with it.

mod apply;
mod grants;
mod resolve;

use chrono::{DateTime, Utc};
use domain::ids::{AssignmentId, EventId, ProjectId, RoleId, TeamId, UserId};
use domain::policy::Scope;
use domain::role::RoleDefinition;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use crate::page::{Listed, Page};
use crate::row::Columns;

pub use apply::Roles;
pub use grants::{HeldRole, grants_of, roles_held};

/// One custom role.
#[derive(Clone, Debug)]
pub struct RoleRow {
    /// Its id.
    pub id: RoleId,
    /// Its team.
    pub team_id: TeamId,
    /// What it is.
    pub definition: RoleDefinition,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// Number of its last event, for `ETag`.
    pub version: i64,
    /// Position of the event that made it: its place in lists.
    pub position: i64,
}

/// One role given to a user.
#[derive(Clone, Debug)]
pub struct AssignmentRow {
    /// Its id.
    pub id: AssignmentId,
    /// Who has it.
    pub user_id: UserId,
    /// Id of a custom role or name of a built-in one.
    pub role: String,
    /// Where.
    pub scope: Scope,
    /// The team of the scope; none for `global`.
    pub team_id: Option<TeamId>,
    /// Whether it holds no more because the user left the team.
    pub lapsed: bool,
    /// The event that gave it.
    pub event_id: EventId,
    /// When it was given.
    pub created_at: DateTime<Utc>,
    /// Number of its last event, for `ETag`.
    pub version: i64,
    /// Position of the event that gave it: its place in lists.
    pub position: i64,
}

const SELECT: &str = "SELECT id, team_id, definition, created_at, updated_at, version, position FROM roles";

const SELECT_ASSIGNMENT: &str = "SELECT id, user_id, role, scope, team_id, lapsed, event_id, created_at, version, \
    position FROM role_assignments";

impl FromRow<'_, PgRow> for RoleRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            definition: row.json("definition")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
            position: row.try_get("position")?,
        })
    }
}

impl FromRow<'_, PgRow> for AssignmentRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            user_id: row.id("user_id")?,
            role: row.try_get("role")?,
            scope: row.json("scope")?,
            team_id: row.maybe_id("team_id")?,
            lapsed: row.try_get("lapsed")?,
            event_id: row.id("event_id")?,
            created_at: row.try_get("created_at")?,
            version: row.try_get("version")?,
            position: row.try_get("position")?,
        })
    }
}

/// The role with this id.
pub async fn find(db: impl PgExecutor<'_>, id: RoleId) -> sqlx::Result<Option<RoleRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The custom roles of a team.
pub async fn of_team(db: impl PgExecutor<'_>, team: TeamId, page: Page) -> sqlx::Result<Listed<RoleRow>> {
    let query = format!("{SELECT} WHERE team_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let items =
        sqlx::query_as(&query).bind(team.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |role: &RoleRow| role.position))
}

/// All custom roles of a team, for who checks what they inherit.
pub async fn all_of_team(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<RoleRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE team_id = $1 ORDER BY position")).bind(team.0).fetch_all(db).await
}

/// The assignment with this id.
pub async fn find_assignment(
    db: impl PgExecutor<'_>,
    id: AssignmentId,
) -> sqlx::Result<Option<AssignmentRow>> {
    sqlx::query_as(&format!("{SELECT_ASSIGNMENT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The assignments in a team and its projects; of one user or of all.
pub async fn assignments_of_team(
    db: impl PgExecutor<'_>,
    team: TeamId,
    user: Option<UserId>,
    page: Page,
) -> sqlx::Result<Listed<AssignmentRow>> {
    let query = format!(
        "{SELECT_ASSIGNMENT} WHERE team_id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND position < $3
          ORDER BY position DESC LIMIT $4"
    );
    let items = sqlx::query_as(&query)
        .bind(team.0)
        .bind(user.map(|id| id.0))
        .bind(page.before())
        .bind(page.read())
        .fetch_all(db)
        .await?;
    Ok(Listed::cut(items, page, |row: &AssignmentRow| row.position))
}

/// The projects in which a user has a role of his own, with their teams.
pub async fn projects_assigned(
    db: impl PgExecutor<'_>,
    user: UserId,
) -> sqlx::Result<Vec<(TeamId, ProjectId)>> {
    sqlx::query(
        "SELECT DISTINCT team_id, project_id FROM role_assignments
          WHERE user_id = $1 AND NOT lapsed AND project_id IS NOT NULL AND team_id IS NOT NULL
          ORDER BY team_id, project_id",
    )
    .bind(user.0)
    .try_map(|row: PgRow| Ok((row.id("team_id")?, row.id("project_id")?)))
    .fetch_all(db)
    .await
}
