//! Custom roles, who has which role where, and what that comes to.
//!
//! Who leaves a team loses what was given to him there: those assignments lapse, until they are taken back and given
//! again. What was given on something that is deleted goes with it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{AssignmentId, ProjectId, RoleId, TeamId, UserId};
use domain::policy::{BuiltinRole, Grant, Permission, Scope};
use domain::project::ProjectEvent;
use domain::role::{RoleDefinition, RoleEvent};
use domain::role_assignment::RoleAssignmentEvent;
use domain::team::TeamEvent;
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
    /// Whether it holds no more because the user has left the team.
    pub lapsed: bool,
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
            lapsed: row.try_get("lapsed")?,
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
        "SELECT id, user_id, role, scope, lapsed, created_at FROM role_assignments
          WHERE user_id = $1 ORDER BY position DESC",
    )
    .bind(user.0)
    .fetch_all(db)
    .await
}

/// The roles that somebody has in a project alone, newest first.
pub async fn of_project(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<AssignmentRow>> {
    sqlx::query_as(
        "SELECT id, user_id, role, scope, lapsed, created_at FROM role_assignments
          WHERE project_id = $1 AND NOT lapsed ORDER BY position DESC",
    )
    .bind(project.0)
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
    let mut assignments = of_user(pool, user).await?;
    assignments.retain(|assignment| !assignment.lapsed);
    if assignments.is_empty() {
        return Ok(grants);
    }
    let custom = definitions(pool, user).await?;
    for assignment in assignments {
        let permissions = permissions(&assignment.role, &custom);
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

/// What a role allows, with all that it inherits. Each role is looked at once, however often it is inherited.
fn permissions(role: &str, custom: &BTreeMap<String, RoleDefinition>) -> Vec<Permission> {
    let mut all = vec![];
    let mut seen = BTreeSet::new();
    let mut level = vec![role];
    for _ in 0..MAX_DEPTH {
        let mut next = vec![];
        for role in level {
            if !seen.insert(role) {
                continue;
            }
            if let Some(builtin) = BuiltinRole::from_stored(role) {
                all.extend(builtin.permissions());
            } else if let Some(definition) = custom.get(role) {
                all.extend(definition.permissions.iter().cloned());
                next.extend(definition.inherits.iter().map(String::as_str));
            }
        }
        level = next;
    }
    all
}

/// The read model.
pub struct Roles;

#[async_trait]
impl Consumer for Roles {
    fn name(&self) -> &'static str {
        "roles"
    }

    fn version(&self) -> i32 {
        2
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
            -- The team of the scope, of a project's too.
            team_id    uuid,
            project_id uuid,
            lapsed     boolean     NOT NULL,
            created_at timestamptz NOT NULL
        );
        CREATE INDEX ON role_assignments (user_id);
        CREATE INDEX ON role_assignments (role);
        CREATE INDEX ON role_assignments (team_id);
        CREATE INDEX ON role_assignments (project_id);
        -- An assignment in a project does not name its team.
        CREATE TABLE role_projects (
            project_id uuid PRIMARY KEY,
            team_id    uuid NOT NULL
        );"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["roles", "role_assignments", "role_projects"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(
            recorded.fact,
            Fact::Role(..) | Fact::RoleAssignment(..) | Fact::Project(..) | Fact::Team(..)
        )
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        match &recorded.fact {
            Fact::Role(id, event) => role(db, *id, event, recorded).await,
            Fact::RoleAssignment(id, event) => assignment(db, *id, event, recorded).await,
            fact => surroundings(db, fact).await,
        }
    }
}

async fn role(db: &mut PgConnection, id: RoleId, event: &RoleEvent, recorded: &Recorded) -> sqlx::Result<()> {
    let query = match event {
        RoleEvent::RoleCreated { team_id, definition } => sqlx::query(
            "INSERT INTO roles (id, team_id, definition, created_at, version) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id.0)
        .bind(team_id.0)
        .bind(Json(definition))
        .bind(recorded.at)
        .bind(recorded.sequence),
        RoleEvent::RoleChanged { definition, .. } => {
            sqlx::query("UPDATE roles SET definition = $2, version = $3 WHERE id = $1")
                .bind(id.0)
                .bind(Json(definition))
                .bind(recorded.sequence)
        }
        RoleEvent::RoleDeleted { .. } => {
            let assignments =
                sqlx::query("DELETE FROM role_assignments WHERE role = $1").bind(id.to_string());
            assignments.execute(&mut *db).await?;
            sqlx::query("DELETE FROM roles WHERE id = $1").bind(id.0)
        }
    };
    query.execute(db).await.map(drop)
}

async fn assignment(
    db: &mut PgConnection,
    id: AssignmentId,
    event: &RoleAssignmentEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let query = match event {
        RoleAssignmentEvent::RoleAssigned { user_id, role, scope } => {
            let (team, project) = match scope {
                Scope::Global => (None, None),
                Scope::Team { team_id } => (Some(team_id.0), None),
                Scope::Project { project_id } => (None, Some(project_id.0)),
            };
            sqlx::query(
                "INSERT INTO role_assignments (id, position, user_id, role, scope, team_id, project_id, lapsed,
                                               created_at)
                 VALUES ($1, $2, $3, $4, $5,
                         coalesce($6, (SELECT p.team_id FROM role_projects p WHERE p.project_id = $7)), $7, false,
                         $8)",
            )
            .bind(id.0)
            .bind(recorded.position)
            .bind(user_id.0)
            .bind(role)
            .bind(Json(scope))
            .bind(team)
            .bind(project)
            .bind(recorded.at)
        }
        RoleAssignmentEvent::RoleUnassigned { .. } => {
            sqlx::query("DELETE FROM role_assignments WHERE id = $1").bind(id.0)
        }
    };
    query.execute(db).await.map(drop)
}

/// What happens around roles and decides where they hold.
async fn surroundings(db: &mut PgConnection, fact: &Fact) -> sqlx::Result<()> {
    let query = match fact {
        Fact::Project(project, ProjectEvent::ProjectCreated { team_id, .. }) => {
            sqlx::query("INSERT INTO role_projects (project_id, team_id) VALUES ($1, $2)")
                .bind(project.0)
                .bind(team_id.0)
        }
        Fact::Project(project, ProjectEvent::ProjectDeleted { .. }) => {
            sqlx::query("DELETE FROM role_assignments WHERE project_id = $1").bind(project.0)
        }
        Fact::Team(team, TeamEvent::TeamMemberRemoved { user_id, .. }) => {
            sqlx::query("UPDATE role_assignments SET lapsed = true WHERE team_id = $1 AND user_id = $2")
                .bind(team.0)
                .bind(user_id.0)
        }
        Fact::Team(team, TeamEvent::TeamDeleted { .. }) => {
            let assignments = sqlx::query("DELETE FROM role_assignments WHERE team_id = $1").bind(team.0);
            assignments.execute(&mut *db).await?;
            sqlx::query("DELETE FROM roles WHERE team_id = $1").bind(team.0)
        }
        _ => return Ok(()),
    };
    query.execute(db).await.map(drop)
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
        let all = permissions("a", &custom);
        assert!(all.contains(&Permission::new(Resource::Audit, Action::Read)));
        assert!(all.contains(&Permission::new(Resource::Build, Action::Read)));
        assert_eq!(permissions("unknown", &custom), vec![]);
    }

    #[test]
    fn a_role_that_is_inherited_a_thousand_times_is_looked_at_once() {
        let thousand: Vec<&str> = std::iter::repeat_n("b", 1000).collect();
        let custom = BTreeMap::from([
            ("a".to_owned(), definition(&thousand)),
            ("b".to_owned(), definition(&std::iter::repeat_n("c", 1000).collect::<Vec<_>>())),
            ("c".to_owned(), definition(&thousand)),
        ]);
        assert_eq!(permissions("a", &custom).len(), 3);
    }
}
