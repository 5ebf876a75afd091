//! Rows on their way into an empty or new table by COPY: the fastest way there is.

use sqlx::PgConnection;

use super::statements::names;
use super::{Field, Row, Sink};

/// The size at which rows are worth a statement, in bytes.
const FULL: usize = 4 << 20;
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

    /// Copies the rows into their table and is empty again.
    pub(super) async fn send<R: Row>(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.bytes.extend(TRAILER.to_be_bytes());
        let statement = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", R::TABLE, names(R::COLUMNS));
        let mut copy = db.copy_in_raw(&statement).await?;
        for message in self.bytes.chunks(MESSAGE) {
            copy.send(message).await?;
        }
        copy.finish().await?;
        self.bytes.clear();
        Ok(())
    }
}

impl Sink for CopyBuffer {
    fn put<F: Field>(&mut self, field: &F) {
        field.write(&mut self.bytes);
    }
}
