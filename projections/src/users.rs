//! People who can sign in. Names and addresses stay sealed here; who shows them opens them.

use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{ProjectId, TeamId, UserId};
use domain::sealed::Sealed;
use domain::user::UserEvent;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::model::ReadModel;
use crate::parked::Grain;
use crate::rows::{Row, Table, row};

row! {
    /// One person.
    pub struct UserRow in "users" by (id: UserId) {
        /// Its id.
        pub id: UserId,
        /// Who vouches: `local`, or the URL of the issuer.
        pub provider: String,
        /// Id there.
        pub subject: String,
        /// Address.
        pub email: Sealed,
        /// Keyed hash of the address; none of who has none, or was erased.
        pub email_hash: Option<String>,
        /// First name.
        pub first_name: Sealed,
        /// Last name.
        pub last_name: Sealed,
        /// Address of a picture.
        pub photo_url: Option<Sealed>,
        /// The team it looks at.
        pub active_team_id: Option<TeamId>,
        /// The project it looks at.
        pub active_project_id: Option<ProjectId>,
        /// Whether the sign-in provider has the account no more.
        pub disabled: bool,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was last changed.
        pub updated_at: DateTime<Utc>,
        /// Number of its last event, for `ETag`.
        pub version: i64,
    }
}

/// The user with this id.
pub async fn find(db: impl PgExecutor<'_>, id: UserId) -> sqlx::Result<Option<UserRow>> {
    sqlx::query_as(&UserRow::select("WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The users with these ids, in no order; unknown ids are left out.
pub async fn find_all(db: impl PgExecutor<'_>, ids: &[UserId]) -> sqlx::Result<Vec<UserRow>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as(&UserRow::select("WHERE id = ANY($1)")).bind(ids).fetch_all(db).await
}

/// The user with this address, by the keyed hash of it.
pub async fn find_by_email_hash(db: impl PgExecutor<'_>, hash: &str) -> sqlx::Result<Option<UserRow>> {
    sqlx::query_as(&UserRow::select("WHERE email_hash = $1")).bind(hash).fetch_optional(db).await
}

/// The user of this identity, as soon as the query tables know him.
pub async fn find_by_identity(
    db: impl PgExecutor<'_>,
    provider: &str,
    subject: &str,
) -> sqlx::Result<Option<UserRow>> {
    sqlx::query_as(&UserRow::select("WHERE provider = $1 AND subject = $2"))
        .bind(provider)
        .bind(subject)
        .fetch_optional(db)
        .await
}

/// Whether there is any user yet.
pub async fn any(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM users)").fetch_one(db).await
}

/// The read model.
pub struct Users;

impl ReadModel for Users {
    const NAME: &'static str = "users";
    const VERSION: i32 = 3;
    const KINDS: &'static [&'static str] = &[kind::USER];
    const TABLE_NAMES: &'static [&'static str] = &["users"];
    const TABLES: &'static str = "CREATE TABLE users (
        id                uuid        PRIMARY KEY,
        provider          text        NOT NULL,
        subject           text        NOT NULL,
        email             jsonb       NOT NULL,
        email_hash        text        UNIQUE,
        first_name        jsonb       NOT NULL,
        last_name         jsonb       NOT NULL,
        photo_url         jsonb,
        active_team_id    uuid,
        active_project_id uuid,
        disabled          boolean     NOT NULL,
        created_at        timestamptz NOT NULL,
        updated_at        timestamptz NOT NULL,
        version           bigint      NOT NULL,
        UNIQUE (provider, subject)
    );";

    const GRAIN: Grain = Grain::Stream;

    type Rows = Table<UserRow>;

    fn foresee(users: &mut Table<UserRow>, recorded: &Recorded, fact: &Fact) {
        if let Fact::User(id, _) = fact
            && recorded.sequence > 1
        {
            users.want(*id);
        }
    }

    async fn apply(
        users: &mut Table<UserRow>,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        let Fact::User(id, event) = fact else { return Ok(()) };
        if let UserEvent::UserRegistered { provider, subject, email, email_hash, first_name, last_name } =
            event
        {
            return users.insert(UserRow {
                id: *id,
                provider: provider.clone(),
                subject: subject.clone(),
                email: email.clone(),
                email_hash: Some(email_hash.clone()).filter(|hash| !hash.is_empty()),
                first_name: first_name.clone(),
                last_name: last_name.clone(),
                photo_url: None,
                active_team_id: None,
                active_project_id: None,
                disabled: false,
                created_at: recorded.at,
                updated_at: recorded.at,
                version: recorded.sequence,
            });
        }
        let Some(user) = users.get(db, id).await? else { return Ok(()) };
        user.version = recorded.sequence;
        match event {
            UserEvent::UserProfileChanged { first_name, last_name, photo_url } => {
                let new = |new: &Option<Sealed>, old: &Sealed| new.clone().unwrap_or_else(|| old.clone());
                user.first_name = new(first_name, &user.first_name);
                user.last_name = new(last_name, &user.last_name);
                user.photo_url = photo_url.clone().or(user.photo_url.take());
            }
            UserEvent::UserActiveTeamSwitched { team_id } => user.active_team_id = *team_id,
            UserEvent::UserActiveProjectSwitched { project_id } => user.active_project_id = *project_id,
            // The address is free for somebody else.
            UserEvent::UserDisabled { .. } => (user.disabled, user.email_hash) = (true, None),
            // Address and identity are free for somebody else; the rest is ciphertext without a key.
            UserEvent::UserErased { .. } => {
                user.email_hash = None;
                user.subject = format!("erased:{id}");
                (user.active_team_id, user.active_project_id) = (None, None);
            }
            UserEvent::UserRegistered { .. }
            | UserEvent::UserPasswordChanged {}
            | UserEvent::UserSecondFactorEnabled {}
            | UserEvent::UserSecondFactorDisabled {}
            | UserEvent::UserRecoveryCodeUsed { .. }
            | UserEvent::UserSignedIn { .. }
            | UserEvent::UserSignedOut { .. }
            | UserEvent::UserTokenCreated { .. }
            | UserEvent::UserTokenRotated { .. }
            | UserEvent::UserTokenRevoked { .. } => return Ok(()),
        }
        user.updated_at = recorded.at;
        Ok(())
    }
}
