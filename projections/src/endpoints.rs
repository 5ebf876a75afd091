//! Endpoints: where teams want to be told what happens, as they are ([`EndpointRow`]) and as they were at any position
//! ([`changes`]). What is sent to them is in [`crate::outbox`].

use chrono::{DateTime, Utc};
use domain::endpoint::{EndpointEvent, EndpointSettings};
use domain::fact::{Fact, Recorded, StoredEvent, kind};
use domain::ids::{EndpointId, TeamId};
use domain::team::TeamEvent;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::log;
use crate::model::ReadModel;
use crate::row::stored;
use crate::rows::{Row, Table, row};
use crate::teams::IN_AN_OPEN_TEAM;

row! {
    /// One endpoint.
    pub struct EndpointRow in "endpoints" by (id: EndpointId) found by (team_id) {
        /// Its id.
        pub id: EndpointId,
        /// Its team.
        pub team_id: TeamId,
        /// What it is.
        pub settings: EndpointSettings,
        /// Until when the secret before signs too.
        pub old_until: Option<DateTime<Utc>>,
        /// Why nothing is sent to it; none while it is enabled.
        pub disabled: Option<String>,
        /// The last position of the log that it could be told of, when it is disabled.
        pub disabled_at: Option<i64>,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// Number of its last event, for `ETag`.
        pub version: i64,
    }
}

/// The endpoints of a team, newest first.
pub async fn of_team(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<EndpointRow>> {
    let query = EndpointRow::select("WHERE team_id = $1 ORDER BY id DESC");
    sqlx::query_as(&query).bind(team.0).fetch_all(db).await
}

/// One endpoint; none of a team that is closed.
pub async fn find(db: impl PgExecutor<'_>, id: EndpointId) -> sqlx::Result<Option<EndpointRow>> {
    let query = EndpointRow::select(&format!("WHERE id = $1 AND {IN_AN_OPEN_TEAM}"));
    sqlx::query_as(&query).bind(id.0).fetch_optional(db).await
}

/// What has made the endpoints of these teams what they were up to a position, in order. Read from the log, so that it is
/// exact whoever lags behind.
pub async fn changes(db: &mut PgConnection, teams: &[TeamId], upto: i64) -> sqlx::Result<Vec<StoredEvent>> {
    let teams: Vec<Uuid> = teams.iter().map(|team| team.0).collect();
    log::endpoint_changes(db, &teams, upto).await
}

/// The read model.
pub struct Endpoints;

impl ReadModel for Endpoints {
    const NAME: &'static str = "endpoints";
    const VERSION: i32 = 1;
    const KINDS: &'static [&'static str] = &[kind::ENDPOINT, kind::TEAM];
    const TABLE_NAMES: &'static [&'static str] = &["endpoints"];
    const TABLES: &'static str = "CREATE TABLE endpoints (
        id          uuid        PRIMARY KEY,
        team_id     uuid        NOT NULL,
        settings    jsonb       NOT NULL,
        old_until   timestamptz,
        disabled    text,
        disabled_at bigint,
        created_at  timestamptz NOT NULL,
        version     bigint      NOT NULL
    );
    CREATE INDEX ON endpoints (team_id);";

    type Rows = Table<EndpointRow>;

    fn foresee(rows: &mut Self::Rows, _recorded: &Recorded, fact: &Fact) {
        match fact {
            Fact::Endpoint(_, EndpointEvent::EndpointCreated { .. }) => {}
            Fact::Endpoint(id, _) => rows.want(*id),
            _ => {}
        }
    }

    async fn apply(
        rows: &mut Self::Rows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        match fact {
            Fact::Endpoint(id, EndpointEvent::EndpointCreated { team_id, settings, .. }) => {
                rows.insert(EndpointRow {
                    id: *id,
                    team_id: *team_id,
                    settings: settings.clone(),
                    old_until: None,
                    disabled: None,
                    disabled_at: None,
                    created_at: recorded.at,
                    version: recorded.sequence,
                })
            }
            Fact::Endpoint(id, EndpointEvent::EndpointDeleted {}) => rows.remove(db, id).await,
            Fact::Endpoint(id, event) => {
                if let Some(row) = rows.get(db, id).await? {
                    row.version = recorded.sequence;
                    change(row, event, recorded.position);
                }
                Ok(())
            }
            Fact::Team(team, TeamEvent::TeamDeleted { .. }) => rows.remove_by(db, "team_id", team).await,
            _ => Ok(()),
        }
    }
}

fn change(row: &mut EndpointRow, event: &EndpointEvent, position: i64) {
    match event {
        EndpointEvent::EndpointChanged { settings } => row.settings = settings.clone(),
        EndpointEvent::EndpointSecretRotated { overlap_until, .. } => row.old_until = Some(*overlap_until),
        EndpointEvent::EndpointEnabled {} => (row.disabled, row.disabled_at) = (None, None),
        EndpointEvent::EndpointDisabled { why } => {
            (row.disabled, row.disabled_at) = (Some(stored(why)), Some(position));
        }
        EndpointEvent::EndpointCreated { .. }
        | EndpointEvent::EndpointPinged {}
        | EndpointEvent::EndpointRedeliveryRequested { .. }
        | EndpointEvent::EndpointReplayRequested { .. }
        | EndpointEvent::EndpointDeleted {} => {}
    }
}
