//! Custom roles, who has which role where, and what that comes to.
//!
//! Who leaves a team loses what was given to him there: those assignments lapse, until they are taken back and given
//! again. What was given on something that is deleted goes with it. In a team that is closed nothing holds.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{AssignmentId, ProjectId, RoleId, TeamId, UserId};
use domain::policy::{BuiltinRole, Grant, Holding, Scope, Source};
use domain::project::ProjectEvent;
use domain::role::{self, RoleDefinition, RoleEvent};
use domain::role_assignment::RoleAssignmentEvent;
use domain::team::TeamEvent;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use crate::model::ReadModel;
use crate::row::Columns;
use crate::rows::{Row, Rows, Store, Table, row};
use crate::teams::{IN_AN_OPEN_TEAM, MemberRow};

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

/// Everything a user holds: by memberships and by roles that were given. A disabled one holds nothing, whatever has
/// not been taken from him yet.
pub async fn grants_of(pool: &PgPool, user: UserId) -> sqlx::Result<Vec<Grant>> {
    grants_in(pool, user, Teams::Open).await
}

/// The same with what holds no more because its team is closed: who may reopen it is who could close it.
pub async fn grants_before_closing(pool: &PgPool, user: UserId) -> sqlx::Result<Vec<Grant>> {
    grants_in(pool, user, Teams::All).await
}

/// In which teams what somebody has counts.
#[derive(Clone, Copy)]
enum Teams {
    Open,
    All,
}

impl Teams {
    fn condition(self) -> &'static str {
        match self {
            Self::Open => IN_AN_OPEN_TEAM,
            Self::All => "true",
        }
    }
}

async fn grants_in(pool: &PgPool, user: UserId, teams: Teams) -> sqlx::Result<Vec<Grant>> {
    let disabled = "SELECT EXISTS (SELECT FROM users WHERE id = $1 AND disabled)";
    if sqlx::query_scalar(disabled).bind(user.0).fetch_one(pool).await? {
        return Ok(vec![]);
    }
    let holdings = holdings_in(pool, &[user], teams).await?;
    Ok(holdings.iter().map(|(_, holding)| holding.grant()).collect())
}

/// Everything that these users hold, each with how they came by it: memberships first, then the roles that were given,
/// newest first.
pub async fn holdings_of(
    db: impl PgExecutor<'_> + Copy,
    users: &[UserId],
) -> sqlx::Result<Vec<(UserId, Holding)>> {
    holdings_in(db, users, Teams::Open).await
}

async fn holdings_in(
    db: impl PgExecutor<'_> + Copy,
    users: &[UserId],
    teams: Teams,
) -> sqlx::Result<Vec<(UserId, Holding)>> {
    let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
    let counts = teams.condition();
    let query = format!("WHERE user_id = ANY($1) AND {counts} ORDER BY team_id, user_id");
    let query = MemberRow::select(&query);
    let members: Vec<MemberRow> = sqlx::query_as(&query).bind(&ids).fetch_all(db).await?;
    let query = format!("WHERE user_id = ANY($1) AND NOT lapsed AND {counts} ORDER BY position DESC");
    let query = AssignmentRow::select(&query);
    let assignments: Vec<AssignmentRow> = sqlx::query_as(&query).bind(&ids).fetch_all(db).await?;
    let custom = if assignments.is_empty() { BTreeMap::new() } else { definitions(db, &ids).await? };
    let by_membership = members.into_iter().map(|member| {
        let (team_id, role) = (member.team_id, BuiltinRole::from(member.role).as_str().to_owned());
        let (source, scope) = (Source::Membership(team_id), Scope::Team { team_id });
        let permissions = role::effective(&role, |name| custom.get(name));
        (member.user_id, Holding { source, role, scope, since: member.created_at, permissions })
    });
    let by_assignment = assignments.into_iter().map(|given| {
        let AssignmentRow { id, user_id, role, scope, created_at: since, .. } = given;
        let permissions = role::effective(&role, |name| custom.get(name));
        (user_id, Holding { source: Source::Assignment(id), role, scope, since, permissions })
    });
    Ok(by_membership.chain(by_assignment).collect())
}

/// Everybody who was given a role somewhere in a team, or everywhere.
pub async fn assignees(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<UserId>> {
    let query = "SELECT DISTINCT user_id FROM role_assignments
                  WHERE NOT lapsed AND (team_id = $1 OR scope ->> 'type' = 'global') ORDER BY user_id";
    sqlx::query(query).bind(team.0).fetch_all(db).await?.iter().map(|row| row.id("user_id")).collect()
}

/// The roles given in a team and its projects, newest first.
pub async fn given_in(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<AssignmentRow>> {
    let query = AssignmentRow::select("WHERE team_id = $1 AND NOT lapsed ORDER BY id DESC");
    sqlx::query_as(&query).bind(team.0).fetch_all(db).await
}

/// The roles given everywhere, newest first.
pub async fn given_everywhere(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<AssignmentRow>> {
    let query = AssignmentRow::select("WHERE scope ->> 'type' = 'global' ORDER BY id DESC");
    sqlx::query_as(&query).fetch_all(db).await
}

/// One role that was given, also when it holds no more because the user has left; none of a team that is closed.
pub async fn find_assignment(
    db: impl PgExecutor<'_>,
    id: AssignmentId,
) -> sqlx::Result<Option<AssignmentRow>> {
    let query = format!("WHERE id = $1 AND {IN_AN_OPEN_TEAM}");
    sqlx::query_as(&AssignmentRow::select(&query)).bind(id.0).fetch_optional(db).await
}

/// One custom role; none of a team that is closed.
pub async fn find(db: impl PgExecutor<'_>, id: RoleId) -> sqlx::Result<Option<RoleRow>> {
    let query = format!("WHERE id = $1 AND {IN_AN_OPEN_TEAM}");
    sqlx::query_as(&RoleRow::select(&query)).bind(id.0).fetch_optional(db).await
}

/// The custom roles of every team in which a role was given to one of the users, by id.
async fn definitions(
    db: impl PgExecutor<'_>,
    users: &[Uuid],
) -> sqlx::Result<BTreeMap<String, RoleDefinition>> {
    let rows = sqlx::query(
        "SELECT id, definition FROM roles WHERE team_id IN (
            SELECT r.team_id FROM roles r JOIN role_assignments a ON a.role = r.id::text WHERE a.user_id = ANY($1))",
    )
    .bind(users)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| Ok((row.id::<RoleId>("id")?.to_string(), row.json("definition")?))).collect()
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
    const PASSES_OVER: &'static [&'static str] = &[
        "project.env_var_set",
        "project.env_var_deleted",
        "project.env_vars_revealed",
        "project.settings_changed",
    ];
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

    fn foresee(rows: &mut RoleRows, _recorded: &Recorded, fact: &Fact) {
        match fact {
            Fact::Role(id, RoleEvent::RoleChanged { .. } | RoleEvent::RoleDeleted { .. }) => {
                rows.roles.want(*id)
            }
            Fact::RoleAssignment(id, RoleAssignmentEvent::RoleUnassigned { .. }) => {
                rows.assignments.want(*id)
            }
            _ => {}
        }
    }

    async fn apply(
        rows: &mut RoleRows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        match fact {
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
        RoleEvent::RoleCreated { team_id, definition, .. } => rows.roles.insert(RoleRow {
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
