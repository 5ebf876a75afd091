//! A table to which rows are only ever added. They pass through memory and are not held there.

use async_trait::async_trait;
use sqlx::PgConnection;

use super::copy::CopyBuffer;
use super::{Encoded, Row, Rows, Store, statements};

/// Rows on their way into a table that only grows.
pub(crate) struct Journal<R: Row> {
    rows: Vec<R>,
    /// Encoded already, for a table that is filled from its beginning.
    encoded: Option<CopyBuffer>,
}

impl<R: Row> Journal<R> {
    /// Adds a row. That its key is new is for the table to say.
    pub(crate) fn add(&mut self, row: R) {
        match &mut self.encoded {
            Some(buffer) => buffer.add(&row),
            None => self.rows.push(row),
        }
    }
}

impl<R: Row> Default for Journal<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), encoded: None }
    }
}

impl<R: Row> Rows for Journal<R> {
    fn tables(&mut self) -> Vec<&mut dyn Store> {
        vec![self]
    }
}

#[async_trait]
impl<R: Row> Store for Journal<R> {
    fn begin_filling(&mut self, _is_empty: bool) {
        self.encoded = Some(CopyBuffer::default());
    }

    async fn fetch(&mut self, _db: &mut PgConnection) -> sqlx::Result<()> {
        Ok(())
    }

    async fn save(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        if let Some(buffer) = &mut self.encoded {
            return buffer.send::<R>(db).await;
        }
        let rows: Vec<&R> = self.rows.iter().collect();
        statements::insert(db, &rows).await?;
        self.rows.clear();
        Ok(())
    }

    fn take_full(&mut self) -> Option<Encoded> {
        self.encoded.as_mut().filter(|buffer| buffer.is_full())?.take::<R>()
    }

    async fn make_key(&mut self, _db: &mut PgConnection) -> sqlx::Result<()> {
        Ok(())
    }

    fn weight(&self) -> usize {
        self.encoded.as_ref().map_or(0, CopyBuffer::len) + self.rows.len() * size_of::<R>()
    }

    async fn spill(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        self.save(db).await
    }
}
