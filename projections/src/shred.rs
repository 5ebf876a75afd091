//! Erasing a person: destroys the person's key, and remembers it outside the database, so that a backup that is
//! older than the erasure is clean again as soon as a server starts on it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use domain::ids::UserId;
use domain::sealed::KeyOwner;
use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;

/// Destroys the keys of a person and forgets what stands outside the log. Answers whose keys are destroyed, for who
/// has them in memory. Doing it again changes nothing.
pub async fn erase(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<Vec<KeyOwner>> {
    let owners: Vec<String> =
        sqlx::query_scalar("SELECT erase_person($1)").bind(user.0).fetch_all(db).await?;
    Ok(owners.iter().filter_map(|owner| owner.parse().ok()).collect())
}

/// Whether a person's key is destroyed.
pub async fn is_erased(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<bool> {
    let destroyed = "SELECT EXISTS (SELECT FROM data_keys WHERE owner = 'user:' || $1::uuid AND destroyed_at IS NOT NULL)";
    sqlx::query_scalar(destroyed).bind(user.0).fetch_one(db).await
}

/// Who was erased from this installation: a file in the data dir, a person a line. It names ids, nothing else.
#[derive(Clone, Debug)]
pub struct ShredList {
    path: PathBuf,
}

/// A line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shredded {
    /// Who.
    pub user: UserId,
    /// When.
    pub at: DateTime<Utc>,
}

impl ShredList {
    /// The list of this data dir.
    pub fn new(data_dir: &Path) -> Self {
        Self::at(data_dir.join("shredded.ndjson"))
    }

    /// The list in this file.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Everybody on the list. A line that cannot be read is an error: somebody might come back.
    pub fn read(&self) -> io::Result<Vec<Shredded>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            file => file?,
        };
        let mut all = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line?;
            if !line.trim().is_empty() {
                all.push(serde_json::from_str(&line).map_err(|error| {
                    let path = self.path.display();
                    io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {line:?}: {error}"))
                })?);
            }
        }
        Ok(all)
    }

    /// Puts somebody on the list, once. On the disk when it returns.
    pub fn add(&self, user: UserId, at: DateTime<Utc>) -> io::Result<()> {
        if self.read()?.iter().any(|shredded| shredded.user == user) {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let line = serde_json::to_string(&Shredded { user, at }).map_err(io::Error::other)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()
    }
}
