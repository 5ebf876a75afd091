//! Custom roles, who has which role where, and what that comes to.
//!
//! Who leaves a team loses what was given to him there: those assignments lapse, until they are taken back and given
//! again. What was given on something that is deleted goes with it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{AssignmentId, ProjectId, RoleId, TeamId, UserId};
use domain::policy::{BuiltinRole, Grant, Permission, Scope};
use domain::project::ProjectEvent;
use domain::role::{RoleDefinition, RoleEvent};
use domain::role_assignment::RoleAssignmentEvent;
use domain::team::TeamEvent;
use sqlx::{PgConnection, PgExecutor, PgPool};

use crate::model::ReadModel;
use crate::row::Columns;
use crate::rows::{Row, Rows, Store, Table, row};

/// Inheritance is followed so far; what is deeper grants nothing.
const MAX_DEPTH: usize = 8;

row! {
    /// One custom role.
    pub struct RoleRow in "roles" by (id: RoleId) found by (team_id) {
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
}

row! {
    /// A role given to somebody.
    pub struct AssignmentRow in "role_assignments" by (id: AssignmentId) found by (role, team_id, project_id) {
        /// Its id.
        pub id: AssignmentId,
        /// Position of the event that gave it: the order in which roles were given.
        pub position: i64,
        /// Who has it.
        pub user_id: UserId,
        /// Id of a custom role or name of a built-in one.
        pub role: String,
        /// Where.
        pub scope: Scope,
        /// The team of the scope, of a project's too.
        pub team_id: Option<TeamId>,
        /// The project of the scope.
        pub project_id: Option<ProjectId>,
        /// Whether it holds no more because the user has left the team.
        pub lapsed: bool,
        /// Since when.
        pub created_at: DateTime<Utc>,
    }
}

/// The custom roles of a team, newest first.
pub async fn of_team(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<RoleRow>> {
    sqlx::query_as(&RoleRow::select("WHERE team_id = $1 ORDER BY id DESC")).bind(team.0).fetch_all(db).await
}

/// The roles given to a user, newest first.
pub async fn of_user(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<Vec<AssignmentRow>> {
    sqlx::query_as(&AssignmentRow::select("WHERE user_id = $1 ORDER BY position DESC"))
        .bind(user.0)
        .fetch_all(db)
        .await
}

/// The roles that somebody has in a project alone, newest first.
pub async fn of_project(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<AssignmentRow>> {
    sqlx::query_as(&AssignmentRow::select("WHERE project_id = $1 AND NOT lapsed ORDER BY position DESC"))
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

row! {
    /// The team of a project: an assignment in a project does not name it.
    struct ProjectTeam in "role_projects" by (project_id: ProjectId) {
        project_id: ProjectId,
        team_id: TeamId,
    }
}

/// The tables of the read model.
#[derive(Default)]
pub(crate) struct RoleRows {
    roles: Table<RoleRow>,
    assignments: Table<AssignmentRow>,
    projects: Table<ProjectTeam>,
}

impl Rows for RoleRows {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![&mut self.roles, &mut self.assignments, &mut self.projects]
    }
}

/// The read model.
pub struct Roles;

impl ReadModel for Roles {
    const NAME: &'static str = "roles";
    const VERSION: i32 = 2;
    const KINDS: &'static [&'static str] = &[kind::ROLE, kind::ROLE_ASSIGNMENT, kind::PROJECT, kind::TEAM];
    const TABLE_NAMES: &'static [&'static str] = &["roles", "role_assignments", "role_projects"];
    const TABLES: &'static str = "CREATE TABLE roles (
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
    );";

    type Rows = RoleRows;

    fn foresee(rows: &mut RoleRows, recorded: &Recorded) {
        match &recorded.fact {
            Fact::Role(id, RoleEvent::RoleChanged { .. } | RoleEvent::RoleDeleted { .. }) => {
                rows.roles.want(*id)
            }
            Fact::RoleAssignment(id, RoleAssignmentEvent::RoleUnassigned { .. }) => {
                rows.assignments.want(*id)
            }
            _ => {}
        }
    }

    async fn apply(rows: &mut RoleRows, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        match &recorded.fact {
            Fact::Role(id, event) => role(rows, db, *id, event, recorded).await,
            Fact::RoleAssignment(id, event) => assignment(rows, db, *id, event, recorded).await,
            fact => surroundings(rows, db, fact).await,
        }
    }
}

async fn role(
    rows: &mut RoleRows,
    db: &mut PgConnection,
    id: RoleId,
    event: &RoleEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    match event {
        RoleEvent::RoleCreated { team_id, definition } => rows.roles.insert(RoleRow {
            id,
            team_id: *team_id,
            definition: definition.clone(),
            created_at: recorded.at,
            version: recorded.sequence,
        }),
        RoleEvent::RoleChanged { definition, .. } => {
            if let Some(role) = rows.roles.get(db, &id).await? {
                role.definition = definition.clone();
                role.version = recorded.sequence;
            }
            Ok(())
        }
        RoleEvent::RoleDeleted { .. } => {
            rows.assignments.remove_by(db, "role", &id.to_string()).await?;
            rows.roles.remove(db, &id).await
        }
    }
}

async fn assignment(
    rows: &mut RoleRows,
    db: &mut PgConnection,
    id: AssignmentId,
    event: &RoleAssignmentEvent,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    let RoleAssignmentEvent::RoleAssigned { user_id, role, scope } = event else {
        return rows.assignments.remove(db, &id).await;
    };
    let (team_id, project_id) = match scope {
        Scope::Global => (None, None),
        Scope::Team { team_id } => (Some(*team_id), None),
        Scope::Project { project_id } => {
            let project = rows.projects.peek(db, project_id).await?;
            (project.map(|project| project.team_id), Some(*project_id))
        }
    };
    rows.assignments.insert(AssignmentRow {
        id,
        position: recorded.position,
        user_id: *user_id,
        role: role.clone(),
        scope: *scope,
        team_id,
        project_id,
        lapsed: false,
        created_at: recorded.at,
    })
}

/// What happens around roles and decides where they hold.
async fn surroundings(rows: &mut RoleRows, db: &mut PgConnection, fact: &Fact) -> sqlx::Result<()> {
    let RoleRows { roles, assignments, projects } = rows;
    match fact {
        Fact::Project(project_id, ProjectEvent::ProjectCreated { team_id, .. }) => {
            projects.insert(ProjectTeam { project_id: *project_id, team_id: *team_id })
        }
        Fact::Project(project, ProjectEvent::ProjectDeleted { .. }) => {
            assignments.remove_by(db, "project_id", project).await
        }
        Fact::Team(team, TeamEvent::TeamMemberRemoved { user_id, .. }) => {
            for id in assignments.find(db, "team_id", team).await? {
                let is_his = assignments.peek(db, &id).await?.is_some_and(|given| given.user_id == *user_id);
                if is_his && let Some(assignment) = assignments.get(db, &id).await? {
                    assignment.lapsed = true;
                }
            }
            Ok(())
        }
        Fact::Team(team, TeamEvent::TeamDeleted { .. }) => {
            assignments.remove_by(db, "team_id", team).await?;
            roles.remove_by(db, "team_id", team).await
        }
        _ => Ok(()),
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
