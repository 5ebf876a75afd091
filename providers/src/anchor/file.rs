//! A file that only grows: one checkpoint a line, as JSON. Best on another disk, or one that is append-only
//! (`chattr +a`).

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use domain::ports::anchor::{Anchor, AnchorError, AnchoredCheckpoint};
use serde_json::json;

/// Appends checkpoints to a file.
#[derive(Debug)]
pub struct FileAnchor {
    path: PathBuf,
    name: String,
}

impl FileAnchor {
    /// The file is made with the first checkpoint; its directory must be there.
    pub fn new(path: PathBuf) -> Self {
        let name = format!("file:{}", path.display());
        Self { path, name }
    }
}

#[async_trait]
impl Anchor for FileAnchor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn keep(&self, checkpoint: &AnchoredCheckpoint) -> Result<(), AnchorError> {
        let path = self.path.clone();
        let AnchoredCheckpoint { number, size, note } = checkpoint;
        let line = format!("{}\n", json!({ "number": number, "size": size, "checkpoint": note }));
        let kept = tokio::task::spawn_blocking(move || append(&path, line)).await;
        let failed = |error: String| AnchorError(format!("{}: {error}", self.path.display()));
        kept.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

/// In one write, after a whole line: one that was torn by a power cut spoils no other.
fn append(path: &Path, mut line: String) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            line.insert(0, '\n');
        }
    }
    file.write_all(line.as_bytes())?;
    file.sync_data()
}
