//! The stock `mastra` command line, and what it uploads.

mod deploy;
mod login;
mod uploads;

use std::io::Write;

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::world::{Project, team, team_and_project};
use zip::write::SimpleFileOptions;

/// A zip of these files.
pub(crate) fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    for (name, text) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The fixture `tiny` as the command line would send it.
pub(crate) fn tiny(version: u32) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    tests::mastra_cli::built_tiny(dir.path(), &json!({ "version": version.to_string() }).to_string());
    let read = |name: &str| std::fs::read_to_string(dir.path().join(".mastra/output").join(name)).unwrap();
    zipped(&[
        ("output/index.mjs", &read("index.mjs")),
        ("output/behaviour.json", &read("behaviour.json")),
        ("output/package.json", &read("package.json")),
    ])
}

/// A deploy by hand.
pub(crate) struct Deploy {
    /// Where its environment is.
    below: String,
    id: String,
    url: String,
}

impl Deploy {
    pub(crate) async fn begin(client: &Client, project: &Project, body: Value) -> Self {
        let below = format!("//v1/projects/{}/environments/{}", project.id, project.production);
        let begun = client.post(&format!("{below}/deploy"), body).await.expect(201)["deploy"].clone();
        let text = |field: &str| begun[field].as_str().unwrap().to_owned();
        Self { below, id: text("id"), url: text("uploadUrl") }
    }

    pub(crate) async fn put(&self, body: impl Into<reqwest::Body>) -> Answer {
        let request = reqwest::Client::new().put(&self.url).header("content-type", "application/zip");
        Client::send(request.body(body)).await
    }

    pub(crate) async fn complete(&self, client: &Client) -> Answer {
        client.post(&format!("{}/deploys/{}/upload-complete", self.below, self.id), json!({})).await
    }

    /// Waits until it is over or runs.
    async fn settled(&self, app: &TestApp, client: &Client) -> Value {
        let mut last = Value::Null;
        app.wait_until("the deploy has settled", std::time::Duration::from_secs(120), async || {
            let path = format!("{}/deploys/{}", self.below, self.id);
            last = client.get(&path).await.expect(200)["deploy"].clone();
            ["running", "failed", "stopped"].contains(&last["status"].as_str().unwrap())
        })
        .await;
        last
    }

    async fn build(&self, client: &Client) -> Value {
        client.get(&format!("/builds/{}", self.id)).await.expect(200)
    }
}

/// A project whose repository nobody needs.
async fn project(app: &TestApp, owner: &Client) -> Project {
    team_and_project(app, owner, "tiny").await
}

async fn version(project: &Project, client: &Client) -> String {
    project.ask(client, "/api/version").await.str("version")
}
