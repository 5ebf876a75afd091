//! How columns become values of the domain, and how these become columns.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

/// Reads columns as types of the domain, which knows nothing of sqlx.
pub(crate) trait Columns {
    /// A `uuid` as an id.
    fn id<T: From<Uuid>>(&self, column: &str) -> sqlx::Result<T>;
    /// A `text` as what it stands for: a slug, a status, an actor.
    fn text<T: DeserializeOwned>(&self, column: &str) -> sqlx::Result<T>;
    /// A `jsonb`.
    fn json<T: DeserializeOwned>(&self, column: &str) -> sqlx::Result<T>;
}

impl Columns for PgRow {
    fn id<T: From<Uuid>>(&self, column: &str) -> sqlx::Result<T> {
        self.try_get::<Uuid, _>(column).map(T::from)
    }

    fn text<T: DeserializeOwned>(&self, column: &str) -> sqlx::Result<T> {
        meaning(self.try_get(column)?, column)
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> sqlx::Result<T> {
        let Json(value) = self.try_get::<Json<T>, _>(column)?;
        Ok(value)
    }
}

fn meaning<T: DeserializeOwned>(text: String, column: &str) -> sqlx::Result<T> {
    serde_json::from_value(Value::String(text))
        .map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.into() })
}

/// The stored text of what serialises as a text: a slug, a status, an actor.
pub(crate) fn stored(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        other => unreachable!("called with what serialises as a text only, not {other:?}"),
    }
}
