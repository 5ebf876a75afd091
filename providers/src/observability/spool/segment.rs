//! A file of records, each of which is whole or not there.
//!
//! A record is its length, how many rows it has, when it was taken in, a checksum of all of it, and the rows. What a
//! power cut left half written is recognised, and cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

/// What a file begins with.
const MAGIC: &[u8; 8] = b"MASPOOL1";
/// Bytes before the rows.
const HEAD: usize = 20;
/// No record is longer.
const LONGEST: u32 = 256 << 20;

/// A record, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Packed {
    pub(super) rows: u32,
    pub(super) at: DateTime<Utc>,
    pub(super) payload: Vec<u8>,
}

impl Packed {
    /// Bytes that it takes up.
    pub(super) fn size(&self) -> u64 {
        (HEAD + self.payload.len()) as u64
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let length = u32::try_from(self.payload.len()).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| io::Error::other("a record is too long"))?;
        let mut head = [0; HEAD - 4];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..8].copy_from_slice(&self.rows.to_le_bytes());
        head[8..].copy_from_slice(&self.at.timestamp_micros().to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&checksum(&head, &self.payload).to_le_bytes());
        out.extend_from_slice(&self.payload);
        Ok(())
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(payload);
    sum.finalize()
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Up to where its records are whole.
    pub(super) bytes: u64,
    pub(super) rows: u64,
    /// When the first of its records was taken in.
    pub(super) oldest: Option<DateTime<Utc>>,
    /// Whether there is more behind that, which nobody can read.
    pub(super) is_damaged: bool,
}

impl Segment {
    /// Looks through a file.
    pub(super) fn scan(path: PathBuf) -> io::Result<Self> {
        let mut reader = Reader::open(&path, 0, u64::MAX)?;
        let (mut rows, mut oldest) = (0, None);
        while let Some(record) = reader.next()? {
            rows += u64::from(record.rows);
            oldest = oldest.or(Some(record.at));
        }
        let is_damaged = std::fs::metadata(&path)?.len() > reader.position;
        Ok(Self { path, bytes: reader.position, rows, oldest, is_damaged })
    }

    /// Cuts off what is not whole.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(self.bytes)?;
        file.sync_all()?;
        self.is_damaged = false;
        Ok(())
    }
}

/// Reads records in their order.
pub(super) struct Reader {
    file: BufReader<File>,
    /// Where the next record begins.
    position: u64,
    /// No further.
    end: u64,
}

impl Reader {
    /// Reads from a record on, or from the first one, up to there.
    pub(super) fn open(path: &Path, from: u64, end: u64) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut magic = [0; MAGIC.len()];
        if !fill(&mut file, &mut magic)? || magic != *MAGIC {
            return Ok(Self { file, position: 0, end: 0 });
        }
        let position = from.max(MAGIC.len() as u64);
        file.seek(SeekFrom::Start(position))?;
        Ok(Self { file, position, end })
    }

    /// Where the next record begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether all is read that there was to read.
    pub(super) fn is_at_end(&self) -> bool {
        self.position >= self.end
    }

    /// The next record; none at the end, or where one is not whole.
    pub(super) fn next(&mut self) -> io::Result<Option<Packed>> {
        let mut head = [0; HEAD];
        if self.position >= self.end || !fill(&mut self.file, &mut head)? {
            return Ok(None);
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, rows, sum) = (number(0), number(4), number(16));
        let micros = i64::from(number(8)) | (i64::from(number(12)) << 32);
        let at = DateTime::from_timestamp_micros(micros).filter(|_| length <= LONGEST);
        let Some(at) = at else { return Ok(None) };
        let mut payload = Vec::new();
        (&mut self.file).take(length.into()).read_to_end(&mut payload)?;
        if payload.len() != length as usize || checksum(&head[..HEAD - 4], &payload) != sum {
            return Ok(None);
        }
        let record = Packed { rows, at, payload };
        self.position += record.size();
        Ok(Some(record))
    }
}

/// Whether there was enough.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file that records are added to.
pub(super) struct Open {
    file: File,
    pub(super) segment: Segment,
}

impl Open {
    /// Begins one that nobody else may read.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let mut file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&path)?;
        let begun = file.write_all(MAGIC).and_then(|()| file.sync_all());
        let begun = begun.and_then(|()| path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all()));
        if let Err(error) = begun {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let bytes = MAGIC.len() as u64;
        Ok(Self { file, segment: Segment { path, bytes, rows: 0, oldest: None, is_damaged: false } })
    }

    /// Adds records; when it answers, they are on disk. After an error nothing more may be added.
    pub(super) fn append(&mut self, records: &[Packed]) -> io::Result<()> {
        let mut bytes = Vec::new();
        records.iter().try_for_each(|record| record.write(&mut bytes))?;
        if let Err(error) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data()) {
            // A record that is there all the same is stored, and known when its sender comes again.
            let _ = self.file.set_len(self.segment.bytes);
            return Err(error);
        }
        self.segment.bytes += bytes.len() as u64;
        self.segment.rows += records.iter().map(|record| u64::from(record.rows)).sum::<u64>();
        self.segment.oldest = self.segment.oldest.or(records.first().map(|record| record.at));
        Ok(())
    }
}
