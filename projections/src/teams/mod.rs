//! Teams, their members, invites and installations.

mod apply;

use chrono::{DateTime, Utc};
use domain::ids::{InstallationId, InviteId, TeamId, UserId};
use domain::sealed::Sealed;
use domain::team::{InstallationStatus, MemberRole};
use sqlx::PgExecutor;

use crate::row::Columns;
use crate::rows::{Row, row};

pub use apply::Teams;

row! {
    /// One team that is open.
    pub struct TeamRow in "teams" by (id: TeamId) {
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
}

row! {
    /// One team that is closed and can be reopened. Until then it stands here and not among the teams.
    pub struct ClosedTeamRow in "closed_teams" by (id: TeamId) {
        /// Its id.
        pub id: TeamId,
        /// Its name.
        pub name: String,
        /// Its slug, which stays its own.
        pub slug: String,
        /// Who made it.
        pub created_by: UserId,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was last changed.
        pub updated_at: DateTime<Utc>,
        /// Number of its last event, for `ETag`.
        pub version: i64,
        /// When it was closed.
        pub closed_at: DateTime<Utc>,
        /// When it is purged.
        pub until: DateTime<Utc>,
    }
}

impl ClosedTeamRow {
    /// It without its end.
    pub fn team(&self) -> TeamRow {
        TeamRow {
            id: self.id,
            name: self.name.clone(),
            slug: self.slug.clone(),
            created_by: self.created_by,
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
        }
    }

    fn new(team: TeamRow, closed_at: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        let TeamRow { id, name, slug, created_by, created_at, updated_at, version } = team;
        Self { id, name, slug, created_by, created_at, updated_at, version, closed_at, until }
    }
}

row! {
    /// A slug that a team had before, which leads to it.
    pub(crate) struct OldSlugRow in "team_old_slugs" by (slug: String) {
        slug: String,
        team_id: TeamId,
    }
}

row! {
    /// One membership.
    pub struct MemberRow in "team_members" by (team_id: TeamId, user_id: UserId) found by (team_id) {
        /// Of which team.
        pub team_id: TeamId,
        /// Who.
        pub user_id: UserId,
        /// As what.
        pub role: MemberRole,
        /// Since when.
        pub created_at: DateTime<Utc>,
    }
}

row! {
    /// One invite.
    pub struct InviteRow in "team_invites" by (id: InviteId) {
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
        /// SHA-256 of its secret, hex.
        pub token_hash: String,
        /// By whom.
        pub invited_by: UserId,
        /// `pending`, `accepted`, `expired` or `revoked`.
        pub status: String,
        /// Until when it can be accepted.
        pub expires_at: DateTime<Utc>,
        /// Since when.
        pub created_at: DateTime<Utc>,
    }
}

row! {
    /// One installation of the GitHub App.
    pub struct InstallationRow in "team_installations" by (id: InstallationId) found by (team_id) {
        /// Our id.
        pub id: InstallationId,
        /// Its team.
        pub team_id: TeamId,
        /// GitHub's id.
        pub github_id: i64,
        /// Login of its account.
        pub organization: String,
        /// What GitHub says of it.
        pub status: InstallationStatus,
        /// Since when.
        pub created_at: DateTime<Utc>,
    }
}

/// What makes something of a team that is closed as unknown as what never was. The name of the team's column is
/// `team_id`; few teams are closed at a time.
pub(crate) const IN_AN_OPEN_TEAM: &str = "NOT EXISTS (SELECT FROM closed_teams c WHERE c.id = team_id)";

/// Those of a table of teams with this slug, or that had it before.
fn by_slug(table: &str) -> String {
    format!(
        "WHERE id IN (SELECT id FROM {table} WHERE slug = $1
                      UNION ALL SELECT team_id FROM team_old_slugs WHERE slug = $1)"
    )
}

/// The team with this id, if it is open.
pub async fn find(db: impl PgExecutor<'_>, id: TeamId) -> sqlx::Result<Option<TeamRow>> {
    sqlx::query_as(&TeamRow::select("WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The open team with this slug, or that had it before.
pub async fn find_by_slug(db: impl PgExecutor<'_>, slug: &str) -> sqlx::Result<Option<TeamRow>> {
    sqlx::query_as(&TeamRow::select(&by_slug("teams"))).bind(slug).fetch_optional(db).await
}

/// Whether a team is closed.
pub async fn is_closed(db: impl PgExecutor<'_>, id: TeamId) -> sqlx::Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM closed_teams WHERE id = $1)";
    sqlx::query_scalar(query).bind(id.0).fetch_one(db).await
}

/// The closed team with this id.
pub async fn find_closed(db: impl PgExecutor<'_>, id: TeamId) -> sqlx::Result<Option<ClosedTeamRow>> {
    sqlx::query_as(&ClosedTeamRow::select("WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The closed team with this slug, or that had it before.
pub async fn find_closed_by_slug(db: impl PgExecutor<'_>, slug: &str) -> sqlx::Result<Option<ClosedTeamRow>> {
    let query = ClosedTeamRow::select(&by_slug("closed_teams"));
    sqlx::query_as(&query).bind(slug).fetch_optional(db).await
}

/// Those of these teams that are closed, or all that are, newest first.
pub async fn closed(db: impl PgExecutor<'_>, of: Option<&[TeamId]>) -> sqlx::Result<Vec<ClosedTeamRow>> {
    let ids: Option<Vec<uuid::Uuid>> = of.map(|ids| ids.iter().map(|id| id.0).collect());
    let query = ClosedTeamRow::select("WHERE $1::uuid[] IS NULL OR id = ANY($1) ORDER BY id DESC");
    sqlx::query_as(&query).bind(ids).fetch_all(db).await
}

/// The teams that a user belongs to, also those that are closed, newest first.
pub async fn memberships(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<Vec<TeamId>> {
    let query = "SELECT team_id FROM team_members WHERE user_id = $1 ORDER BY team_id DESC";
    sqlx::query(query)
        .bind(user.0)
        .try_map(|row: sqlx::postgres::PgRow| row.id("team_id"))
        .fetch_all(db)
        .await
}

/// The open teams that a user belongs to, newest first, before the team `before`.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: UserId,
    before: Option<TeamId>,
    limit: i64,
) -> sqlx::Result<Vec<TeamRow>> {
    let query = TeamRow::select(
        "WHERE id IN (SELECT team_id FROM team_members WHERE user_id = $1) AND ($2::uuid IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
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
    sqlx::query_as(&MemberRow::select("WHERE team_id = $1 ORDER BY user_id DESC"))
        .bind(team.0)
        .fetch_all(db)
        .await
}

/// The invites of a team, newest first.
pub async fn invites(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<InviteRow>> {
    sqlx::query_as(&InviteRow::select("WHERE team_id = $1 ORDER BY id DESC")).bind(team.0).fetch_all(db).await
}

/// The invite into an open team with this secret, by its SHA-256 in hex.
pub async fn find_invite(db: impl PgExecutor<'_>, token_hash: &str) -> sqlx::Result<Option<InviteRow>> {
    let query = InviteRow::select(&format!("WHERE token_hash = $1 AND {IN_AN_OPEN_TEAM}"));
    sqlx::query_as(&query).bind(token_hash).fetch_optional(db).await
}

/// The invite with this id.
pub async fn invite(db: impl PgExecutor<'_>, id: InviteId) -> sqlx::Result<Option<InviteRow>> {
    sqlx::query_as(&InviteRow::select("WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The installations of a team, newest first.
pub async fn installations(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<InstallationRow>> {
    sqlx::query_as(&InstallationRow::select("WHERE team_id = $1 ORDER BY id DESC"))
        .bind(team.0)
        .fetch_all(db)
        .await
}

/// The installation with this id, if its team is open.
pub async fn installation(
    db: impl PgExecutor<'_>,
    id: InstallationId,
) -> sqlx::Result<Option<InstallationRow>> {
    let query = InstallationRow::select(&format!("WHERE id = $1 AND {IN_AN_OPEN_TEAM}"));
    sqlx::query_as(&query).bind(id.0).fetch_optional(db).await
}

/// What connects teams with an installation, by its id at the git host; of closed teams too.
pub async fn installations_at(db: impl PgExecutor<'_>, github_id: i64) -> sqlx::Result<Vec<InstallationRow>> {
    let query = InstallationRow::select("WHERE github_id = $1 ORDER BY id");
    sqlx::query_as(&query).bind(github_id).fetch_all(db).await
}
