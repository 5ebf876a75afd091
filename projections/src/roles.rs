//! Custom roles, who has which role where, and what that comes to.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{AssignmentId, RoleId, TeamId, UserId};
use domain::policy::{BuiltinRole, Grant, Permission, Scope};
use domain::role::{RoleDefinition, RoleEvent};
use domain::role_assignment::RoleAssignmentEvent;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Row};

use crate::feed::Consumer;
use crate::row::Columns;

/// Inheritance is followed so far; what is deeper grants nothing.
const MAX_DEPTH: usize = 8;

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
    /// Number of its last event, for `ETag`.
    pub version: i64,
}

/// A role given to somebody.
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
    /// Since when.
    pub created_at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for RoleRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            team_id: row.id("team_id")?,
            definition: row.json("definition")?,
            created_at: row.try_get("created_at")?,
            version: row.try_get("version")?,
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
            created_at: row.try_get("created_at")?,
        })
    }
}

/// The custom roles of a team, newest first.
pub async fn of_team(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<RoleRow>> {
    sqlx::query_as(
        "SELECT id, team_id, definition, created_at, version FROM roles WHERE team_id = $1 ORDER BY id DESC",
    )
    .bind(team.0)
    .fetch_all(db)
    .await
}

/// The roles given to a user, newest first.
pub async fn of_user(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<Vec<AssignmentRow>> {
    sqlx::query_as(
        "SELECT id, user_id, role, scope, created_at FROM role_assignments WHERE user_id = $1 ORDER BY position DESC",
    )
    .bind(user.0)
    .fetch_all(db)
    .await
}

/// Everything a user holds: by memberships and by roles that were given.
pub async fn grants_of(pool: &PgPool, user: UserId) -> sqlx::Result<Vec<Grant>> {
    let rows = sqlx::query("SELECT team_id, role FROM team_members WHERE user_id = $1")
        .bind(user.0)
        .fetch_all(pool)
        .await?;
    let mut grants = Vec::with_capacity(rows.len());
    for row in rows {
        let role = BuiltinRole::from(row.text::<domain::team::MemberRole>("role")?);
        let scope = Scope::Team { team_id: row.id("team_id")? };
        grants.push(Grant { scope, permissions: role.permissions() });
    }
    let assignments = of_user(pool, user).await?;
    if assignments.is_empty() {
        return Ok(grants);
    }
    let custom = definitions(pool, user).await?;
    for assignment in assignments {
        let permissions = permissions(&assignment.role, &custom, MAX_DEPTH);
        grants.push(Grant { scope: assignment.scope, permissions });
    }
    Ok(grants)
}

/// The custom roles of every team in which a role was given to the user, by id.
async fn definitions(pool: &PgPool, user: UserId) -> sqlx::Result<BTreeMap<String, RoleDefinition>> {
    let rows = sqlx::query(
        "SELECT id, definition FROM roles WHERE team_id IN (
            SELECT r.team_id FROM roles r JOIN role_assignments a ON a.role = r.id::text WHERE a.user_id = $1)",
    )
    .bind(user.0)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(|row| Ok((row.id::<RoleId>("id")?.to_string(), row.json("definition")?))).collect()
}

/// What a role allows, with all that it inherits.
fn permissions(role: &str, custom: &BTreeMap<String, RoleDefinition>, depth: usize) -> Vec<Permission> {
    if let Some(builtin) = BuiltinRole::from_stored(role) {
        return builtin.permissions();
    }
    let Some(definition) = custom.get(role).filter(|_| depth > 0) else { return vec![] };
    let inherited = definition.inherits.iter().flat_map(|parent| permissions(parent, custom, depth - 1));
    definition.permissions.iter().cloned().chain(inherited).collect()
}

/// The read model.
pub struct Roles;

#[async_trait]
impl Consumer for Roles {
    fn name(&self) -> &'static str {
        "roles"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE roles (
            id         uuid        PRIMARY KEY,
            team_id    uuid        NOT NULL,
            definition jsonb       NOT NULL,
            created_at timestamptz NOT NULL,
            version    bigint      NOT NULL
        );
        CREATE INDEX ON roles (team_id);
        CREATE TABLE role_assignments (
            id         uuid        PRIMARY KEY,
            position   bigint      NOT NULL,
            user_id    uuid        NOT NULL,
            role       text        NOT NULL,
            scope      jsonb       NOT NULL,
            created_at timestamptz NOT NULL
        );
        CREATE INDEX ON role_assignments (user_id);
        CREATE INDEX ON role_assignments (role);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["roles", "role_assignments"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let query = match &recorded.fact {
            Fact::Role(id, RoleEvent::RoleCreated { team_id, definition }) => sqlx::query(
                "INSERT INTO roles (id, team_id, definition, created_at, version) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(id.0)
            .bind(team_id.0)
            .bind(Json(definition))
            .bind(recorded.at)
            .bind(recorded.sequence),
            Fact::Role(id, RoleEvent::RoleChanged { definition, .. }) => {
                sqlx::query("UPDATE roles SET definition = $2, version = $3 WHERE id = $1")
                    .bind(id.0)
                    .bind(Json(definition))
                    .bind(recorded.sequence)
            }
            Fact::Role(id, RoleEvent::RoleDeleted { .. }) => {
                sqlx::query("DELETE FROM roles WHERE id = $1").bind(id.0)
            }
            Fact::RoleAssignment(id, RoleAssignmentEvent::RoleAssigned { user_id, role, scope }) => sqlx::query(
                "INSERT INTO role_assignments (id, position, user_id, role, scope, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(id.0)
            .bind(recorded.position)
            .bind(user_id.0)
            .bind(role)
            .bind(Json(scope))
            .bind(recorded.at),
            Fact::RoleAssignment(id, RoleAssignmentEvent::RoleUnassigned { .. }) => {
                sqlx::query("DELETE FROM role_assignments WHERE id = $1").bind(id.0)
            }
            _ => return Ok(()),
        };
        query.execute(db).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use domain::policy::{Action, Resource};

    use super::*;

    fn definition(inherits: &[&str]) -> RoleDefinition {
        RoleDefinition {
            name: "x".parse().unwrap(),
            description: None,
            permissions: vec![Permission::new(Resource::Audit, Action::Read)],
            inherits: inherits.iter().map(|parent| (*parent).to_owned()).collect(),
        }
    }

    #[test]
    fn a_role_has_what_it_inherits_and_a_circle_ends() {
        let custom = BTreeMap::from([
            ("a".to_owned(), definition(&["b", "project:viewer"])),
            ("b".to_owned(), definition(&["a"])),
        ]);
        let all = permissions("a", &custom, MAX_DEPTH);
        assert!(all.contains(&Permission::new(Resource::Audit, Action::Read)));
        assert!(all.contains(&Permission::new(Resource::Build, Action::Read)));
        assert_eq!(permissions("unknown", &custom, MAX_DEPTH), vec![]);
    }
}
