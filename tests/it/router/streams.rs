//! Streams, sockets and large bodies through both forms, with clients as people use them.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::Method;
use reqwest::header::HOST;
use tests::app::TestApp;
use tokio::process::Command;

use super::deployed;

const SCRIPT: &str = r"
    const dns = require('node:dns');
    const look = dns.lookup;
    dns.lookup = (name, options, done) => look('127.0.0.1', options, done);
    const socket = new WebSocket(process.argv[1]);
    socket.onopen = () => socket.send('hello');
    socket.onmessage = (event) => { console.log(event.data); socket.close(); };
    socket.onerror = (event) => { console.log('failed', event.message ?? event.error); process.exit(1); };
    socket.onclose = () => process.exit(0);
";

/// What a WebSocket client gets back for `hello`.
async fn echoed(url: &str) -> String {
    let mut node = Command::new("node");
    let run = node.args(["--experimental-websocket", "-e", SCRIPT, url]).output();
    let output = tokio::time::timeout(Duration::from_secs(30), run).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.trim().to_owned()
}

/// Sends 32 MiB piece by piece and counts what comes back; events come before the stream ends.
async fn streams(app: &TestApp, path: &str, host: &str) {
    let nobody = app.nobody();
    let pieces = stream::iter((0..512).map(|_| Ok::<_, std::io::Error>(vec![7_u8; 65_536])));
    let request = nobody.request(Method::POST, &format!("{path}/api/echo")).header(HOST, host);
    let answer = request.body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.bytes_stream();
    let mut length = 0;
    while let Some(piece) = body.next().await {
        length += piece.unwrap().len();
    }
    assert_eq!(length, 512 * 65_536);

    let request = nobody.request(Method::GET, &format!("{path}/api/events?last=1000")).header(HOST, host);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = answer.bytes_stream();
    let first = tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap();
    assert_eq!(&first.unwrap().unwrap()[..], b"id: 1\ndata: 1\n\n");
}

fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test]
async fn streams_sockets_and_large_bodies_pass_in_the_path_form() {
    let (app, ..) = deployed(&[]).await;
    let host = app.url.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(echoed(&format!("ws://{host}/p/acme/agent/ws")).await, "hello");
    streams(&app, "//p/acme/agent", &host).await;
}

#[tokio::test]
async fn streams_sockets_and_large_bodies_pass_in_the_host_form() {
    let (app, ..) = deployed(&[("MASTRA_ADMIN_BASE_DOMAIN", "apps.test")]).await;
    let host = format!("agent--acme.apps.test:{}", app.url.rsplit(':').next().unwrap());
    assert_eq!(echoed(&format!("ws://{host}/ws")).await, "hello");
    let before = memory(app.pid());
    streams(&app, "/", &host).await;
    let grown = memory(app.pid()).saturating_sub(before);
    assert!(grown < 16 * 1024, "32 MiB passed and {grown} KiB of them stayed");
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_given_up() {
    let (app, owner, project) =
        deployed(&[("MASTRA_ADMIN_ROUTER_FIRST_BYTE", "1"), ("MASTRA_ADMIN_ROUTER_IDLE", "1")]).await;
    let late = project.ask(&owner, "/api/slow?ms=20000").await;
    assert_eq!((late.status, late.str("code").as_str()), (504, "gateway_timeout"));
    assert_eq!(project.ask(&owner, "/api/events").await.status, 200);
    let page = app.nobody().get("//metrics").await.text;
    let counted =
        r#"mastra_admin_router_requests_total{project="acme/agent",environment="production",status="5xx"} 1"#;
    assert!(page.contains(counted), "{page}");
}
