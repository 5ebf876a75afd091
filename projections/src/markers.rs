//! What to mark on a chart of a project: switches from one deployment to another, and changes of what they run with. A
//! question to the audit trail; no table of its own.

use chrono::{DateTime, Utc};
use domain::deployment::DeploymentKind;
use domain::ids::{BuildId, DeploymentId, EnvironmentId, EventId, ProjectId, TeamId};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row as _};
use uuid::Uuid;

use crate::audit_trail::Place;
use crate::deployments::Failure;
use crate::row::Columns;

/// What may be marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A deployment serves for the first time, is rolled back, or stopped.
    Deployments,
    /// Settings of the project or of an environment.
    Settings,
    /// Variables.
    EnvVars,
}

impl Group {
    fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Deployments => &["deployment.activated", "deployment.rolled_back", "deployment.stopped"],
            Self::Settings => &["project.settings_changed", "project.environment_changed"],
            Self::EnvVars => &["project.env_var_set", "project.env_var_deleted"],
        }
    }
}

/// One event to mark.
#[derive(Clone, Debug)]
pub struct MarkerRow {
    /// Its place in the log.
    pub position: i64,
    /// Its id.
    pub event_id: EventId,
    /// When.
    pub at: DateTime<Utc>,
    /// Its type.
    pub action: String,
    /// Who.
    pub actor: String,
    /// For whom.
    pub on_behalf_of: Option<String>,
    /// What it was.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
    /// The event that began the chain which led here.
    pub cause: Cause,
    /// The deployment that it is about.
    pub deployment: Option<MarkedDeployment>,
}

/// How it began.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Place of the first event of the chain; its own where nothing led to it.
    pub position: i64,
    /// Its id.
    pub event_id: EventId,
    /// Its type.
    pub action: String,
    /// Who.
    pub actor: String,
}

/// What a marker says of its deployment.
#[derive(Clone, Debug)]
pub struct MarkedDeployment {
    /// Its id.
    pub id: DeploymentId,
    /// Why it was made.
    pub kind: DeploymentKind,
    /// Where it runs.
    pub environment_id: EnvironmentId,
    /// What it runs.
    pub build_id: BuildId,
    /// The commit that this was built of.
    pub commit: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Which one serves again because of that.
    pub rolled_back_to: Option<DeploymentId>,
}

/// The markers of a project from a time and before another, newest first, after a place in that order.
pub async fn between(
    db: impl PgExecutor<'_>,
    (team, project): (TeamId, ProjectId),
    groups: &[Group],
    (from, to): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    after: Option<Place>,
    limit: i64,
) -> sqlx::Result<Vec<MarkerRow>> {
    let actions: Vec<&str> = groups.iter().flat_map(|group| group.actions()).copied().collect();
    // That a server is there again after a crash, a sleep or a restart of the platform is no switch.
    sqlx::query(
        "SELECT a.position, a.event_id, a.at, a.action, a.actor, a.on_behalf_of, a.before, a.after,
                c.position AS cause_position, c.event_id AS cause_event, c.action AS cause_action,
                c.actor AS cause_actor, d.id AS deployment_id, d.kind, d.environment_id, d.build_id, d.failure,
                d.rolled_back_to, b.commit
           FROM audit_trail a
           LEFT JOIN deployments d ON d.id = CASE WHEN a.resource = 'deployment' THEN a.resource_id::uuid END
           LEFT JOIN builds b ON b.id = d.build_id
           CROSS JOIN LATERAL (SELECT position, event_id, action, actor FROM audit_trail
                                WHERE correlation = a.correlation AND team_id = a.team_id
                                ORDER BY position LIMIT 1) c
          WHERE a.team_id = $1 AND a.project_id = $2 AND a.action = ANY($3)
            AND ($4::timestamptz IS NULL OR a.at >= $4) AND ($5::timestamptz IS NULL OR a.at < $5)
            AND ($6::timestamptz IS NULL OR (a.at, a.position) < ($6, $7))
            AND (a.action <> 'deployment.activated' OR a.at = d.activated_at)
          ORDER BY a.at DESC, a.position DESC LIMIT $8",
    )
    .bind(team.0)
    .bind(project.0)
    .bind(actions)
    .bind(from)
    .bind(to)
    .bind(after.map(|place| place.at))
    .bind(after.map(|place| place.position))
    .bind(limit)
    .try_map(|row: PgRow| marker(&row))
    .fetch_all(db)
    .await
}

fn marker(row: &PgRow) -> sqlx::Result<MarkerRow> {
    let deployment = match row.try_get::<Option<Uuid>, _>("deployment_id")? {
        None => None,
        Some(id) => Some(MarkedDeployment {
            id: DeploymentId(id),
            kind: row.text("kind")?,
            environment_id: row.id("environment_id")?,
            build_id: row.id("build_id")?,
            commit: row.try_get("commit")?,
            failure: row.try_get::<Option<sqlx::types::Json<_>>, _>("failure")?.map(|json| json.0),
            rolled_back_to: row.try_get::<Option<Uuid>, _>("rolled_back_to")?.map(DeploymentId),
        }),
    };
    Ok(MarkerRow {
        position: row.try_get("position")?,
        event_id: row.id("event_id")?,
        at: row.try_get("at")?,
        action: row.try_get("action")?,
        actor: row.try_get("actor")?,
        on_behalf_of: row.try_get("on_behalf_of")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
        cause: Cause {
            position: row.try_get("cause_position")?,
            event_id: row.id("cause_event")?,
            action: row.try_get("cause_action")?,
            actor: row.try_get("cause_actor")?,
        },
        deployment,
    })
}
