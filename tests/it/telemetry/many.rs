//! Much at once: what is not shown is said, and a body that would fill the memory is not read.

use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;

use super::open;
use super::senders::gzip;

#[tokio::test]
async fn more_names_than_are_shown_are_said_to_be_there() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let measured = |n: u32| json!({ "metricId": format!("{n:032x}"), "timestamp": Utc::now(), "name": format!("m{n:04}"), "value": 1 });
    let send = async |names: std::ops::Range<u32>| {
        let metrics: Vec<Value> = names.map(measured).collect();
        let path = format!("//projects/{}/ai/metrics/publish", project.id);
        sender.post(&path, json!({ "metrics": metrics })).await.expect(200);
    };
    let names = async || {
        let shown = owner.get(&format!("/projects/{}/metrics/names", project.id)).await.expect(200);
        (shown["items"].as_array().unwrap().len(), shown["truncated"].clone())
    };
    send(0..1000).await;
    assert_eq!(names().await, (1000, json!(false)));
    send(1000..1001).await;
    assert_eq!(names().await, (1000, json!(true)));
}

#[tokio::test]
async fn a_small_body_that_would_fill_the_memory_is_not_read() {
    let app = TestApp::start().await;
    let (_, _, sender) = open(&app).await;
    // Two bytes a span, in one scope of one sender: six million spans.
    let spans = [0x12, 0x00].repeat(6 << 20);
    let within = |inside: &[u8]| {
        let mut length = inside.len();
        let mut field = vec![0x12];
        while length >= 0x80 {
            field.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        field.push(u8::try_from(length).unwrap());
        field.extend_from_slice(inside);
        field
    };
    let mut body = within(&within(&spans)[..]);
    // The sender is field 1 of the body.
    body[0] = 0x0a;
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    };
    let before = memory();
    for _ in 0..4 {
        let request =
            sender.request(Method::POST, "//v1/traces").header("content-type", "application/x-protobuf");
        let request = request.header("content-encoding", "gzip").body(gzip(&body));
        let answer = Client::send(request).await;
        assert_eq!(answer.status, 413, "{}", answer.text);
    }
    let more = memory().saturating_sub(before);
    assert!(more < 200, "{more} MiB");
}
