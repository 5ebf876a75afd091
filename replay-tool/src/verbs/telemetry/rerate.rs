//! One project's calls, day by day and page by page: what costs something else now is written before the next page is read,
//! so that an interrupted run leaves whole rows and less to do.

use domain::ports::telemetry::{Call, NewCost, Period, Rating, Tenant};

use super::journal::Journal;
use super::tally::Tally;
use crate::failure::Failure;

/// So many calls are in memory at a time.
const PAGE: usize = 10_000;

/// Reckons with a project's calls of a period; without a journal nothing is written. Answers what changes.
pub(super) async fn project(
    rating: &dyn Rating,
    journal: Option<&dyn Journal>,
    tenant: Tenant,
    period: Period,
) -> Result<Tally, Failure> {
    in_pages(rating, journal, (tenant, period), PAGE).await
}

async fn in_pages(
    rating: &dyn Rating,
    journal: Option<&dyn Journal>,
    (tenant, period): (Tenant, Period),
    page: usize,
) -> Result<Tally, Failure> {
    let (mut tally, mut has_begun) = (Tally::default(), false);
    // Whoever was interrupted may have written a day and not told of it: which one, nobody knows.
    if let Some(journal) = journal
        && journal.was_interrupted(tenant).await?
    {
        for day in rating.days(tenant, Period::default()).await? {
            rating.changed(tenant, day).await?;
        }
        has_begun = true;
    }
    for day in rating.days(tenant, period).await? {
        let (mut after, mut has_changed): (Option<Call>, _) = (None, false);
        loop {
            let mut calls = rating.calls(tenant, day, period, after.as_ref(), page).await?;
            let new: Vec<NewCost> = calls.iter().filter_map(new_cost).collect();
            tally.add(&calls, &new);
            if let Some(journal) = journal.filter(|_| !new.is_empty()) {
                if !has_begun {
                    journal.begun(tenant).await?;
                    has_begun = true;
                }
                rating.set_costs(tenant, day, &new).await?;
                has_changed = true;
            }
            if calls.len() < page {
                break;
            }
            after = calls.pop();
        }
        if has_changed {
            rating.changed(tenant, day).await?;
        }
    }
    if let Some(journal) = journal.filter(|_| has_begun) {
        journal.done(tenant, &tally).await?;
    }
    Ok(tally)
}

fn new_cost(call: &Call) -> Option<NewCost> {
    Some(NewCost { cost: call.rated()?, call: call.clone() })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use chrono::NaiveDate;
    use domain::ids::{ProjectId, TeamId};
    use domain::ports::telemetry::{Cost, TelemetryError, Usage};
    use uuid::Uuid;

    use super::*;
    use crate::failure::Outcome;

    const OLD: &str = "openai/o3@2025-04-16";
    const NEW: &str = "openai/o3@2025-06-10";

    /// Calls in memory; after so many writes it is away.
    struct Memory {
        calls: Mutex<Vec<Call>>,
        writes_left: Mutex<usize>,
        told: Mutex<Vec<NaiveDate>>,
        log: Mutex<Vec<&'static str>>,
    }

    impl Memory {
        fn new(calls: Vec<Call>) -> Self {
            Self {
                calls: Mutex::new(calls),
                writes_left: Mutex::new(usize::MAX),
                told: Mutex::default(),
                log: Mutex::default(),
            }
        }

        fn prices(&self) -> Vec<String> {
            let calls = self.calls.lock().unwrap();
            calls.iter().map(|call| call.cost.as_ref().unwrap().price.clone()).collect()
        }
    }

    #[async_trait]
    impl Rating for Memory {
        fn name(&self) -> &'static str {
            "memory"
        }

        async fn days(&self, _: Tenant, period: Period) -> Result<Vec<NaiveDate>, TelemetryError> {
            let calls = self.calls.lock().unwrap();
            let within = calls.iter().filter(|call| period.from.is_none_or(|from| call.at >= from));
            let mut days: Vec<_> = within.map(|call| call.at.date_naive()).collect();
            days.dedup();
            Ok(days)
        }

        async fn calls(
            &self,
            _: Tenant,
            day: NaiveDate,
            _: Period,
            after: Option<&Call>,
            limit: usize,
        ) -> Result<Vec<Call>, TelemetryError> {
            let calls = self.calls.lock().unwrap();
            let those = calls.iter().filter(|call| call.at.date_naive() == day);
            let those = those.filter(|call| after.is_none_or(|after| call.span_id > after.span_id));
            Ok(those.take(limit).cloned().collect())
        }

        async fn set_costs(&self, _: Tenant, _: NaiveDate, costs: &[NewCost]) -> Result<(), TelemetryError> {
            let mut left = self.writes_left.lock().unwrap();
            *left = left.checked_sub(1).ok_or(TelemetryError::Busy)?;
            for call in &mut *self.calls.lock().unwrap() {
                if let Some(new) = costs.iter().find(|new| new.call.span_id == call.span_id) {
                    call.cost = Some(new.cost.clone());
                }
            }
            Ok(())
        }

        async fn changed(&self, _: Tenant, day: NaiveDate) -> Result<(), TelemetryError> {
            self.told.lock().unwrap().push(day);
            Ok(())
        }
    }

    #[async_trait]
    impl Journal for Memory {
        async fn was_interrupted(&self, _: Tenant) -> Result<bool, Failure> {
            Ok(self.log.lock().unwrap().last() == Some(&"begun"))
        }

        async fn begun(&self, _: Tenant) -> Outcome {
            assert!(!self.prices().iter().any(|price| price == NEW), "before anything is written");
            self.log.lock().unwrap().push("begun");
            Ok(())
        }

        async fn done(&self, _: Tenant, _: &Tally) -> Outcome {
            self.log.lock().unwrap().push("done");
            Ok(())
        }
    }

    fn call(n: u64, day: u32) -> Call {
        Call {
            trace_id: format!("{n:032x}").parse().unwrap(),
            span_id: format!("{n:016x}").parse().unwrap(),
            at: format!("2025-07-{day:02}T12:00:00Z").parse().unwrap(),
            model: Some("o3".into()),
            asked_model: None,
            usage: Usage { input: 1_000, ..Usage::default() },
            cost: Some(Cost { picos: 10_000_000_000, price: OLD.into() }),
        }
    }

    fn tenant() -> Tenant {
        Tenant { team: TeamId(Uuid::now_v7()), project: ProjectId(Uuid::now_v7()) }
    }

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2025, 7, day).unwrap()
    }

    #[tokio::test]
    async fn every_page_is_written_and_each_day_is_told_of_once_it_is() {
        let memory = Memory::new((1..=7).map(|n| call(n, 1)).chain([call(8, 2)]).collect());
        let all = (tenant(), Period::default());
        let dry = in_pages(&memory, None, all, 3).await.unwrap();
        assert_eq!((dry.calls, dry.rows(), dry.sums()), (8, 8, [80_000_000_000, 16_000_000_000]));
        assert_eq!(memory.prices(), vec![OLD; 8], "nothing was written");

        *memory.writes_left.lock().unwrap() = 13;
        assert_eq!(in_pages(&memory, Some(&memory), all, 3).await.unwrap(), dry);
        assert_eq!(memory.prices(), vec![NEW; 8]);
        assert_eq!(*memory.told.lock().unwrap(), [day(1), day(2)]);
        let again = in_pages(&memory, Some(&memory), all, 3).await.unwrap();
        assert_eq!((again.calls, again.rows()), (8, 0));
        assert_eq!(memory.told.lock().unwrap().len(), 2, "nothing changed");
        assert_eq!(*memory.log.lock().unwrap(), ["begun", "done"]);
    }

    #[tokio::test]
    async fn who_was_interrupted_goes_on_and_tells_of_what_may_not_have_been_told() {
        let memory = Memory::new((1..=6).map(|n| call(n, 1)).chain([call(7, 2), call(8, 3)]).collect());
        *memory.writes_left.lock().unwrap() = 3;
        let all = (tenant(), Period::default());
        assert!(in_pages(&memory, Some(&memory), all, 3).await.is_err());
        // The first two days are written, and all of the first was told: of the second nobody knows.
        memory.told.lock().unwrap().clear();
        *memory.writes_left.lock().unwrap() = 1;
        let later = Period { from: Some("2025-07-03T00:00:00Z".parse().unwrap()), to: None };
        let rest = in_pages(&memory, Some(&memory), (all.0, later), 3).await.unwrap();
        assert_eq!((rest.rows(), memory.prices()), (1, vec![NEW.to_owned(); 8]));
        assert_eq!(*memory.told.lock().unwrap(), [day(1), day(2), day(3), day(3)]);
        assert_eq!(*memory.log.lock().unwrap(), ["begun", "done"]);
    }
}
