//! PostgreSQL's log file, kept short.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use super::error::EmbeddedError;

/// Above this the log becomes `postgres.log.1`, in place of the one before.
const LONGEST: u64 = 8 * 1024 * 1024;

/// How much of its end is looked at to explain an error.
const TAIL: u64 = 4096;

/// The log of one run of the server.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// The length when this run began: what is before tells of earlier runs.
    begin: u64,
}

impl Log {
    /// Opens the log below `data_dir`, put aside before if it is long.
    pub(super) fn open(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let mut log = Self { path: data_dir.join("postgres.log"), begin: 0 };
        log.shorten();
        log.begin = fs::metadata(&log.path).map_or(0, |file| file.len());
        Ok(log)
    }

    /// For the server to write to.
    pub(super) fn writer(&self) -> Result<Stdio, EmbeddedError> {
        let open = File::options().create(true).append(true).mode(0o600).open(&self.path);
        Ok(open.map_err(EmbeddedError::files(&self.path))?.into())
    }

    /// Puts a long log aside. It is copied and emptied, not renamed: the server has it open, and as it appends, its
    /// next line is the first of the emptied file. Lines written in between are lost.
    pub(super) fn shorten(&self) {
        if fs::metadata(&self.path).map_or(0, |file| file.len()) <= LONGEST {
            return;
        }
        let aside = self.path.with_extension("log.1");
        let emptied = fs::copy(&self.path, aside)
            .and_then(|_| File::options().write(true).open(&self.path))
            .and_then(|file| file.set_len(0));
        if let Err(error) = emptied {
            tracing::warn!(%error, "cannot shorten {}", self.path.display());
        }
    }

    /// The last thing the server said.
    pub(super) fn last_line(&self) -> String {
        self.tail().lines().last().unwrap_or_default().to_owned()
    }

    /// Why the server ended, as far as its own words tell.
    pub(super) fn explain(&self, status: ExitStatus) -> EmbeddedError {
        let tail = self.tail();
        if EmbeddedError::says_disk_full(&tail) {
            let dir = self.path.with_file_name("postgres");
            return EmbeddedError::DiskFull { dir };
        }
        EmbeddedError::Ended { status, log: self.path.clone(), tail: tail.trim().to_owned() }
    }

    /// The end of what this run said.
    fn tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            let end = file.metadata()?.len();
            let begin = if end < self.begin { 0 } else { self.begin }; // shortened since
            file.seek(SeekFrom::Start(begin.max(end.saturating_sub(TAIL))))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}
