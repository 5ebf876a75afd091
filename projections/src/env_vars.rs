//! Environment variables as they are now, and every value that was ever set, sealed.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{EnvironmentId, ProjectId, SecretId};
use domain::project::{Availability, ProjectEvent};
use domain::sealed::Sealed;
use domain::values::EnvKey;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};
use uuid::Uuid;

use crate::feed::Consumer;
use crate::parked::Grain;
use crate::row::{Columns, stored};

/// A variable as it is now.
#[derive(Clone, Debug)]
pub struct EnvVarRow {
    /// Its name.
    pub key: EnvKey,
    /// The one environment it is for; all of the project when absent.
    pub environment_id: Option<EnvironmentId>,
    /// Its value.
    pub value: Sealed,
    /// Whether people may no longer see it.
    pub sensitive: bool,
    /// Who sees it.
    pub availability: Availability,
    /// When it was first set.
    pub created_at: DateTime<Utc>,
    /// When it was last set.
    pub updated_at: DateTime<Utc>,
}

/// One change of a variable.
#[derive(Clone, Debug)]
pub struct EnvVarChange {
    /// Position of the event.
    pub position: i64,
    /// Its name.
    pub key: EnvKey,
    /// The one environment it is for.
    pub environment_id: Option<EnvironmentId>,
    /// `set` or `deleted`.
    pub act: String,
    /// Keyed hash of the new value; absent when it was deleted.
    pub mark: Option<String>,
    /// Who did it.
    pub actor: String,
    /// When.
    pub at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for EnvVarRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            key: row.text("key")?,
            environment_id: row.maybe_id("environment_id")?,
            value: row.json("value")?,
            sensitive: row.try_get("sensitive")?,
            availability: row.text("availability")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }
}

impl FromRow<'_, PgRow> for EnvVarChange {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            position: row.try_get("position")?,
            key: row.text("key")?,
            environment_id: row.maybe_id("environment_id")?,
            act: row.try_get("act")?,
            mark: row.try_get("mark")?,
            actor: row.try_get("actor")?,
            at: row.try_get("at")?,
        })
    }
}

/// The variables of a project, by name.
pub async fn of_project(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<EnvVarRow>> {
    sqlx::query_as(
        "SELECT key, environment_id, value, sensitive, availability, created_at, updated_at FROM env_vars
          WHERE project_id = $1 ORDER BY key, environment_id NULLS FIRST",
    )
    .bind(project.0)
    .fetch_all(db)
    .await
}

/// The sealed values with these ids, in no order.
pub async fn sealed_values(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    ids: &[SecretId],
) -> sqlx::Result<Vec<Sealed>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query("SELECT value FROM env_var_values WHERE project_id = $1 AND id = ANY($2)")
        .bind(project.0)
        .bind(ids)
        .try_map(|row: PgRow| row.json("value"))
        .fetch_all(db)
        .await
}

/// The changes of a project's variables, newest first, before the position `before`.
pub async fn history(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    before: i64,
    limit: i64,
) -> sqlx::Result<Vec<EnvVarChange>> {
    sqlx::query_as(
        "SELECT position, key, environment_id, act, mark, actor, at FROM env_var_changes
          WHERE project_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3",
    )
    .bind(project.0)
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// The read model.
pub struct EnvVars;

#[async_trait]
impl Consumer for EnvVars {
    fn name(&self) -> &'static str {
        "env_vars"
    }

    fn version(&self) -> i32 {
        2
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE env_vars (
            project_id     uuid        NOT NULL,
            key            text        NOT NULL,
            environment_id uuid,
            -- The environment as a part of the key, which cannot be null.
            place          text        GENERATED ALWAYS AS (coalesce(environment_id::text, 'all')) STORED,
            value          jsonb       NOT NULL,
            sensitive      boolean     NOT NULL,
            availability   text        NOT NULL,
            created_at     timestamptz NOT NULL,
            updated_at     timestamptz NOT NULL,
            PRIMARY KEY (project_id, key, place)
        );
        CREATE TABLE env_var_values (
            id         uuid  PRIMARY KEY,
            project_id uuid  NOT NULL,
            value      jsonb NOT NULL
        );
        CREATE TABLE env_var_changes (
            position       bigint      PRIMARY KEY,
            project_id     uuid        NOT NULL,
            key            text        NOT NULL,
            environment_id uuid,
            act            text        NOT NULL,
            mark           text,
            actor          text        NOT NULL,
            at             timestamptz NOT NULL
        );
        CREATE INDEX ON env_var_changes (project_id, position);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["env_vars", "env_var_values", "env_var_changes"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(recorded.fact, Fact::Project(..))
    }

    fn grain(&self) -> Grain {
        Grain::Stream
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let Fact::Project(id, event) = &recorded.fact else { return Ok(()) };
        match event {
            ProjectEvent::ProjectEnvVarSet {
                key, environment_id, value, sensitive, availability, ..
            } => {
                let variable = (key, *environment_id);
                set(db, *id, variable, value, (*sensitive, *availability), recorded).await?;
                note(db, *id, variable, Some(&value.mark), recorded).await
            }
            ProjectEvent::ProjectEnvVarDeleted { old } => {
                sqlx::query(
                    "DELETE FROM env_vars
                      WHERE project_id = $1 AND key = $2 AND environment_id IS NOT DISTINCT FROM $3",
                )
                .bind(id.0)
                .bind(old.key.as_str())
                .bind(old.environment_id.map(|id| id.0))
                .execute(&mut *db)
                .await?;
                note(db, *id, (&old.key, old.environment_id), None, recorded).await
            }
            ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. } => {
                sqlx::query("DELETE FROM env_vars WHERE environment_id = $1")
                    .bind(environment_id.0)
                    .execute(db)
                    .await
                    .map(drop)
            }
            ProjectEvent::ProjectDeleted { .. } => sqlx::query("DELETE FROM env_vars WHERE project_id = $1")
                .bind(id.0)
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
    (key, environment): (&EnvKey, Option<EnvironmentId>),
    value: &Sealed,
    (sensitive, availability): (bool, Availability),
    recorded: &Recorded,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO env_vars (project_id, key, environment_id, value, sensitive, availability, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
         ON CONFLICT (project_id, key, place) DO UPDATE
            SET value = excluded.value, sensitive = excluded.sensitive, availability = excluded.availability,
                updated_at = excluded.updated_at",
    )
    .bind(project.0)
    .bind(key.as_str())
    .bind(environment.map(|id| id.0))
    .bind(Json(value))
    .bind(sensitive)
    .bind(stored(&availability))
    .bind(recorded.at)
    .execute(&mut *db)
    .await?;
    sqlx::query("INSERT INTO env_var_values (id, project_id, value) VALUES ($1, $2, $3)")
        .bind(value.id.0)
        .bind(project.0)
        .bind(Json(value))
        .execute(db)
        .await
        .map(drop)
}

async fn note(
    db: &mut PgConnection,
    project: ProjectId,
    (key, environment): (&EnvKey, Option<EnvironmentId>),
    mark: Option<&str>,
    recorded: &Recorded,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO env_var_changes (position, project_id, key, environment_id, act, mark, actor, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(recorded.position)
    .bind(project.0)
    .bind(key.as_str())
    .bind(environment.map(|id| id.0))
    .bind(if mark.is_some() { "set" } else { "deleted" })
    .bind(mark)
    .bind(recorded.envelope.actor.to_string())
    .bind(recorded.at)
    .execute(db)
    .await
    .map(drop)
}
