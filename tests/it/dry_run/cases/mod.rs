//! A case of every command.

mod cli;
mod endpoints;
mod people;
mod projects;
mod repository;
mod runs;
mod teams;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::people::{join, one_time_code};
use tests::world::Project;

/// A code begins with this whose authenticator has the secret behind it: it is made when it is sent.
const NOW: &str = "code of now: ";

/// A command that would be carried out, and the types of the events that it would append.
pub(crate) struct Case {
    pub(crate) method: Method,
    pub(crate) route: &'static str,
    pub(crate) path: String,
    pub(crate) client: Client,
    pub(crate) body: Value,
    pub(crate) events: Vec<&'static str>,
}

impl Case {
    /// Its body, as it is sent now.
    pub(super) fn body_now(&self) -> Value {
        match self.body["code"].as_str().and_then(|code| code.strip_prefix(NOW)) {
            Some(secret) => json!({ "code": one_time_code(secret, 0) }),
            None => self.body.clone(),
        }
    }
}

/// A request with a body: a text as it stands, everything else as JSON.
pub(crate) fn with_body(request: RequestBuilder, body: &Value) -> RequestBuilder {
    match body.as_str() {
        Some(text) => request.header("content-type", "text/plain; charset=utf-8").body(text.to_owned()),
        None => request.json(body),
    }
}

/// A command that names its team in a header, where its path names none.
pub(crate) fn of_team(request: RequestBuilder, path: &str, team: &str) -> RequestBuilder {
    match path.trim_start_matches('/') {
        "v1/studio/projects" | "v1/server/projects" => request.header("x-organization-id", team),
        _ => request,
    }
}

fn case(
    client: &Client,
    method: Method,
    route: &'static str,
    ids: &[(&str, String)],
    body: Value,
    events: &[&'static str],
) -> Case {
    let mut path = route.to_owned();
    for (name, id) in ids {
        path = path.replace(&format!("{{{name}}}"), id);
    }
    Case { method, route, path, client: client.clone(), body, events: events.to_vec() }
}

/// A case of every command, ready to be carried out.
pub(crate) async fn cases(app: &TestApp, owner: &Client, project: &Project, first: &Value) -> Vec<Case> {
    let guest = join(app, owner, "guest@example.org", Some(("acme", "viewer"))).await;
    let mut cases = people::cases(app, owner, project, &guest).await;
    cases.extend(teams::cases(app, owner, project, &guest).await);
    cases.extend(endpoints::cases(app, owner).await);
    cases.extend(projects::cases(app, owner, project).await);
    cases.extend(repository::cases(owner, project).await);
    cases.extend(runs::cases(app, owner, project, first).await);
    cases.extend(cli::cases(owner, project).await);
    cases
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Invites an address; answers the id of the invite.
async fn invite(owner: &Client, email: &str) -> String {
    let body = json!({ "email": email, "role": "viewer" });
    text(&owner.post("/teams/acme/invites", body).await.expect(201)["id"])
}
