//! A table whose rows are looked at and changed.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::copy::CopyBuffer;
use super::{Encoded, Field, Key, Row, RowExists, Rows, Sink, Store, statements};

/// Rows of a table, as far as they were asked for.
///
/// What is asked for by its key and not here is fetched; [`want`](Self::want) tells beforehand what a batch will ask
/// for, so that it is fetched together.
pub(crate) struct Table<R: Row> {
    known: HashMap<R::Key, Known<R>>,
    wanted: Vec<R::Key>,
    /// Keys by the columns that rows are found by. Those of removed rows stay: whoever looks, looks at the row too.
    found: HashMap<(&'static str, Vec<u8>), Vec<R::Key>>,
    filling: Filling,
    /// Whether the table has its primary key already.
    has_key: bool,
}

/// What is known of a key.
struct Known<R> {
    /// Whether the table has a row with it.
    stored: bool,
    /// Whether it has to be stored.
    changed: bool,
    /// The row as it is now, if there is one.
    row: Option<R>,
}

/// How a table is filled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filling {
    /// It is live: others read it, and it has what was stored before.
    Live,
    /// It was empty, and every row there is is in memory.
    Whole,
    /// It was empty; some rows were stored and forgotten since.
    Spilled,
}

impl<R: Row> Table<R> {
    /// `apply` will ask for this row.
    pub(crate) fn want(&mut self, key: R::Key) {
        if self.filling != Filling::Whole && !self.known.contains_key(&key) {
            self.wanted.push(key);
        }
    }

    /// The row with this key, to be changed.
    pub(crate) async fn get(&mut self, db: &mut PgConnection, key: &R::Key) -> sqlx::Result<Option<&mut R>> {
        self.load(db, key).await?;
        let Some(known) = self.known.get_mut(key) else { return Ok(None) };
        known.changed |= known.row.is_some();
        Ok(known.row.as_mut())
    }

    /// The row with this key, to be looked at.
    pub(crate) async fn peek(&mut self, db: &mut PgConnection, key: &R::Key) -> sqlx::Result<Option<&R>> {
        self.load(db, key).await?;
        Ok(self.known.get(key).and_then(|known| known.row.as_ref()))
    }

    /// Puts a new row. That there is none yet is checked as far as it is known here; the table checks the rest.
    pub(crate) fn insert(&mut self, row: R) -> sqlx::Result<()> {
        for column in R::FOUND_BY {
            self.found.entry((column, row.bytes_of(column))).or_default().push(row.key());
        }
        match self.known.entry(row.key()) {
            Slot::Vacant(slot) => drop(slot.insert(Known { stored: false, changed: true, row: Some(row) })),
            Slot::Occupied(slot) if slot.get().row.is_some() => {
                return Err(sqlx::Error::Encode(Box::new(RowExists { table: R::TABLE })));
            }
            Slot::Occupied(slot) => {
                let known = slot.into_mut();
                (known.changed, known.row) = (true, Some(row));
            }
        }
        Ok(())
    }

    /// Removes the row with this key, if there is one.
    pub(crate) async fn remove(&mut self, db: &mut PgConnection, key: &R::Key) -> sqlx::Result<()> {
        self.load(db, key).await?;
        match self.known.get_mut(key) {
            Some(known) if known.stored => (known.changed, known.row) = (true, None),
            Some(_) if self.filling == Filling::Whole => drop(self.known.remove(key)),
            Some(known) => (known.changed, known.row) = (false, None),
            None => {}
        }
        Ok(())
    }

    /// Removes the rows in which a column has a value.
    pub(crate) async fn remove_by<F: Field + Sync>(
        &mut self,
        db: &mut PgConnection,
        column: &'static str,
        value: &F,
    ) -> sqlx::Result<()> {
        for key in self.find(db, column, value).await? {
            self.remove(db, &key).await?;
        }
        Ok(())
    }

    /// The keys of the rows in which a column has a value: one of those that the rows are found by.
    pub(crate) async fn find<F: Field + Sync>(
        &mut self,
        db: &mut PgConnection,
        column: &'static str,
        value: &F,
    ) -> sqlx::Result<Vec<R::Key>> {
        debug_assert!(R::FOUND_BY.contains(&column), "rows of {} are not found by {column}", R::TABLE);
        if self.filling != Filling::Whole {
            if self.filling == Filling::Spilled {
                let (table, index) = (R::TABLE, format!("spilled_{}_{column}", R::TABLE));
                let index = format!("CREATE INDEX IF NOT EXISTS {index} ON {table} ({column})");
                sqlx::query(&index).persistent(false).execute(&mut *db).await?;
            }
            let rows = statements::fetch_by::<R, F>(db, column, value).await?;
            rows.into_iter().for_each(|row| self.learn(row));
        }
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        let Some(keys) = self.found.get(&(column, bytes)) else { return Ok(vec![]) };
        let mut keys = keys.clone();
        let mut seen = std::collections::HashSet::new();
        keys.retain(|key| {
            self.known.get(key).is_some_and(|known| known.row.is_some()) && seen.insert(key.clone())
        });
        Ok(keys)
    }

    /// Makes sure that it is known whether there is a row with this key.
    async fn load(&mut self, db: &mut PgConnection, key: &R::Key) -> sqlx::Result<()> {
        if self.filling == Filling::Whole || self.known.contains_key(key) {
            return Ok(());
        }
        self.wanted.push(key.clone());
        self.fetch(db).await
    }

    /// Takes in a row from the table, unless it is known better.
    fn learn(&mut self, row: R) {
        let key = row.key();
        if self.known.contains_key(&key) {
            return;
        }
        for column in R::FOUND_BY {
            self.found.entry((column, row.bytes_of(column))).or_default().push(key.clone());
        }
        self.known.insert(key, Known { stored: true, changed: false, row: Some(row) });
    }

    /// What has to be stored, by how: removed, changed, new. In the order of the keys, so that the same rows are
    /// stored the same way every time.
    fn changes(&self) -> (Vec<&R::Key>, Vec<&R>, Vec<&R>) {
        let mut all: Vec<_> = self.known.iter().filter(|(_, known)| known.changed).collect();
        all.sort_by_cached_key(|(key, _)| {
            let mut bytes = Bytes::default();
            key.put(&mut bytes);
            bytes.0
        });
        let (mut removed, mut changed, mut new) = (vec![], vec![], vec![]);
        for (key, known) in all {
            match &known.row {
                None => removed.push(key),
                Some(row) if known.stored => changed.push(row),
                Some(row) => new.push(row),
            }
        }
        (removed, changed, new)
    }
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            wanted: Vec::new(),
            found: HashMap::new(),
            filling: Filling::Live,
            has_key: true,
        }
    }
}

impl<R: Row> Rows for Table<R> {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![self]
    }
}

#[async_trait]
impl<R: Row> Store for Table<R> {
    fn begin_filling(&mut self, is_empty: bool) {
        self.filling = if is_empty { Filling::Whole } else { Filling::Spilled };
        self.has_key = !is_empty;
    }

    async fn fetch(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        let mut seen = std::collections::HashSet::new();
        wanted.retain(|key| !self.known.contains_key(key) && seen.insert(key.clone()));
        let rows = statements::fetch::<R>(db, &wanted).await?;
        rows.into_iter().for_each(|row| self.learn(row));
        for key in wanted {
            self.known.entry(key).or_insert(Known { stored: false, changed: false, row: None });
        }
        Ok(())
    }

    async fn save(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        let (removed, changed, new) = self.changes();
        if !removed.is_empty() {
            statements::delete::<R>(db, &removed).await?;
        }
        if !changed.is_empty() {
            statements::update(db, &changed).await?;
        }
        if self.filling == Filling::Live {
            if !new.is_empty() {
                statements::insert(db, &new).await?;
            }
        } else {
            let mut buffer = CopyBuffer::default();
            for row in new {
                buffer.add(row);
                if buffer.is_full() {
                    buffer.send::<R>(db).await?;
                }
            }
            buffer.send::<R>(db).await?;
        }
        for known in self.known.values_mut() {
            (known.stored, known.changed) = (known.row.is_some(), false);
        }
        Ok(())
    }

    fn take_full(&mut self) -> Option<Encoded> {
        None
    }

    async fn make_key(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        if !self.has_key {
            let key = format!("ALTER TABLE {} ADD PRIMARY KEY ({})", R::TABLE, statements::names(R::KEY));
            sqlx::query(&key).persistent(false).execute(&mut *db).await?;
            self.has_key = true;
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        let row = |known: &Known<R>| {
            known.row.as_ref().map_or(0, |row| {
                let mut bytes = Count(0);
                row.put(&mut bytes);
                bytes.0
            })
        };
        let rows: usize = self.known.values().map(row).sum();
        rows + self.known.len() * (size_of::<R>() + size_of::<R::Key>())
    }

    async fn spill(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        self.save(db).await?;
        self.make_key(db).await?;
        self.filling = Filling::Spilled;
        (self.known, self.found) = (HashMap::new(), HashMap::new());
        Ok(())
    }
}

/// The bytes of fields.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put<F: Field>(&mut self, field: &F) {
        field.write(&mut self.0);
    }
}

/// How many bytes fields have.
struct Count(usize);

impl Sink for Count {
    fn put<F: Field>(&mut self, field: &F) {
        let mut bytes = Vec::new();
        field.write(&mut bytes);
        self.0 += bytes.len();
    }
}
