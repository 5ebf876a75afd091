//! How much access is recorded one by one, and what is counted instead.
//!
//! In a minute, 30 of each address and of each account, and 300 of all, of one server process. The first that is not
//! recorded any more opens a summary, which is recorded at once; when the minute is over a second one counts the rest.
//! So a flood adds at most 302 events a minute, and a crash in it loses no more than a minute's count.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use domain::access::AccessEvent;

/// Recorded of one address or account in a window.
pub(super) const OF_EACH: u32 = 30;
/// Recorded of all in a window.
pub(super) const OF_ALL: u32 = 300;
/// Length of a window.
const WINDOW: TimeDelta = TimeDelta::minutes(1);

/// What was not recorded one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) count: u64,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Suppressed {
    pub(super) fn event(self) -> AccessEvent {
        let Self { count, from, to } = self;
        AccessEvent::AccessSuppressed { count, from, to }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// First record this of a window that is over.
    pub(super) over: Option<Suppressed>,
    /// Then do this.
    pub(super) then: Then,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Record it.
    Record,
    /// Record that from now on it is counted; this one is.
    Open,
    /// Nothing: it is counted.
    Count,
}

/// The counters of a server process.
#[derive(Debug, Default)]
pub(crate) struct Flood(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<DateTime<Utc>>,
    recorded: u32,
    /// As many as were recorded at the most: others open no entry.
    of_each: HashMap<String, u32>,
    opened: bool,
    counted: Option<Suppressed>,
}

impl Flood {
    pub(super) fn judge(&self, sources: &[String], now: DateTime<Utc>) -> Verdict {
        let mut window = self.lock();
        let over = window.roll(Some(now));
        window.began.get_or_insert(now);
        let is_full = |source: &String| window.of_each.get(source).is_some_and(|count| *count >= OF_EACH);
        if window.recorded < OF_ALL && !sources.iter().any(is_full) {
            window.recorded += 1;
            for source in sources {
                *window.of_each.entry(source.clone()).or_default() += 1;
            }
            return Verdict { over, then: Then::Record };
        }
        if !std::mem::replace(&mut window.opened, true) {
            return Verdict { over, then: Then::Open };
        }
        window.add(Suppressed { count: 1, from: now, to: now });
        Verdict { over, then: Then::Count }
    }

    /// What was counted in a window that is over at `now`; of any window without it.
    pub(super) fn over(&self, now: Option<DateTime<Utc>>) -> Option<Suppressed> {
        self.lock().roll(now)
    }

    /// The summary was not opened: the next one tries again.
    pub(super) fn not_opened(&self) {
        self.lock().opened = false;
    }

    /// The summary was not recorded: it is part of the next one.
    pub(super) fn give_back(&self, suppressed: Suppressed) {
        self.lock().add(suppressed);
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Begins anew when it is over; answers what it has counted.
    fn roll(&mut self, now: Option<DateTime<Utc>>) -> Option<Suppressed> {
        let is_over = match (self.began, now) {
            (Some(began), Some(now)) => now - began >= WINDOW,
            _ => now.is_none(),
        };
        if is_over { std::mem::take(self).counted } else { None }
    }

    fn add(&mut self, more: Suppressed) {
        self.began.get_or_insert(more.from);
        let known = self.counted.get_or_insert(Suppressed { count: 0, ..more });
        known.count += more.count;
        known.from = known.from.min(more.from);
        known.to = known.to.max(more.to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn ten_thousand_of_one_address_are_recorded_thirty_times_and_the_rest_is_counted_twice() {
        let flood = Flood::default();
        let from = ["192.0.2.1".to_owned()];
        let verdicts: Vec<Then> = (0..10_000).map(|_| flood.judge(&from, at(1)).then).collect();
        let count = |of: &Then| verdicts.iter().filter(|then| *then == of).count();
        assert_eq!((count(&Then::Record), count(&Then::Open), count(&Then::Count)), (30, 1, 9_969));
        assert_eq!(flood.over(Some(at(60))), None, "the minute goes on");
        let rest = Suppressed { count: 9_969, from: at(1), to: at(1) };
        assert_eq!(flood.over(Some(at(61))), Some(rest));
        assert_eq!(flood.over(Some(at(62))), None, "once");
        assert_eq!(flood.judge(&from, at(63)), Verdict { over: None, then: Then::Record });
    }

    #[test]
    fn ten_thousand_of_as_many_addresses_are_bounded_too() {
        let flood = Flood::default();
        let recorded =
            (0..10_000).filter(|n| flood.judge(&[n.to_string()], at(0)).then == Then::Record).count();
        assert_eq!(recorded, OF_ALL as usize);
        assert!(flood.lock().of_each.len() <= OF_ALL as usize, "memory is bounded as well");
        let next = flood.judge(&["x".to_owned()], at(60));
        assert_eq!(next.then, Then::Record);
        assert_eq!(next.over.unwrap().count + 1 + u64::from(OF_ALL), 10_000, "none is forgotten");
    }

    #[test]
    fn what_could_not_be_recorded_is_part_of_the_next_summary() {
        let flood = Flood::default();
        for _ in 0..33 {
            flood.judge(&["a".to_owned()], at(0));
        }
        let lost = flood.over(None).unwrap();
        flood.give_back(lost);
        assert_eq!(flood.over(Some(at(1))), None);
        assert_eq!(flood.over(None), Some(lost));
        flood.judge(&["a".to_owned()], at(2));
        for _ in 0..30 {
            flood.judge(&["a".to_owned()], at(2));
        }
        flood.not_opened();
        assert_eq!(flood.judge(&["a".to_owned()], at(2)).then, Then::Open);
    }
}
