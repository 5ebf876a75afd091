//! How events change teams.

use domain::fact::{Fact, Recorded, kind};
use domain::ids::TeamId;
use domain::team::{InstallationStatus, TeamEvent};
use sqlx::PgConnection;

use super::{ClosedTeamRow, InstallationRow, InviteRow, MemberRow, OldSlugRow, TeamRow};
use crate::model::ReadModel;
use crate::rows::{Rows, Store, Table};

/// The tables of the read model.
#[derive(Default)]
pub(crate) struct TeamRows {
    teams: Table<TeamRow>,
    closed: Table<ClosedTeamRow>,
    old_slugs: Table<OldSlugRow>,
    members: Table<MemberRow>,
    invites: Table<InviteRow>,
    installations: Table<InstallationRow>,
}

impl Rows for TeamRows {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![
            &mut self.teams,
            &mut self.closed,
            &mut self.old_slugs,
            &mut self.members,
            &mut self.invites,
            &mut self.installations,
        ]
    }
}

/// The read model.
pub struct Teams;

impl ReadModel for Teams {
    const NAME: &'static str = "teams";
    const VERSION: i32 = 4;
    const KINDS: &'static [&'static str] = &[kind::TEAM];
    const TABLE_NAMES: &'static [&'static str] =
        &["teams", "closed_teams", "team_old_slugs", "team_members", "team_invites", "team_installations"];
    const TABLES: &'static str = "CREATE TABLE teams (
        id         uuid        PRIMARY KEY,
        name       text        NOT NULL,
        slug       text        NOT NULL UNIQUE,
        created_by uuid        NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        version    bigint      NOT NULL
    );
    CREATE TABLE closed_teams (
        id         uuid        PRIMARY KEY,
        name       text        NOT NULL,
        slug       text        NOT NULL,
        created_by uuid        NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        version    bigint      NOT NULL,
        closed_at  timestamptz NOT NULL,
        until      timestamptz NOT NULL
    );
    CREATE TABLE team_old_slugs (
        slug    text PRIMARY KEY,
        team_id uuid NOT NULL
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
    CREATE INDEX ON team_installations (team_id);
    CREATE INDEX ON team_installations (github_id);";

    type Rows = TeamRows;

    fn foresee(rows: &mut TeamRows, _recorded: &Recorded, fact: &Fact) {
        use TeamEvent::*;
        let Fact::Team(id, event) = fact else { return };
        rows.teams.want(*id);
        match event {
            TeamReopened {} | TeamDeleted { .. } => rows.closed.want(*id),
            TeamMemberRoleChanged { user_id, .. } | TeamMemberRemoved { user_id, .. } => {
                rows.members.want((*id, *user_id));
            }
            TeamRenamed { slug, old_slug, .. } => {
                rows.old_slugs.want(slug.as_str().to_owned());
                rows.old_slugs.want(old_slug.as_str().to_owned());
            }
            TeamInviteResent { invite_id, .. }
            | TeamInviteRevoked { invite_id, .. }
            | TeamInviteAccepted { invite_id, .. }
            | TeamInviteExpired { invite_id, .. } => rows.invites.want(*invite_id),
            TeamInstallationStatusChanged { installation_id, .. }
            | TeamInstallationRemoved { installation_id } => rows.installations.want(*installation_id),
            _ => {}
        }
    }

    async fn apply(
        rows: &mut TeamRows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        let Fact::Team(id, event) = fact else { return Ok(()) };
        if let Some(new) = created(*id, event, recorded) {
            rows.teams.insert(new)?;
        }
        around(rows, db, *id, event, recorded).await?;
        close_or_open(rows, db, *id, event, recorded).await?;
        if let Some(team) = rows.teams.get(db, id).await? {
            if let TeamEvent::TeamRenamed { name, slug, .. } = event {
                team.name = name.as_str().to_owned();
                team.slug = slug.as_str().to_owned();
            }
            team.version = recorded.sequence;
            team.updated_at = recorded.at;
        } else if let Some(team) = rows.closed.get(db, id).await? {
            team.version = recorded.sequence;
            team.updated_at = recorded.at;
        }
        Ok(())
    }
}

/// Puts a team where it belongs: among those that are there, those that are closed, or nowhere.
async fn close_or_open(
    rows: &mut TeamRows,
    db: &mut PgConnection,
    id: TeamId,
    event: &TeamEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    match event {
        TeamEvent::TeamClosed { until } => {
            if let Some(team) = rows.teams.peek(db, &id).await?.cloned() {
                rows.teams.remove(db, &id).await?;
                rows.closed.insert(ClosedTeamRow::new(team, recorded.at, *until))?;
            }
        }
        TeamEvent::TeamReopened {} => {
            if let Some(closed) = rows.closed.peek(db, &id).await?.cloned() {
                rows.closed.remove(db, &id).await?;
                rows.teams.insert(closed.team())?;
            }
        }
        TeamEvent::TeamDeleted { .. } => {
            rows.teams.remove(db, &id).await?;
            rows.closed.remove(db, &id).await?;
        }
        _ => {}
    }
    Ok(())
}

/// The team that an event begins.
fn created(id: TeamId, event: &TeamEvent, recorded: &Recorded) -> Option<TeamRow> {
    let TeamEvent::TeamCreated { name, slug, owner } = event else { return None };
    Some(TeamRow {
        id,
        name: name.as_str().to_owned(),
        slug: slug.as_str().to_owned(),
        created_by: *owner,
        created_at: recorded.at,
        updated_at: recorded.at,
        version: recorded.sequence,
    })
}

/// What belongs to a team: members, invites, installations.
async fn around(
    rows: &mut TeamRows,
    db: &mut PgConnection,
    team_id: TeamId,
    event: &TeamEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    use TeamEvent::*;
    let TeamRows { old_slugs, members, invites, installations, .. } = rows;
    let created_at = recorded.at;
    match event {
        TeamCreated { owner: user_id, .. } => {
            let role = domain::team::MemberRole::Owner;
            members.insert(MemberRow { team_id, user_id: *user_id, role, created_at })
        }
        TeamRenamed { slug, old_slug, old_slug_kept, .. } => {
            old_slugs.remove(db, &slug.as_str().to_owned()).await?;
            match old_slug_kept {
                true => old_slugs.insert(OldSlugRow { slug: old_slug.as_str().to_owned(), team_id }),
                false => Ok(()),
            }
        }
        TeamClosed { .. } | TeamReopened {} => Ok(()),
        TeamDeleted { .. } => {
            members.remove_by(db, "team_id", &team_id).await?;
            installations.remove_by(db, "team_id", &team_id).await
        }
        TeamMemberAdded { user_id, role } => {
            members.insert(MemberRow { team_id, user_id: *user_id, role: *role, created_at })
        }
        TeamMemberRoleChanged { user_id, role, .. } => {
            if let Some(member) = members.get(db, &(team_id, *user_id)).await? {
                member.role = *role;
            }
            Ok(())
        }
        TeamMemberRemoved { user_id, .. } => members.remove(db, &(team_id, *user_id)).await,
        TeamMemberInvited { .. } => {
            invited(team_id, event, recorded).map_or(Ok(()), |new| invites.insert(new))
        }
        TeamInviteResent { invite_id, token_hash, invited_by, expires_at, .. } => {
            if let Some(invite) = invites.get(db, invite_id).await? {
                invite.token_hash = token_hash.clone();
                invite.invited_by = *invited_by;
                invite.expires_at = *expires_at;
            }
            Ok(())
        }
        TeamInviteRevoked { invite_id, .. }
        | TeamInviteAccepted { invite_id, .. }
        | TeamInviteExpired { invite_id, .. } => {
            if let Some(invite) = invites.get(db, invite_id).await? {
                invite.status = status(event).to_owned();
            }
            Ok(())
        }
        TeamInstallationConnected { installation_id, github_id, organization } => {
            installations.insert(InstallationRow {
                id: *installation_id,
                team_id,
                github_id: *github_id,
                organization: organization.clone(),
                status: InstallationStatus::Active,
                created_at,
            })
        }
        TeamInstallationStatusChanged { installation_id, status } => {
            if let Some(installation) = installations.get(db, installation_id).await? {
                installation.status = *status;
            }
            Ok(())
        }
        TeamInstallationRemoved { installation_id } => installations.remove(db, installation_id).await,
    }
}

/// What becomes of an invite.
fn status(event: &TeamEvent) -> &'static str {
    match event {
        TeamEvent::TeamInviteRevoked { .. } => "revoked",
        TeamEvent::TeamInviteAccepted { .. } => "accepted",
        _ => "expired",
    }
}

/// The invite that an event begins.
fn invited(team_id: TeamId, event: &TeamEvent, recorded: &Recorded) -> Option<InviteRow> {
    let TeamEvent::TeamMemberInvited {
        invite_id,
        email,
        email_hash,
        role,
        token_hash,
        token: _,
        invited_by,
        expires_at,
    } = event
    else {
        return None;
    };
    Some(InviteRow {
        id: *invite_id,
        team_id,
        email: email.clone(),
        email_hash: email_hash.clone(),
        role: *role,
        token_hash: token_hash.clone(),
        invited_by: *invited_by,
        status: "pending".to_owned(),
        expires_at: *expires_at,
        created_at: recorded.at,
    })
}
