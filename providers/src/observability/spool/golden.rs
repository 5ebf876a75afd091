//! What waits on a server's disk while it is replaced by a newer one is read by that one.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    Cost, Counting, LogRecord, MetricKind, Point, Score, ScoreKind, Severity, Span, Status, Usage,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::record::Rows;
use super::{drain, tests};

/// As the first release wrote it. A later one may read it otherwise only with another beginning of the file.
const FIRST: &str = "src/observability/spool/golden/first.rows";

fn at(micros: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::microseconds(micros)
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Numbers that are not what they were when they have been floats, or texts, in between.
fn said() -> Map<String, Value> {
    object(&json!({ "ä": [1, -2.5, 0.1, 1e300, null, u64::MAX, i64::MIN], "b": { "c": true, "d": "" } }))
}

fn spans() -> Rows {
    let full = Span {
        trace_id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
        span_id: "0123456789abcdef".parse().unwrap(),
        parent_id: Some("fedcba9876543210".parse().unwrap()),
        is_root: false,
        name: "chat".into(),
        kind: "model_generation".into(),
        status: Status::Error,
        status_message: Some("no".into()),
        started_at: at(1_234_567),
        duration_us: 89,
        service: Some("s".into()),
        deployment_id: Some(DeploymentId(Uuid::from_u128(7))),
        user_id: Some("u".into()),
        session_id: Some("t".into()),
        tags: vec!["one".into(), "two".into()],
        model: Some("gpt-4o-mini".into()),
        provider: Some("openai".into()),
        usage: Usage {
            input: 1,
            output: 2,
            cache_read: 3,
            cache_write: 4,
            audio_input: 5,
            reasoning: 6,
            audio_output: 7,
        },
        counting: Counting::Call,
        cost: Some(Cost { picos: i64::MAX, price: "explicit".into() }),
        attributes: said(),
        resource: object(&json!({ "r": 1 })),
        events: vec![json!({ "name": "exception" })],
        links: vec![json!({ "traceId": "x" })],
    };
    let bare = Span {
        parent_id: None,
        is_root: true,
        status: Status::Unset,
        status_message: None,
        service: None,
        deployment_id: None,
        user_id: None,
        session_id: None,
        tags: vec![],
        model: None,
        provider: None,
        usage: Usage::default(),
        counting: Counting::Never,
        cost: None,
        attributes: Map::new(),
        resource: Map::new(),
        events: vec![],
        links: vec![],
        ..full.clone()
    };
    let sum = Span { status: Status::Ok, counting: Counting::UnlessBelow, ..bare.clone() };
    Rows::Spans(vec![full, bare, sum])
}

fn logs() -> Rows {
    let line = LogRecord {
        id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
        at: at(7),
        place: 3,
        severity: Severity::from_number(17),
        message: "it broke\nhere".into(),
        trace_id: Some("0123456789abcdef0123456789abcdef".parse().unwrap()),
        span_id: None,
        service: None,
        deployment_id: Some(DeploymentId(Uuid::from_u128(7))),
        attributes: said(),
        resource: Map::new(),
    };
    Rows::Logs(vec![LogRecord { severity: None, ..line.clone() }, line])
}

fn points() -> Rows {
    let kinds =
        [MetricKind::Gauge, MetricKind::Cumulative, MetricKind::Delta, MetricKind::CumulativeHistogram];
    let point = |kind| Point { kind, sum: None, ..tests::point() };
    Rows::Points(kinds.map(point).into_iter().chain([tests::point()]).collect())
}

fn scores() -> Rows {
    let score = Score {
        id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
        kind: ScoreKind::Feedback,
        at: at(9),
        name: "thumbs".into(),
        value: Some(-0.5),
        text: Some("up".into()),
        comment: None,
        source: Some("user".into()),
        user_id: None,
        trace_id: None,
        span_id: Some("0123456789abcdef".parse().unwrap()),
        deployment_id: None,
        details: said(),
    };
    Rows::Scores(vec![Score { kind: ScoreKind::Score, value: None, ..score.clone() }, score])
}

#[test]
fn what_the_first_release_wrote_is_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIRST);
    let length = file.metadata().unwrap().len();
    let taken = drain::read(&file, 0, length).unwrap();
    assert_eq!((taken.more, taken.position), (drain::More::No, length));
    let all = [spans(), logs(), points(), scores()];
    let wanted: Vec<drain::Part> = all.into_iter().map(|rows| (at(9), tests::tenant(), rows)).collect();
    assert_eq!(taken.parts, wanted);
}
