//! Deployed servers on hosts of their own, and what of a request they get to see.

mod protected;
mod sleeping;
mod streams;

use reqwest::Method;
use reqwest::header::HOST;
use serde_json::json;
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::world::{Project, team_and_project};

/// Asks the platform's listener by another name.
async fn by_name(client: &Client, name: &str, path: &str) -> Answer {
    Client::send(client.request(Method::GET, &format!("/{path}")).header(HOST, name)).await
}

async fn deployed(extra: &[(&str, &str)]) -> (TestApp, Client, Project) {
    let app = TestApp::start_with(extra).await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    assert_eq!(deployment["status"], "running", "{deployment}");
    (app, owner, project)
}

#[tokio::test]
async fn an_app_has_a_host_of_its_own_where_the_platform_never_answers() {
    let (app, owner, project) = deployed(&[("MASTRA_ADMIN_BASE_DOMAIN", "apps.test")]).await;
    let port = app.url.rsplit(':').next().unwrap();
    let name = format!("agent--acme.apps.test:{port}");

    let at = format!("/environments/{}", project.production);
    let shown = owner.get(&at).await.expect(200);
    assert_eq!(shown["url"], format!("http://{name}"));
    let list = owner.get(&format!("{at}/deployments")).await.expect(200);
    assert_eq!(list["items"][0]["url"], shown["url"]);

    let asked = app.nobody().request(Method::GET, "//api/headers?a=%20b").header(HOST, &name);
    let cookies = "a=1; mastra_session=stolen; __Host-mastra_access=stolen; b=2";
    let asked = asked.header("cookie", cookies).header("x-forwarded-for", "6.6.6.6");
    let seen = Client::send(asked).await.expect(200);
    assert_eq!(seen["url"], "/api/headers?a=%20b");
    assert_eq!(seen["headers"]["cookie"], "a=1; b=2");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-forwarded-host"], name.as_str());
    assert_eq!(seen["headers"]["x-forwarded-prefix"], json!(null));

    // The same path is the app's on its host and the platform's on the platform's.
    for path in ["/api/v1/me", "/api/health", "/metrics", "/openapi.json", "/docs/", "/p/acme/agent/x"] {
        let answer = by_name(&owner, &name, path).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "<h1>Mastra</h1>"), "{path}");
        for nobodys in ["no--acme.apps.test", "apps.test", "agent--acme.x.apps.test"] {
            assert_eq!(by_name(&owner, nobodys, path).await.status, 404, "{nobodys}{path}");
        }
    }
    assert_eq!(owner.get("/me").await.status, 200);
    assert_eq!(by_name(&owner, "AGENT--ACME.apps.test.", "/api/version").await.body["version"], "1");

    let moved = project.ask(&owner, "/api/version?x=%2F").await;
    assert_eq!(moved.status, 308);
    assert_eq!(moved.headers["location"], format!("http://{name}/api/version?x=%2F").as_str());
    assert_eq!(owner.get("//p/acme/none/x").await.status, 404);
}

/// The short form of the fault suite's thousand.
#[tokio::test]
async fn no_request_fails_while_deployments_take_over() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let answered = tests::switches::switched(&app, &owner, &project, 20).await;
    assert!(answered > 100, "{answered} requests are no load");
}
