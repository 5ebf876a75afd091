//! Which roll-ups of a project say what its rows say.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use domain::ports::telemetry::Period;
use uuid::Uuid;

/// No insert takes so long: what was written so long before a day was rolled up is in the roll-up.
pub(super) const MARGIN: TimeDelta = TimeDelta::minutes(10);
/// A day is rolled up when it has been over for so long: what comes later is late.
const OVER: TimeDelta = TimeDelta::hours(1);

/// What is rolled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::observability::clickhouse) enum Kind {
    /// Traces on the day of their first root: roots of all days before say which that is.
    Traces,
    /// What calls used: whether a sum counts is said by the days beside its own.
    Models,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Traces, Self::Models];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Models => "models",
        }
    }

    /// The last day whose rows may change what a day says.
    fn last(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Traces => day,
            Self::Models => beside(day, 1),
        }
    }
}

/// A day of which something was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    pub(super) written_at: DateTime<Utc>,
    /// The day after which the first of it goes.
    pub(super) expires_first: NaiveDate,
}

/// A day that was rolled up.
#[derive(Clone, Debug)]
pub(super) struct Rolled {
    pub(super) roll: Uuid,
    pub(super) at: DateTime<Utc>,
    pub(super) leans_on: Vec<NaiveDate>,
}

/// What is known of a project's days.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// When that was, by the engine's clock.
    pub(super) now: DateTime<Utc>,
    pub(super) days: BTreeMap<NaiveDate, Noted>,
    pub(super) rolled: HashMap<(Kind, NaiveDate), Rolled>,
}

/// What a question reads.
#[derive(Debug, Default)]
pub(in crate::observability::clickhouse) struct Reading {
    /// Roll-ups.
    pub(in crate::observability::clickhouse) rolls: Vec<Uuid>,
    /// When spans began that are read themselves.
    pub(in crate::observability::clickhouse) raw: Vec<Period>,
}

impl Ledger {
    /// Roll-ups for the whole days that have sound ones, rows for all other times.
    pub(super) fn reading(&self, kind: Kind, period: Period) -> Reading {
        let mut reading = Reading::default();
        let mut from = period.from;
        for (day, rolled) in self.sound(kind) {
            let (begin, end) = (midnight(day), midnight(beside(day, 1)));
            if from.is_some_and(|from| begin < from) || period.to.is_some_and(|to| to < end) {
                continue;
            }
            if from.is_none_or(|from| from < begin) {
                reading.raw.push(Period { from, to: Some(begin) });
            }
            reading.rolls.push(rolled.roll);
            from = Some(end);
        }
        if reading.rolls.is_empty() || period.to.is_none_or(|to| from.is_none_or(|from| from < to)) {
            reading.raw.push(Period { from, to: period.to });
        }
        reading
    }

    /// Days to be rolled up: those that are over and have not been written to for a while, and have no sound roll-up.
    pub(super) fn due(&self, kind: Kind, now: DateTime<Utc>) -> Vec<NaiveDate> {
        let sound: BTreeMap<_, _> = self.sound(kind).collect();
        let is_due = |day: &NaiveDate| {
            !sound.contains_key(day)
                && midnight(beside(kind.last(*day), 1)) + OVER <= now
                && self.is_there(*day)
                && self.written(kind, *day).is_some_and(|at| at + MARGIN <= self.now)
        };
        self.days.keys().copied().filter(is_due).collect()
    }

    /// What a roll-up that is made of these days' rows leans on, of those that there are.
    pub(super) fn leans(&self, kind: Kind, day: NaiveDate) -> Vec<NaiveDate> {
        let eve = beside(day, -1);
        if kind == Kind::Models && self.days.contains_key(&eve) { vec![eve] } else { vec![] }
    }

    /// Days in their order, each with its roll-up, that say what the rows say.
    fn sound(&self, kind: Kind) -> impl Iterator<Item = (NaiveDate, &Rolled)> {
        let mut latest = DateTime::<Utc>::MIN_UTC;
        self.days.iter().filter_map(move |(day, noted)| {
            latest = latest.max(noted.written_at);
            let rolled = self.rolled.get(&(kind, *day))?;
            let written = match kind {
                Kind::Traces => latest,
                Kind::Models => self.written(kind, *day)?,
            };
            let is_sound = written + MARGIN <= rolled.at
                && self.is_there(*day)
                && rolled.leans_on.iter().all(|day| self.is_there(*day));
            is_sound.then_some((*day, rolled))
        })
    }

    /// When something was last written that may change what a day says.
    fn written(&self, kind: Kind, day: NaiveDate) -> Option<DateTime<Utc>> {
        let first = match kind {
            Kind::Traces => NaiveDate::MIN,
            Kind::Models => beside(day, -1),
        };
        self.days.range(first..=kind.last(day)).map(|(_, noted)| noted.written_at).max()
    }

    /// Whether all that was written of a day is there: nothing of it can have gone.
    fn is_there(&self, day: NaiveDate) -> bool {
        self.days.get(&day).is_some_and(|noted| noted.expires_first >= self.now.date_naive())
    }
}

/// A day so many days off.
pub(super) fn beside(day: NaiveDate, days: i64) -> NaiveDate {
    day.checked_add_signed(TimeDelta::days(days)).unwrap_or(day)
}

pub(super) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// The rows of a day.
pub(in crate::observability::clickhouse) fn whole(day: NaiveDate) -> Period {
    Period { from: Some(midnight(day)), to: day.checked_add_days(Days::new(1)).map(midnight) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> NaiveDate {
        beside(NaiveDate::default(), 100 + n)
    }

    /// Noon of a day, and so many minutes.
    fn noon(n: i64, minutes: i64) -> DateTime<Utc> {
        midnight(day(n)) + TimeDelta::minutes(720 + minutes)
    }

    /// Days 1 to 5, each written until its noon; it is the noon of the tenth.
    fn ledger() -> Ledger {
        let noted = |n| (day(n), Noted { written_at: noon(n, 0), expires_first: day(n + 30) });
        Ledger { now: noon(10, 0), days: (1..=5).map(noted).collect(), rolled: HashMap::new() }
    }

    fn roll(ledger: &mut Ledger, kind: Kind, n: i64, at: DateTime<Utc>, leans_on: &[i64]) {
        let leans_on = leans_on.iter().map(|n| day(*n)).collect();
        ledger.rolled.insert((kind, day(n)), Rolled { roll: Uuid::nil(), at, leans_on });
    }

    fn sound(ledger: &Ledger, kind: Kind) -> Vec<NaiveDate> {
        ledger.sound(kind).map(|(day, _)| day).collect()
    }

    #[test]
    fn traces_hang_on_all_days_before_and_models_on_those_beside() {
        let mut ledger = ledger();
        for n in 1..=5 {
            for kind in Kind::ALL {
                roll(&mut ledger, kind, n, noon(8, 0), &[]);
            }
        }
        let all: Vec<_> = (1..=5).map(day).collect();
        assert_eq!((sound(&ledger, Kind::Traces), sound(&ledger, Kind::Models)), (all.clone(), all));
        ledger.days.get_mut(&day(3)).unwrap().written_at = noon(8, -9);
        assert_eq!(sound(&ledger, Kind::Traces), [day(1), day(2)], "within the margin");
        assert_eq!(sound(&ledger, Kind::Models), [day(1), day(5)]);
        let now = noon(10, 0);
        assert_eq!(ledger.due(Kind::Traces, now), [day(3), day(4), day(5)]);
        assert_eq!(ledger.due(Kind::Models, now), [day(2), day(3), day(4)]);
        ledger.days.get_mut(&day(3)).unwrap().written_at = noon(10, -9);
        assert!(ledger.due(Kind::Traces, now).is_empty(), "it may be written to still");
        assert!(ledger.due(Kind::Models, now).is_empty());
    }

    #[test]
    fn a_day_waits_until_it_is_over_and_a_roll_up_goes_with_what_it_leans_on() {
        let mut ledger = ledger();
        assert_eq!(ledger.due(Kind::Traces, midnight(day(6)) + OVER).last(), Some(&day(5)));
        assert_eq!(ledger.due(Kind::Traces, midnight(day(6)) + TimeDelta::minutes(59)).last(), Some(&day(4)));
        assert_eq!(ledger.due(Kind::Models, midnight(day(6)) + OVER).last(), Some(&day(4)));
        roll(&mut ledger, Kind::Traces, 4, noon(8, 0), &[2]);
        assert_eq!(sound(&ledger, Kind::Traces), [day(4)]);
        ledger.days.get_mut(&day(2)).unwrap().expires_first = day(9);
        assert!(sound(&ledger, Kind::Traces).is_empty(), "the engine may have dropped it");
        ledger.days.remove(&day(2));
        assert!(sound(&ledger, Kind::Traces).is_empty(), "it was dropped");
    }

    #[test]
    fn a_question_reads_whole_days_rolled_up_and_rows_for_the_rest() {
        let mut ledger = ledger();
        for n in [2, 3, 5] {
            roll(&mut ledger, Kind::Traces, n, noon(8, 0), &[]);
        }
        let read = |from, to| {
            let reading = ledger.reading(Kind::Traces, Period { from, to });
            let raw: Vec<_> = reading.raw.iter().map(|raw| (raw.from, raw.to)).collect();
            (reading.rolls.len(), raw)
        };
        let at = |n| Some(midnight(day(n)));
        assert_eq!(read(None, None), (3, vec![(None, at(2)), (at(4), at(5)), (at(6), None)]));
        assert_eq!(read(at(2), at(4)), (2, vec![]));
        let (late, early) = (Some(noon(2, 0)), Some(noon(5, 0)));
        assert_eq!(read(late, early), (1, vec![(late, at(3)), (at(4), early)]));
        assert_eq!(read(early, late), (0, vec![(early, late)]), "nothing is nothing");
    }
}
