//! What opens the repositories of projects, sealed, and the webhooks that tell of pushes to them.

use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{HookId, ProjectId};
use domain::project::ProjectEvent;
use domain::sealed::Sealed;
use domain::values::HostKey;
use sqlx::{PgConnection, PgExecutor};

use crate::model::ReadModel;
use crate::row::Columns;
use crate::rows::{Row, Rows, Store, Table, row};

row! {
    /// What opens the repository of a project.
    pub struct AccessRow in "repository_access" by (project_id: ProjectId) {
        /// The project.
        pub project_id: ProjectId,
        /// The host that the token is for.
        pub token_host: Option<String>,
        /// The name that goes with it.
        pub token_username: Option<String>,
        /// The token.
        pub token: Option<Sealed>,
        /// When it was set.
        pub token_at: Option<DateTime<Utc>>,
        /// Public half of the deploy key.
        pub key_public: Option<String>,
        /// Its private half.
        pub key_secret: Option<Sealed>,
        /// When it was made.
        pub key_at: Option<DateTime<Utc>>,
        /// Public half of the one before.
        pub old_key_public: Option<String>,
        /// Its private half.
        pub old_key_secret: Option<Sealed>,
        /// Until when that is used besides.
        pub old_key_until: Option<DateTime<Utc>>,
        /// The ssh server that is known.
        pub known_host: Option<String>,
        /// Its keys.
        pub known_keys: Vec<HostKey>,
    }
}

row! {
    /// A webhook by which a git host tells a project of pushes.
    pub struct PushHookRow in "push_hooks" by (id: HookId) found by (project_id) {
        /// Its id.
        pub id: HookId,
        /// Its project.
        pub project_id: ProjectId,
        /// Its name.
        pub name: String,
        /// What its deliveries are signed with.
        pub secret: Sealed,
        /// The last four characters of that.
        pub last_four: String,
        /// The secret before the last rotation.
        pub old_secret: Option<Sealed>,
        /// From when on that one proves nothing.
        pub old_until: Option<DateTime<Utc>>,
        /// When it was made.
        pub created_at: DateTime<Utc>,
    }
}

impl PushHookRow {
    /// The sealed secrets that prove something now, the present one first.
    pub fn valid(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Sealed> {
        let old = self.old_secret.as_ref().filter(|_| self.old_until.is_some_and(|until| now < until));
        std::iter::once(&self.secret).chain(old)
    }
}

/// What opens the repository of a project.
pub async fn of_project(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<AccessRow> {
    let query = AccessRow::select("WHERE project_id = $1");
    let found: Option<AccessRow> = sqlx::query_as(&query).bind(project.0).fetch_optional(db).await?;
    Ok(found.unwrap_or_else(|| AccessRow::of(project)))
}

/// The webhook with this id.
pub async fn find_hook(db: impl PgExecutor<'_>, id: HookId) -> sqlx::Result<Option<PushHookRow>> {
    sqlx::query_as(&PushHookRow::select("WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The webhooks of a project, newest first.
pub async fn hooks_of(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<PushHookRow>> {
    let query = PushHookRow::select("WHERE project_id = $1 ORDER BY id DESC");
    sqlx::query_as(&query).bind(project.0).fetch_all(db).await
}

/// The projects that are told of pushes by webhooks of their own.
pub async fn hooked(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<ProjectId>> {
    let query = sqlx::query("SELECT DISTINCT project_id FROM push_hooks ORDER BY project_id");
    query.try_map(|row: sqlx::postgres::PgRow| row.id("project_id")).fetch_all(db).await
}

impl AccessRow {
    fn of(project_id: ProjectId) -> Self {
        Self {
            project_id,
            token_host: None,
            token_username: None,
            token: None,
            token_at: None,
            key_public: None,
            key_secret: None,
            key_at: None,
            old_key_public: None,
            old_key_secret: None,
            old_key_until: None,
            known_host: None,
            known_keys: vec![],
        }
    }
}

/// The tables of the read model.
#[derive(Default)]
pub(crate) struct AccessRows {
    access: Table<AccessRow>,
    hooks: Table<PushHookRow>,
}

impl Rows for AccessRows {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![&mut self.access, &mut self.hooks]
    }
}

/// The read model.
pub struct RepositoryAccess;

impl ReadModel for RepositoryAccess {
    const NAME: &'static str = "repository_access";
    const VERSION: i32 = 1;
    const KINDS: &'static [&'static str] = &[kind::PROJECT];
    const PASSES_OVER: &'static [&'static str] = &[
        "project.env_var_set",
        "project.env_var_deleted",
        "project.env_vars_revealed",
        "project.settings_changed",
    ];
    const TABLE_NAMES: &'static [&'static str] = &["repository_access", "push_hooks"];
    const TABLES: &'static str = "CREATE TABLE repository_access (
        project_id     uuid        PRIMARY KEY,
        token_host     text,
        token_username text,
        token          jsonb,
        token_at       timestamptz,
        key_public     text,
        key_secret     jsonb,
        key_at         timestamptz,
        old_key_public text,
        old_key_secret jsonb,
        old_key_until  timestamptz,
        known_host     text,
        known_keys     jsonb       NOT NULL
    );
    CREATE TABLE push_hooks (
        id         uuid        PRIMARY KEY,
        project_id uuid        NOT NULL,
        name       text        NOT NULL,
        secret     jsonb       NOT NULL,
        last_four  text        NOT NULL,
        old_secret jsonb,
        old_until  timestamptz,
        created_at timestamptz NOT NULL
    );
    CREATE INDEX ON push_hooks (project_id);";

    type Rows = AccessRows;

    fn foresee(rows: &mut AccessRows, _recorded: &Recorded, fact: &Fact) {
        use ProjectEvent::*;
        let Fact::Project(id, event) = fact else { return };
        match event {
            ProjectRepositoryTokenSet { .. }
            | ProjectRepositoryTokenRemoved { .. }
            | ProjectDeployKeyMade { .. }
            | ProjectDeployKeyRemoved { .. }
            | ProjectHostKeysPinned { .. } => rows.access.want(*id),
            ProjectPushHookRotated { hook_id, .. } | ProjectPushHookDeleted { hook_id } => {
                rows.hooks.want(*hook_id);
            }
            _ => {}
        }
    }

    async fn apply(
        rows: &mut AccessRows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        use ProjectEvent::*;
        let Fact::Project(id, event) = fact else { return Ok(()) };
        match event {
            ProjectRepositoryTokenSet { .. }
            | ProjectRepositoryTokenRemoved { .. }
            | ProjectDeployKeyMade { .. }
            | ProjectDeployKeyRemoved { .. }
            | ProjectHostKeysPinned { .. } => {
                if rows.access.get(db, id).await?.is_none() {
                    rows.access.insert(AccessRow::of(*id))?;
                }
                if let Some(row) = rows.access.get(db, id).await? {
                    row.take_in(event, recorded.at);
                }
                Ok(())
            }
            ProjectPushHookCreated { hook_id, name, secret, last_four } => rows.hooks.insert(PushHookRow {
                id: *hook_id,
                project_id: *id,
                name: name.as_str().to_owned(),
                secret: secret.clone(),
                last_four: last_four.clone(),
                old_secret: None,
                old_until: None,
                created_at: recorded.at,
            }),
            ProjectPushHookRotated { hook_id, secret, last_four, overlap_until } => {
                let Some(row) = rows.hooks.get(db, hook_id).await? else { return Ok(()) };
                row.old_secret = Some(std::mem::replace(&mut row.secret, secret.clone()));
                row.old_until = Some(*overlap_until);
                row.last_four = last_four.clone();
                Ok(())
            }
            ProjectPushHookDeleted { hook_id } => rows.hooks.remove(db, hook_id).await,
            ProjectDeleted { .. } => {
                rows.access.remove(db, id).await?;
                rows.hooks.remove_by(db, "project_id", id).await
            }
            _ => Ok(()),
        }
    }
}

impl AccessRow {
    fn take_in(&mut self, event: &ProjectEvent, at: DateTime<Utc>) {
        use ProjectEvent::*;
        match event {
            ProjectRepositoryTokenSet { host, username, token, .. } => {
                self.token_host = Some(host.clone());
                self.token_username = Some(username.as_str().to_owned());
                self.token = Some(token.clone());
                self.token_at = Some(at);
            }
            ProjectRepositoryTokenRemoved { .. } => {
                (self.token_host, self.token_username, self.token, self.token_at) = (None, None, None, None);
            }
            ProjectDeployKeyMade { public_key, secret, overlap_until, .. } => {
                self.old_key_public = self.key_public.replace(public_key.as_str().to_owned());
                self.old_key_secret = self.key_secret.replace(secret.clone());
                self.old_key_until = self.old_key_public.is_some().then_some(*overlap_until);
                self.key_at = Some(at);
            }
            ProjectDeployKeyRemoved { .. } => {
                (self.key_public, self.key_secret, self.key_at) = (None, None, None);
                (self.old_key_public, self.old_key_secret, self.old_key_until) = (None, None, None);
            }
            ProjectHostKeysPinned { host, keys, .. } => {
                self.known_host = Some(host.clone());
                self.known_keys = keys.clone();
            }
            _ => {}
        }
    }
}
