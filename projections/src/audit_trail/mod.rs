//! The audit trail: one row an event. Who did what, when, from where, how it ended, and what it was before and after.

mod query;
mod story;
#[cfg(test)]
mod tests;
mod words;

use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{EventId, ProjectId, TeamId};
use domain::upcast::Present;
use serde_json::Value;
use sqlx::PgConnection;

use self::story::Fields;
use self::words::Words;
use crate::model::ReadModel;
use crate::parked::Grain;
use crate::rows::{Journal, Rows, Store, Table, row};

pub use query::{Filter, Place, Reach, beginning, between, chain, explain, find, newest, oldest, window};

/// The project that a fact belongs to, as far as it says so itself: builds and deployments do when they begin.
pub fn project_of(fact: &Fact) -> Option<ProjectId> {
    story::project(fact, &Fields::new())
}

row! {
    /// One event, as people look at it.
    pub struct AuditRow in "audit_trail" by (position: i64) {
        /// Its place in the log.
        pub position: i64,
        /// Its id.
        pub event_id: EventId,
        /// When.
        pub at: DateTime<Utc>,
        /// In which team.
        pub team_id: Option<TeamId>,
        /// In which project.
        pub project_id: Option<ProjectId>,
        /// Who.
        pub actor: String,
        /// For whom.
        pub on_behalf_of: Option<String>,
        /// What: the event's type.
        pub action: String,
        /// The command that led to it.
        pub command: String,
        /// How it ended: `success`, `denied`, `failed`.
        pub outcome: String,
        /// On what kind of thing.
        pub resource: String,
        /// On which.
        pub resource_id: String,
        /// What it was; none when it is new.
        pub before: Option<Value>,
        /// What it is; none when it is gone.
        pub after: Option<Value>,
        /// The request or run.
        pub request_id: String,
        /// What led directly here.
        pub causation: String,
        /// The first cause.
        pub correlation: String,
        /// Sealed address of the caller.
        pub source_ip: Option<String>,
        /// Sealed user agent of the caller.
        pub user_agent: Option<String>,
        /// By which free text finds it, in order. Left empty by queries.
        pub words: Vec<String>,
    }
}

row! {
    /// What was last shown of a part of a thing: what the next event on it calls before.
    struct KnownPart in "audit_parts" by (resource: String, resource_id: String, part: String) {
        resource: String,
        resource_id: String,
        part: String,
        known: Value,
    }
}

/// The tables of the read model.
#[derive(Default)]
pub(crate) struct AuditRows {
    trail: Journal<AuditRow>,
    parts: Table<KnownPart>,
}

impl Rows for AuditRows {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![&mut self.trail, &mut self.parts]
    }
}

/// The read model.
pub struct AuditTrail;

impl ReadModel for AuditTrail {
    const NAME: &'static str = "audit_trail";
    /// 3: builds and deployments that failed did.
    const VERSION: i32 = 3;
    const KINDS: &'static [&'static str] = &[];
    const TABLE_NAMES: &'static [&'static str] = &["audit_trail", "audit_parts"];
    const TABLES: &'static str = "CREATE TABLE audit_trail (
        position     bigint      PRIMARY KEY,
        event_id     uuid        NOT NULL,
        at           timestamptz NOT NULL,
        team_id      uuid,
        project_id   uuid,
        actor        text        NOT NULL,
        on_behalf_of text,
        action       text        NOT NULL,
        command      text        NOT NULL,
        outcome      text        NOT NULL,
        resource     text        NOT NULL,
        resource_id  text        NOT NULL,
        before       jsonb,
        after        jsonb,
        request_id   text        NOT NULL,
        causation    text        NOT NULL,
        correlation  text        NOT NULL,
        source_ip    text,
        user_agent   text,
        words        text[]      NOT NULL
    );
    CREATE INDEX ON audit_trail (team_id, at, position);
    CREATE INDEX ON audit_trail (team_id, actor, at, position);
    CREATE INDEX ON audit_trail (team_id, action, at, position);
    CREATE INDEX ON audit_trail (team_id, resource, at, position);
    CREATE INDEX ON audit_trail (team_id, resource_id, at, position);
    CREATE INDEX ON audit_trail (team_id, project_id, at, position) WHERE project_id IS NOT NULL;
    CREATE INDEX ON audit_trail (team_id, outcome, at, position) WHERE outcome <> 'success';
    CREATE INDEX ON audit_trail (correlation);
    CREATE INDEX ON audit_trail USING gin (array_to_tsvector(words));
    CREATE TABLE audit_parts (
        resource    text  NOT NULL,
        resource_id text  NOT NULL,
        part        text  NOT NULL,
        known       jsonb NOT NULL,
        PRIMARY KEY (resource, resource_id, part)
    );";

    /// What is known of a thing comes from its own stream alone.
    const GRAIN: Grain = Grain::Stream;

    type Rows = AuditRows;

    fn foresee(rows: &mut AuditRows, recorded: &Recorded, fact: &Fact) {
        if let Some((part, _)) = story::part(fact) {
            rows.parts.want(key(recorded, part));
        }
    }

    async fn apply(
        rows: &mut AuditRows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        let payload = serde_json::from_str(&recorded.payload).unwrap_or_default(); // the column is JSON
        let tale = tell(&mut rows.parts, db, recorded, fact, payload).await?;
        rows.trail.add(row_of(recorded, Some(fact), tale));
        Ok(())
    }

    /// One row, however much the event says today; told in today's words, which are those that keep secrets.
    async fn apply_event(
        rows: &mut AuditRows,
        db: &mut PgConnection,
        recorded: &Recorded,
    ) -> sqlx::Result<()> {
        let facts = match &recorded.facts {
            Present::Written(fact) => return Self::apply(rows, db, recorded, fact).await,
            Present::Upcast(facts) => facts,
        };
        let mut tales = Vec::with_capacity(facts.len());
        for fact in facts {
            tales.push(tell(&mut rows.parts, db, recorded, fact, fact.payload()).await?);
        }
        rows.trail.add(row_of(recorded, facts.first(), Tale::of_all(tales)));
        Ok(())
    }
}

/// What a row says of the change itself.
#[derive(Debug, Default, PartialEq)]
struct Tale {
    project_id: Option<ProjectId>,
    before: Option<Value>,
    after: Option<Value>,
}

impl Tale {
    /// That of an event with so many facts: of several, each has its number.
    fn of_all(mut tales: Vec<Self>) -> Self {
        if tales.len() < 2 {
            return tales.pop().unwrap_or_default();
        }
        let project_id = tales.iter().find_map(|tale| tale.project_id);
        let (mut before, mut after) = (Fields::new(), Fields::new());
        for (number, tale) in (1..).zip(tales) {
            before.extend(tale.before.map(|told| (number.to_string(), told)));
            after.extend(tale.after.map(|told| (number.to_string(), told)));
        }
        let document = |fields: Fields| (!fields.is_empty()).then_some(Value::Object(fields));
        Self { project_id, before: document(before), after: document(after) }
    }
}

/// Tells of one fact, and keeps what it says of its part.
async fn tell(
    parts: &mut Table<KnownPart>,
    db: &mut PgConnection,
    recorded: &Recorded,
    fact: &Fact,
    payload: Value,
) -> sqlx::Result<Tale> {
    let told = story::told(fact, payload);
    let part = story::part(fact).map(|(part, change)| (key(recorded, part), change));
    let known = match &part {
        Some((key, _)) => known(parts, db, key).await?,
        None => Fields::new(),
    };
    let project_id = story::project(fact, &known);
    let change = part.as_ref().map(|(_, change)| *change);
    if let Some((key, change)) = part {
        let kept = story::kept(fact, change, known.clone(), &told.after);
        keep(parts, db, key, kept, &known).await?;
    }
    let (before, after) = story::before_and_after(told, change, &known);
    Ok(Tale { project_id, before, after })
}

fn row_of(recorded: &Recorded, fact: Option<&Fact>, tale: Tale) -> AuditRow {
    let Tale { project_id, before, after } = tale;
    let (resource, resource_id) = fact
        .and_then(story::about)
        .unwrap_or_else(|| (recorded.aggregate_type.as_str(), recorded.aggregate_id.clone()));
    let envelope = recorded.envelope();
    let mut row = AuditRow {
        position: recorded.position,
        event_id: recorded.event_id,
        at: recorded.at,
        team_id: recorded.team_id,
        project_id,
        actor: envelope.actor.to_string(),
        on_behalf_of: envelope.on_behalf_of.as_ref().map(ToString::to_string),
        action: recorded.event_type.clone(),
        command: envelope.command.clone(),
        outcome: fact.map_or("success", story::outcome).to_owned(),
        resource: resource.to_owned(),
        resource_id,
        before,
        after,
        request_id: envelope.request_id.clone(),
        causation: envelope.causation.clone(),
        correlation: envelope.correlation.clone(),
        source_ip: envelope.source_ip.clone(),
        user_agent: envelope.user_agent.clone(),
        words: vec![],
    };
    row.words = words_of(&row);
    row
}

type PartKey = (String, String, String);

fn key(recorded: &Recorded, part: String) -> PartKey {
    (recorded.aggregate_type.clone(), recorded.aggregate_id.clone(), part)
}

async fn known(parts: &mut Table<KnownPart>, db: &mut PgConnection, key: &PartKey) -> sqlx::Result<Fields> {
    match parts.peek(db, key).await? {
        Some(KnownPart { known: Value::Object(fields), .. }) => Ok(fields.clone()),
        _ => Ok(Fields::new()),
    }
}

async fn keep(
    parts: &mut Table<KnownPart>,
    db: &mut PgConnection,
    key: PartKey,
    kept: Option<Fields>,
    known: &Fields,
) -> sqlx::Result<()> {
    match kept {
        Some(kept) if kept == *known => Ok(()),
        Some(kept) => {
            let known = Value::Object(kept);
            if let Some(part) = parts.get(db, &key).await? {
                part.known = known;
                return Ok(());
            }
            let (resource, resource_id, part) = key;
            parts.insert(KnownPart { resource, resource_id, part, known })
        }
        None => parts.remove(db, &key).await,
    }
}

/// By which free text finds it.
fn words_of(row: &AuditRow) -> Vec<String> {
    let mut words = Words::default();
    for text in [&row.action, &row.actor, &row.resource_id].into_iter().chain(&row.on_behalf_of) {
        words.add(text);
    }
    for document in [&row.after, &row.before].into_iter().flatten() {
        words.add_all(document);
    }
    words.into_vec()
}
