//! What is written together, and when: several batches are under way at a time, and no row is in two of them.
//!
//! Invariant: a row is asked about after whatever was written of it before is stored or has failed. So what a batch is told
//! of its rows stays true until they are stored.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::{Identity, Job};

/// Every insert makes a part for each of its days, which the engine has to merge: of small ones no more than so many a second.
const BEAT: Duration = Duration::from_millis(100);
/// From so many rows on, an insert is worth its part at any time.
const ENOUGH: usize = 2500;
/// From so many rows on, an insert takes no more.
const ROWS: usize = 20_000;
/// While one is stored, another is asked about, and a third is made into rows.
const UNDER_WAY: usize = 3;

/// Writes what comes, until nobody can send any more and all of it is settled.
pub(super) async fn run<T, W>(mut waiting: mpsc::Receiver<Job<T>>, write: impl Fn(Vec<Job<T>>) -> W)
where
    W: Future<Output = ()> + Send + 'static,
{
    let mut queue = Queue::default();
    let mut under_way = JoinSet::new();
    let (mut is_open, mut next) = (true, Instant::now());
    while is_open || !queue.is_empty() {
        let may_begin = under_way.len() < UNDER_WAY && !queue.free.is_empty();
        let is_enough = queue.free_rows >= ENOUGH;
        tokio::select! {
            biased;
            Some(done) = under_way.join_next_with_id() => {
                // One that broke off has answered nobody, and is over all the same.
                queue.settle(done.map_or_else(|error| error.id(), |(id, ())| id));
            }
            job = waiting.recv(), if is_open && queue.has_room() => match job {
                Some(job) => queue.push(job),
                None => is_open = false,
            },
            () = begins(next, is_enough), if may_begin => {
                next = Instant::now() + BEAT;
                let (jobs, identities) = queue.begin();
                if !jobs.is_empty() {
                    queue.under_way.insert(under_way.spawn(write(jobs)).id(), identities);
                }
            }
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// When the next batch begins.
async fn begins(next: Instant, is_enough: bool) {
    if !is_enough {
        tokio::time::sleep_until(next).await;
    }
}

/// What came and is not settled.
struct Queue<T> {
    /// What may be written next.
    free: VecDeque<Job<T>>,
    free_rows: usize,
    /// What has a row that is under way, or one that is held before it.
    held: VecDeque<Job<T>>,
    held_rows: usize,
    held_identities: HashSet<Identity>,
    /// Rows that are under way: all, and those of each batch.
    taken: HashSet<Identity>,
    under_way: HashMap<Id, Vec<Identity>>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            free: VecDeque::new(),
            free_rows: 0,
            held: VecDeque::new(),
            held_rows: 0,
            held_identities: HashSet::new(),
            taken: HashSet::new(),
            under_way: HashMap::new(),
        }
    }
}

impl<T> Queue<T> {
    fn is_empty(&self) -> bool {
        self.free.is_empty() && self.held.is_empty()
    }

    fn has_room(&self) -> bool {
        self.free_rows + self.held_rows < ROWS
    }

    fn push(&mut self, job: Job<T>) {
        let is_held = |identity| self.taken.contains(identity) || self.held_identities.contains(identity);
        if job.identities.iter().any(is_held) {
            self.held_rows += job.rows.len();
            self.held_identities.extend(&job.identities);
            self.held.push_back(job);
        } else {
            self.free_rows += job.rows.len();
            self.free.push_back(job);
        }
    }

    /// The next batch, without those who have gone, and the rows that are under way with it.
    fn begin(&mut self) -> (Vec<Job<T>>, Vec<Identity>) {
        let (mut jobs, mut identities) = (Vec::new(), Vec::new());
        while identities.len() < ROWS
            && let Some(job) = self.free.pop_front()
        {
            self.free_rows -= job.rows.len();
            if !job.answer.is_closed() {
                identities.extend(&job.identities);
                jobs.push(job);
            }
        }
        self.taken.extend(&identities);
        self.free_rows = 0;
        for job in std::mem::take(&mut self.free) {
            self.push(job);
        }
        (jobs, identities)
    }

    /// A batch is stored or has failed: who waited for it waits no more.
    fn settle(&mut self, batch: Id) {
        for identity in self.under_way.remove(&batch).unwrap_or_default() {
            self.taken.remove(&identity);
        }
        self.held_rows = 0;
        self.held_identities.clear();
        for job in std::mem::take(&mut self.held) {
            self.push(job);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
