//! Of the contract of measurements: answers about a part of a step, and answers that are a part.

use chrono::{DurationRound, TimeDelta, Utc};
use domain::ports::telemetry::{Aggregate, Measurements, MetricKind, MetricQuestion, Period, Point};
use serde_json::json;

use super::contract::tenant;
use super::measurements::{point, question};

/// A rate is about as much of a step as was asked about.
pub(super) async fn partial_steps(store: &dyn Measurements) {
    let (mine, minute) =
        (tenant(), Utc::now().duration_trunc(TimeDelta::minutes(1)).unwrap() - TimeDelta::minutes(9));
    let at = |seconds: i64| minute + TimeDelta::seconds(seconds);
    let told = |n, seconds| point(n, "rate", MetricKind::Delta, at(seconds), 60.0);
    store.write_points(mine, vec![told(1, 50), told(2, 70), told(3, 110), told(4, 130)]).await.unwrap();
    let period = Period { from: Some(at(30)), to: Some(at(140)) };
    let steps = MetricQuestion { step: Some(60), period, ..question("rate", Aggregate::Rate) };
    let rates = async |question: MetricQuestion| {
        let samples = store.metrics(mine, &question).await.unwrap().samples;
        samples.into_iter().map(|sample| (sample.at.unwrap(), sample.value)).collect::<Vec<_>>()
    };
    assert_eq!(rates(steps.clone()).await, [(at(0), 2.0), (at(60), 2.0), (at(120), 3.0)]);
    let open = MetricQuestion { period: Period::default(), ..steps };
    assert_eq!(rates(open).await, [(at(0), 1.0), (at(60), 2.0), (at(120), 1.0)]);
}

/// What is beyond the limit, and what would be reckoned from a part of its ranges.
pub(super) async fn what_is_left_out_is_told(store: &dyn Measurements) {
    let (mine, now) = (tenant(), Utc::now());
    let of = |n: u64, route: &str, ranges: u32| {
        let bounds = (1..ranges).map(|it| f64::from(it) + 2000.0 * f64::from(u32::try_from(n).unwrap()));
        Point {
            labels: [("route".to_owned(), json!(route))].into_iter().collect(),
            count: ranges.into(),
            bounds: bounds.collect(),
            buckets: (0..ranges).map(|_| 1).collect(),
            ..point(n, "wide", MetricKind::Histogram, now, 7.0)
        }
    };
    store.write_points(mine, vec![of(1, "/a", 2), of(2, "/b", 2)]).await.unwrap();
    let by_route =
        MetricQuestion { group_by: vec!["route".into()], ..question("wide", Aggregate::Quantile(0.5)) };
    for (aggregate, limit, wanted) in [
        (Aggregate::Quantile(0.5), 1, (1, true)),
        (Aggregate::Quantile(0.5), 2, (2, false)),
        (Aggregate::Sum, 1, (1, true)),
        (Aggregate::Sum, 2, (2, false)),
    ] {
        let question = MetricQuestion { aggregate, limit, ..by_route.clone() };
        let answer = store.metrics(mine, &question).await.unwrap();
        assert_eq!((answer.samples.len(), answer.truncated), wanted, "{aggregate:?} {limit}");
    }
    // More ranges than are read for one answer: what is not whole is left out.
    for some in (3..203).map(|n| of(n, "/b", 1024)).collect::<Vec<_>>().chunks(50) {
        store.write_points(mine, some.to_vec()).await.unwrap();
    }
    let answer = store.metrics(mine, &by_route).await.unwrap();
    let groups: Vec<_> = answer.samples.iter().map(|sample| sample.group[0].as_deref()).collect();
    assert_eq!((groups, answer.truncated), (vec![Some("/a")], true));
}

/// Who does not say the sum of a histogram says nothing of it: sums and averages are of the others, all else of all.
pub(super) async fn a_sum_that_is_not_said_is_not_nothing(store: &dyn Measurements) {
    let (mine, now) = (tenant(), Utc::now());
    let told = |n: u64, kind, seconds, counts: [i64; 2], sum| Point {
        sum,
        count: counts.iter().sum(),
        bounds: vec![10.0],
        buckets: counts.to_vec(),
        min: Some(0.0),
        max: None,
        ..point(n, "took", kind, now - TimeDelta::seconds(seconds), 0.0)
    };
    let answers = async |mine| {
        let mut numbers = vec![];
        let quantile = Aggregate::Quantile(0.5);
        for aggregate in [Aggregate::Sum, Aggregate::Average, Aggregate::Count, quantile] {
            let answer = store.metrics(mine, &question("took", aggregate)).await.unwrap();
            numbers.push(answer.samples.first().map(|sample| sample.value));
        }
        numbers
    };
    let kind = MetricKind::Histogram;
    store.write_points(mine, vec![told(1, kind, 9, [2, 0], None)]).await.unwrap();
    assert_eq!(answers(mine).await, [None, None, Some(2.0), Some(5.0)]);
    store.write_points(mine, vec![told(2, kind, 8, [2, 0], Some(12.0))]).await.unwrap();
    assert_eq!(answers(mine).await, [Some(12.0), Some(6.0), Some(4.0), Some(5.0)]);

    // Told all again each time: what is new of the sum is known where it was told now and before.
    let (mine, kind) = (tenant(), MetricKind::CumulativeHistogram);
    let sums = [Some(4.0), None, Some(16.0), Some(20.0)];
    for ((n, seconds), sum) in (1..).zip([9, 8, 7, 6]).zip(sums) {
        let counts = [i64::try_from(n).unwrap() * 2, 0];
        store.write_points(mine, vec![told(n, kind, seconds, counts, sum)]).await.unwrap();
    }
    assert_eq!(answers(mine).await, [Some(8.0), Some(2.0), Some(8.0), Some(5.0)]);
}
