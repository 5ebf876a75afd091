//! Statements on many rows at once. Their text depends on the table alone, so that each is prepared once; the rows
//! come as one array a column.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgQueryResult, PgTypeInfo};
use sqlx::query::Query;
use sqlx::{Encode, PgConnection, Postgres, Type};

use super::field::array_header;
use super::{Column, Field, Key, Kind, Row, Sink};

/// Rows in one statement, at most.
const CHUNK: usize = 5000;

/// The values of one column.
struct Array {
    kind: Kind,
    length: usize,
    bytes: Vec<u8>,
}

/// The values of all columns, row after row.
struct Arrays {
    columns: Vec<Array>,
    next: usize,
}

impl Arrays {
    fn new(columns: &[Column]) -> Self {
        let empty = |column: &Column| Array { kind: column.kind, length: 0, bytes: Vec::new() };
        Self { columns: columns.iter().map(empty).collect(), next: 0 }
    }

    fn bind(self, statement: &str) -> Query<'_, Postgres, PgArguments> {
        self.columns.into_iter().fold(sqlx::query(statement), |query, array| query.bind(array))
    }
}

impl Sink for Arrays {
    fn put<F: Field>(&mut self, field: &F) {
        let array = &mut self.columns[self.next];
        debug_assert_eq!(array.kind, F::KIND);
        field.write_element(&mut array.bytes);
        array.length += 1;
        self.next = (self.next + 1) % self.columns.len();
    }
}

impl Type<Postgres> for Array {
    fn type_info() -> PgTypeInfo {
        <[String]>::type_info() // of no use: `produces` knows better
    }
}

impl Encode<'_, Postgres> for Array {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        array_header(buffer, self.kind, self.length);
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.array().0)
    }
}

/// Rows that are not there yet.
pub(super) async fn insert<R: Row>(db: &mut PgConnection, rows: &[&R]) -> sqlx::Result<()> {
    let values: Vec<_> =
        R::COLUMNS.iter().map(|Column { name, kind }| format!("r.{name}::{}", kind.name())).collect();
    let statement = format!(
        "INSERT INTO {} ({}) SELECT {} FROM {}",
        R::TABLE,
        names(R::COLUMNS),
        values.join(", "),
        given(R::COLUMNS)
    );
    run(db, &statement, R::COLUMNS, rows, |row, arrays| row.put(arrays)).await
}

/// Rows that are there.
pub(super) async fn update<R: Row>(db: &mut PgConnection, rows: &[&R]) -> sqlx::Result<()> {
    let is_key = |column: &Column| R::KEY.iter().any(|key| key.name == column.name);
    let changes: Vec<_> = R::COLUMNS
        .iter()
        .filter(|column| !is_key(column))
        .map(|Column { name, kind }| format!("{name} = r.{name}::{}", kind.name()))
        .collect();
    let statement = format!(
        "UPDATE {} t SET {} FROM {} WHERE {}",
        R::TABLE,
        changes.join(", "),
        given(R::COLUMNS),
        same::<R>()
    );
    run(db, &statement, R::COLUMNS, rows, |row, arrays| row.put(arrays)).await
}

/// Removes the rows with these keys.
pub(super) async fn delete<R: Row>(db: &mut PgConnection, keys: &[&R::Key]) -> sqlx::Result<()> {
    let statement = format!("DELETE FROM {} t USING {} WHERE {}", R::TABLE, given(R::KEY), same::<R>());
    run(db, &statement, R::KEY, keys, |key, arrays| key.put(arrays)).await
}

/// The rows with these keys, in no order.
pub(super) async fn fetch<R: Row>(db: &mut PgConnection, keys: &[R::Key]) -> sqlx::Result<Vec<R>> {
    let columns: Vec<_> = R::COLUMNS.iter().map(|column| format!("t.{}", column.name)).collect();
    let statement = format!(
        "SELECT {} FROM {} t JOIN {} ON {}",
        columns.join(", "),
        R::TABLE,
        given(R::KEY),
        same::<R>()
    );
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(CHUNK) {
        let mut arrays = Arrays::new(R::KEY);
        keys.iter().for_each(|key| key.put(&mut arrays));
        let rows = arrays.bind(&statement).fetch_all(&mut *db).await?;
        for row in rows {
            found.push(R::from_row(&row)?);
        }
    }
    Ok(found)
}

/// The rows in which a column has a value, in no order.
pub(super) async fn fetch_by<R: Row, F: Field>(
    db: &mut PgConnection,
    column: &str,
    value: &F,
) -> sqlx::Result<Vec<R>> {
    let statement = R::select(&format!("WHERE {column} = ANY($1)"));
    let mut array = Array { kind: F::KIND, length: 1, bytes: Vec::new() };
    value.write_element(&mut array.bytes);
    let rows = sqlx::query(&statement).bind(array).fetch_all(db).await?;
    rows.iter().map(R::from_row).collect()
}

/// `a, b, c`.
pub(super) fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// The rows that are given, as a table `r`.
fn given(columns: &[Column]) -> String {
    let given = |(n, column): (usize, &Column)| match column.kind {
        Kind::Texts => format!("${}::text[]", n + 1),
        kind => format!("${}::{}[]", n + 1, kind.name()),
    };
    let arrays: Vec<_> = columns.iter().enumerate().map(given).collect();
    format!("unnest({}) AS r ({})", arrays.join(", "), names(columns))
}

/// That a row of the table `t` is one of those given.
fn same<R: Row>() -> String {
    let same = |column: &Column| format!("t.{0} = r.{0}", column.name);
    R::KEY.iter().map(same).collect::<Vec<_>>().join(" AND ")
}

async fn run<T>(
    db: &mut PgConnection,
    statement: &str,
    columns: &[Column],
    rows: &[T],
    put: impl Fn(&T, &mut Arrays),
) -> sqlx::Result<()> {
    for rows in rows.chunks(CHUNK) {
        let mut arrays = Arrays::new(columns);
        rows.iter().for_each(|row| put(row, &mut arrays));
        let _: PgQueryResult = arrays.bind(statement).execute(&mut *db).await?;
    }
    Ok(())
}
