//! Rows on their way into an empty or new table by COPY: the fastest way there is.

use sqlx::PgConnection;

use super::statements::names;
use super::{Field, Row, Sink};

/// The size at which rows are worth a statement, in bytes.
const FULL: usize = 2 << 20;
/// Bytes in one message.
const MESSAGE: usize = 1 << 18;

/// Signature, flags and length of an extension there is none of.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In the place of a row's number of columns: there is none.
const TRAILER: i16 = -1;

/// Rows of one table, encoded.
#[derive(Default)]
pub(super) struct CopyBuffer {
    bytes: Vec<u8>,
}

/// Rows that a statement copies into their table. What they were made of is not needed any more.
pub struct Encoded {
    statement: String,
    bytes: Vec<u8>,
}

impl Encoded {
    /// Copies the rows into their table.
    pub(crate) async fn send(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let mut copy = db.copy_in_raw(&self.statement).await?;
        for message in self.bytes.chunks(MESSAGE) {
            copy.send(message).await?;
        }
        copy.finish().await.map(drop)
    }
}

impl CopyBuffer {
    pub(super) fn add<R: Row>(&mut self, row: &R) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(HEADER);
        }
        let columns = i16::try_from(R::COLUMNS.len()).expect("a table has few columns");
        self.bytes.extend(columns.to_be_bytes());
        row.put(self);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The rows, if there are any. It is empty again.
    pub(super) fn take<R: Row>(&mut self) -> Option<Encoded> {
        if self.bytes.is_empty() {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend(TRAILER.to_be_bytes());
        let statement = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", R::TABLE, names(R::COLUMNS));
        Some(Encoded { statement, bytes })
    }

    /// Copies the rows into their table and is empty again.
    pub(super) async fn send<R: Row>(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        let Some(encoded) = self.take::<R>() else { return Ok(()) };
        encoded.send(db).await?;
        // Its room is used again.
        self.bytes = encoded.bytes;
        self.bytes.clear();
        Ok(())
    }
}

impl Sink for CopyBuffer {
    fn put<F: Field>(&mut self, field: &F) {
        field.write(&mut self.bytes);
    }
}
