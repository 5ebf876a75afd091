//! What all stores of measurements reckon alike, once theirs is read.

use chrono::{DateTime, TimeDelta, Utc};
use domain::ports::telemetry::{
    Aggregate, MetricAnswer, MetricQuestion, MetricSample, Period, Range, quantile,
};

/// What tells everything since its sender began is compared with what it told before: so much earlier at most.
const BEFORE: TimeDelta = TimeDelta::hours(1);
/// So many ranges of histograms are read for one answer.
const RANGES: usize = 200_000;

/// How many numbers to read: one more than is answered, which says that there are more.
pub(super) fn numbers_to_read(question: &MetricQuestion) -> i64 {
    i64::try_from(question.limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// How many ranges to read.
pub(super) fn ranges_to_read() -> i64 {
    i64::try_from(RANGES).unwrap_or(i64::MAX).saturating_add(1)
}

/// When what tells everything since its sender began is read from.
pub(super) fn earlier(period: Period) -> Period {
    let from = period.from.map(|from| from.checked_sub_signed(BEFORE).unwrap_or(from));
    Period { from, to: period.to }
}

/// A step and a group, with the number that was read.
pub(super) struct Number {
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) group: Vec<Option<String>>,
    /// Of a rate, all of it.
    pub(super) value: Option<f64>,
    pub(super) count: f64,
}

/// The answer, from numbers in order.
pub(super) fn answer(question: &MetricQuestion, mut numbers: Vec<Number>) -> MetricAnswer {
    let truncated = numbers.len() > question.limit;
    numbers.truncate(question.limit);
    let sample = |it: Number| {
        let over = if question.aggregate == Aggregate::Rate { question.seconds_of(it.at) } else { 1.0 };
        Some(MetricSample { at: it.at, group: it.group, value: it.value? / over, count: whole(it.count) })
    };
    MetricAnswer { samples: numbers.into_iter().filter_map(sample).collect(), truncated }
}

/// A range of the histograms of a step and group.
pub(super) struct Part {
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) group: Vec<Option<String>>,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
    pub(super) count: f64,
    /// Of all values of these histograms.
    pub(super) least: Option<f64>,
    pub(super) largest: Option<f64>,
}

/// The answer, from ranges in order, added up. Where more were found than are read, the last step and group is not whole,
/// and is left out.
pub(super) fn quantiles(question: &MetricQuestion, part: f64, ranges: Vec<Part>) -> MetricAnswer {
    let cut = ranges.len() > RANGES;
    let mut all: Vec<Merged> = vec![];
    for it in ranges {
        if all.last().is_none_or(|last| (&last.at, &last.group) != (&it.at, &it.group)) {
            all.push(Merged { at: it.at, group: it.group, ranges: vec![], least: None, largest: None });
        }
        let Some(last) = all.last_mut() else { continue };
        last.ranges.push(Range { low: it.low, high: it.high, count: whole(it.count) });
        last.least = [last.least, it.least].into_iter().flatten().reduce(f64::min);
        last.largest = [last.largest, it.largest].into_iter().flatten().reduce(f64::max);
    }
    if cut {
        all.pop();
    }
    let truncated = cut || all.len() > question.limit;
    let sample = |it: Merged| {
        let value = quantile(part, &it.ranges, it.least, it.largest)?;
        let count = it.ranges.iter().fold(0, |all: i64, range| all.saturating_add(range.count));
        Some(MetricSample { at: it.at, group: it.group, value, count })
    };
    MetricAnswer { samples: all.into_iter().take(question.limit).filter_map(sample).collect(), truncated }
}

/// All histograms of a step and group as one.
struct Merged {
    at: Option<DateTime<Utc>>,
    group: Vec<Option<String>>,
    ranges: Vec<Range>,
    least: Option<f64>,
    largest: Option<f64>,
}

/// Senders may count as far as they like.
#[expect(clippy::cast_possible_truncation, reason = "what is larger than i64 becomes its largest")]
fn whole(count: f64) -> i64 {
    count as i64
}
