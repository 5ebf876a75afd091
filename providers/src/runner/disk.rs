//! What a command may fill on disk, and whether it has.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::directories;
use super::ended::Excess;

/// Between two looks; longer where one look takes long.
const LOOK_EVERY: Duration = Duration::from_millis(1000);

/// The directories that a command may fill, and how far.
#[derive(Clone, Debug)]
pub(in crate::runner) struct Disk {
    /// They count together.
    pub(in crate::runner) dirs: Vec<PathBuf>,
    /// What is in them that others have written, in bytes.
    pub(in crate::runner) before: u64,
    /// How many bytes they may get beyond that.
    pub(in crate::runner) bytes: u64,
    /// Whether the command is ended when the disk of the machine is nearly full: others need what is left.
    pub(in crate::runner) gives_way: bool,
}

impl Disk {
    /// Resolves when the directories have outgrown the limit, or the disk that they are on is nearly full. `most` is
    /// what was seen in them, in bytes.
    pub(in crate::runner) async fn outgrown(&self, most: &mut u64) -> Excess {
        loop {
            let before = Instant::now();
            let (size, excess) = self.look().await;
            *most = size.max(*most);
            if let Some(excess) = excess {
                return excess;
            }
            sleep(LOOK_EVERY.max(before.elapsed() * 20)).await;
        }
    }

    /// What was written, in bytes, and whether that is too much.
    pub(in crate::runner) async fn look(&self) -> (u64, Option<Excess>) {
        let Self { dirs, before, bytes, gives_way } = self.clone();
        let look = move || {
            let size = dirs.iter().map(|dir| directories::size(dir)).fold(0, u64::saturating_add);
            if size == u64::MAX {
                return (0, Some(Excess::Disk)); // nobody can tell
            }
            let size = size.saturating_sub(before);
            if size >= bytes {
                return (size, Some(Excess::Disk));
            }
            let nearly_full = gives_way && dirs.iter().any(|dir| directories::is_nearly_full(dir));
            (size, nearly_full.then_some(Excess::Host))
        };
        spawn_blocking(look).await.unwrap_or_default()
    }
}
