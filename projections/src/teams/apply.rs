//! How events change teams.

use async_trait::async_trait;
use domain::fact::{Fact, Recorded};
use domain::ids::{InviteId, TeamId, UserId};
use domain::team::{MemberRole, TeamEvent};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::feed::Consumer;
use crate::row::stored;

/// The read model.
pub struct Teams;

#[async_trait]
impl Consumer for Teams {
    fn name(&self) -> &'static str {
        "teams"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE teams (
            id         uuid        PRIMARY KEY,
            name       text        NOT NULL,
            slug       text        NOT NULL UNIQUE,
            created_by uuid        NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            version    bigint      NOT NULL
        );
        CREATE TABLE team_members (
            team_id    uuid        NOT NULL,
            user_id    uuid        NOT NULL,
            role       text        NOT NULL,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (team_id, user_id)
        );
        CREATE INDEX ON team_members (user_id);
        CREATE TABLE team_invites (
            id         uuid        PRIMARY KEY,
            team_id    uuid        NOT NULL,
            email      jsonb       NOT NULL,
            email_hash text        NOT NULL,
            role       text        NOT NULL,
            token_hash text        NOT NULL UNIQUE,
            invited_by uuid        NOT NULL,
            status     text        NOT NULL,
            expires_at timestamptz NOT NULL,
            created_at timestamptz NOT NULL
        );
        CREATE INDEX ON team_invites (team_id);
        CREATE TABLE team_installations (
            id           uuid        PRIMARY KEY,
            team_id      uuid        NOT NULL,
            github_id    bigint      NOT NULL,
            organization text        NOT NULL,
            status       text        NOT NULL,
            created_at   timestamptz NOT NULL
        );
        CREATE INDEX ON team_installations (team_id);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["teams", "team_members", "team_invites", "team_installations"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(recorded.fact, Fact::Team(..))
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        use TeamEvent::*;
        let Fact::Team(id, event) = &recorded.fact else { return Ok(()) };
        match event {
            TeamCreated { name, slug, owner } => {
                sqlx::query(
                    "INSERT INTO teams (id, name, slug, created_by, created_at, updated_at, version)
                     VALUES ($1, $2, $3, $4, $5, $5, 0)",
                )
                .bind(id.0)
                .bind(name.as_str())
                .bind(slug.as_str())
                .bind(owner.0)
                .bind(recorded.at)
                .execute(&mut *db)
                .await?;
                add(db, *id, *owner, MemberRole::Owner, recorded).await?;
            }
            TeamRenamed { name, slug, .. } => {
                sqlx::query("UPDATE teams SET name = $2, slug = $3 WHERE id = $1")
                    .bind(id.0)
                    .bind(name.as_str())
                    .bind(slug.as_str())
                    .execute(&mut *db)
                    .await?;
            }
            TeamDeleted { .. } => {
                for table in
                    ["teams WHERE id", "team_members WHERE team_id", "team_installations WHERE team_id"]
                {
                    sqlx::query(&format!("DELETE FROM {table} = $1")).bind(id.0).execute(&mut *db).await?;
                }
            }
            TeamMemberAdded { user_id, role } => add(db, *id, *user_id, *role, recorded).await?,
            TeamMemberRoleChanged { user_id, role, .. } => {
                sqlx::query("UPDATE team_members SET role = $3 WHERE team_id = $1 AND user_id = $2")
                    .bind(id.0)
                    .bind(user_id.0)
                    .bind(stored(role))
                    .execute(&mut *db)
                    .await?;
            }
            TeamMemberRemoved { user_id, .. } => {
                sqlx::query("DELETE FROM team_members WHERE team_id = $1 AND user_id = $2")
                    .bind(id.0)
                    .bind(user_id.0)
                    .execute(&mut *db)
                    .await?;
            }
            TeamMemberInvited { .. } => invite(db, *id, event, recorded).await?,
            TeamInviteRevoked { invite_id, .. } => close(db, *invite_id, "revoked").await?,
            TeamInviteAccepted { invite_id, .. } => close(db, *invite_id, "accepted").await?,
            TeamInviteExpired { invite_id, .. } => close(db, *invite_id, "expired").await?,
            TeamInstallationConnected { .. }
            | TeamInstallationStatusChanged { .. }
            | TeamInstallationRemoved { .. } => installation(db, *id, event, recorded).await?,
        }
        sqlx::query("UPDATE teams SET version = $2, updated_at = $3 WHERE id = $1")
            .bind(id.0)
            .bind(recorded.sequence)
            .bind(recorded.at)
            .execute(db)
            .await
            .map(drop)
    }
}

async fn add(
    db: &mut PgConnection,
    team: TeamId,
    user: UserId,
    role: MemberRole,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO team_members (team_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)")
        .bind(team.0)
        .bind(user.0)
        .bind(stored(&role))
        .bind(recorded.at)
        .execute(db)
        .await
        .map(drop)
}

async fn invite(
    db: &mut PgConnection,
    team: TeamId,
    event: &TeamEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let TeamEvent::TeamMemberInvited {
        invite_id,
        email,
        email_hash,
        role,
        token_hash,
        invited_by,
        expires_at,
        ..
    } = event
    else {
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO team_invites (id, team_id, email, email_hash, role, token_hash, invited_by, status, expires_at,
                                   created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9)",
    )
    .bind(invite_id.0)
    .bind(team.0)
    .bind(Json(email))
    .bind(email_hash)
    .bind(stored(role))
    .bind(token_hash)
    .bind(invited_by.0)
    .bind(expires_at)
    .bind(recorded.at)
    .execute(db)
    .await
    .map(drop)
}

async fn close(db: &mut PgConnection, invite: InviteId, status: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE team_invites SET status = $2 WHERE id = $1")
        .bind(invite.0)
        .bind(status)
        .execute(db)
        .await
        .map(drop)
}

async fn installation(
    db: &mut PgConnection,
    team: TeamId,
    event: &TeamEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let query = match event {
        TeamEvent::TeamInstallationConnected { installation_id, github_id, organization } => sqlx::query(
            "INSERT INTO team_installations (id, team_id, github_id, organization, status, created_at)
             VALUES ($1, $2, $3, $4, 'active', $5)",
        )
        .bind(installation_id.0)
        .bind(team.0)
        .bind(github_id)
        .bind(organization)
        .bind(recorded.at),
        TeamEvent::TeamInstallationStatusChanged { installation_id, status } => {
            sqlx::query("UPDATE team_installations SET status = $2 WHERE id = $1")
                .bind(installation_id.0)
                .bind(stored(status))
        }
        TeamEvent::TeamInstallationRemoved { installation_id } => {
            sqlx::query("DELETE FROM team_installations WHERE id = $1").bind(installation_id.0)
        }
        _ => return Ok(()),
    };
    query.execute(db).await.map(drop)
}
