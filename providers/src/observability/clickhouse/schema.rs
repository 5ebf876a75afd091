//! The schema of the engine: migrations in order, each once, forward only.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use clickhouse::{Client, Row};
use domain::ports::telemetry::Tenant;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::fault::Fault;
use super::sql::Sql;
use super::target::Target;
use super::write::Table;

/// Number, name, statements. Each may be repeated: the engine has no transactions, and two servers may start at once.
const MIGRATIONS: [(u32, &str, &str); 5] = [
    (1, "spans", include_str!("../../../../migrations/clickhouse/0001_spans.sql")),
    (2, "signals", include_str!("../../../../migrations/clickhouse/0002_signals.sql")),
    (5, "errors", include_str!("../../../../migrations/clickhouse/0005_errors.sql")),
    (6, "rollups", include_str!("../../../../migrations/clickhouse/0006_rollups.sql")),
    (7, "unknown_sums", include_str!("../../../../migrations/clickhouse/0007_unknown_sums.sql")),
];

/// What was applied.
const APPLIED: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version UInt32, name String, checksum String, applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = ReplacingMergeTree ORDER BY version SETTINGS fsync_after_insert = 1";

/// Brings the engine to the present schema.
pub(super) async fn migrate(target: &Target) -> Result<(), Fault> {
    make_database(target).await?;
    let client = target.client();
    client.query(APPLIED).execute().await?;
    let applied = applied(&client).await?;
    not_newer(&applied)?;
    for (version, name, text) in MIGRATIONS {
        let checksum = hex::encode(Sha256::digest(text));
        match applied.get(&version) {
            Some(before) if *before == checksum => continue,
            Some(_) => {
                return Err(Fault::Other(format!(
                    "migration {version} of ClickHouse is not the one applied"
                )));
            }
            None => {}
        }
        for statement in statements(text) {
            Sql::new(statement).into_query(&client).execute().await?;
        }
        let mut sql = Sql::new("INSERT INTO schema_migrations (version, name, checksum) VALUES (");
        sql.number(version.into()).push(", ").text(name).push(", ").text(&checksum).push(")");
        sql.into_query(&client).execute().await?;
        tracing::info!("applied migration {version} ({name}) of ClickHouse");
    }
    Ok(())
}

/// That the engine has the present schema; changes nothing.
pub(super) async fn is_present(target: &Target) -> Result<(), Fault> {
    let table = format!("EXISTS TABLE `{}`.schema_migrations", target.database());
    let is_there = target.outside().query(&table).fetch_one::<u8>().await? == 1;
    let applied = if is_there { applied(&target.client()).await? } else { BTreeMap::new() };
    not_newer(&applied)?;
    match MIGRATIONS.iter().find(|migration| !applied.contains_key(&migration.0)) {
        None => Ok(()),
        Some((version, name, _)) => Err(Fault::Other(format!(
            "ClickHouse lacks migration {version} ({name}) of this release: `mastra-admin migrate` brings it"
        ))),
    }
}

/// What a newer release has made is not understood.
fn not_newer(applied: &BTreeMap<u32, String>) -> Result<(), Fault> {
    let newest = MIGRATIONS.iter().map(|migration| migration.0).max().unwrap_or_default();
    match applied.keys().find(|version| **version > newest) {
        Some(newer) => Err(Fault::Other(format!("ClickHouse has the schema {newer} of a newer release"))),
        None => Ok(()),
    }
}

/// The part of a file up to each line that ends with a semicolon.
fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

async fn applied(client: &Client) -> Result<BTreeMap<u32, String>, Fault> {
    #[derive(Row, Deserialize)]
    struct Applied {
        version: u32,
        checksum: String,
    }
    let rows =
        client.query("SELECT version, checksum FROM schema_migrations FINAL").fetch_all::<Applied>().await?;
    Ok(rows.into_iter().map(|row| (row.version, row.checksum)).collect())
}

/// Makes the database unless it is there: who asks may have no right to make one.
async fn make_database(target: &Target) -> Result<(), Fault> {
    let (client, name) = (target.outside(), target.database());
    let exists = format!("EXISTS DATABASE `{name}`");
    if client.query(&exists).fetch_one::<u8>().await? == 0 {
        client.query(&format!("CREATE DATABASE IF NOT EXISTS `{name}`")).execute().await?;
    }
    Ok(())
}

/// Drops the days of a table before this one; how many.
pub(super) async fn drop_before(client: &Client, table: &str, oldest: NaiveDate) -> Result<usize, Fault> {
    let mut sql = Sql::new(
        "SELECT DISTINCT partition FROM system.parts WHERE database = currentDatabase() AND active AND table = ",
    );
    sql.text(table).push(" AND partition < ").text(&oldest.to_string());
    let days: Vec<String> = sql.into_query(client).fetch_all().await?;
    for day in &days {
        let mut sql = Sql::new(format!("ALTER TABLE {table} DROP PARTITION "));
        sql.text(day);
        sql.into_query(client).execute().await?;
    }
    Ok(days.len())
}

/// Drops a project's rows of before this day; how many there were. Rows that are to go are marked, and left out of every
/// answer at once; the engine takes them away when it merges.
pub(super) async fn forget(
    client: &Client,
    table: &Table,
    tenant: Tenant,
    before: NaiveDate,
) -> Result<u64, Fault> {
    let mut these = Sql::of(tenant);
    these.push(" AND toDate(").push(table.at).push(") < ").day(before);
    let mut count = Sql::new(format!("SELECT count() FROM {} WHERE ", table.name));
    count.append(&these);
    let rows: u64 = count.into_query(client).fetch_one().await?;
    if rows > 0 {
        let mut drop = Sql::new(format!("DELETE FROM {} WHERE ", table.name));
        drop.append(&these);
        drop.into_query(client).execute().await?;
    }
    Ok(rows)
}
