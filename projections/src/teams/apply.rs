//! How events become teams, members, invites and installations.

use async_trait::async_trait;
use domain::fact::{Fact, Recorded};
use domain::ids::{InviteId, TeamId, UserId};
use domain::team::{MemberRole, TeamEvent};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::InviteStatus;
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
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            version    bigint      NOT NULL,
            position   bigint      NOT NULL
        );
        CREATE TABLE team_members (
            team_id    uuid        NOT NULL,
            user_id    uuid        NOT NULL,
            role       text        NOT NULL,
            event_id   uuid        NOT NULL,
            joined_at  timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            position   bigint      NOT NULL,
            PRIMARY KEY (team_id, user_id)
        );
        CREATE INDEX team_members_user ON team_members (user_id);
        CREATE TABLE team_invites (
            id          uuid        PRIMARY KEY,
            team_id     uuid        NOT NULL,
            email       jsonb       NOT NULL,
            email_hash  text        NOT NULL,
            role        text        NOT NULL,
            token       jsonb,
            token_hash  text        NOT NULL UNIQUE,
            status      text        NOT NULL,
            invited_by  uuid        NOT NULL,
            accepted_by uuid,
            expires_at  timestamptz NOT NULL,
            created_at  timestamptz NOT NULL,
            position    bigint      NOT NULL
        );
        CREATE INDEX team_invites_team ON team_invites (team_id, position);
        CREATE TABLE team_installations (
            id           uuid        PRIMARY KEY,
            team_id      uuid        NOT NULL,
            github_id    bigint      NOT NULL,
            organization text        NOT NULL,
            status       text        NOT NULL,
            created_at   timestamptz NOT NULL,
            position     bigint      NOT NULL
        );
        CREATE INDEX team_installations_team ON team_installations (team_id, position);
        CREATE INDEX team_installations_github ON team_installations (github_id);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["teams", "team_members", "team_invites", "team_installations"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let Fact::Team(id, event) = &recorded.fact else { return Ok(()) };
        use TeamEvent::*;
        match event {
            TeamCreated { .. } | TeamRenamed { .. } | TeamDeleted { .. } => {
                team(db, *id, event, recorded).await?
            }
            TeamMemberAdded { user_id, role } => add_member(db, *id, *user_id, *role, recorded).await?,
            TeamMemberRoleChanged { user_id, role, .. } => {
                change_role(db, *id, *user_id, *role, recorded).await?;
            }
            TeamMemberRemoved { user_id, .. } => remove_member(db, *id, *user_id).await?,
            TeamMemberInvited { .. } => invite(db, *id, event, recorded).await?,
            TeamInviteAccepted { invite_id, user_id, .. } => {
                close_invite(db, *invite_id, InviteStatus::Accepted, Some(*user_id)).await?;
            }
            TeamInviteRevoked { invite_id, .. } => {
                close_invite(db, *invite_id, InviteStatus::Revoked, None).await?;
            }
            TeamInviteExpired { invite_id, .. } => {
                close_invite(db, *invite_id, InviteStatus::Expired, None).await?;
            }
            TeamInstallationConnected { .. }
            | TeamInstallationStatusChanged { .. }
            | TeamInstallationRemoved { .. } => installation(db, *id, event, recorded).await?,
        }
        sqlx::query("UPDATE teams SET version = $2 WHERE id = $1")
            .bind(id.0)
            .bind(recorded.sequence)
            .execute(db)
            .await
            .map(drop)
    }
}

async fn team(db: &mut PgConnection, id: TeamId, event: &TeamEvent, recorded: &Recorded) -> sqlx::Result<()> {
    match event {
        TeamEvent::TeamCreated { name, slug, owner } => {
            sqlx::query(
                "INSERT INTO teams (id, name, slug, created_at, updated_at, version, position)
                 VALUES ($1, $2, $3, $4, $4, $5, $6)",
            )
            .bind(id.0)
            .bind(name.as_str())
            .bind(slug.as_str())
            .bind(recorded.at)
            .bind(recorded.sequence)
            .bind(recorded.position)
            .execute(&mut *db)
            .await?;
            add_member(db, id, *owner, MemberRole::Owner, recorded).await
        }
        TeamEvent::TeamRenamed { name, slug, .. } => {
            sqlx::query("UPDATE teams SET name = $2, slug = $3, updated_at = $4 WHERE id = $1")
                .bind(id.0)
                .bind(name.as_str())
                .bind(slug.as_str())
                .bind(recorded.at)
                .execute(db)
                .await
                .map(drop)
        }
        _ => {
            for statement in [
                "DELETE FROM team_members WHERE team_id = $1",
                "DELETE FROM team_invites WHERE team_id = $1",
                "DELETE FROM team_installations WHERE team_id = $1",
                "DELETE FROM teams WHERE id = $1",
            ] {
                sqlx::query(statement).bind(id.0).execute(&mut *db).await?;
            }
            Ok(())
        }
    }
}

async fn add_member(
    db: &mut PgConnection,
    team: TeamId,
    user: UserId,
    role: MemberRole,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO team_members (team_id, user_id, role, event_id, joined_at, updated_at, position)
         VALUES ($1, $2, $3, $4, $5, $5, $6)",
    )
    .bind(team.0)
    .bind(user.0)
    .bind(stored(&role))
    .bind(recorded.event_id.0)
    .bind(recorded.at)
    .bind(recorded.position)
    .execute(db)
    .await
    .map(drop)
}

async fn change_role(
    db: &mut PgConnection,
    team: TeamId,
    user: UserId,
    role: MemberRole,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE team_members SET role = $3, event_id = $4, updated_at = $5 WHERE team_id = $1 AND user_id = $2",
    )
    .bind(team.0)
    .bind(user.0)
    .bind(stored(&role))
    .bind(recorded.event_id.0)
    .bind(recorded.at)
    .execute(db)
    .await
    .map(drop)
}

async fn remove_member(db: &mut PgConnection, team: TeamId, user: UserId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM team_members WHERE team_id = $1 AND user_id = $2")
        .bind(team.0)
        .bind(user.0)
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
        token,
        invited_by,
        expires_at,
    } = event
    else {
        unreachable!("called with an invite only")
    };
    sqlx::query(
        "INSERT INTO team_invites (id, team_id, email, email_hash, role, token, token_hash, status, invited_by,
                                   expires_at, created_at, position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(invite_id.0)
    .bind(team.0)
    .bind(Json(email))
    .bind(email_hash)
    .bind(stored(role))
    .bind(Json(token))
    .bind(token_hash)
    .bind(stored(&InviteStatus::Pending))
    .bind(invited_by.0)
    .bind(expires_at)
    .bind(recorded.at)
    .bind(recorded.position)
    .execute(db)
    .await
    .map(drop)
}

async fn close_invite(
    db: &mut PgConnection,
    id: InviteId,
    status: InviteStatus,
    accepted_by: Option<UserId>,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE team_invites SET status = $2, accepted_by = $3, token = NULL WHERE id = $1")
        .bind(id.0)
        .bind(stored(&status))
        .bind(accepted_by.map(|id| id.0))
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
            "INSERT INTO team_installations (id, team_id, github_id, organization, status, created_at, position)
             VALUES ($1, $2, $3, $4, 'active', $5, $6)",
        )
        .bind(installation_id.0)
        .bind(team.0)
        .bind(github_id)
        .bind(organization)
        .bind(recorded.at)
        .bind(recorded.position),
        TeamEvent::TeamInstallationStatusChanged { installation_id, status } => {
            sqlx::query("UPDATE team_installations SET status = $2 WHERE id = $1")
                .bind(installation_id.0)
                .bind(stored(status))
        }
        TeamEvent::TeamInstallationRemoved { installation_id } => {
            sqlx::query("DELETE FROM team_installations WHERE id = $1").bind(installation_id.0)
        }
        _ => unreachable!("called with an installation only"),
    };
    query.execute(db).await.map(drop)
}
