//! Looks whether the log is as it must be: without holes, guarded, and agreeing with what is derived from it in the
//! same transactions. Reads only.

use std::collections::BTreeMap;

use domain::claim::ClaimAct;
use domain::fact::Fact;
use serde::Serialize;
use sqlx::{PgPool, Row};

use crate::log;

/// Events in hand at a time.
const BATCH: i64 = 1000;
/// What must guard the log, whoever asks.
const GUARDS: [&str; 3] =
    ["events_are_never_changed", "events_are_never_truncated", "events_take_a_position"];

/// What nobody who serves may write to himself.
const WRITTEN_BY_FUNCTIONS: [&str; 5] =
    ["events", "claims", "idempotency_keys", "ledger_checkpoints", "ledger_nodes"];

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// In words.
    pub detail: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Good,
    /// It works, and could be safer.
    Advice,
    /// It must not be so.
    Bad,
}

impl Finding {
    /// Good when there is nothing to say against it.
    fn of(check: &'static str, against: Option<String>, good: String) -> Self {
        match against {
            None => Self { check, verdict: Verdict::Good, detail: good },
            Some(detail) => Self { check, verdict: Verdict::Bad, detail },
        }
    }
}

/// Everything that there is to look at, in the order in which one would mend it.
pub async fn examine(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    Ok(vec![
        guards(pool).await?,
        rights(pool).await?,
        settings(pool).await?,
        positions(pool).await?,
        sequences(pool).await?,
        checkpoints(pool).await?,
        receipts(pool).await?,
        names(pool).await?,
        snapshots(pool).await?,
    ])
}

/// The triggers that refuse changes, enabled.
async fn guards(pool: &PgPool) -> sqlx::Result<Finding> {
    let enabled: Vec<String> = sqlx::query_scalar(
        "SELECT tgname::text FROM pg_trigger
          WHERE tgrelid = 'public.events'::regclass AND NOT tgisinternal AND tgenabled IN ('O', 'A')",
    )
    .fetch_all(pool)
    .await?;
    let missing: Vec<&str> =
        GUARDS.into_iter().filter(|guard| !enabled.iter().any(|found| found == guard)).collect();
    let against = (!missing.is_empty()).then(|| format!("missing or disabled: {}", missing.join(", ")));
    Ok(Finding::of("triggers", against, "the triggers that refuse changes are enabled".to_owned()))
}

/// What the role as which the server works may do behind the backs of the log's functions.
async fn rights(pool: &PgPool) -> sqlx::Result<Finding> {
    let row = sqlx::query(
        "SELECT current_user::text AS role,
                array_to_string(ARRAY(SELECT p || ' on ' || t FROM unnest($1) t,
                                             unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p
                                       WHERE has_table_privilege(to_regclass('public.' || t), p)), ', ') AS may",
    )
    .bind(WRITTEN_BY_FUNCTIONS)
    .fetch_one(pool)
    .await?;
    let (role, may): (String, String) = (row.try_get("role")?, row.try_get("may")?);
    Ok(if may.is_empty() {
        let detail = format!("the role {role} can only append by function, and read");
        Finding { check: "rights", verdict: Verdict::Good, detail }
    } else {
        let detail = format!("the role {role} has the right to {may}; at most triggers stop it");
        Finding { check: "rights", verdict: Verdict::Advice, detail }
    })
}

/// Settings without which a crash can take what was committed.
async fn settings(pool: &PgPool) -> sqlx::Result<Finding> {
    let off: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM pg_settings
          WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums') AND setting = 'off'
          ORDER BY name",
    )
    .fetch_all(pool)
    .await?;
    Ok(if off.is_empty() {
        let detail = "commits are on disk, pages have checksums".to_owned();
        Finding { check: "settings", verdict: Verdict::Good, detail }
    } else {
        let detail = format!("off in this PostgreSQL: {}", off.join(", "));
        Finding { check: "settings", verdict: Verdict::Advice, detail }
    })
}

/// Positions from 1 to the head, each once.
async fn positions(pool: &PgPool) -> sqlx::Result<Finding> {
    let gap: Option<i64> = sqlx::query_scalar(
        "SELECT place FROM (SELECT position, row_number() OVER (ORDER BY position) AS place FROM events) numbered
          WHERE position <> place ORDER BY place LIMIT 1",
    )
    .fetch_optional(pool)
    .await?;
    let head = log::head(pool).await?;
    let against = gap.map(|place| format!("there is no event at position {place}"));
    Ok(Finding::of("positions", against, format!("1 to {head}, each once")))
}

/// Numbers from 1 in every stream, in the order of the log.
async fn sequences(pool: &PgPool) -> sqlx::Result<Finding> {
    let broken = sqlx::query(
        "SELECT aggregate_type, aggregate_id, position, sequence, place
           FROM (SELECT aggregate_type, aggregate_id, position, sequence,
                        row_number() OVER (PARTITION BY aggregate_type, aggregate_id ORDER BY position) AS place
                   FROM events) numbered
          WHERE sequence <> place ORDER BY position LIMIT 1",
    )
    .fetch_optional(pool)
    .await?;
    let against = match broken {
        None => None,
        Some(row) => {
            let (kind, id): (String, String) = (row.try_get("aggregate_type")?, row.try_get("aggregate_id")?);
            let (position, sequence, place): (i64, i64, i64) =
                (row.try_get("position")?, row.try_get("sequence")?, row.try_get("place")?);
            Some(format!(
                "the event at position {position} is number {place} of {kind} {id} and says {sequence}"
            ))
        }
    };
    Ok(Finding::of("sequences", against, "every stream goes on by one".to_owned()))
}

/// Nobody has read further than the log goes: it was cut, or is another one.
async fn checkpoints(pool: &PgPool) -> sqlx::Result<Finding> {
    let ahead: Option<String> = sqlx::query_scalar(
        "SELECT name || ' is at position ' || position FROM consumers
          WHERE position > (SELECT position FROM log_head) ORDER BY position DESC LIMIT 1",
    )
    .fetch_optional(pool)
    .await?;
    let against = ahead.map(|who| format!("{who}, and the log ends before"));
    Ok(Finding::of("head", against, "no consumer is ahead of the log".to_owned()))
}

/// Every receipt is of an event that is there.
async fn receipts(pool: &PgPool) -> sqlx::Result<Finding> {
    let row: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE e.position IS DISTINCT FROM k.position)
           FROM idempotency_keys k
           LEFT JOIN events e ON e.aggregate_type = k.aggregate_type AND e.aggregate_id = k.aggregate_id
                             AND e.sequence = k.version",
    )
    .fetch_one(pool)
    .await?;
    let against = (row.1 > 0).then(|| format!("{} of {} receipts are of no event of the log", row.1, row.0));
    Ok(Finding::of("receipts", against, format!("{} receipts, each of its event", row.0)))
}

/// The names that are taken are those that the events say.
async fn names(pool: &PgPool) -> sqlx::Result<Finding> {
    let said = names_of_the_log(pool).await?;
    let stored: BTreeMap<(String, String), String> =
        sqlx::query_as::<_, (String, String, String)>("SELECT scope, key, owner FROM claims")
            .fetch_all(pool)
            .await?
            .into_iter()
            .map(|(scope, key, owner)| ((scope, key), owner))
            .collect();
    let missing = said.iter().find(|(name, owner)| stored.get(name) != Some(owner));
    let extra = stored.iter().find(|(name, _)| !said.contains_key(name));
    let against = match (missing, extra) {
        (Some(((scope, _), owner)), _) => Some(format!("a {scope} of {owner} is not taken")),
        (None, Some(((scope, _), owner))) => Some(format!("a {scope} of {owner} is taken by no event")),
        (None, None) => None,
    };
    Ok(Finding::of("names", against, format!("{} names, each taken by its event", said.len())))
}

/// A fold over the whole log: who has which name. What cannot be read takes none; `verify` tells of it.
async fn names_of_the_log(pool: &PgPool) -> sqlx::Result<BTreeMap<(String, String), String>> {
    let (mut names, mut position) = (BTreeMap::new(), 0);
    loop {
        let rows = log::read_after(pool, position, BATCH).await?;
        let Some(last) = rows.last() else { return Ok(names) };
        position = last.position;
        for row in rows {
            let owner = row.aggregate_id.clone();
            let Ok(recorded) = row.read() else { continue };
            for claim in recorded.facts.iter().flat_map(Fact::claims) {
                let name = (claim.scope.as_str().to_owned(), claim.key);
                match claim.act {
                    ClaimAct::Take => drop(names.insert(name, owner.clone())),
                    ClaimAct::Free if names.get(&name) == Some(&owner) => drop(names.remove(&name)),
                    ClaimAct::Free => {}
                }
            }
        }
    }
}

/// Snapshots of events that are not in the log are not used; that they are there says that the log was restored.
async fn snapshots(pool: &PgPool) -> sqlx::Result<Finding> {
    let row: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE e.event_id IS DISTINCT FROM s.event_id)
           FROM snapshots s
           LEFT JOIN events e ON e.aggregate_type = s.aggregate_type AND e.aggregate_id = s.aggregate_id
                             AND e.sequence = s.sequence",
    )
    .fetch_one(pool)
    .await?;
    Ok(match row {
        (all, 0) => {
            let detail = format!("{all} snapshots, each after an event of the log");
            Finding { check: "snapshots", verdict: Verdict::Good, detail }
        }
        (all, stray) => {
            let detail =
                format!("{stray} of {all} snapshots are after events that are not in the log; not used");
            Finding { check: "snapshots", verdict: Verdict::Advice, detail }
        }
    })
}
