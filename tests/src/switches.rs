//! Deployments that take over from one another while people ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::app::TestApp;
use crate::client::Client;
use crate::world::Project;

/// Who asks at a time.
const CLIENTS: usize = 8;

/// Starts the same thing anew so many times, each time as soon as the one before serves, while clients ask one request
/// after the other. Answers how many requests were answered; panics at the first that failed.
pub async fn switched(app: &TestApp, owner: &Client, project: &Project, times: usize) -> usize {
    let first = project.deployed(app, owner).await;
    assert_eq!(first["status"], "running", "{first}");
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (client, url) = (app.nobody(), project.url(&format!("/api/slow?ms={}", n * 10)));
            let (done, answered) = (done.clone(), answered.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let answer = client.get(&url).await;
                    assert_eq!(answer.status, 200, "after {answered:?} requests: {}", answer.text);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut serving = first["id"].as_str().expect("an id").to_owned();
    for n in 0..times {
        let again = owner.post(&format!("/deployments/{serving}/restart"), json!({})).await.expect(202);
        serving = again["id"].as_str().expect("an id").to_owned();
        let at = format!("/deployments/{serving}");
        let shown = app.until_status(owner, &at, &["running", "failed", "rolled_back", "superseded"]).await;
        assert!(shown["failure"].is_null(), "switch {n}: {shown}");
        assert!(clients.iter().all(|client| !client.is_finished()), "a request failed at switch {n}");
    }
    // The servers before are ended under load too.
    app.wait_until("one server is left", Duration::from_secs(120), async || {
        let list = owner.get(&format!("/environments/{}/deployments", project.production)).await.expect(200);
        let items = list["items"].as_array().expect("a list");
        items.iter().filter(|one| one["status"] == "running").count() == 1
    })
    .await;
    app.settle().await;
    done.store(true, Ordering::Relaxed);
    join_all(clients).await.into_iter().for_each(|client| client.expect("no request failed"));
    answered.load(Ordering::Relaxed)
}
