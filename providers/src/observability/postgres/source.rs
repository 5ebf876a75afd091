//! The queue of one source: lines that are masked, split and counted, and wait for the writer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::ports::logs::{LogOrigin, LogSource, LogStream};
use tokio::sync::watch;

use super::budget::{Budget, TRUNCATED, Verdict, truncated};
use super::store::Past;
use super::{Limits, lock};

/// What a queued line takes besides its text.
const OVERHEAD: usize = 64;

/// Bytes that wait in all queues together.
pub(super) type Gauge = Arc<AtomicUsize>;

/// A line that has no number yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: DateTime<Utc>,
    pub(super) stream: LogStream,
    pub(super) text: String,
}

impl Line {
    fn platform(text: String) -> Self {
        Self { at: Utc::now(), stream: LogStream::Platform, text }
    }

    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// What the writer does next for a source: stores lines, then fills in how many were cut off.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) lines: Vec<Line>,
    pub(super) dropped: Option<u64>,
    /// The number of the last line stored.
    pub(super) last: i64,
}

/// A source that is open.
pub(super) struct Source {
    pub(super) origin: LogOrigin,
    limits: Limits,
    gauge: Gauge,
    queue: Mutex<Queue>,
    /// How many items of the queue are stored.
    stored: watch::Sender<u64>,
}

enum Item {
    Line(Line),
    Dropped(u64),
}

struct Queue {
    items: VecDeque<Item>,
    /// Bytes of lines that are not stored yet, those the writer has among them.
    size: usize,
    /// Number of items ever queued.
    accepted: u64,
    /// Number of the last line stored.
    last: i64,
    budget: Budget,
    /// What the stored line about dropped ones says.
    told: u64,
    /// Lines that found the queue full.
    lost: u64,
    /// Whether the writer knows that there is something to do.
    scheduled: bool,
    writers: usize,
}

impl Source {
    pub(super) fn new(origin: LogOrigin, past: Past, limits: Limits, gauge: Gauge) -> Self {
        let cap = match origin.source {
            LogSource::Build(_) => limits.build,
            LogSource::Deployment(_) => limits.deployment,
        };
        let queue = Queue {
            items: VecDeque::new(),
            size: 0,
            accepted: 0,
            last: past.last,
            told: past.dropped.unwrap_or(0),
            budget: Budget::new(cap, past.lines, past.bytes, past.dropped),
            lost: 0,
            scheduled: false,
            writers: 0,
        };
        Self { origin, limits, gauge, queue: Mutex::new(queue), stored: watch::Sender::new(0) }
    }

    pub(super) fn join(&self) {
        lock(&self.queue).writers += 1;
    }

    /// Takes a line as far as the bounds allow. Answers after which while somebody must call `renew`, if so.
    pub(super) fn offer(&self, line: Line) -> Option<Duration> {
        let mut queue = lock(&self.queue);
        self.renew_queue(&mut queue);
        if line.stream != LogStream::Platform {
            match queue.budget.judge(line.text.len() as u64) {
                Verdict::Stored => {}
                Verdict::Dropped => return None,
                Verdict::DroppedFirst => {
                    let for_a_while = queue.budget.left(Instant::now());
                    if for_a_while.is_none() {
                        self.put(&mut queue, Line::platform(TRUNCATED.to_owned()));
                    }
                    return for_a_while;
                }
            }
        }
        // Once full it stays shut until half is stored: one line about a thousand lost ones, not many about
        // few.
        let share = if queue.lost == 0 { 1 } else { 2 };
        if self.has_room(&queue, share, line.size()) {
            self.tell_lost(&mut queue);
            self.put(&mut queue, line);
        } else {
            queue.lost += 1;
        }
        None
    }

    /// Says what could not be kept, when there is room again or a while is over.
    pub(super) fn renew(&self) {
        let mut queue = lock(&self.queue);
        self.renew_queue(&mut queue);
        if queue.lost > 0 && self.has_room(&queue, 2, 0) {
            self.tell_lost(&mut queue);
        }
    }

    /// Says all that is known about what was not kept. Answers how many items will be stored then.
    pub(super) fn settle(&self) -> u64 {
        let mut queue = lock(&self.queue);
        self.tell_lost(&mut queue);
        if queue.budget.is_final() {
            let dropped = queue.budget.dropped();
            if dropped > queue.told {
                queue.told = dropped;
                queue.items.push_back(Item::Dropped(dropped));
                queue.accepted += 1;
            }
        } else {
            let dropped = queue.budget.take_dropped();
            self.tell_truncated(&mut queue, dropped);
        }
        queue.accepted
    }

    /// One writer less.
    pub(super) fn leave(&self) {
        lock(&self.queue).writers -= 1;
    }

    /// Whether the writer must be told that there is something to do; true once.
    pub(super) fn needs_writer(&self) -> bool {
        let mut queue = lock(&self.queue);
        !queue.items.is_empty() && !std::mem::replace(&mut queue.scheduled, true)
    }

    /// Whether nobody writes it any more and everything is stored.
    pub(super) fn is_done(&self) -> bool {
        let queue = lock(&self.queue);
        queue.writers == 0 && queue.accepted == *self.stored.borrow()
    }

    /// Takes lines out for storing, at most so many with about so many bytes.
    pub(super) fn take(&self, lines: usize, bytes: usize) -> Taken {
        let mut queue = lock(&self.queue);
        let mut taken = Taken { last: queue.last, ..Taken::default() };
        let mut size = 0;
        while taken.dropped.is_none() && taken.lines.len() < lines && size < bytes {
            match queue.items.pop_front() {
                Some(Item::Line(line)) => {
                    size += line.size();
                    taken.lines.push(line);
                }
                Some(Item::Dropped(dropped)) => taken.dropped = Some(dropped),
                None => break,
            }
        }
        queue.scheduled = false;
        taken
    }

    /// What was taken is stored.
    pub(super) fn stored(&self, taken: &Taken) {
        let mut queue = lock(&self.queue);
        let size = taken.lines.iter().map(Line::size).sum();
        queue.size -= size;
        self.gauge.fetch_sub(size, Ordering::Relaxed);
        queue.last = taken.last + taken.lines.len() as i64;
        let items = taken.lines.len() as u64 + u64::from(taken.dropped.is_some());
        self.stored.send_modify(|stored| *stored += items);
    }

    /// Resolves when so many items are stored.
    pub(super) async fn wait_for(&self, items: u64) {
        let stored = self.stored.subscribe().wait_for(|stored| *stored >= items).await.map(|_| ());
        stored.expect("the sender is ours");
    }

    fn renew_queue(&self, queue: &mut Queue) {
        let dropped = queue.budget.renew(Instant::now());
        self.tell_truncated(queue, dropped);
    }

    fn tell_truncated(&self, queue: &mut Queue, dropped: u64) {
        if dropped > 0 {
            self.put(queue, Line::platform(truncated(dropped)));
        }
    }

    fn tell_lost(&self, queue: &mut Queue) {
        let lost = std::mem::take(&mut queue.lost);
        if lost > 0 {
            let lines = if lost == 1 { "line" } else { "lines" };
            self.put(
                queue,
                Line::platform(format!("… {lost} {lines} lost: the log store did not take them in time")),
            );
        }
    }

    fn has_room(&self, queue: &Queue, share: usize, size: usize) -> bool {
        queue.size + size <= self.limits.queue / share
            && self.gauge.load(Ordering::Relaxed) + size <= self.limits.queues / share
    }

    fn put(&self, queue: &mut Queue, line: Line) {
        queue.size += line.size();
        self.gauge.fetch_add(line.size(), Ordering::Relaxed);
        queue.items.push_back(Item::Line(line));
        queue.accepted += 1;
    }
}
