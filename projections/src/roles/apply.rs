//! How events become roles and assignments.

use async_trait::async_trait;
use domain::fact::{Fact, Recorded};
use domain::ids::{AssignmentId, RoleId};
use domain::policy::Scope;
use domain::project::ProjectEvent;
use domain::role::RoleEvent;
use domain::role_assignment::RoleAssignmentEvent;
use domain::team::TeamEvent;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::feed::Consumer;

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
            updated_at timestamptz NOT NULL,
            version    bigint      NOT NULL,
            position   bigint      NOT NULL
        );
        CREATE INDEX roles_team ON roles (team_id, position);
        CREATE TABLE role_assignments (
            id         uuid        PRIMARY KEY,
            user_id    uuid        NOT NULL,
            role       text        NOT NULL,
            scope      jsonb       NOT NULL,
            -- The team of the scope, of a project's too.
            team_id    uuid,
            project_id uuid,
            lapsed     boolean     NOT NULL,
            event_id   uuid        NOT NULL,
            created_at timestamptz NOT NULL,
            version    bigint      NOT NULL,
            position   bigint      NOT NULL
        );
        CREATE INDEX role_assignments_user ON role_assignments (user_id, team_id);
        CREATE INDEX role_assignments_team ON role_assignments (team_id, position);
        CREATE INDEX role_assignments_project ON role_assignments (project_id);
        -- An assignment in a project does not name its team.
        CREATE TABLE role_projects (
            project_id uuid PRIMARY KEY,
            team_id    uuid NOT NULL
        );"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["roles", "role_assignments", "role_projects"]
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
            "INSERT INTO roles (id, team_id, definition, created_at, updated_at, version, position)
             VALUES ($1, $2, $3, $4, $4, $5, $6)",
        )
        .bind(id.0)
        .bind(team_id.0)
        .bind(Json(definition))
        .bind(recorded.at)
        .bind(recorded.sequence)
        .bind(recorded.position),
        RoleEvent::RoleChanged { definition, .. } => {
            sqlx::query("UPDATE roles SET definition = $2, updated_at = $3, version = $4 WHERE id = $1")
                .bind(id.0)
                .bind(Json(definition))
                .bind(recorded.at)
                .bind(recorded.sequence)
        }
        RoleEvent::RoleDeleted { .. } => {
            sqlx::query("DELETE FROM role_assignments WHERE role = $1")
                .bind(id.to_string())
                .execute(&mut *db)
                .await?;
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
                "INSERT INTO role_assignments (id, user_id, role, scope, team_id, project_id, lapsed, event_id,
                                               created_at, version, position)
                 VALUES ($1, $2, $3, $4,
                         coalesce($5, (SELECT p.team_id FROM role_projects p WHERE p.project_id = $6)), $6, false,
                         $7, $8, $9, $10)",
            )
            .bind(id.0)
            .bind(user_id.0)
            .bind(role)
            .bind(Json(scope))
            .bind(team)
            .bind(project)
            .bind(recorded.event_id.0)
            .bind(recorded.at)
            .bind(recorded.sequence)
            .bind(recorded.position)
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
            sqlx::query("DELETE FROM role_assignments WHERE team_id = $1")
                .bind(team.0)
                .execute(&mut *db)
                .await?;
            sqlx::query("DELETE FROM roles WHERE team_id = $1").bind(team.0)
        }
        _ => return Ok(()),
    };
    query.execute(db).await.map(drop)
}
