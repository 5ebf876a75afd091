//! GitHub: installations, deliveries of its webhooks, and pushes that end as running deployments. The other side is a
//! fake that checks everything against GitHub's own description.

mod connection;
mod deliveries;
mod previews;
mod pushes;
mod shown;
mod statuses;

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::github::GitHub;
use tests::world::{Project, delivery, project, team};

/// A team with a project of a private repository.
struct World {
    github: GitHub,
    app: TestApp,
    owner: Client,
    project: Project,
    /// GitHub's id of the repository.
    repository: i64,
    /// Our id of the installation.
    installation: String,
}

const NAME: &str = "acme/agent";

async fn world() -> World {
    let github = GitHub::start().await;
    let repository = github.repository(NAME, "tiny").await;
    let app = github.app(&[]).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let installation = github.connect(&owner, "acme").await;
    let more = json!({ "installationId": installation });
    let project = project(&owner, "acme", "agent", &github.repo_url(NAME), more).await;
    let world = World { github, app, owner, project, repository, installation };
    // From then on what is pushed is known.
    world.reason("found/", "first_seen").await;
    world
}

impl World {
    /// The delivery whose id begins so, once it is known what came of it.
    async fn settled(&self, id: &str) -> Value {
        delivery(&self.app, &self.owner, |known| known.starts_with(id)).await
    }

    /// Waits until a delivery came to this; the outcome.
    async fn reason(&self, id: &str, reason: &str) -> Value {
        let settled = self.settled(id).await;
        let outcomes = settled["outcomes"].as_array().unwrap();
        let found = outcomes.iter().find(|outcome| outcome["reason"] == reason);
        found.unwrap_or_else(|| panic!("{id} came to something else than {reason}: {settled}")).clone()
    }

    /// Pushes files and has it delivered; the id of the delivery and the commit.
    async fn push(&self, body: Value) -> (String, String) {
        let mut push = json!({ "full_name": NAME, "overrides": { "commits": [] } });
        for (key, value) in body.as_object().unwrap() {
            push[key] = value.clone();
        }
        let pushed = self.github.tell("push", push).await;
        assert_eq!(pushed["delivery"]["status"], 202, "{pushed}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&pushed["delivery"]["guid"]), text(&pushed["after"]))
    }

    /// Delivers a push of these fields that is made up; what came of it.
    async fn told(&self, guid: &str, overrides: Value) -> Value {
        let mut all = json!({
            "repository": { "id": self.repository, "full_name": NAME },
            "installation": { "id": tests::github::INSTALLATION },
        });
        for (key, value) in overrides.as_object().unwrap() {
            all[key] = value.clone();
        }
        let delivered = self.github.deliver("push", None, all, guid).await;
        assert_eq!(delivered["status"], 202, "{delivered}");
        self.settled(guid).await
    }
}
