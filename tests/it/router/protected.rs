//! Environments that are not for everybody.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::app::{OWNER, PASSWORD, TestApp};
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::Project;

use super::deployed;

async fn protect(owner: &Client, project: &Project, protection: &str) {
    let at = format!("/environments/{}", project.production);
    let shown = owner.patch(&at, json!({ "protection": protection })).await.expect(200);
    assert_eq!(shown["protection"], protection);
}

/// A token of the project with these scopes.
async fn token(owner: &Client, project: &Project, scopes: &[&str]) -> String {
    let body = json!({ "name": scopes.join(" "), "scopes": scopes });
    let made = owner.post(&format!("/projects/{}/tokens", project.id), body).await.expect(201);
    made["plainToken"].as_str().unwrap().to_owned()
}

/// What the app sees of a request with these headers.
async fn seen(project: &Project, app: &TestApp, headers: &[(&str, &str)]) -> Answer {
    let nobody = app.nobody();
    let request = nobody.request(Method::GET, &project.url("/api/headers"));
    Client::send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

async fn until(app: &TestApp, project: &Project, headers: &[(&str, &str)], status: u16) {
    app.wait_until("the change holds", Duration::from_secs(5), async || {
        seen(project, app, headers).await.status == status
    })
    .await;
}

#[tokio::test]
async fn a_protected_environment_is_for_who_may_read_its_project() {
    let (app, owner, project) = deployed(&[]).await;
    assert_eq!(seen(&project, &app, &[]).await.status, 200);
    let stranger = join(&app, &owner, "eve@example.org", None).await;
    let viewer = join(&app, &owner, "vic@example.org", Some(("acme", "viewer"))).await;
    let bearer = |client: &Client| format!("Bearer {}", client.token().unwrap());
    let (reads, sends) =
        (token(&owner, &project, &["read"]).await, token(&owner, &project, &["telemetry:write"]).await);

    protect(&owner, &project, "team").await;
    until(&app, &project, &[], 401).await;
    let refused = seen(&project, &app, &[]).await;
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    let mine = bearer(&viewer);
    let answer = seen(&project, &app, &[("authorization", &mine)]).await.expect(200);
    assert_eq!(answer["headers"]["authorization"], Value::Null, "the app never sees who it was");
    let both = [("x-mastra-token", &*reads), ("authorization", "Bearer of the app")];
    let answer = seen(&project, &app, &both).await.expect(200);
    assert_eq!(answer["headers"]["authorization"], "Bearer of the app");
    assert_eq!(answer["headers"]["x-mastra-token"], Value::Null);
    for (value, status) in [
        (bearer(&stranger), 404),
        (format!("Bearer {sends}"), 404),
        ("Bearer ma_nonsense".to_owned(), 401),
        ("Bearer of the app".to_owned(), 401),
    ] {
        assert_eq!(seen(&project, &app, &[("authorization", &value)]).await.status, status, "{value}");
    }

    protect(&owner, &project, "token").await;
    until(&app, &project, &[("authorization", &mine)], 403).await;
    assert_eq!(seen(&project, &app, &[("x-mastra-token", &reads)]).await.status, 200);
    assert_eq!(seen(&project, &app, &[("authorization", &bearer(&stranger))]).await.status, 404);
    let bad =
        owner.patch(&format!("/environments/{}", project.production), json!({ "protection": "none" })).await;
    assert!(bad.status == 400 || bad.status == 422, "{}", bad.text);
    assert_eq!(bad.body["errors"][0]["field"], "protection");
}

/// Reads a stream until it ends; answers how long that took.
async fn cut(request: RequestBuilder, change: impl Future<Output = ()>) -> Duration {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut events = answer.bytes_stream();
    events.next().await.unwrap().unwrap();
    change.await;
    let since = Instant::now();
    let rest = async { while let Some(Ok(_)) = events.next().await {} };
    tokio::time::timeout(Duration::from_secs(30), rest).await.unwrap();
    since.elapsed()
}

#[tokio::test]
async fn a_change_reaches_streams_that_are_open() {
    let (app, owner, project) = deployed(&[]).await;
    let nobody = app.nobody();
    let events = |client: &Client| client.request(Method::GET, &project.url("/api/events?last=1000"));
    let took = cut(events(&nobody), protect(&owner, &project, "team")).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    until(&app, &project, &[], 401).await;

    let viewer = join(&app, &owner, "vic@example.org", Some(("acme", "viewer"))).await;
    let me = viewer.get("/me").await.expect(200);
    let id = me["id"].as_str().or(me["user"]["id"].as_str()).unwrap().to_owned();
    let leaves = async {
        owner.delete(&format!("/teams/acme/members/{id}")).await.expect(200);
    };
    let took = cut(events(&viewer), leaves).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// The `name=value` of the cookies that an answer sets.
fn cookies(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all("set-cookie").iter();
    all.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
}

/// A browser goes to a page of the platform's listener by one of its names.
async fn visit(app: &TestApp, host: &str, path: &str, cookie: &str) -> Answer {
    let request = app.nobody().request(Method::GET, &format!("/{path}")).header(HOST, host);
    let request = request.header(ACCEPT, "text/html,*/*;q=0.8").header(COOKIE, cookie);
    assert!(request.try_clone().unwrap().build().unwrap().headers().get(AUTHORIZATION).is_none());
    Client::send(request).await
}

fn path_of(answer: &Answer, origin: &str) -> String {
    let location = answer.headers["location"].to_str().unwrap();
    location.strip_prefix(origin).unwrap_or_else(|| panic!("{location} is not of {origin}")).to_owned()
}

#[tokio::test]
async fn a_browser_signs_in_with_the_platform_and_comes_back_with_a_cookie_of_the_app() {
    let (app, owner, project) = deployed(&[("MASTRA_ADMIN_BASE_DOMAIN", "apps.test")]).await;
    protect(&owner, &project, "team").await;
    let platform = app.url.strip_prefix("http://").unwrap().to_owned();
    let host = format!("agent--acme.apps.test:{}", platform.rsplit(':').next().unwrap());
    let origin = format!("http://{host}");
    app.wait_until("the change holds", Duration::from_secs(5), async || {
        visit(&app, &host, "/chat?x=1", "").await.status == 303
    })
    .await;
    let away = visit(&app, &host, "/chat?x=1", "").await;
    let state = cookies(&away.headers).remove(0);
    let wish = path_of(&away, &app.url);
    assert_eq!(visit(&app, &platform, &wish, "").await.status, 401, "he signs in first");
    let login = json!({ "email": OWNER, "password": PASSWORD });
    let session = cookies(&app.nobody().post("/auth/login", login).await.headers).remove(0);
    let back = visit(&app, &platform, &wish, &session).await;
    assert_eq!(back.status, 303, "{}", back.text);
    let door = path_of(&back, &origin);
    assert!(door.starts_with("/.mastra/access?code="), "{door}");

    assert_eq!(visit(&app, &host, &door, "").await.status, 401, "another browser has not asked");
    let inside = visit(&app, &host, &door, &state).await;
    assert_eq!((inside.status, &*path_of(&inside, "")), (303, "/chat?x=1"), "{}", inside.text);
    assert_eq!(visit(&app, &host, &door, &state).await.status, 401, "a code is good once");
    let pass = cookies(&inside.headers).remove(0);
    let page = visit(&app, &host, "/api/headers", &format!("mine=1; {pass}")).await.expect(200);
    assert_eq!(page["headers"]["cookie"], "mine=1", "the app sees nothing of it");
    // The session of the platform is nothing to the app's host, and the pass nothing to the platform.
    assert_eq!(visit(&app, &host, "/chat", &session).await.status, 303);
    assert_eq!(visit(&app, &platform, "/api/v1/me", &pass).await.status, 401);

    // The pass ends with the session.
    let sessions = owner.get("/auth/sessions").await.expect(200);
    for one in sessions["items"].as_array().unwrap() {
        if one["current"] != true {
            owner.delete(&format!("/auth/sessions/{}", one["id"].as_str().unwrap())).await.expect(200);
        }
    }
    assert_eq!(visit(&app, &host, "/chat", &pass).await.status, 303);
}
