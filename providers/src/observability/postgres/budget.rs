//! Keeps count of what a source stores, so that none fills the disk.

use std::time::{Duration, Instant};

use super::Cap;

/// How the line begins that stands for what was cut off.
pub(super) const TRUNCATED: &str = "… output truncated";

/// What a source has used of its cap.
#[derive(Debug)]
pub(super) struct Budget {
    cap: Cap,
    since: Instant,
    lines: u64,
    bytes: u64,
    /// Lines that were not admitted; `None` while all were.
    dropped: Option<u64>,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored.
    Stored,
    /// It is the first that is not.
    DroppedFirst,
    /// It is one more that is not.
    Dropped,
}

impl Budget {
    /// So much was used before; `dropped` as the source's own line about it says.
    pub(super) fn new(cap: Cap, lines: u64, bytes: u64, dropped: Option<u64>) -> Self {
        Self { cap, since: Instant::now(), lines, bytes, dropped }
    }

    /// Whether the number of dropped lines is known only when the source is closed, not when a while is over.
    pub(super) fn is_final(&self) -> bool {
        self.cap.per.is_none()
    }

    /// Judges the next line. Once one was dropped all are, so that what is stored has one end.
    pub(super) fn judge(&mut self, bytes: u64) -> Verdict {
        if let Some(dropped) = &mut self.dropped {
            *dropped += 1;
            return Verdict::Dropped;
        }
        if self.lines >= self.cap.lines || self.bytes + bytes > self.cap.bytes {
            self.dropped = Some(1);
            return Verdict::DroppedFirst;
        }
        self.lines += 1;
        self.bytes += bytes;
        Verdict::Stored
    }

    /// Lines dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.unwrap_or(0)
    }

    /// Lines dropped since this was asked last; for caps that are for a while.
    pub(super) fn take_dropped(&mut self) -> u64 {
        self.dropped.as_mut().map_or(0, std::mem::take)
    }

    /// How long it is until everything is admitted again; `None` if it never is.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.cap.per.map(|per| per.saturating_sub(now.duration_since(self.since)))
    }

    /// Begins anew when the while is over; answers how many lines were dropped in the old one.
    pub(super) fn renew(&mut self, now: Instant) -> u64 {
        let over = self.cap.per.is_some_and(|per| now.duration_since(self.since) >= per);
        if !over {
            return 0;
        }
        (self.since, self.lines, self.bytes) = (now, 0, 0);
        self.dropped.take().unwrap_or(0)
    }
}

/// The text of the line that stands for so many dropped ones.
pub(super) fn truncated(dropped: u64) -> String {
    let lines = if dropped == 1 { "line" } else { "lines" };
    format!("{TRUNCATED}: {dropped} {lines} dropped")
}

/// The number in such a line: 0 when it is not filled in.
pub(super) fn dropped_in(text: &str) -> u64 {
    let number = text.strip_prefix(TRUNCATED).and_then(|rest| rest.strip_prefix(": ")?.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
