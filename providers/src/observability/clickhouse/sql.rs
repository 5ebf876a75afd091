//! Statements. Values become literals here and nowhere else.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, Utc};
use domain::ports::telemetry::{Period, Tenant};
use uuid::Uuid;

/// What the engine's times can be compared with: the years 1900 to 2299.
const TIMES: (i64, i64) = (-2_208_988_800_000_000, 10_413_791_999_999_999);

/// A statement in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Sql(String);

impl Sql {
    /// Begins with a text of ours.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A text of ours.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    /// Another one.
    pub(super) fn append(&mut self, other: &Self) -> &mut Self {
        self.push(&other.0)
    }

    /// Somebody's text.
    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.0.push('\'');
        for char in value.chars() {
            match char {
                '\\' | '\'' => self.0.extend(['\\', char]),
                char if char.is_ascii_control() => _ = write!(self.0, "\\x{:02x}", u32::from(char)),
                char => self.0.push(char),
            }
        }
        self.0.push('\'');
        self
    }

    /// Bytes.
    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.push('\'');
        value.iter().for_each(|byte| _ = write!(self.0, "\\x{byte:02x}"));
        self.0.push('\'');
        self
    }

    /// A number.
    pub(super) fn number(&mut self, value: i64) -> &mut Self {
        _ = write!(self.0, "{value}");
        self
    }

    /// A number.
    pub(super) fn float(&mut self, value: f64) -> &mut Self {
        _ = write!(self.0, "toFloat64('{value}')");
        self
    }

    /// An id.
    pub(super) fn uuid(&mut self, value: Uuid) -> &mut Self {
        _ = write!(self.0, "toUUID('{value}')");
        self
    }

    /// A day.
    pub(super) fn day(&mut self, value: NaiveDate) -> &mut Self {
        _ = write!(self.0, "toDate('{value}')");
        self
    }

    /// A moment.
    pub(super) fn moment(&mut self, value: DateTime<Utc>) -> &mut Self {
        let micros = value.timestamp_micros().clamp(TIMES.0, TIMES.1);
        _ = write!(self.0, "fromUnixTimestamp64Micro({micros}, 'UTC')");
        self
    }

    /// What must hold of all that is read: whose it is.
    pub(super) fn of(tenant: Tenant) -> Self {
        let mut sql = Self::new("team_id = ");
        sql.uuid(tenant.team.0).push(" AND project_id = ").uuid(tenant.project.0);
        sql
    }

    /// That it is of one of these; at least one.
    pub(super) fn of_any(tenants: impl IntoIterator<Item = Tenant>) -> Self {
        let mut sql = Self::new("(team_id, project_id) IN (");
        for (n, tenant) in tenants.into_iter().enumerate() {
            sql.push(if n == 0 { "(" } else { ",(" })
                .uuid(tenant.team.0)
                .push(",")
                .uuid(tenant.project.0)
                .push(")");
        }
        sql.push(")");
        sql
    }

    /// And when it was, by this column.
    pub(super) fn within(&mut self, column: &str, period: Period) -> &mut Self {
        if let Some(from) = period.from {
            self.push(" AND ").push(column).push(" >= ").moment(from);
        }
        if let Some(to) = period.to {
            self.push(" AND ").push(column).push(" < ").moment(to);
        }
        self
    }

    /// And that it was in one of these; at least one.
    pub(super) fn within_any(&mut self, column: &str, periods: &[Period]) -> &mut Self {
        if let [period] = periods {
            return self.within(column, *period);
        }
        self.push(" AND (");
        for (n, period) in periods.iter().enumerate() {
            self.push(if n == 0 { "(1" } else { " OR (1" }).within(column, *period).push(")");
        }
        self.push(")")
    }

    /// That a column has one of these ids; at least one.
    pub(super) fn any_of<'a>(&mut self, column: &str, ids: impl IntoIterator<Item = &'a [u8]>) -> &mut Self {
        self.push(column).push(" IN (");
        for (n, id) in ids.into_iter().enumerate() {
            self.push(if n == 0 { "" } else { "," }).bytes(id);
        }
        self.push(")")
    }

    /// And that a column has one of very many ids of so many bytes: they are one literal, which is read at once.
    pub(super) fn among_many<'a>(
        &mut self,
        column: &str,
        bytes: usize,
        ids: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> &mut Self {
        let count = ids.len();
        self.push(" AND ")
            .push(column)
            .push(" IN (SELECT arrayJoin(arrayMap(n -> toFixedString(substring(unhex('");
        ids.for_each(|id| self.0.push_str(&hex::encode(id)));
        _ = write!(self.0, "'), {bytes} * n + 1, {bytes}), {bytes}), range({count}))))");
        self
    }

    /// And that a column has one of these ids; at least one.
    pub(super) fn among(&mut self, column: &str, ids: &[Uuid]) -> &mut Self {
        self.push(" AND ").push(column).push(" IN (");
        for (n, id) in ids.iter().enumerate() {
            self.push(if n == 0 { "" } else { "," }).uuid(*id);
        }
        self.push(")")
    }

    /// The rows of all these questions.
    pub(super) fn all_of(&mut self, questions: &[Self]) -> &mut Self {
        for (n, question) in questions.iter().enumerate() {
            self.push(if n == 0 { "" } else { " UNION ALL " }).append(question);
        }
        self
    }

    /// Further, that these columns together are one of these.
    pub(super) fn pairs<'a>(
        &mut self,
        [id, part]: [&str; 2],
        those: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> &mut Self {
        self.push(" AND (").push(id).push(", ").push(part).push(") IN (");
        for (n, (id, part)) in those.into_iter().enumerate() {
            self.push(if n == 0 { "(" } else { ",(" }).bytes(id).push(",").bytes(part).push(")");
        }
        self.push(")")
    }

    /// As the client takes it, for which a question mark is a place to fill in.
    pub(super) fn into_query(self, client: &clickhouse::Client) -> clickhouse::query::Query {
        client.query(&self.0.replace('?', "??"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_says_ends_no_literal() {
        let mut sql = Sql::default();
        sql.text("a'; DROP TABLE spans -- \\' \0 ? ö");
        assert_eq!(sql.0, r"'a\'; DROP TABLE spans -- \\\' \x00 ? ö'");
        let mut sql = Sql::default();
        sql.bytes(b"\x00'\xff").push(" ").moment(DateTime::<Utc>::MIN_UTC);
        assert_eq!(sql.0, r"'\x00\x27\xff' fromUnixTimestamp64Micro(-2208988800000000, 'UTC')");
    }
}
