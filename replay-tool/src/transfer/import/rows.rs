//! Rows on their way into a table, by `COPY`, some at a time.

use sqlx::PgConnection;

use super::super::record::{Event, Key, Receipt, Work};
use crate::failure::Failure;

/// Bytes that are collected before they are sent.
const ENOUGH: usize = 1024 * 1024;

/// A row as text for `COPY`, and where it belongs.
pub(super) struct Row {
    table: &'static str,
    text: String,
}

/// Rows of one table that are not stored yet.
#[derive(Default)]
pub(super) struct Rows {
    table: &'static str,
    text: String,
}

impl Rows {
    /// Adds a row; answers whether all rows are stored now.
    pub(super) async fn add(&mut self, db: &mut PgConnection, row: &Row) -> Result<bool, Failure> {
        self.table = row.table;
        self.text.push_str(&row.text);
        if self.text.len() < ENOUGH {
            return Ok(false);
        }
        self.store(db).await?;
        Ok(true)
    }

    /// Stores what was added.
    pub(super) async fn store(&mut self, db: &mut PgConnection) -> Result<(), Failure> {
        if self.text.is_empty() {
            return Ok(());
        }
        let mut copy = db.copy_in_raw(&format!("COPY {} FROM STDIN", self.table)).await?;
        copy.send(self.text.as_bytes()).await?;
        copy.finish().await?;
        self.text.clear();
        Ok(())
    }
}

pub(super) fn event(event: &Event<'_>, payload: &str, metadata: &str) -> Row {
    let columns = "events (position, event_id, recorded_at, team_id, aggregate_type, aggregate_id, sequence, \
                   event_type, event_version, payload, metadata)";
    row(
        columns,
        &[
            Some(&event.position.to_string()),
            Some(&event.event_id),
            Some(&event.recorded_at),
            event.team_id.as_deref(),
            Some(&event.aggregate_type),
            Some(&event.aggregate_id),
            Some(&event.sequence.to_string()),
            Some(&event.event_type),
            Some(&event.event_version),
            Some(payload),
            Some(metadata),
        ],
    )
}

pub(super) fn receipt(receipt: &Receipt) -> Row {
    let columns = "idempotency_keys (scope, key, request_hash, aggregate_type, aggregate_id, version, position, \
                   recorded_at)";
    row(
        columns,
        &[
            Some(&receipt.scope),
            Some(&receipt.key),
            Some(&receipt.request_hash),
            Some(&receipt.aggregate_type),
            Some(&receipt.aggregate_id),
            Some(&receipt.version.to_string()),
            Some(&receipt.position.to_string()),
            Some(&receipt.recorded_at),
        ],
    )
}

pub(super) fn key(key: &Key) -> Row {
    let wrapped = key.wrapped.as_ref().map(|hex| format!("\\x{hex}"));
    row(
        "data_keys (owner, provider, wrapped, created_at, destroyed_at)",
        &[
            Some(&key.owner),
            Some(&key.provider),
            wrapped.as_deref(),
            Some(&key.created_at),
            key.destroyed_at.as_deref(),
        ],
    )
}

pub(super) fn work(work: &Work) -> Row {
    let columns = "work (id, process, key, lane, payload, run_at, attempts, cause_event, cause_position, \
                   correlation, created_at)";
    row(
        columns,
        &[
            Some(&work.id),
            Some(&work.process),
            Some(&work.key),
            Some(&work.lane),
            Some(&work.payload),
            Some(&work.run_at),
            Some(&work.attempts.to_string()),
            Some(&work.cause_event),
            Some(&work.cause_position.to_string()),
            Some(&work.correlation),
            Some(&work.created_at),
        ],
    )
}

fn row(table: &'static str, columns: &[Option<&str>]) -> Row {
    let mut text = String::new();
    for (n, column) in columns.iter().enumerate() {
        if n > 0 {
            text.push('\t');
        }
        match column {
            None => text.push_str("\\N"),
            Some(value) => escape(value, &mut text),
        }
    }
    text.push('\n');
    Row { table, text }
}

fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_copy_is_escaped() {
        let row = row("t (a, b, c)", &[Some("a\\N\tb\nc\rd"), None, Some("")]);
        assert_eq!(row.text, "a\\\\N\\tb\\nc\\rd\t\\N\t\n");
    }
}
