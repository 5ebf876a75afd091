//! Query tables: how far they are, made anew, compared with the log.

use std::sync::Arc;

use projections::feed::Consumer;
use serde_json::json;
use sqlx::{PgPool, Row};

use crate::{Failure, say};

/// How far every consumer is.
pub(crate) async fn status(pool: &PgPool, as_json: bool) -> Result<(), Failure> {
    let head = projections::log::head(pool).await?;
    let rows =
        sqlx::query("SELECT name, version, position FROM consumers ORDER BY name").fetch_all(pool).await?;
    let mut consumers = Vec::with_capacity(rows.len());
    for row in rows {
        let (name, version): (String, i32) = (row.try_get("name")?, row.try_get("version")?);
        let position: i64 = row.try_get("position")?;
        consumers.push((name, version, position));
    }
    if as_json {
        let consumers: Vec<_> = consumers
            .iter()
            .map(|(name, version, position)| {
                json!({ "name": name, "version": version, "position": position, "lag": head - position })
            })
            .collect();
        say(json!({ "head": head, "consumers": consumers }));
        return Ok(());
    }
    say(format!("the log has {head} events"));
    say(format!("{:<22} {:>7} {:>12} {:>10}", "consumer", "version", "position", "behind"));
    for (name, version, position) in consumers {
        say(format!("{name:<22} {version:>7} {position:>12} {:>10}", head - position));
    }
    Ok(())
}

/// Makes read models anew.
pub(crate) async fn rebuild(pool: &PgPool, name: &str) -> Result<(), Failure> {
    for model in named(name)? {
        let report = projections::rebuild::rebuild(pool, &*model).await.map_err(Failure::of)?;
        let (name, position) = (report.name, report.position);
        say(format!(
            "{name}: rebuilt from {} events, {} rows, at position {position}",
            report.events, report.rows
        ));
    }
    Ok(())
}

/// Compares read models with the log.
pub(crate) async fn verify(pool: &PgPool, name: &str) -> Result<(), Failure> {
    for model in named(name)? {
        let report = projections::rebuild::verify(pool, &*model).await.map_err(Failure::of)?;
        let (name, position) = (report.name, report.position);
        say(format!(
            "{name}: equals a replay of {} events, {} rows, at position {position}",
            report.events, report.rows
        ));
    }
    Ok(())
}

fn named(name: &str) -> Result<Vec<Arc<dyn Consumer>>, Failure> {
    let models = projections::read_models();
    if name == "all" {
        return Ok(models);
    }
    let names: Vec<&str> = models.iter().map(|model| model.name()).collect();
    let unknown = format!("no read model is called {name:?}; there are {}", names.join(", "));
    let found: Vec<_> = models.into_iter().filter(|model| model.name() == name).collect();
    if found.is_empty() { Err(Failure::Broken(unknown)) } else { Ok(found) }
}
