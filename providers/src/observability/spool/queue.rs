//! The queue on disk: what is added is there when that is answered, and no more than there is room for.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use domain::ports::telemetry::{Backlog, Written};
use tokio::sync::{Notify, mpsc, oneshot};

use super::room::{self, ASIDE, DAMAGED, Part, UNREADABLE};
use super::segment::{Open, Packed, Segment};

/// From so many bytes on, a file takes no more: what is stored is removed by whole files.
const SEGMENT: u64 = 8 << 20;
/// So many records wait for the disk at most; who comes then waits.
const WAITING: usize = 256;
/// So many bytes are written together.
const TOGETHER: u64 = 16 << 20;

/// Why something was not kept.
#[derive(Debug)]
pub(super) enum NotKept {
    /// There is no room.
    Full,
    /// It could not be written.
    Disk(io::Error),
}

/// The queue.
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

/// Who waits until a record is on disk.
type Answer = oneshot::Sender<io::Result<()>>;
/// Who waits until a file takes no more.
type Sealed = oneshot::Sender<()>;

enum Job {
    Add(Packed, Answer),
    /// What was added so far is to be read: nothing more goes into its file.
    Seal(Sealed),
}

/// What writer and reader know of each other.
struct Shared {
    part: Part,
    /// Bytes that there is room for.
    room: u64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Files that take no more, oldest first.
    sealed: VecDeque<Segment>,
    /// The one that does.
    open: Option<Segment>,
    /// Bytes of what is being written, and of what was set aside.
    taken: u64,
    aside: u64,
    /// The number of the next file.
    next: u64,
    counts: Backlog,
}

impl State {
    fn bytes(&self) -> u64 {
        self.sealed.iter().chain(&self.open).map(|segment| segment.bytes).sum::<u64>()
            + self.taken
            + self.aside
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

impl Queue {
    /// Takes up what is left from before.
    pub(super) fn open(root: &Path, room: u64) -> io::Result<Self> {
        let (part, found) = room::take(root)?;
        let rows = |segments: &[Segment]| segments.iter().map(|segment| segment.rows).sum();
        let counts = Backlog { set_aside: rows(&found.aside), ..Backlog::default() };
        let aside = found.aside.iter().map(|segment| segment.bytes).sum();
        let state =
            State { sealed: found.waiting.into(), next: found.next, counts, aside, ..State::default() };
        let shared = Shared { part, room, state: Mutex::new(state), changed: Notify::new() };
        let shared = Arc::new(shared);
        let (jobs, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write_all(shared.clone(), waiting));
        Ok(Self { jobs, shared })
    }

    /// Adds a record; when it answers, it is on disk.
    pub(super) async fn add(&self, record: Packed) -> Result<(), NotKept> {
        let (rows, size) = (u64::from(record.rows), record.size());
        let gone = |_| NotKept::Disk(io::Error::other("the server ends"));
        let slot = self.jobs.reserve().await.map_err(|_| gone(()))?;
        self.shared.take(rows, size)?;
        let (answer, answered) = oneshot::channel();
        slot.send(Job::Add(record, answer));
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the server ends"))).map_err(NotKept::Disk)
    }

    /// Rows that never came as far as here.
    pub(super) fn refused(&self, rows: u64) {
        let mut state = self.shared.state();
        state.counts.refused += rows;
        state.counts.is_refusing = true;
    }

    /// The oldest file; none when nothing waits.
    pub(super) async fn front(&self) -> Option<Segment> {
        if let Some(front) = self.shared.state().sealed.front() {
            return Some(front.clone());
        }
        if self.shared.state().open.is_some() {
            let (answer, answered) = oneshot::channel();
            self.jobs.send(Job::Seal(answer)).await.ok()?;
            answered.await.ok()?;
        }
        self.shared.state().sealed.front().cloned()
    }

    /// Waits until something may have come.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Something is to be looked at.
    pub(super) fn wake(&self) {
        self.shared.changed.notify_one();
    }

    /// From when what is stored next is.
    pub(super) fn begins(&self, oldest: DateTime<Utc>) {
        if let Some(front) = self.shared.state().sealed.front_mut() {
            front.oldest = Some(oldest);
        }
    }

    /// Rows of the oldest file are in the store.
    pub(super) fn stored(&self, written: Written) {
        let mut state = self.shared.state();
        state.counts.stored += written.stored;
        state.counts.repeated += written.repeated;
        state.leave(written.stored + written.repeated);
    }

    /// A row of the oldest file never will be.
    pub(super) async fn set_aside(&self, record: Packed) -> io::Result<()> {
        let number = self.shared.state().number();
        let path = room::file(&self.shared.part.dir, ASIDE, number);
        let rows = u64::from(record.rows);
        let adding = tokio::task::spawn_blocking(move || {
            let (file, added) = append(None, path, &[record]);
            added.map(|()| file.map_or(0, |file| file.segment.bytes))
        });
        let bytes = adding.await.unwrap_or_else(|error| Err(io::Error::other(error)))?;
        let mut state = self.shared.state();
        state.aside += bytes;
        state.counts.set_aside += rows;
        state.leave(rows);
        Ok(())
    }

    /// All of the oldest file that can be read is in the store.
    pub(super) fn done(&self, is_whole: bool) {
        let Some(front) = self.shared.state().sealed.pop_front() else { return };
        let gone = if front.is_damaged || !is_whole {
            tracing::error!("telemetry: {} is damaged and cannot be read to its end", front.path.display());
            self.keep_damaged(&front)
        } else {
            std::fs::remove_file(&front.path)
        };
        if let Err(error) = gone {
            // Stored again after the next start, it is known.
            tracing::warn!(%error, "telemetry: {} could not be removed: {error}", front.path.display());
        }
    }

    /// For operators to look at.
    fn keep_damaged(&self, front: &Segment) -> io::Result<()> {
        let path = front.path.with_extension(DAMAGED);
        std::fs::rename(&front.path, &path)?;
        let bytes = std::fs::metadata(&path)?.len();
        let mut state = self.shared.state();
        state.aside += bytes;
        state.counts.set_aside += front.rows.max(UNREADABLE);
        Ok(())
    }

    /// Ends it as the end of its process would.
    #[cfg(test)]
    pub(super) async fn end(self) {
        let shared = Arc::downgrade(&self.shared);
        drop(self);
        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn backlog(&self) -> Backlog {
        let state = self.shared.state();
        let segments = || state.sealed.iter().chain(&state.open);
        Backlog {
            rows: segments().map(|segment| segment.rows).sum(),
            bytes: state.bytes(),
            room: self.shared.room,
            oldest: segments().find_map(|segment| segment.oldest),
            ..state.counts.clone()
        }
    }
}

impl State {
    fn leave(&mut self, rows: u64) {
        self.counts.is_refusing = false;
        if let Some(front) = self.sealed.front_mut() {
            front.rows = front.rows.saturating_sub(rows);
        }
    }
}

impl Shared {
    /// Nothing is left half done where a panic could strike.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for a record.
    fn take(&self, rows: u64, size: u64) -> Result<(), NotKept> {
        let mut state = self.state();
        if state.bytes() + size > self.room {
            state.counts.refused += rows;
            state.counts.is_refusing = true;
            return Err(NotKept::Full);
        }
        state.taken += size;
        Ok(())
    }
}

/// Writes what comes, until nobody can send any more: all that waits together.
async fn write_all(shared: Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    let mut open = None;
    while let Some(first) = jobs.recv().await {
        let (records, answers, seal) = gather(first, &mut jobs);
        let (size, rows) = (records.iter().map(Packed::size).sum::<u64>(), rows(&records));
        let path = room::file(&shared.part.dir, "", shared.state().number());
        let adding = tokio::task::spawn_blocking(move || append(open, path, &records));
        let (left, added) =
            adding.await.unwrap_or_else(|_| (None, Err(io::Error::other("writing was cut off"))));
        open = left;
        note(&shared, &mut open, (size, rows), &added, seal.is_some());
        for answer in answers {
            let copy = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
            let _ = answer.send(added.as_ref().copied().map_err(copy));
        }
        if let Some(answer) = seal {
            let _ = answer.send(());
        }
        shared.changed.notify_one();
    }
}

fn rows(records: &[Packed]) -> u64 {
    records.iter().map(|record| u64::from(record.rows)).sum()
}

/// What waits, up to where somebody wants to read.
fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>) -> (Vec<Packed>, Vec<Answer>, Option<Sealed>) {
    let (mut records, mut answers, mut size) = (vec![], vec![], 0);
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Add(record, answer) => {
                size += record.size();
                records.push(record);
                answers.push(answer);
            }
            Job::Seal(answer) => return (records, answers, Some(answer)),
        }
        next = if size < TOGETHER { jobs.try_recv().ok() } else { None };
    }
    (records, answers, None)
}

/// Adds records to the open file, or to one that begins with them. A file that failed takes no more; what it had before
/// is good.
fn append(open: Option<Open>, path: PathBuf, records: &[Packed]) -> (Option<Open>, io::Result<()>) {
    if records.is_empty() {
        return (open, Ok(()));
    }
    let mut open = match open.map_or_else(|| Open::create(path), Ok) {
        Ok(open) => open,
        Err(error) => return (None, Err(error)),
    };
    match open.append(records) {
        Ok(()) => (Some(open), Ok(())),
        Err(error) => {
            if open.segment.rows == 0 {
                let _ = std::fs::remove_file(&open.segment.path);
            }
            (None, Err(error))
        }
    }
}

/// Notes what came of it.
fn note(
    shared: &Shared,
    open: &mut Option<Open>,
    (size, rows): (u64, u64),
    added: &io::Result<()>,
    seal: bool,
) {
    let mut state = shared.state();
    state.taken = state.taken.saturating_sub(size);
    match added {
        Ok(_) => {
            state.open = open.as_ref().map(|open| open.segment.clone());
            state.counts.is_refusing = state.counts.is_refusing && rows == 0;
        }
        Err(error) => {
            tracing::warn!(%error, "telemetry that waits could not be written: {error}");
            state.counts.refused += rows;
            state.counts.is_refusing = true;
        }
    }
    let is_long = state.open.as_ref().is_some_and(|open| open.bytes >= SEGMENT);
    if added.is_err() || seal || is_long {
        *open = None;
        let sealed = state.open.take().filter(|segment| segment.rows > 0);
        state.sealed.extend(sealed);
    }
}
