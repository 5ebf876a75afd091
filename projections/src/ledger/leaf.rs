//! What is hashed of an event: every column as PostgreSQL's own text, each with its length before it.
//!
//! These bytes are a row of `COPY … (FORMAT binary)` without its count of columns, so they are hashed as they
//! come, and anybody with `psql` gets the same. They depend on no time zone, locale or `DateStyle`: the one
//! column that would, `recorded_at`, is a count of microseconds.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::{PgConnection, Row};

use super::tree::{Hash, leaf_hash};

/// How many columns a leaf has.
pub(super) const COLUMNS: usize = 11;

/// The columns, in the order of the leaf. Never changed: every checkpoint was made of them.
const SELECT: &str = "SELECT position::text, event_id::text, (extract(epoch FROM recorded_at) * 1000000)::bigint::text, \
    team_id::text, aggregate_type, aggregate_id, sequence::text, event_type, event_version, payload::text, \
    metadata::text FROM public.events";

/// The columns of one leaf; only `team_id`, the fourth, may be absent.
pub(super) type Fields = Vec<Option<String>>;

/// The bytes of a leaf: for each column four bytes of length, big-endian, and its text; four bytes of ones when
/// it is absent.
pub(super) fn bytes(fields: &Fields) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        match field {
            Some(text) => {
                // PostgreSQL's texts end at 1 GiB.
                bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            None => bytes.extend_from_slice(&u32::MAX.to_be_bytes()),
        }
    }
    bytes
}

/// The columns of the event at a position.
pub(super) async fn read(db: &mut PgConnection, position: i64) -> sqlx::Result<Option<Fields>> {
    let query = format!("{SELECT} WHERE position = $1");
    let row = sqlx::query(&query).bind(position).fetch_optional(db).await?;
    row.map(|row| (0..COLUMNS).map(|n| row.try_get(n)).collect()).transpose()
}

/// A row of the log: where it stands, and the hash of its leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// Its position.
    pub(super) position: i64,
    /// Its hash.
    pub(super) hash: Hash,
}

/// The leaves of the log in order, streamed: their number does not matter.
pub(super) struct Scan<'c> {
    stream: BoxStream<'c, sqlx::Result<Bytes>>,
    buffer: BytesMut,
    in_header: bool,
}

impl<'c> Scan<'c> {
    /// Those after a position, and up to another. To be read to its end: the connection has to.
    pub(super) async fn open(db: &'c mut PgConnection, after: i64, to: i64) -> sqlx::Result<Self> {
        // The bare name would be that of the text, which sorts 10 before 2.
        let copy = format!(
            "COPY ({SELECT} WHERE position > {after} AND position <= {to} ORDER BY events.position) TO STDOUT (FORMAT binary)"
        );
        Ok(Self { stream: db.copy_out_raw(&copy).await?, buffer: BytesMut::new(), in_header: true })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> sqlx::Result<Option<Leaf>> {
        loop {
            if let Some(row) = self.row()? {
                return leaf(&row).map(Some);
            }
            match self.stream.try_next().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// The next whole row of the buffer.
    fn row(&mut self) -> sqlx::Result<Option<Bytes>> {
        const HEADER: usize = 11 + 4 + 4;
        if self.in_header {
            if self.buffer.len() < HEADER {
                return Ok(None);
            }
            self.buffer.advance(HEADER);
            self.in_header = false;
        }
        let mut rest = self.buffer.as_ref();
        if rest.len() < 2 || rest.get_i16() == -1 {
            return Ok(None); // the end is a row of -1 columns
        }
        for _ in 0..COLUMNS {
            if rest.len() < 4 {
                return Ok(None);
            }
            let length = usize::try_from(rest.get_i32()).unwrap_or(0); // -1 is absent
            if rest.len() < length {
                return Ok(None);
            }
            rest.advance(length);
        }
        let length = self.buffer.len() - rest.len();
        let mut row = self.buffer.split_to(length).freeze();
        row.advance(2);
        Ok(Some(row))
    }
}

fn leaf(row: &Bytes) -> sqlx::Result<Leaf> {
    let mut first = row.as_ref();
    let length = usize::try_from(first.get_i32()).unwrap_or(0);
    let position = std::str::from_utf8(&first[..length]).ok().and_then(|text| text.parse().ok());
    let position = position.ok_or_else(|| sqlx::Error::Protocol("a position is no number".to_owned()))?;
    Ok(Leaf { position, hash: leaf_hash(row) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_have_the_same_bytes() {
        let one = vec![Some("ab".to_owned()), None, Some("c".to_owned())];
        assert_eq!(bytes(&one), [0, 0, 0, 2, b'a', b'b', 255, 255, 255, 255, 0, 0, 0, 1, b'c']);
        assert_ne!(bytes(&one), bytes(&vec![Some("a".to_owned()), None, Some("bc".to_owned())]));
        assert_ne!(bytes(&vec![None]), bytes(&vec![Some(String::new())]));
    }
}
