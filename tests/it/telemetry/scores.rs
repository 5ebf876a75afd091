//! Scores and feedback: what programs and people think of traces, once, newest first.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::ports::telemetry::{RecordId, Score, ScoreFilter, ScoreKind, Scores, Tenant, Written};
use providers::observability::postgres_signals::PostgresSignals;
use serde_json::{Map, Value, json};
use tests::app::TestApp;

use super::contract::tenant;
use super::open;
use super::store::signals;

pub(super) fn score(n: u64, at: DateTime<Utc>) -> Score {
    let id: RecordId = format!("{n:032x}").parse().unwrap();
    Score {
        id,
        kind: ScoreKind::Score,
        at: at.duration_trunc(TimeDelta::microseconds(1)).unwrap(),
        name: "relevance".into(),
        value: Some(0.5),
        text: None,
        comment: None,
        source: None,
        user_id: None,
        trace_id: None,
        span_id: None,
        deployment_id: None,
        details: Map::new(),
    }
}

pub(super) fn any(limit: i64) -> ScoreFilter {
    ScoreFilter { limit, ..ScoreFilter::default() }
}

/// Some other time of the same day.
fn noon_or(now: DateTime<Utc>) -> DateTime<Utc> {
    let begin = now.duration_trunc(TimeDelta::days(1)).unwrap();
    if now < begin + TimeDelta::hours(12) { begin + TimeDelta::hours(13) } else { begin }
}

/// What every store of scores promises.
pub(super) async fn contract(store: &dyn Scores) {
    let (mine, now) = (tenant(), Utc::now());
    let trace_id = Some(format!("{:032x}", 7).parse().unwrap());
    let full = Score {
        kind: ScoreKind::Feedback,
        value: None,
        text: Some("up".into()),
        comment: Some("good".into()),
        source: Some("user".into()),
        user_id: Some("u1".into()),
        trace_id,
        span_id: Some(format!("{:016x}", 7).parse().unwrap()),
        details: json!({ "__proto__": [1] }).as_object().unwrap().clone(),
        ..score(1, now)
    };
    let written = store.write_scores(mine, vec![full.clone(), full.clone()]).await.unwrap();
    assert_eq!(written, Written { stored: 1, repeated: 1 });
    assert_eq!(store.write_scores(mine, vec![]).await.unwrap(), Written::default());
    // Who gives a score again without saying when says it at another time.
    let again = Score { at: noon_or(now), name: "later".into(), ..full.clone() };
    assert_eq!(store.write_scores(mine, vec![again]).await.unwrap(), Written { stored: 0, repeated: 1 });
    let hours = |n: u64| now - TimeDelta::hours(5 * i64::try_from(n).unwrap());
    let others: Vec<Score> = (2..12).map(|n| score(n, hours(n / 2))).collect();
    store.write_scores(mine, others.clone()).await.unwrap();
    let mut newest_first = [vec![full.clone()], others].concat();
    newest_first.sort_by_key(|score| std::cmp::Reverse((score.at, score.id)));
    let (mut seen, mut after) = (vec![], None);
    loop {
        let page = store.scores(mine, &ScoreFilter { after, ..any(3) }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.at, last.id));
        seen.extend(page);
    }
    assert_eq!(seen, newest_first);
    let found = async |filter: ScoreFilter| store.scores(mine, &filter).await.unwrap().len();
    assert_eq!(found(ScoreFilter { kind: Some(ScoreKind::Feedback), ..any(50) }).await, 1);
    assert_eq!(found(ScoreFilter { trace_id, ..any(50) }).await, 1);
    assert_eq!(found(ScoreFilter { name: Some("relevance".into()), ..any(50) }).await, 11);
    assert_eq!(found(ScoreFilter { name: Some("rel".into()), ..any(50) }).await, 0);
    for other in [Tenant { project: tenant().project, ..mine }, Tenant { team: tenant().team, ..mine }] {
        assert_eq!(store.scores(other, &any(50)).await.unwrap(), []);
    }
}

#[tokio::test]
async fn postgresql_keeps_the_contract() {
    let db = signals().await;
    contract(&PostgresSignals::new(db.pool().clone(), 30)).await;
}

#[tokio::test]
async fn scores_of_mastra_and_of_others_are_read_back_once() {
    of_mastra_and_others(&[]).await;
}

/// Whatever the telemetry goes to.
#[expect(clippy::too_many_lines, reason = "one story, told from its beginning to its end")]
pub(super) async fn of_mastra_and_others(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let (now, trace) = (Utc::now(), format!("{:032x}", 7));
    let publish = async |what: &str, rows: Value| {
        let path = format!("//projects/{}/ai/{what}/publish", project.id);
        sender.post(&path, json!({ what: rows })).await.expect(200)
    };
    let list = async |query: &str| {
        let answer = owner.get(&format!("/projects/{}/scores?{query}", project.id)).await.expect(200);
        answer["items"].as_array().unwrap().clone()
    };
    for what in ["scores", "feedback"] {
        assert_eq!(publish(what, json!([])).await, json!({ "accepted": 0, "rejected": 0, "errors": [] }));
    }
    let score = json!({ "timestamp": now, "traceId": trace, "scorerId": "relevance", "score": 0.75, "reason": "close",
                        "source": "experiment", "scorerVersion": "2", "correlationContext": { "runId": "r" } });
    let feedback = json!({ "feedbackId": "f1", "timestamp": now - TimeDelta::seconds(1), "traceId": trace,
                           "feedbackType": "thumbs", "value": "up", "feedbackUserId": "u1", "comment": "good" });
    for _ in 0..2 {
        assert_eq!(publish("scores", json!([score])).await["accepted"], 1);
        assert_eq!(publish("feedback", json!([feedback])).await["accepted"], 1);
    }
    let all = list("").await;
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(
        (&all[0]["kind"], &all[0]["value"], &all[0]["comment"]),
        (&json!("score"), &json!(0.75), &json!("close"))
    );
    assert_eq!(all[0]["details"], json!({ "scorerVersion": "2", "correlationContext": { "runId": "r" } }));
    assert_eq!(
        (&all[1]["text"], &all[1]["userId"], &all[1]["value"]),
        (&json!("up"), &json!("u1"), &json!(null))
    );

    let path = format!("/projects/{}/scores", project.id);
    let new =
        json!({ "id": "mine", "name": "politeness", "value": 4, "traceId": trace, "metadata": { "a": 1 } });
    for _ in 0..2 {
        assert_eq!(sender.post(&path, new.clone()).await.expect(200)["accepted"], 1);
    }
    assert_eq!(list("name=politeness").await.len(), 1);
    assert_eq!(list(&format!("traceId={trace}&kind=score")).await.len(), 2);
    assert_eq!(
        sender.post(&format!("{path}?dryRun=true"), json!({ "name": "dry", "value": 1 })).await.status,
        200
    );
    assert_eq!(list("").await.len(), 3, "a dry run stores nothing");
    assert_eq!(owner.post(&path, new).await.status, 403, "to send is no right of a person");
    for (changes, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "value": null }), "value"),
        (json!({ "value": 1e300 }), "value"),
        (json!({ "kind": "praise" }), "kind"),
        (json!({ "traceId": "1".repeat(31) }), "traceId"),
        (json!({ "spanId": "g" }), "spanId"),
        (json!({ "at": now - TimeDelta::days(40) }), "at"),
        (json!({ "at": "2262-04-12T00:00:00Z" }), "at"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        let mut body = json!({ "name": "x", "value": 1 });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let refused = sender.post(&path, body).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{changes}: {refused}");
    }
    for query in ["kind=praise", "traceId=7", "cursor=1", "limit=0", "name=%00"] {
        assert_eq!(owner.get(&format!("{path}?{query}")).await.status, 422, "{query}");
    }
    let bad = json!([
        { "timestamp": now, "scorerId": "x" },
        { "timestamp": now, "scorerId": "x", "score": "NaN", "traceId": "1" },
        { "timestamp": now, "score": 1 },
        { "scorerId": "x", "score": 1 },
        { "timestamp": "2262-04-12T00:00:00Z", "scorerId": "x", "score": 1 },
        null, 7, [],
    ]);
    let answer = publish("scores", bad).await;
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(0), &json!(8)), "{answer}");
}
