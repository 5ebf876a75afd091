//! Where lists are looked for: in a short time first, then further off, because an order that ends with the newest is not
//! read backwards under `FINAL` (ADR 0043).

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use clickhouse::{Client, Row, RowOwned, RowRead};
use domain::ports::telemetry::{Period, Tenant, Weighs};
use serde::Deserialize;

use super::fault::Fault;
use super::row::moment;
use super::sql::Sql;
use crate::observability::pages::Filling;

/// From one moment to the next.
pub(super) const LEAST: TimeDelta = TimeDelta::microseconds(1);

/// Of a period and up to a moment: parts that end with so many minutes before their end, and at last all of it.
pub(super) fn back(
    period: Period,
    up_to: Option<DateTime<Utc>>,
    minutes: &[i64],
    now: DateTime<Utc>,
) -> Vec<Period> {
    let up_to = up_to.map(|at| at.checked_add_signed(LEAST).unwrap_or(at));
    let mut to = [period.to, up_to].into_iter().flatten().min();
    let top = to.map_or(now, |to| to.min(now));
    let ends = minutes.iter().filter_map(|minutes| top.checked_sub_signed(TimeDelta::minutes(*minutes)));
    let ends = ends.take_while(|end| period.from.is_none_or(|from| *end > from));
    let part = |from| Period { from, to: std::mem::replace(&mut to, from) };
    ends.map(Some).chain([period.from]).map(part).collect()
}

/// Of a period and from a moment on: parts that end so many minutes after it, and at last all of it.
pub(super) fn on(period: Period, at: DateTime<Utc>, minutes: &[i64]) -> Vec<Period> {
    let mut from = Some(period.from.map_or(at, |from| from.max(at)));
    let ends = minutes.iter().filter_map(|minutes| from?.checked_add_signed(TimeDelta::minutes(*minutes)));
    let ends: Vec<_> = ends.take_while(|end| period.to.is_none_or(|to| *end < to)).collect();
    let part = |to| Period { from: std::mem::replace(&mut from, to), to };
    ends.into_iter().map(Some).chain([period.to]).map(part).collect()
}

/// Asks in one part after the other until there are enough.
pub(super) async fn gather<R: RowOwned + RowRead>(
    client: &Client,
    parts: Vec<Period>,
    limit: i64,
    question: impl Fn(Period, i64) -> Sql,
) -> Result<Vec<R>, Fault> {
    let mut rows = Vec::new();
    for part in parts {
        let left = limit - i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if left <= 0 {
            break;
        }
        rows.extend(question(part, left).into_query(client).fetch_all::<R>().await?);
    }
    Ok(rows)
}

/// Which row of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Row, Deserialize)]
pub(super) struct Found {
    pub(super) at: i64,
    pub(super) id: [u8; 16],
    /// What tells apart those with the same id; zeros where there is nothing.
    pub(super) part: [u8; 8],
}

/// That there is nothing.
pub(super) const NO_PART: &str = "toFixedString('', 8) AS part";

/// A row that can be found.
pub(super) trait Listed: RowOwned + RowRead {
    const TABLE: &'static str;
    /// The column of its time.
    const AT: &'static str = "at";
    /// The column of its id.
    const ID: &'static str = "id";
    /// The column that tells apart those with the same id.
    const PART: Option<&'static str> = None;
    /// What it is a row of.
    type It: Weighs;

    fn found(&self) -> Found;

    fn it(self) -> Result<Self::It, Fault>;
}

/// The rows that were found, in this order, until the page is full: only these are read with all that they say.
pub(super) async fn fetch<R: Listed>(
    client: &Client,
    tenant: Tenant,
    mut found: &[Found],
) -> Result<Vec<R::It>, Fault> {
    let mut page = Filling::new();
    while !found.is_empty() && page.next() > 0 {
        let (some, rest) = found.split_at(page.next().min(found.len()));
        page.add(read::<R>(client, tenant, some).await?);
        found = rest;
    }
    Ok(page.rows())
}

async fn read<R: Listed>(client: &Client, tenant: Tenant, found: &[Found]) -> Result<Vec<R::It>, Fault> {
    let times = || found.iter().map(|found| found.at);
    let Some((first, last)) = times().min().zip(times().max()) else { return Ok(vec![]) };
    let period = Period { from: Some(moment(first)?), to: moment(last)?.checked_add_signed(LEAST) };
    let mut sql = Sql::new(format!("SELECT {} FROM {} FINAL WHERE ", R::COLUMN_NAMES.join(", "), R::TABLE));
    sql.append(&Sql::of(tenant)).within(R::AT, period).push(" AND ");
    sql.any_of(R::ID, found.iter().map(|found| &found.id[..]));
    if let Some(part) = R::PART {
        sql.pairs([R::ID, part], found.iter().map(|found| (&found.id[..], &found.part[..])));
    }
    let rows = sql.into_query(client).fetch_all::<R>().await?;
    let mut rows: HashMap<Found, R> = rows.into_iter().map(|row| (row.found(), row)).collect();
    // What was dropped meanwhile is not there any more.
    found.iter().filter_map(|found| rows.remove(found)).map(R::it).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(60 * minute, 0).unwrap()
    }

    fn shown(parts: Vec<Period>) -> Vec<(Option<i64>, Option<i64>)> {
        let minute = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp() / 60);
        parts.into_iter().map(|part| (minute(part.from), minute(part.to))).collect()
    }

    #[test]
    fn parts_follow_each_other_and_are_the_period_together() {
        let all = Period::default();
        let back_to = |period, up_to| shown(back(period, up_to, &[1, 10], at(100)));
        assert_eq!(back_to(all, None), [(Some(99), None), (Some(90), Some(99)), (None, Some(90))]);
        let period = Period { from: Some(at(95)), to: Some(at(200)) };
        assert_eq!(back_to(period, None), [(Some(99), Some(200)), (Some(95), Some(99))]);
        let parts = back(all, Some(at(50)), &[1], at(100));
        assert_eq!(parts[0].to, Some(at(50) + LEAST), "the moment itself is in it");
        assert_eq!(back_to(period, Some(at(95))), [(Some(95), Some(95))]);

        let on_from = |period, from| shown(on(period, from, &[1, 10]));
        assert_eq!(on_from(all, at(5)), [(Some(5), Some(6)), (Some(6), Some(15)), (Some(15), None)]);
        assert_eq!(
            on_from(period, at(5)),
            [(Some(95), Some(96)), (Some(96), Some(105)), (Some(105), Some(200))]
        );
        let short = Period { from: None, to: Some(at(8)) };
        assert_eq!(on_from(short, at(5)), [(Some(5), Some(6)), (Some(6), Some(8))]);
        assert_eq!(on_from(short, at(9)), [(Some(9), Some(8))], "nothing");
    }
}
