//! How many spans are on disk after a second, against what each engine makes of the same rows by itself.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use sqlx::PgPool;
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::Client;

use super::{World, otlp};
use crate::append::Durable;
use crate::measure::{Figure, median};

/// Spans of a body: what the SDKs of OpenTelemetry send at most unless they are told otherwise.
const BODY: usize = 512;
/// Spans of a trace.
const TRACE: usize = 8;
/// Projects that send.
const SENDERS: usize = 4;
/// Bodies of each in a round.
const BODIES: usize = 60;
/// Bodies of each that are under way.
const AT_ONCE: usize = 3;
const ROUNDS: usize = 3;
/// Rows of one insert of the engine's own.
const INSERT: usize = 20_000;

pub(crate) async fn figures() -> Vec<Figure> {
    let mut figures = in_clickhouse().await;
    figures.push(in_postgres().await);
    figures
}

async fn in_clickhouse() -> Vec<Figure> {
    let engine = ClickHouse::start().await;
    let app = TestApp::start_with(&engine.settings()).await;
    let world = World::of(&app, SENDERS).await;
    let mut sent = 0;
    send_round(&world, &mut sent).await; // the schema, plans, files
    engine.ask("CREATE TABLE peer AS spans").await;
    let columns = engine.columns("spans", &[]).await;
    let (mut ours, mut theirs, mut alike) = (Vec::new(), Vec::new(), Vec::new());
    let (mut on_one_core, mut on_theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (first, before_it, before) = (sent, inserts(&engine).await, processor_time(app.pid()));
        ours.push(send_round(&world, &mut sent).await);
        on_one_core.push(each_second(sent - first, processor_time(app.pid()) - before));
        let inserts = inserts(&engine).await - before_it;
        theirs.push(insert_again(&engine, &columns, INSERT).await.0);
        let (on_a_clock, on_a_core) = insert_again(&engine, &columns, (sent - first).div_ceil(inserts)).await;
        alike.push(on_a_clock);
        on_theirs.push(on_a_core);
    }
    assert_eq!(
        engine.ask("SELECT count(), uniqExact(trace_id, span_id) FROM spans").await,
        format!("{sent}\t{sent}")
    );
    let (ours, on_one_core, on_theirs) = (median(ours), median(on_one_core), median(on_theirs));
    let against = |name: &str, ours: f64, theirs: f64, what: &str| {
        Figure::at_least(name.to_owned(), ours, "1/s", format!("{theirs:.0}/s {what}"), ours / theirs, 0.5)
    };
    let mut figures = vec![
        against(
            "spans on disk a second, ClickHouse, over OTLP",
            ours,
            median(theirs),
            "by the engine's own insert, 20,000 rows at a time",
        ),
        against(
            "the same, inserts alike",
            ours,
            median(alike),
            "by the engine's own insert, as many rows at a time as ours",
        ),
        Figure::at_least(
            "spans stored a second of the server's own processor time".to_owned(),
            on_one_core,
            "1/s",
            "50000/s".to_owned(),
            on_one_core / 50_000.0,
            1.0,
        ),
        against(
            "the same, inserts alike",
            on_one_core,
            on_theirs,
            "by a second of the engine's processor time, as many rows at a time as ours",
        ),
    ];
    figures.push(decoding(&app, &world).await);
    figures
}

/// How many inserts of spans there were: each is a part that is merged later, and is there for some minutes longer.
async fn inserts(engine: &ClickHouse) -> usize {
    let parts = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'spans' AND level = 0";
    engine.ask(parts).await.parse().expect("a number")
}

fn each_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// What is read, made into rows and refused because it is too old: everything but storing.
async fn decoding(app: &TestApp, world: &World) -> Figure {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let (_, sender) = &world.projects[0];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        let bodies: Vec<_> = (0..BODIES).map(|k| body((n * BODIES + k) * BODY, long_ago)).collect();
        let start = Instant::now();
        for body in &bodies {
            let read = ExportTraceServiceRequest::decode(&body[..]).expect("it was just written");
            assert_eq!(read.resource_spans[0].scope_spans[0].spans.len(), BODY);
        }
        theirs.push((BODIES * BODY) as f64 / start.elapsed().as_secs_f64());
        let before = processor_time(app.pid());
        for body in bodies {
            let answer = otlp(sender, body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert!(answer.text.contains("is not kept"), "all of it is refused: {}", answer.text);
        }
        ours.push((BODIES * BODY) as f64 / (processor_time(app.pid()) - before).as_secs_f64());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    Figure::at_least(
        "spans of OTLP read a second of processor time, with HTTP, meaning and cost".to_owned(),
        ours,
        "1/s",
        format!("{theirs:.0}/s of protobuf alone"),
        ours / theirs,
        0.1,
    )
}

/// PostgreSQL, with everything on disk, against COPY of the same rows.
async fn in_postgres() -> Figure {
    let durable = Durable::start().await;
    let url = durable.server.url();
    let app = TestApp::start_on(TestApp::database().await, &[("DATABASE_URL", &url)]).await;
    let world = World::of(&app, SENDERS).await;
    let mut sent = 0;
    send_round(&world, &mut sent).await;
    sqlx::raw_sql("CREATE TABLE peer_spans (LIKE public.spans INCLUDING ALL)")
        .execute(&durable.pool)
        .await
        .expect("made");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(send_round(&world, &mut sent).await);
        theirs.push(copy_again(&durable.pool).await);
    }
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM public.spans")
        .fetch_one(&durable.pool)
        .await
        .expect("it counts");
    assert_eq!(stored, i64::try_from(sent).expect("a number"));
    drop(app);
    durable.stop().await;
    let (ours, theirs) = (median(ours), median(theirs));
    Figure::at_least(
        "spans on disk a second, PostgreSQL, over OTLP".to_owned(),
        ours,
        "1/s",
        format!("{theirs:.0}/s by COPY"),
        ours / theirs,
        0.5,
    )
}

/// All senders at once; spans a second.
async fn send_round(world: &World, sent: &mut usize) -> f64 {
    let now = SystemTime::now();
    let mut work = Vec::new();
    for (_, sender) in &world.projects {
        let bodies: Vec<_> = (0..BODIES).map(|n| body(*sent + n * BODY, now)).collect();
        *sent += BODIES * BODY;
        work.push((sender, bodies));
    }
    let start = Instant::now();
    join_all(work.into_iter().map(|(sender, bodies)| send_all(sender, bodies))).await;
    (SENDERS * BODIES * BODY) as f64 / start.elapsed().as_secs_f64()
}

async fn send_all(sender: &Client, bodies: Vec<Vec<u8>>) {
    let waiting = std::sync::Mutex::new(bodies);
    let send = async || {
        while let Some(body) = { waiting.lock().expect("nobody fails with it").pop() } {
            let answer = otlp(sender, body).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, ""), "all of it is stored");
        }
    };
    join_all((0..AT_ONCE).map(|_| send())).await;
}

/// The engine stores the spans of one round in a table of the same shape, so many at a time, one insert after the other; rows
/// a second, and a second of its processor time.
async fn insert_again(engine: &ClickHouse, columns: &str, at_a_time: usize) -> (f64, f64) {
    let rows = SENDERS * BODIES * BODY;
    let mut parts = Vec::new();
    for offset in (0..rows).step_by(at_a_time) {
        let sql = format!(
            "SELECT {columns} FROM spans ORDER BY trace_id DESC, span_id LIMIT {} OFFSET {offset} FORMAT Native",
            at_a_time.min(rows - offset)
        );
        parts.push(engine.bytes(&sql, vec![]).await);
    }
    engine.ask("TRUNCATE TABLE peer").await;
    let (start, before) = (Instant::now(), processor_time(engine.pid()));
    for part in parts {
        engine.bytes(&format!("INSERT INTO peer ({columns}) FORMAT Native"), part).await;
    }
    let took = (start.elapsed(), processor_time(engine.pid()) - before);
    assert_eq!(engine.ask("SELECT count() FROM peer").await, rows.to_string());
    (each_second(rows, took.0), each_second(rows, took.1))
}

/// PostgreSQL stores as many of the spans in a table of the same shape, by one COPY; rows a second.
async fn copy_again(pool: &PgPool) -> f64 {
    use futures_util::TryStreamExt;
    let rows = SENDERS * BODIES * BODY;
    let mut db = pool.acquire().await.expect("it runs");
    sqlx::raw_sql("TRUNCATE peer_spans").execute(&mut *db).await.expect("it is emptied");
    let out = format!(
        "COPY (SELECT * FROM public.spans ORDER BY trace_id DESC LIMIT {rows}) TO STDOUT (FORMAT binary)"
    );
    let parts: Vec<_> = db.copy_out_raw(&out).await.expect("it reads").try_collect().await.expect("it reads");
    let start = Instant::now();
    let mut copy = db.copy_in_raw("COPY peer_spans FROM STDIN (FORMAT binary)").await.expect("it takes rows");
    for part in parts {
        copy.send(part).await.expect("it takes rows");
    }
    assert_eq!(copy.finish().await.expect("it is stored"), rows as u64);
    rows as f64 / start.elapsed().as_secs_f64()
}

/// Calls of models below runs of agents, as the conventions for them say it. Ids follow from the number of the first.
fn body(first: usize, now: SystemTime) -> Vec<u8> {
    let now = u64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos())
        .expect("before 2554");
    let spans = (first..first + BODY).map(|n| {
        let (trace, place) = (n / TRACE, n % TRACE);
        let span_id = |n: usize| (n as u64 + 1).to_be_bytes().to_vec();
        let start = now - (n % 1_000_000) as u64 * 1000;
        Span {
            trace_id: (trace as u128 + 1).to_be_bytes().to_vec(),
            span_id: span_id(n),
            parent_span_id: if place == 0 { vec![] } else { span_id(trace * TRACE) },
            name: if place == 0 { "invoke_agent weather" } else { "chat gpt-4o" }.to_owned(),
            kind: 3,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 100_000_000,
            attributes: if place == 0 { agent(trace) } else { call(n) },
            ..Span::default()
        }
    });
    let spans = spans.collect();
    let scope = InstrumentationScope { name: "agents".to_owned(), ..InstrumentationScope::default() };
    let resource = Resource { attributes: vec![text("service.name", "weather")], ..Resource::default() };
    let spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    let sender =
        ResourceSpans { resource: Some(resource), scope_spans: vec![spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![sender] }.encode_to_vec()
}

fn agent(trace: usize) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.agent.name", "weather"),
        text("user.id", &format!("user-{}", trace % 1000)),
        text("session.id", &format!("session-{}", trace % 10_000)),
    ]
}

fn call(n: usize) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4o"),
        text("gen_ai.response.model", "gpt-4o-2024-08-06"),
        text("gen_ai.response.id", &format!("chatcmpl-{n:024x}")),
        number("gen_ai.usage.input_tokens", 200 + n as i64 % 1000),
        number("gen_ai.usage.output_tokens", 20 + n as i64 % 100),
        text("server.address", "api.openai.com"),
        number("server.port", 443),
        text(
            "gen_ai.input.messages",
            &format!("What will the weather be like in the town number {n}, and what should I wear there?"),
        ),
    ]
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    pair(key, Value::IntValue(value))
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// What a process and its threads have had of the processors.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // The name may hold anything; what follows it does not.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|place| fields[*place].parse::<u64>().expect("a number")).sum();
    // Linux counts in hundredths of a second here, whatever the machine.
    Duration::from_millis(ticks * 10)
}
