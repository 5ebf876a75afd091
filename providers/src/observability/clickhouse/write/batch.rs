//! One batch: what is new of it is stored, and each who brought something is told what became of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{Days, NaiveDate, TimeDelta, Utc};
use clickhouse::Client;
use domain::ports::telemetry::{Tenant, Written};

use super::question::known;
use super::{Became, Engine, Fault, Identity, Job, Kept, WRITING, day_number};
use crate::observability::clickhouse::rollups;

/// No day is rolled up before it has been over for twice as long.
const LATE: TimeDelta = TimeDelta::minutes(30);

/// Stores a batch and answers everybody.
pub(super) async fn write_in_time<T: Kept>(engine: Engine, jobs: Vec<Job<T>>) {
    let (brought, answers): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .map(|job| (Brought { tenant: job.tenant, rows: job.rows, identities: job.identities }, job.answer))
        .unzip();
    let written = tokio::time::timeout(WRITING, write(&engine, &brought)).await;
    let written = written.unwrap_or_else(|_| Err(Fault::late()));
    for (n, answer) in answers.into_iter().enumerate() {
        // Who has gone meanwhile asks again, and then it is known.
        _ = answer.send(written.as_ref().map_err(Clone::clone).and_then(|written| written[n].clone()));
    }
}

/// What one sender brought.
pub(super) struct Brought<T> {
    pub(super) tenant: Tenant,
    pub(super) rows: Arc<Vec<T>>,
    pub(super) identities: Vec<Identity>,
}

/// Stores what is not known yet; what became of each batch. What is refused is refused to the one who brought it.
async fn write<T: Kept>(engine: &Engine, batch: &[Brought<T>]) -> Result<Vec<Became>, Fault> {
    let client = engine.ready().await?;
    let known = known(client, batch).await?;
    if T::IS_ROLLED_UP {
        rollups::touch(client, late(batch, &known)).await?;
    }
    let (new, brings) = unknown(batch, &known);
    let together = insert(engine.days, client, new.iter()).await;
    let is_alone = together.as_ref().is_err_and(Fault::is_refusal) && brings.len() > 1;
    if !is_alone {
        together?;
    }
    let mut is_stored = vec![false; new.len()];
    let mut became = Vec::new();
    for (all, mut places) in brings {
        places.retain(|place| !is_stored[*place]);
        let stored = if is_alone {
            insert(engine.days, client, places.iter().map(|place| &new[*place])).await
        } else {
            Ok(())
        };
        if stored.is_ok() {
            places.iter().for_each(|place| is_stored[*place] = true);
        }
        let written = Written { stored: places.len() as u64, repeated: (all - places.len()) as u64 };
        became.push(stored.map(|()| written));
    }
    Ok(became)
}

/// Days that may be rolled up already, of which there is something new. They are noted before it is written: whoever is cut
/// off in between has noted it.
fn late<T: Kept>(
    batch: &[Brought<T>],
    known: &HashSet<Identity>,
) -> impl Iterator<Item = (Tenant, NaiveDate)> {
    let hot = (Utc::now() - LATE).date_naive();
    let mut late = HashMap::new();
    for Brought { tenant, rows, identities } in batch {
        for (row, identity) in rows.iter().zip(identities) {
            let day = row.at().date_naive();
            if day < hot && !known.contains(identity) {
                late.insert((tenant.team.0, tenant.project.0, day), (*tenant, day));
            }
        }
    }
    late.into_values()
}

/// Whose row.
type New<'a, T> = (Tenant, &'a T);

/// How many rows somebody has, and which of the new ones.
type Brings = (usize, BTreeSet<usize>);

/// What is new, each row once, and who brings it.
fn unknown<'a, T: Kept>(
    batch: &'a [Brought<T>],
    known: &HashSet<Identity>,
) -> (Vec<New<'a, T>>, Vec<Brings>) {
    let most = batch.iter().map(|brought| brought.rows.len()).sum();
    let (mut new, mut seen) = (Vec::with_capacity(most), HashMap::with_capacity(most));
    let mut brings = Vec::with_capacity(batch.len());
    for Brought { tenant, rows, identities } in batch {
        let mut places = BTreeSet::new();
        for (row, identity) in rows.iter().zip(identities) {
            if !known.contains(identity) {
                places.insert(*seen.entry(identity).or_insert_with(|| {
                    new.push((*tenant, row));
                    new.len() - 1
                }));
            }
        }
        brings.push((rows.len(), places));
    }
    (new, brings)
}

/// Stores rows, to be kept for so many days.
async fn insert<'a, T: Kept>(
    days: u32,
    client: &Client,
    rows: impl ExactSizeIterator<Item = &'a New<'a, T>>,
) -> Result<(), Fault> {
    if rows.len() == 0 {
        return Ok(());
    }
    let insert = client.insert::<T::Row>(T::TABLE.name).await?;
    // Captures and late senders bring many days at once.
    let mut insert = insert.with_setting("max_partitions_per_insert_block", "0");
    for (tenant, row) in rows {
        let last = row.at().date_naive().checked_add_days(Days::new(days.into()));
        // One at a time: all of them would take up as much again as what was brought.
        insert.write(&row.row(*tenant, day_number(last.unwrap_or(NaiveDate::MAX)))).await?;
    }
    Ok(insert.end().await?)
}
