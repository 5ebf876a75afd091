//! What a user may do in a team, from the roles held there.

use std::collections::HashMap;

use domain::ids::{AssignmentId, EventId, TeamId, UserId};
use domain::policy::{BuiltinRole, Grant, Permission, Scope};
use domain::role::RoleDefinition;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::resolve::permissions;
use crate::row::Columns;
use crate::teams;

/// A role that a user holds, and why.
#[derive(Clone, Debug)]
pub struct HeldRole {
    /// Id of a custom role or name of a built-in one.
    pub role: String,
    /// Where it holds.
    pub scope: Scope,
    /// What it allows, with all that it inherits.
    pub permissions: Vec<Permission>,
    /// The event that gave it.
    pub event_id: EventId,
    /// The assignment; none when it comes with the membership in the team.
    pub assignment_id: Option<AssignmentId>,
}

/// What a user may do in a team and its projects: as a member, by roles given there, and by global ones.
pub async fn grants_of(pool: &PgPool, user: UserId, team: TeamId) -> sqlx::Result<Vec<Grant>> {
    let held = roles_held(pool, user, team).await?;
    Ok(held.into_iter().map(|role| Grant { scope: role.scope, permissions: role.permissions }).collect())
}

/// The roles a user holds in a team and its projects, with what made it so.
pub async fn roles_held(pool: &PgPool, user: UserId, team: TeamId) -> sqlx::Result<Vec<HeldRole>> {
    let mut held = vec![];
    if let Some(member) = teams::find_member(pool, team, user).await? {
        let role = BuiltinRole::from(member.role);
        held.push(HeldRole {
            role: role.as_str().to_owned(),
            scope: Scope::Team { team_id: team },
            permissions: role.permissions(),
            event_id: member.event_id,
            assignment_id: None,
        });
    }
    let assigned = sqlx::query(
        "SELECT id, role, scope, event_id FROM role_assignments
          WHERE user_id = $1 AND NOT lapsed AND (team_id = $2 OR scope ->> 'type' = 'global') ORDER BY position",
    )
    .bind(user.0)
    .bind(team.0)
    .fetch_all(pool)
    .await?;
    if assigned.is_empty() {
        return Ok(held);
    }
    let custom = custom_roles(pool, team).await?;
    for row in assigned {
        let role: String = row.try_get("role")?;
        held.push(HeldRole {
            permissions: permissions(&role, &custom),
            role,
            scope: row.json("scope")?,
            event_id: row.id("event_id")?,
            assignment_id: Some(row.id("id")?),
        });
    }
    Ok(held)
}

async fn custom_roles(pool: &PgPool, team: TeamId) -> sqlx::Result<HashMap<String, RoleDefinition>> {
    let rows: Vec<(String, RoleDefinition)> =
        sqlx::query("SELECT id::text AS id, definition FROM roles WHERE team_id = $1")
            .bind(team.0)
            .try_map(|row: PgRow| Ok((row.try_get("id")?, row.json("definition")?)))
            .fetch_all(pool)
            .await?;
    Ok(rows.into_iter().collect())
}
