//! Runs a helper of the platform itself (git, npm) to its end, within bounds.
//!
//! Never for what a repository brings: that runs in a sandbox.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use walkdir::WalkDir;

/// How often the size of a watched directory is looked at.
const SIZE_CHECK: Duration = Duration::from_millis(200);
/// More of the standard error than this is read and forgotten.
const MAX_STDERR: usize = 64 * 1024;

/// What the program may use.
pub(crate) struct Bounds {
    /// Wall time.
    pub(crate) timeout: Duration,
    /// Bytes of standard output.
    pub(crate) stdout: usize,
    /// A directory and the bytes it may grow to.
    pub(crate) directory: Option<(PathBuf, u64)>,
}

/// How the program ended, and what it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Why it was not run to its end.
#[derive(Debug)]
pub(crate) enum CutOff {
    /// It could not be started.
    NotStarted(io::Error),
    /// It took longer than allowed.
    TooSlow,
    /// It wrote more than allowed.
    TooMuch,
}

/// Runs `command` in its own process group, without input. The whole group is killed when a bound is hit and
/// when the future is dropped.
pub(crate) async fn run(mut command: Command, bounds: Bounds) -> Result<Ended, CutOff> {
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(CutOff::NotStarted)?;
    // Declared after the child, so dropped before it: the id cannot belong to another process yet.
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let ended = tokio::select! {
        ended = finish(&mut child, bounds.stdout) => ended,
        () = grown(bounds.directory) => Err(CutOff::TooMuch),
        () = tokio::time::sleep(bounds.timeout) => Err(CutOff::TooSlow),
    };
    match ended {
        Ok(ended) => {
            group.ended();
            Ok(ended)
        }
        Err(cut_off) => {
            drop(group);
            let _ = child.wait().await; // it was killed; nothing of it may outlive this call
            Err(cut_off)
        }
    }
}

async fn finish(child: &mut Child, max_stdout: usize) -> Result<Ended, CutOff> {
    let stdout = child.stdout.take().expect("piped above");
    let stderr = child.stderr.take().expect("piped above");
    let read_out = async {
        let mut bytes = Vec::new();
        let _ = stdout.take(max_stdout as u64 + 1).read_to_end(&mut bytes).await;
        if bytes.len() > max_stdout { Err(CutOff::TooMuch) } else { Ok(bytes) }
    };
    let (stdout, stderr) = tokio::try_join!(read_out, async { Ok(read_some(stderr).await) })?;
    let status = child.wait().await.map_err(CutOff::NotStarted)?;
    Ok(Ended { status, stdout, stderr })
}

/// Reads to the end, so that the program never waits for us, and keeps the beginning.
async fn read_some(mut pipe: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut chunk) = (Vec::new(), [0; 8192]);
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        let room = MAX_STDERR - kept.len();
        kept.extend_from_slice(&chunk[..count.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Ends when the directory has grown beyond its bound.
async fn grown(directory: Option<(PathBuf, u64)>) {
    let Some((path, max)) = directory else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(SIZE_CHECK);
    loop {
        ticks.tick().await;
        let size: u64 = WalkDir::new(&path)
            .into_iter()
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .map(|metadata| metadata.len())
            .sum();
        if size > max {
            return;
        }
    }
}

/// Kills the group when dropped.
struct Group(Option<Pid>);

impl Group {
    /// The program ended by itself: its number may be another's by now.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL); // gone already is as good
        }
    }
}
