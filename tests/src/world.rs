//! A team with a project, made over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::client::{Answer, Client};

/// A project that can be built.
pub struct Project {
    /// Its team's slug.
    pub team: String,
    /// Its slug.
    pub slug: String,
    /// Its id.
    pub id: String,
    /// Id of its production environment.
    pub production: String,
}

/// Makes a team.
pub async fn team(client: &Client, slug: &str) -> Value {
    client.post("/teams", json!({ "name": slug, "slug": slug })).await.expect(201)
}

/// Makes a project of a repository in a team that is there.
pub async fn project(client: &Client, team: &str, slug: &str, repository: &str, more: Value) -> Project {
    let mut body = json!({ "name": slug, "slug": slug, "repoUrl": repository, "branch": "main" });
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let made = client.post(&format!("/teams/{team}/projects"), body).await.expect(201);
    let id = made["id"].as_str().expect("an id").to_owned();
    let environments = client.get(&format!("/projects/{id}/environments")).await.expect(200);
    let production = environments["items"][0]["id"].as_str().expect("an id").to_owned();
    Project { team: team.to_owned(), slug: slug.to_owned(), id, production }
}

/// Endpoints of the team `acme`.
pub struct Endpoints {
    /// One that mails its maker.
    pub mail: String,
    /// What was mailed.
    pub message: String,
    /// A webhook that hears of next to nothing.
    pub webhook: String,
}

/// Makes endpoints of the team `acme`, one of which was sent something.
pub async fn endpoints(app: &TestApp, client: &Client) -> Endpoints {
    let id = |made: &Value| made["endpoint"]["id"].as_str().expect("an id").to_owned();
    let me = client.get("/me").await.expect(200)["id"].clone();
    let mail = json!({ "name": "Mail", "kind": "email", "to": [me] });
    let mail = id(&client.post("/teams/acme/endpoints", mail).await.expect(201));
    client.post(&format!("/endpoints/{mail}/ping"), json!({})).await.expect(202);
    let mut message = None;
    app.wait_until("it is mailed", std::time::Duration::from_secs(30), async || {
        let sent = client.get(&format!("/endpoints/{mail}/deliveries?status=delivered")).await.expect(200);
        message = sent["items"][0]["id"].as_str().map(str::to_owned);
        message.is_some()
    })
    .await;
    let rare = json!({ "name": "Rare", "kind": "webhook", "url": "https://hooks.example/", "events": ["team.closed"] });
    let webhook = id(&client.post("/teams/acme/endpoints", rare).await.expect(201));
    Endpoints { mail, message: message.expect("it was waited for"), webhook }
}

/// A team and a project of a fixture.
pub async fn team_and_project(app: &TestApp, client: &Client, fixture: &str) -> Project {
    let repository = app.repository(fixture, fixture);
    team(client, "acme").await;
    let more = if fixture == "monorepo" { json!({ "projectRoot": "apps/agent" }) } else { json!({}) };
    project(client, "acme", "agent", &repository, more).await
}

impl Project {
    /// Who may send its telemetry, and nothing else.
    pub async fn sender(&self, app: &TestApp, owner: &Client) -> Client {
        let body = json!({ "name": "server", "scopes": ["telemetry:write"] });
        let made = owner.post(&format!("/projects/{}/tokens", self.id), body).await.expect(201);
        app.nobody().with_token(made["plainToken"].as_str().expect("it is shown once"))
    }

    /// Asks for a build of the head of its branch and its deployment; answers the build's id.
    pub async fn build(&self, client: &Client) -> String {
        client.post(&format!("/projects/{}/builds", self.id), json!({})).await.expect(202)["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    /// Builds and waits until the build has ended; answers it.
    pub async fn built(&self, app: &TestApp, client: &Client) -> Value {
        let build = self.build(client).await;
        app.until_status(client, &format!("/builds/{build}"), &["ready", "failed", "cancelled"]).await
    }

    /// Builds, deploys, and waits until the deployment runs or has failed; answers it.
    pub async fn deployed(&self, app: &TestApp, client: &Client) -> Value {
        let build = self.built(app, client).await;
        assert_eq!(build["status"], "ready", "{build}");
        let deployment = self.deployment_of(app, client, build["id"].as_str().expect("an id")).await;
        app.until_status(client, &format!("/deployments/{deployment}"), &["running", "failed", "rolled_back"])
            .await
    }

    /// Waits until a build runs; answers the chain of causes that led to it.
    pub async fn why_it_runs(&self, app: &TestApp, client: &Client, build: &str) -> Value {
        let deployment = self.deployment_of(app, client, build).await;
        let path = format!("/deployments/{deployment}");
        let ended = app.until_status(client, &path, &["running", "failed"]).await;
        assert_eq!(ended["status"], "running", "{ended}");
        let activated: String = sqlx::query_scalar(
            "SELECT event_id::text FROM events WHERE aggregate_id = $1 AND event_type = 'deployment.activated'",
        )
        .bind(&deployment)
        .fetch_one(app.db.pool())
        .await
        .expect("it was activated once");
        client.get(&format!("/causation/{activated}")).await.expect(200)
    }

    /// The id of the newest deployment of a build, once there is one.
    pub async fn deployment_of(&self, app: &TestApp, client: &Client, build: &str) -> String {
        let mut found = None;
        app.wait_until("the build is deployed", std::time::Duration::from_secs(60), async || {
            let list =
                client.get(&format!("/environments/{}/deployments", self.production)).await.expect(200);
            let of_build =
                list["items"].as_array().expect("a list").iter().find(|one| one["buildId"] == build).cloned();
            found = of_build.and_then(|one| one["id"].as_str().map(str::to_owned));
            found.is_some()
        })
        .await;
        found.expect("it was waited for")
    }

    /// Asks the deployed server through the router.
    pub async fn ask(&self, client: &Client, path: &str) -> Answer {
        client.get(&self.url(path)).await
    }

    /// Path of the deployed server as [`Client::request`] takes it.
    pub fn url(&self, path: &str) -> String {
        format!("//p/{}/{}{path}", self.team, self.slug)
    }
}

/// The newest delivery of the team `acme` with such an id, once it is known what came of it and what was done about it can
/// be read.
pub async fn delivery(app: &TestApp, owner: &Client, is_it: impl Fn(&str) -> bool) -> Value {
    let mut found = Value::Null;
    app.wait_until("the delivery is worked on", Duration::from_secs(60), async || {
        let list = owner.get("/teams/acme/deliveries").await.expect(200);
        let is_over =
            |it: &&Value| it["status"] != "pending" && is_it(it["deliveryId"].as_str().expect("an id"));
        found = list["items"].as_array().expect("a list").iter().find(is_over).cloned().unwrap_or_default();
        !found.is_null()
    })
    .await;
    app.caught_up().await;
    found
}
