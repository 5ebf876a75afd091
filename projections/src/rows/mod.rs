//! Rows of read models: `apply` looks at them and changes them, and where they come from and when they are stored is
//! not its business.
//!
//! Live, the rows that a batch of events touches are fetched, changed in memory and stored by one statement a table.
//! When a read model is built anew all rows are in memory, as far as they fit, and are copied into the tables.
//!
//! A row is declared by [`row!`]: the columns stand there once, with their types.

mod copy;
mod field;
mod journal;
mod statements;
mod table;

use std::hash::Hash;

use async_trait::async_trait;
use sqlx::{PgConnection, Postgres};
use thiserror::Error;

pub use copy::Encoded;
pub(crate) use field::{Field, Kind};
pub(crate) use journal::Journal;
pub(crate) use table::Table;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// A row of a table.
pub(crate) trait Row:
    for<'r> sqlx::FromRow<'r, <Postgres as sqlx::Database>::Row> + Send + Sync + Unpin + 'static
{
    /// The table's name.
    const TABLE: &'static str;
    /// Its columns, but for generated ones.
    const COLUMNS: &'static [Column];
    /// The columns of its primary key.
    const KEY: &'static [Column];
    /// Columns by which rows are found besides their key. Once a row is there, they stay as they are.
    const FOUND_BY: &'static [&'static str];

    /// The primary key.
    type Key: Key;

    /// The row's own.
    fn key(&self) -> Self::Key;

    /// Puts every column, in order.
    fn put(&self, sink: &mut impl Sink);

    /// The bytes of one column.
    fn bytes_of(&self, column: &str) -> Vec<u8>;

    /// The query for such rows. `rest` is what follows the table: which of them, in which order.
    fn select(rest: &str) -> String {
        format!("SELECT {} FROM {} {rest}", statements::names(Self::COLUMNS), Self::TABLE)
    }
}

/// A primary key: a field, or a tuple of them.
pub(crate) trait Key: Clone + Eq + Hash + Send + Sync {
    /// Puts every column of it, in order.
    fn put(&self, sink: &mut impl Sink);
}

impl<F: Field + Clone + Eq + Hash + Send + Sync> Key for F {
    fn put(&self, sink: &mut impl Sink) {
        sink.put(self);
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn put(&self, sink: &mut impl Sink) {
        self.0.put(sink);
        self.1.put(sink);
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn put(&self, sink: &mut impl Sink) {
        self.0.put(sink);
        self.1.put(sink);
        self.2.put(sink);
    }
}

/// Takes the fields of rows, one after the other.
pub(crate) trait Sink {
    fn put<F: Field>(&mut self, field: &F);
}

/// What a read model's rows are kept in: its tables.
pub(crate) trait Rows: Default + Send + 'static {
    /// All of them.
    fn tables(&mut self) -> Vec<&mut dyn Store>;
}

/// A table, whatever its rows are.
#[async_trait]
pub(crate) trait Store: Send {
    /// Begins with a table that nobody reads, into which rows are copied. When it is empty all of them may stay in
    /// memory; otherwise it has a primary key.
    fn begin_filling(&mut self, is_empty: bool);

    /// Fetches the rows that are wanted and not here.
    async fn fetch(&mut self, db: &mut PgConnection) -> sqlx::Result<()>;

    /// Stores what was changed.
    async fn save(&mut self, db: &mut PgConnection) -> sqlx::Result<()>;

    /// Gives away what will not be looked at again, when it is much: whoever takes it stores it.
    fn take_full(&mut self) -> Option<Encoded>;

    /// Makes the primary key of a table that is filled, if stored rows will be fetched or changed by it. An empty
    /// table is filled faster without.
    async fn make_key(&mut self, db: &mut PgConnection) -> sqlx::Result<()>;

    /// Bytes that its rows take in memory, about.
    fn weight(&self) -> usize;

    /// Stores everything and forgets it, so that memory is free; what is asked for again is fetched again.
    async fn spill(&mut self, db: &mut PgConnection) -> sqlx::Result<()>;
}

/// A row was put where one is already.
#[derive(Debug, Error)]
#[error("table {table} has a row with this key already")]
pub struct RowExists {
    /// The table.
    pub table: &'static str,
}

/// A thing alone, or several as a tuple.
macro_rules! one_or_tuple {
    (type $one:ty) => { $one };
    (type $($each:ty),+) => { ($($each),+) };
    (value $one:expr) => { $one };
    (value $($each:expr),+) => { ($($each),+) };
}
pub(crate) use one_or_tuple;

/// Declares a row with its table: `struct Row in "table" by (key: Type)`, and the columns that rows are found by
/// besides. Makes [`Row`] and [`sqlx::FromRow`].
macro_rules! row {
    (
        $(#[$meta:meta])*
        $vis:vis struct $row:ident in $table:literal by ($($key:ident: $key_type:ty),+)
        $(found by ($($found:ident),+))? {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $row {
            $($(#[$field_meta])* $field_vis $field: $type,)+
        }

        impl $crate::rows::Row for $row {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [$crate::rows::Column] = &[$($crate::rows::Column {
                name: stringify!($field),
                kind: <$type as $crate::rows::Field>::KIND,
            }),+];
            const KEY: &'static [$crate::rows::Column] = &[$($crate::rows::Column {
                name: stringify!($key),
                kind: <$key_type as $crate::rows::Field>::KIND,
            }),+];
            const FOUND_BY: &'static [&'static str] = &[$($(stringify!($found)),+)?];

            type Key = $crate::rows::one_or_tuple!(type $($key_type),+);

            fn key(&self) -> Self::Key {
                $crate::rows::one_or_tuple!(value $(self.$key.clone()),+)
            }

            fn put(&self, sink: &mut impl $crate::rows::Sink) {
                $(sink.put(&self.$field);)+
            }

            fn bytes_of(&self, column: &str) -> Vec<u8> {
                let mut bytes = Vec::new();
                match column {
                    $(stringify!($field) => $crate::rows::Field::write(&self.$field, &mut bytes),)+
                    other => unreachable!("{other} is no column of {}", $table),
                }
                bytes
            }
        }

        impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for $row {
            fn from_row(row: &sqlx::postgres::PgRow) -> sqlx::Result<Self> {
                Ok(Self {
                    $($field: $crate::rows::Field::read(row, stringify!($field))?,)+
                })
            }
        }
    };
}
pub(crate) use row;
