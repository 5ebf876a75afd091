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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn judged(budget: &mut Budget, lines: usize) -> Vec<Verdict> {
        (0..lines).map(|_| budget.judge(10)).collect()
    }

    #[test]
    fn a_budget_for_ever_ends_once() {
        let mut budget = Budget::new(Cap { lines: 2, bytes: 100, per: None }, 0, 0, None);
        use Verdict::{Dropped, DroppedFirst, Stored};
        assert_eq!(judged(&mut budget, 4), [Stored, Stored, DroppedFirst, Dropped]);
        assert_eq!(budget.renew(Instant::now() + 1000 * SECOND), 0);
        assert_eq!((budget.judge(1), budget.dropped()), (Dropped, 3));
    }

    #[test]
    fn after_a_long_line_no_short_one_is_stored() {
        let mut budget = Budget::new(Cap { lines: 9, bytes: 100, per: None }, 0, 0, None);
        assert_eq!(budget.judge(101), Verdict::DroppedFirst);
        assert_eq!(budget.judge(1), Verdict::Dropped);
    }

    #[test]
    fn what_was_used_and_dropped_before_counts() {
        let cap = Cap { lines: 3, bytes: 100, per: None };
        assert_eq!(Budget::new(cap, 3, 30, None).judge(1), Verdict::DroppedFirst);
        let mut cut = Budget::new(cap, 3, 30, Some(7));
        assert_eq!((cut.judge(1), cut.dropped()), (Verdict::Dropped, 8));
    }

    #[test]
    fn a_budget_for_a_while_begins_anew() {
        let mut budget = Budget::new(Cap { lines: 2, bytes: 100, per: Some(SECOND) }, 0, 0, None);
        judged(&mut budget, 5);
        assert_eq!(budget.renew(budget.since + SECOND / 2), 0);
        assert_eq!(budget.take_dropped(), 3);
        assert_eq!(budget.judge(1), Verdict::Dropped);
        assert_eq!(budget.renew(budget.since + SECOND), 1);
        assert_eq!(budget.judge(1), Verdict::Stored);
    }

    #[test]
    fn the_number_can_be_read_back() {
        for dropped in [1, 2, 20_000] {
            assert_eq!(dropped_in(&truncated(dropped)), dropped);
        }
        assert_eq!(dropped_in(TRUNCATED), 0);
    }
}
