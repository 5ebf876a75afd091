//! Moves what a container writes to its log, also after the way to the engine was lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters as query;
use chrono::NaiveDateTime;
use domain::ports::logs::{LogStream, Output};
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use crate::runner::tail::Tail;

/// How long the engine may take to show the rest, once a container has ended.
const REST: Duration = Duration::from_secs(10);

/// Before the next try to reach it.
const AGAIN: Duration = Duration::from_millis(250);

/// How far a log was read: lines carry the engine's time, and it can be asked for those since a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The latest second of which a piece was read.
    second: i64,
    /// How many pieces of it were read.
    read: u64,
}

impl Cursor {
    fn advance(&mut self, second: i64) {
        match second.cmp(&self.second) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => self.read += 1,
            std::cmp::Ordering::Greater => *self = Self { second, read: 1 },
        }
    }

    /// As text, for a file.
    pub(super) fn text(self) -> String {
        format!("{} {}", self.second, self.read)
    }

    /// From such a text.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let (second, read) = text.trim().split_once(' ')?;
        Some(Self { second: second.parse().ok()?, read: read.parse().ok()? })
    }
}

/// Copies the output of one container until it has ended.
pub(super) struct Pump {
    tail: Tail,
    cursor: Arc<Mutex<Cursor>>,
    ended: CancellationToken,
    copying: JoinHandle<()>,
}

impl Pump {
    /// Starts copying after what was read already.
    pub(super) fn start(
        engine: Arc<Engine>,
        container: String,
        output: Arc<dyn Output>,
        from: Cursor,
    ) -> Self {
        let (tail, ended) = (Tail::default(), CancellationToken::new());
        let cursor = Arc::new(Mutex::new(from));
        let copy = Copy { engine, container, output, tail: tail.clone(), cursor: cursor.clone() };
        let copying = tokio::spawn(copy.run(ended.clone()));
        Self { tail, cursor, ended, copying }
    }

    /// How far it is.
    pub(super) fn cursor(&self) -> Cursor {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the rest of a container that has ended; answers the end of it.
    pub(super) async fn finish(mut self) -> String {
        self.ended.cancel();
        let _ended = (&mut self.copying).await;
        self.tail.text()
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.copying.abort();
    }
}

struct Copy {
    engine: Arc<Engine>,
    container: String,
    output: Arc<dyn Output>,
    tail: Tail,
    cursor: Arc<Mutex<Cursor>>,
}

impl Copy {
    async fn run(self, ended: CancellationToken) {
        while !ended.is_cancelled() {
            if let Ok(docker) = self.engine.docker().await {
                let followed = self.pass(&docker, true);
                tokio::select! {
                    () = followed => {}
                    () = async { ended.cancelled().await; sleep(AGAIN).await } => break,
                }
            }
            tokio::select! {
                () = ended.cancelled() => {}
                () = sleep(AGAIN) => {}
            }
        }
        if let Ok(docker) = self.engine.docker().await {
            let _as_far_as_it_goes = timeout(REST, self.pass(&docker, false)).await;
        }
    }

    /// Takes what follows the cursor, until the engine says no more.
    async fn pass(&self, docker: &Docker, follow: bool) {
        let from = *self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = from.read;
        let mut pieces = Box::pin(docker.logs(&self.container, Some(options(follow, from.second))));
        while let Some(Ok(piece)) = pieces.next().await {
            let (stream, message) = match piece {
                LogOutput::StdErr { message } => (LogStream::Stderr, message),
                LogOutput::StdOut { message }
                | LogOutput::Console { message }
                | LogOutput::StdIn { message } => (LogStream::Stdout, message),
            };
            let (second, text) = dated(&message);
            if known > 0 && second >= from.second {
                known -= 1;
                continue;
            }
            self.output.write(stream, text);
            self.tail.push(text);
            self.cursor.lock().unwrap_or_else(PoisonError::into_inner).advance(second);
        }
    }
}

/// Everything that a container has written, within bounds.
pub(super) async fn all(engine: &Engine, container: &str) -> Result<Vec<u8>, Error> {
    const MOST: usize = 64 << 10;
    let Ok(docker) = engine.docker().await else { return Ok(Vec::new()) };
    let mut text = Vec::new();
    let mut pieces = Box::pin(docker.logs(container, Some(options(false, 0))));
    while let Ok(Some(piece)) = timeout(REST, pieces.next()).await {
        text.extend_from_slice(dated(&piece?.into_bytes()).1);
        if text.len() > MOST {
            break;
        }
    }
    Ok(text)
}

fn options(follow: bool, since: i64) -> query::LogsOptions {
    let since = i32::try_from(since).unwrap_or_default();
    query::LogsOptionsBuilder::new()
        .follow(follow)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .since(since)
        .build()
}

/// The second that the engine has put before a piece, and the piece.
fn dated(piece: &[u8]) -> (i64, &[u8]) {
    let end = piece.iter().position(|byte| *byte == b' ').filter(|end| (20..=35).contains(end));
    let time = end.and_then(|end| std::str::from_utf8(&piece[..end]).ok());
    let parsed =
        time.and_then(|time| NaiveDateTime::parse_from_str(time.get(..19)?, "%Y-%m-%dT%H:%M:%S").ok());
    match (parsed, end) {
        (Some(time), Some(end)) => (time.and_utc().timestamp(), &piece[end + 1..]),
        _ => (0, piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_dated_and_nothing_of_it_is_lost() {
        assert_eq!(dated(b"1970-01-01T00:01:05.000000001Z a b\n"), (65, &b"a b\n"[..]));
        assert_eq!(dated(b"1970-01-01T00:01:05.000000001Z  \xff"), (65, &b" \xff"[..]));
        assert_eq!(dated(b"no time at all here, but long\n").0, 0);
    }

    #[test]
    fn a_cursor_counts_the_pieces_of_its_latest_second() {
        let mut cursor = Cursor::default();
        for second in [7, 7, 6, 8, 7, 8] {
            cursor.advance(second);
        }
        assert_eq!(cursor, Cursor { second: 8, read: 2 });
        assert_eq!(Cursor::of_text(&cursor.text()), Some(cursor));
    }
}
