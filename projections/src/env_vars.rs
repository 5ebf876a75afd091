//! Environment variables: what holds now, and every value there ever was, sealed, so that a deployment's frozen
//! set can be resolved long after.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::envelope::Actor;
use domain::fact::{Fact, Recorded};
use domain::ids::{EnvironmentId, EventId, ProjectId, SecretId};
use domain::project::{EnvVar, ProjectEvent};
use domain::sealed::Sealed;
use domain::values::EnvKey;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};
use uuid::Uuid;

use crate::feed::Consumer;
use crate::page::{Listed, Page};
use crate::row::{Columns, stored};

/// A variable as it holds now, without its value.
#[derive(Clone, Debug)]
pub struct EnvVarRow {
    /// Its project.
    pub project_id: ProjectId,
    /// What it is; its value is found by `var.value_id`.
    pub var: EnvVar,
    /// Who set it.
    pub set_by: Actor,
    /// When it was set.
    pub updated_at: DateTime<Utc>,
    /// Position of the event that set it: its place in lists.
    pub position: i64,
}

/// A change of a variable, without its value.
#[derive(Clone, Debug)]
pub struct EnvVarChangeRow {
    /// The event.
    pub event_id: EventId,
    /// What happened.
    pub change: EnvVarChange,
    /// The variable from then on; when it was deleted, until then.
    pub var: EnvVar,
    /// Who did it.
    pub actor: Actor,
    /// When.
    pub at: DateTime<Utc>,
    /// Position of the event: its place in lists.
    pub position: i64,
}

/// What happened to a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvVarChange {
    /// It got this value.
    Set,
    /// It is gone.
    Deleted,
}

const SELECT: &str = "SELECT project_id, environment_id, key, value_id, mark, sensitive, availability, set_by, \
    updated_at, position FROM env_vars";

fn var(row: &PgRow) -> sqlx::Result<EnvVar> {
    Ok(EnvVar {
        key: row.text("key")?,
        environment_id: row.maybe_id("environment_id")?,
        value_id: row.id("value_id")?,
        mark: row.try_get("mark")?,
        sensitive: row.try_get("sensitive")?,
        availability: row.text("availability")?,
    })
}

impl FromRow<'_, PgRow> for EnvVarRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            project_id: row.id("project_id")?,
            var: var(row)?,
            set_by: row.text("set_by")?,
            updated_at: row.try_get("updated_at")?,
            position: row.try_get("position")?,
        })
    }
}

impl FromRow<'_, PgRow> for EnvVarChangeRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            event_id: row.id("event_id")?,
            change: row.text("change")?,
            var: var(row)?,
            actor: row.text("actor")?,
            at: row.try_get("at")?,
            position: row.try_get("position")?,
        })
    }
}

/// The variables of a project, of all its environments.
pub async fn of_project(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    page: Page,
) -> sqlx::Result<Listed<EnvVarRow>> {
    let query = format!("{SELECT} WHERE project_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let items =
        sqlx::query_as(&query).bind(project.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |row: &EnvVarRow| row.position))
}

/// The variables that hold in an environment: its own before those of the whole project.
pub async fn of_environment(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    environment: EnvironmentId,
    page: Page,
) -> sqlx::Result<Listed<EnvVarRow>> {
    let query = format!(
        "{SELECT} v WHERE project_id = $1 AND position < $3 AND (environment_id = $2 OR environment_id IS NULL
            AND NOT EXISTS (SELECT FROM env_vars o
                             WHERE o.project_id = $1 AND o.environment_id = $2 AND o.key = v.key))
          ORDER BY position DESC LIMIT $4"
    );
    let items = sqlx::query_as(&query)
        .bind(project.0)
        .bind(environment.0)
        .bind(page.before())
        .bind(page.read())
        .fetch_all(db)
        .await?;
    Ok(Listed::cut(items, page, |row: &EnvVarRow| row.position))
}

/// One variable: of one environment, or of the whole project.
pub async fn find(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    environment: Option<EnvironmentId>,
    key: &EnvKey,
) -> sqlx::Result<Option<EnvVarRow>> {
    let query = format!("{SELECT} WHERE project_id = $1 AND place = $2 AND key = $3");
    sqlx::query_as(&query)
        .bind(project.0)
        .bind(place(environment))
        .bind(key.as_str())
        .fetch_optional(db)
        .await
}

/// The values with these ids, in no order; only values of this project, whenever they were set.
pub async fn sealed_values(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    ids: &[SecretId],
) -> sqlx::Result<Vec<Sealed>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query(
        "SELECT value FROM env_var_history WHERE project_id = $1 AND value_id = ANY($2) AND change = 'set'",
    )
    .bind(project.0)
    .bind(ids)
    .try_map(|row: PgRow| row.json("value"))
    .fetch_all(db)
    .await
}

/// What happened to the variables of a project.
pub async fn history(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    page: Page,
) -> sqlx::Result<Listed<EnvVarChangeRow>> {
    let items = sqlx::query_as(
        "SELECT event_id, change, environment_id, key, value_id, mark, sensitive, availability, actor, at, position
           FROM env_var_history WHERE project_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3",
    )
    .bind(project.0)
    .bind(page.before())
    .bind(page.read())
    .fetch_all(db)
    .await?;
    Ok(Listed::cut(items, page, |row: &EnvVarChangeRow| row.position))
}

/// The environment as a part of the key, which cannot be null.
fn place(environment: Option<EnvironmentId>) -> String {
    environment.map_or_else(|| "all".to_owned(), |id| id.to_string())
}

/// The read model.
pub struct EnvVars;

#[async_trait]
impl Consumer for EnvVars {
    fn name(&self) -> &'static str {
        "env_vars"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE env_vars (
            project_id     uuid        NOT NULL,
            place          text        NOT NULL,
            key            text        NOT NULL,
            environment_id uuid,
            value_id       uuid        NOT NULL,
            mark           text        NOT NULL,
            sensitive      boolean     NOT NULL,
            availability   text        NOT NULL,
            set_by         text        NOT NULL,
            updated_at     timestamptz NOT NULL,
            position       bigint      NOT NULL,
            PRIMARY KEY (project_id, place, key)
        );
        CREATE INDEX env_vars_project ON env_vars (project_id, position);
        CREATE TABLE env_var_history (
            position       bigint      PRIMARY KEY,
            event_id       uuid        NOT NULL,
            project_id     uuid        NOT NULL,
            change         text        NOT NULL,
            environment_id uuid,
            key            text        NOT NULL,
            value_id       uuid        NOT NULL,
            mark           text        NOT NULL,
            sensitive      boolean     NOT NULL,
            availability   text        NOT NULL,
            value          jsonb,
            actor          text        NOT NULL,
            at             timestamptz NOT NULL
        );
        CREATE INDEX env_var_history_project ON env_var_history (project_id, position);
        CREATE INDEX env_var_history_value ON env_var_history (value_id);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["env_vars", "env_var_history"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let Fact::Project(project, event) = &recorded.fact else { return Ok(()) };
        match event {
            ProjectEvent::ProjectEnvVarSet {
                key, environment_id, value, sensitive, availability, ..
            } => {
                let var = EnvVar {
                    key: key.clone(),
                    environment_id: *environment_id,
                    value_id: value.id,
                    mark: value.mark.clone(),
                    sensitive: *sensitive,
                    availability: *availability,
                };
                set(db, *project, &var, recorded).await?;
                note(db, *project, EnvVarChange::Set, &var, Some(value), recorded).await
            }
            ProjectEvent::ProjectEnvVarDeleted { old } => {
                sqlx::query("DELETE FROM env_vars WHERE project_id = $1 AND place = $2 AND key = $3")
                    .bind(project.0)
                    .bind(place(old.environment_id))
                    .bind(old.key.as_str())
                    .execute(&mut *db)
                    .await?;
                note(db, *project, EnvVarChange::Deleted, old, None, recorded).await
            }
            ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. } => {
                sqlx::query("DELETE FROM env_vars WHERE project_id = $1 AND place = $2")
                    .bind(project.0)
                    .bind(place(Some(*environment_id)))
                    .execute(db)
                    .await
                    .map(drop)
            }
            ProjectEvent::ProjectDeleted { .. } => sqlx::query("DELETE FROM env_vars WHERE project_id = $1")
                .bind(project.0)
                .execute(db)
                .await
                .map(drop),
            _ => Ok(()),
        }
    }
}

async fn set(
    db: &mut PgConnection,
    project: ProjectId,
    var: &EnvVar,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO env_vars (project_id, place, key, environment_id, value_id, mark, sensitive, availability,
                               set_by, updated_at, position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (project_id, place, key) DO UPDATE
            SET value_id = excluded.value_id, mark = excluded.mark, sensitive = excluded.sensitive,
                availability = excluded.availability, set_by = excluded.set_by,
                updated_at = excluded.updated_at, position = excluded.position",
    )
    .bind(project.0)
    .bind(place(var.environment_id))
    .bind(var.key.as_str())
    .bind(var.environment_id.map(|id| id.0))
    .bind(var.value_id.0)
    .bind(&var.mark)
    .bind(var.sensitive)
    .bind(stored(&var.availability))
    .bind(recorded.envelope.actor.to_string())
    .bind(recorded.at)
    .bind(recorded.position)
    .execute(db)
    .await
    .map(drop)
}

async fn note(
    db: &mut PgConnection,
    project: ProjectId,
    change: EnvVarChange,
    var: &EnvVar,
    value: Option<&Sealed>,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO env_var_history (position, event_id, project_id, change, environment_id, key, value_id, mark,
                                      sensitive, availability, value, actor, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(recorded.position)
    .bind(recorded.event_id.0)
    .bind(project.0)
    .bind(stored(&change))
    .bind(var.environment_id.map(|id| id.0))
    .bind(var.key.as_str())
    .bind(var.value_id.0)
    .bind(&var.mark)
    .bind(var.sensitive)
    .bind(stored(&var.availability))
    .bind(value.map(Json))
    .bind(recorded.envelope.actor.to_string())
    .bind(recorded.at)
    .execute(db)
    .await
    .map(drop)
}
