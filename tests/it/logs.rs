//! Logs: live, resumed without loss or repeat, ended.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use tests::app::TestApp;
use tests::client::Client;
use tests::repository;
use tests::world::team_and_project;

/// Reads a stream of server-sent events until it ends or `enough` says so.
async fn events(client: &Client, path: &str, last: Option<&str>, enough: impl Fn(&str) -> bool) -> String {
    let mut request = client.request(Method::GET, path);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.bytes_stream();
    let mut text = String::new();
    while let Ok(Some(chunk)) = tokio::time::timeout(Duration::from_secs(60), body.next()).await {
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
        if enough(&text) {
            break;
        }
    }
    text
}

fn ids(text: &str) -> Vec<i64> {
    text.lines().filter_map(|line| line.strip_prefix("id:")).filter_map(|id| id.trim().parse().ok()).collect()
}

#[tokio::test]
async fn a_builds_log_streams_live_and_ends_and_resumes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let path = app.repositories().join("tiny");
    let red = "\u{1b}[31mred\u{1b}[0m".replace('\u{1b}', "\\u001b");
    repository::change(
        &path,
        &[("behaviour.json", &format!(r#"{{ "version": "1", "sleep": 1500, "say": "{red}" }}"#))],
    );
    let build = project.build(&owner).await;
    let stream = format!("/builds/{build}/logs/stream");
    let early = events(&owner, &stream, None, |text| text.contains("Bundling Mastra application")).await;
    assert!(!early.contains("event: end"), "the line came before the build ended");
    let whole = events(&owner, &stream, None, |_| false).await;
    assert!(whole.contains("event: end") && whole.contains("retry:"), "{whole}");
    assert!(whole.contains("\\u001b[31mred"), "ANSI is kept as data: {whole}");
    let all = ids(&whole);
    assert_eq!(all, (1..=*all.last().unwrap()).collect::<Vec<_>>(), "numbered without holes");

    let middle = all[all.len() / 2];
    let rest = events(&owner, &stream, Some(&middle.to_string()), |_| false).await;
    assert_eq!(ids(&rest), ((middle + 1)..=*all.last().unwrap()).collect::<Vec<_>>());

    let text = owner.get(&format!("/builds/{build}/logs")).await;
    assert!(text.text.contains("Build successful"), "{}", text.text);
    let request = owner.request(Method::GET, &format!("/builds/{build}/logs"));
    let lines = Client::send(request.header("accept", "application/x-ndjson")).await.text;
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["seq"], 1);
    assert!(first["at"].is_string() && first["stream"].is_string());
}

#[tokio::test]
async fn a_servers_log_is_followed_live() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    let stream = format!("/deployments/{}/logs/stream", deployment["id"].as_str().unwrap());
    let follow = events(&owner, &stream, None, |text| text.contains("hello-from-the-test"));
    let speak = async {
        project.ask(&owner, "/api/log?line=hello-from-the-test").await.expect(200);
    };
    let (seen, ()) = tokio::join!(follow, speak);
    assert!(seen.contains("hello-from-the-test"), "{seen}");
}
