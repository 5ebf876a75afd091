//! Which rows of a batch the engine has.

use std::collections::HashSet;

use clickhouse::{Client, Row};
use domain::ports::telemetry::Tenant;
use serde::Deserialize;
use uuid::Uuid;

use super::batch::Brought;
use super::{Fault, Identity, Kept, Table};
use crate::observability::clickhouse::sql::Sql;

/// So many keys are asked about at a time: they stand in the statement.
const ASKED: usize = 20_000;
/// A statement with so many keys, of 48 digits at most each, is no longer than this.
const LONGEST: &str = "2097152";

/// Which of these rows the engine has, on the same days.
pub(super) async fn known<T: Kept>(
    client: &Client,
    batch: &[Brought<T>],
) -> Result<HashSet<Identity>, Fault> {
    let asked: HashSet<&Identity> = batch.iter().flat_map(|brought| &brought.identities).collect();
    let mut asked: Vec<_> = asked.into_iter().collect();
    let days = asked.iter().map(|(_, _, day)| *day).collect();
    let these = |look| of_these::<T>(look, batch.iter().map(|brought| brought.tenant), &days);
    if T::TABLE.part.is_some() {
        // Most traces are new. Of the others it is asked which parts there are.
        let ids: HashSet<_> = asked.iter().map(|(_, (id, _), _)| *id).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let mut found = HashSet::new();
        for some in ids.chunks(ASKED) {
            let mut sql = these(Look::Ids);
            sql.among_many(T::TABLE.id, 16, some.iter().map(|id| &id[..]));
            found.extend(ask(client, sql).await?.map(|(project, (id, _), day)| (project, id, day)));
        }
        asked.retain(|(project, (id, _), day)| found.contains(&(*project, *id, *day)));
    }
    let mut known = HashSet::new();
    for some in asked.chunks(ASKED) {
        let mut sql = these(Look::Keys);
        let ids: HashSet<&[u8]> = some.iter().map(|(_, (id, _), _)| &id[..]).collect();
        sql.among_many(T::TABLE.id, 16, ids.into_iter());
        if let Some(part) = T::TABLE.part {
            // By themselves: what is found besides is of other traces, and rare.
            let parts: HashSet<&[u8]> = some.iter().map(|(_, (_, part), _)| &part[..]).collect();
            sql.among_many(part, 8, parts.into_iter());
        }
        known.extend(ask(client, sql).await?);
    }
    Ok(known)
}

/// What the engine says of keys, in the order of `Known`.
async fn ask(client: &Client, sql: Sql) -> Result<impl Iterator<Item = Identity>, Fault> {
    let question = sql.into_query(client).with_setting("max_query_size", LONGEST);
    let rows = question.fetch_all::<Known>().await?;
    Ok(rows.into_iter().map(|row| (row.project_id, (row.id, row.part), row.day)))
}

/// How much of a key is asked about.
#[derive(Clone, Copy)]
enum Look {
    /// Whether there is anything under its first half.
    Ids,
    Keys,
}

/// The keys of these tenants on these days.
fn of_these<T: Kept>(look: Look, tenants: impl Iterator<Item = Tenant>, days: &HashSet<u16>) -> Sql {
    let Table { name, at, id, part } = T::TABLE;
    let (distinct, part) = match look {
        Look::Ids => ("DISTINCT ", None),
        Look::Keys => ("", part),
    };
    let part = part.unwrap_or("toFixedString('', 8)");
    let mut sql = Sql::new(format!(
        "SELECT {distinct}project_id, {id} AS id, {part} AS part, toDate({at}) AS day FROM {name}
          WHERE (team_id, project_id) IN ("
    ));
    let tenants: HashSet<_> = tenants.map(|tenant| (tenant.team.0, tenant.project.0)).collect();
    for (n, (team, project)) in tenants.into_iter().enumerate() {
        sql.push(if n == 0 { "(" } else { ",(" }).uuid(team).push(",").uuid(project).push(")");
    }
    sql.push(") AND toDate(").push(at).push(") IN (");
    for (n, day) in days.iter().enumerate() {
        sql.push(if n == 0 { "toDate(" } else { ",toDate(" }).number((*day).into()).push(")");
    }
    sql.push(")");
    sql
}

#[derive(Row, Deserialize)]
struct Known {
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    id: [u8; 16],
    part: [u8; 8],
    day: u16,
}
