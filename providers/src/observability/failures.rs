//! What went wrong, as PostgreSQL keeps it beside what tells it.

use domain::ports::telemetry::Failure;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

/// Its columns.
pub(super) const FAILURE: &str = "error_group, error_type, error_message";

/// Those of all rows, each as an array; nothing where nothing went wrong.
pub(super) struct Failures {
    groups: Vec<Option<Vec<u8>>>,
    kinds: Vec<Option<String>>,
    messages: Vec<Option<String>>,
}

impl Failures {
    pub(super) fn of(rows: impl Iterator<Item = Option<Failure>>) -> Self {
        let mut all = Self { groups: vec![], kinds: vec![], messages: vec![] };
        for row in rows {
            all.groups.push(row.as_ref().map(|it| it.group.as_bytes().to_vec()));
            let (kind, message) = row.map(|it| (it.kind, it.message)).unzip();
            all.kinds.push(kind);
            all.messages.push(message);
        }
        all
    }

    /// In the order of [`FAILURE`].
    pub(super) fn bind<'q>(
        self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        query.bind(self.groups).bind(self.kinds).bind(self.messages)
    }
}
