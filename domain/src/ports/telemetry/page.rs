//! Pages of rows: bounded in rows, and in bytes.

use serde_json::{Map, Value};

use super::{LogRecord, Score, Span};

/// Bytes of a page, roughly: the row that reaches it is its last.
pub const PAGE_BYTES: usize = 8 << 20;

/// What a page is made of.
pub trait Weighs {
    /// Bytes that it takes up, roughly; the same for the same row from whatever store.
    fn weight(&self) -> usize;
}

/// Whether there may be rows after these, of which so many were asked for.
pub fn may_go_on<T: Weighs>(rows: &[T], limit: i64) -> bool {
    i64::try_from(rows.len()).is_ok_and(|count| count >= limit) || is_full(rows)
}

/// Whether these are as many bytes as a page has.
pub fn is_full<T: Weighs>(rows: &[T]) -> bool {
    rows.iter().map(Weighs::weight).sum::<usize>() >= PAGE_BYTES
}

/// Ids, times and numbers of a row.
const COLUMNS: usize = 256;

impl Weighs for LogRecord {
    fn weight(&self) -> usize {
        COLUMNS + self.message.len() + of_object(&self.attributes) + of_object(&self.resource)
    }
}

impl Weighs for Span {
    fn weight(&self) -> usize {
        let items = self.events.iter().chain(&self.links).map(of_value).sum::<usize>();
        let texts = [&self.status_message, &self.user_id, &self.session_id].into_iter().flatten();
        let texts = texts.chain(&self.tags).map(String::len).sum::<usize>() + self.name.len();
        COLUMNS + texts + of_object(&self.attributes) + of_object(&self.resource) + items
    }
}

impl Weighs for Score {
    fn weight(&self) -> usize {
        let texts = [&self.text, &self.comment].into_iter().flatten().map(String::len).sum::<usize>();
        COLUMNS + texts + of_object(&self.details)
    }
}

fn of_object(map: &Map<String, Value>) -> usize {
    map.iter().map(|(key, value)| key.len() + of_value(value)).sum()
}

fn of_value(value: &Value) -> usize {
    16 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(of_value).sum(),
        Value::Object(map) => of_object(map),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
