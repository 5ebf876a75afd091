//! Environment variables as they are now, and every value that was ever set, sealed.

use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{EnvironmentId, ProjectId, SecretId};
use domain::project::{Availability, EnvVar, ProjectEvent};
use domain::sealed::Sealed;
use domain::values::EnvKey;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::model::ReadModel;
use crate::parked::Grain;
use crate::row::Columns;
use crate::rows::{Journal, Row, Rows, Store, Table, row};

row! {
    /// A variable as it is now.
    pub struct EnvVarRow in "env_vars" by (project_id: ProjectId, key: EnvKey, place: String) found by (project_id, environment_id) {
        /// Its project.
        pub project_id: ProjectId,
        /// Its name.
        pub key: EnvKey,
        /// The one environment it is for; all of the project when absent.
        pub environment_id: Option<EnvironmentId>,
        /// The environment as a part of the key, which cannot be null: its id or `all`.
        pub(crate) place: String,
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
}

row! {
    /// One change of a variable.
    pub struct EnvVarChange in "env_var_changes" by (position: i64) {
        /// Position of the event.
        pub position: i64,
        /// Its project.
        pub project_id: ProjectId,
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
}

/// The variables of a project, by name.
pub async fn of_project(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<EnvVarRow>> {
    sqlx::query_as(&EnvVarRow::select("WHERE project_id = $1 ORDER BY key, environment_id NULLS FIRST"))
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

/// The values with these ids, with who set them when, in no order.
pub async fn settings_of(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    ids: &[SecretId],
) -> sqlx::Result<Vec<SetValue>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let query = SetValue::select("WHERE project_id = $1 AND id = ANY($2)");
    sqlx::query_as(&query).bind(project.0).bind(ids).fetch_all(db).await
}

/// The changes of a project's variables, newest first, before the position `before`.
pub async fn history(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    before: i64,
    limit: i64,
) -> sqlx::Result<Vec<EnvVarChange>> {
    sqlx::query_as(&EnvVarChange::select(
        "WHERE project_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3",
    ))
    .bind(project.0)
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await
}

row! {
    /// A value that was ever set.
    pub struct SetValue in "env_var_values" by (id: SecretId) {
        /// Its id.
        pub id: SecretId,
        /// Its project.
        pub project_id: ProjectId,
        /// It.
        pub value: Sealed,
        /// Who set it.
        pub actor: String,
        /// When.
        pub at: DateTime<Utc>,
    }
}

/// The tables of the read model.
#[derive(Default)]
pub(crate) struct EnvVarRows {
    variables: Table<EnvVarRow>,
    values: Journal<SetValue>,
    changes: Journal<EnvVarChange>,
}

impl Rows for EnvVarRows {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![&mut self.variables, &mut self.values, &mut self.changes]
    }
}

/// The read model.
pub struct EnvVars;

impl ReadModel for EnvVars {
    const NAME: &'static str = "env_vars";
    const VERSION: i32 = 4;
    const KINDS: &'static [&'static str] = &[kind::PROJECT];
    const TABLE_NAMES: &'static [&'static str] = &["env_vars", "env_var_values", "env_var_changes"];
    const TABLES: &'static str = "CREATE TABLE env_vars (
        project_id     uuid        NOT NULL,
        key            text        NOT NULL,
        environment_id uuid,
        -- The environment as a part of the key, which cannot be null.
        place          text        NOT NULL,
        value          jsonb       NOT NULL,
        sensitive      boolean     NOT NULL,
        availability   text        NOT NULL,
        created_at     timestamptz NOT NULL,
        updated_at     timestamptz NOT NULL,
        PRIMARY KEY (project_id, key, place)
    );
    CREATE TABLE env_var_values (
        id         uuid        PRIMARY KEY,
        project_id uuid        NOT NULL,
        value      jsonb       NOT NULL,
        actor      text        NOT NULL,
        at         timestamptz NOT NULL
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
    CREATE INDEX ON env_var_changes (project_id, position);";

    const GRAIN: Grain = Grain::Stream;

    type Rows = EnvVarRows;

    fn foresee(rows: &mut EnvVarRows, _recorded: &Recorded, fact: &Fact) {
        let Fact::Project(id, event) = fact else { return };
        match event {
            ProjectEvent::ProjectEnvVarSet { key, environment_id, .. }
            | ProjectEvent::ProjectEnvVarDeleted { old: EnvVar { key, environment_id, .. } } => {
                rows.variables.want((*id, key.clone(), place(*environment_id)));
            }
            _ => {}
        }
    }

    async fn apply(
        rows: &mut EnvVarRows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        let Fact::Project(id, event) = fact else { return Ok(()) };
        match event {
            ProjectEvent::ProjectEnvVarSet {
                key, environment_id, value, sensitive, availability, ..
            } => {
                rows.values.add(SetValue {
                    id: value.id,
                    project_id: *id,
                    value: value.clone(),
                    actor: recorded.envelope().actor.to_string(),
                    at: recorded.at,
                });
                rows.changes.add(change(*id, (key, *environment_id), Some(value.mark.as_str()), recorded));
                let row = EnvVarRow {
                    project_id: *id,
                    key: key.clone(),
                    environment_id: *environment_id,
                    place: place(*environment_id),
                    value: value.clone(),
                    sensitive: *sensitive,
                    availability: *availability,
                    created_at: recorded.at,
                    updated_at: recorded.at,
                };
                match rows.variables.get(db, &row.key()).await? {
                    Some(old) => *old = EnvVarRow { created_at: old.created_at, ..row },
                    None => rows.variables.insert(row)?,
                }
                Ok(())
            }
            ProjectEvent::ProjectEnvVarDeleted { old } => {
                rows.changes.add(change(*id, (&old.key, old.environment_id), None, recorded));
                let key = (*id, old.key.clone(), place(old.environment_id));
                rows.variables.remove(db, &key).await
            }
            ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. } => {
                rows.variables.remove_by(db, "environment_id", environment_id).await
            }
            ProjectEvent::ProjectDeleted { .. } => rows.variables.remove_by(db, "project_id", id).await,
            _ => Ok(()),
        }
    }
}

fn place(environment: Option<EnvironmentId>) -> String {
    environment.map_or_else(|| "all".to_owned(), |id| id.to_string())
}

fn change(
    project_id: ProjectId,
    (key, environment_id): (&EnvKey, Option<EnvironmentId>),
    mark: Option<&str>,
    recorded: &Recorded,
) -> EnvVarChange {
    EnvVarChange {
        position: recorded.position,
        project_id,
        key: key.clone(),
        environment_id,
        act: if mark.is_some() { "set" } else { "deleted" }.to_owned(),
        mark: mark.map(str::to_owned),
        actor: recorded.envelope().actor.to_string(),
        at: recorded.at,
    }
}
