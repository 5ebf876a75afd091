//! A strict fake of GitHub in a process of its own: it checks each request and each answer against GitHub's own OpenAPI
//! description, serves private clones, and signs webhooks with `@octokit/webhooks-methods`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::app::{TestApp, program};
use crate::client::Client;

/// What webhooks are signed with.
pub const SECRET: &str = "It's a Secret to Everybody";
/// The installation that is there from the beginning.
pub const INSTALLATION: i64 = 7001;

static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();

/// The fake. Dropping it kills it.
pub struct GitHub {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub base: String,
    dir: TempDir,
    http: reqwest::Client,
    _child: Child,
}

impl GitHub {
    /// Starts it; the first time, npm brings what it needs.
    pub async fn start() -> Self {
        let folder = INSTALLED.get_or_init(install).await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (private, public) = (dir.path().join("app.pem"), dir.path().join("app.pub.pem"));
        run(Command::new("openssl").args(["genrsa", "-traditional", "-out"]).arg(&private).arg("2048")).await;
        run(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public))
            .await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it has an address").port();
        drop(free);
        let mut child = Command::new("node")
            .arg("server.mjs")
            .arg(port.to_string())
            .arg(dir.path())
            .arg(&public)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed");
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let line = tokio::time::timeout(Duration::from_secs(120), lines.next_line()).await;
        let line = line.expect("it starts in time").expect("it can be read").expect("it says where it is");
        let base = line.strip_prefix("READY ").and_then(|rest| rest.split(' ').next()).expect("it is ready");
        let base = base.to_owned();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { base, dir, http: reqwest::Client::new(), _child: child }
    }

    /// Settings of a platform that is connected to it.
    pub fn settings(&self) -> Vec<(String, String)> {
        let key = self.dir.path().join("app.pem");
        [
            ("APP_ID", "4242"),
            ("PRIVATE_KEY_FILE", key.to_str().expect("a plain path")),
            ("WEBHOOK_SECRET", SECRET),
            ("URL", &self.base),
            ("API_URL", &self.base),
        ]
        .map(|(name, value)| (format!("MASTRA_ADMIN_GITHUB_{name}"), value.to_owned()))
        .into()
    }

    /// A platform with these settings and more.
    pub async fn app(&self, more: &[(&str, &str)]) -> TestApp {
        let settings = self.settings();
        let mut all: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        all.extend(more);
        let app = TestApp::start_with(&all).await;
        self.listens(&app).await;
        app
    }

    /// Sends webhooks there from now on.
    pub async fn listens(&self, app: &TestApp) {
        let target = format!("{}/api/webhooks/github", app.url);
        self.tell("webhook-target", json!({ "target": target, "secret": SECRET })).await;
    }

    /// Tells it something: `repos`, `push`, `webhook`, `fault`, `installation`, `code`, `token-ttl`.
    pub async fn tell(&self, what: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}/test/{what}", self.base)).json(&body);
        let answer = request.send().await.expect("it answers");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{what}: {body}");
        body
    }

    /// What it knows.
    pub async fn state(&self) -> Value {
        self.ask("state").await
    }

    /// Fails when anything that was sent or answered is not as GitHub describes it.
    pub async fn had_no_violations(&self) {
        assert_eq!(self.ask("violations").await, json!([]));
    }

    async fn ask(&self, what: &str) -> Value {
        let request = self.http.get(format!("{}/test/{what}", self.base));
        request.send().await.expect("it answers").json().await.expect("JSON")
    }

    /// A private repository with the files of a fixture; its id.
    pub async fn repository(&self, full_name: &str, fixture: &str) -> i64 {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        crate::repository::create(fixture, scratch.path());
        let mut files = json!({});
        collect(scratch.path(), scratch.path(), &mut files);
        let made = self.tell("repos", json!({ "full_name": full_name, "files": files })).await;
        made["id"].as_i64().expect("an id")
    }

    /// The address of a repository as projects have it.
    pub fn repo_url(&self, full_name: &str) -> String {
        format!("{}/{full_name}.git", self.base.replacen("http:", "https:", 1))
    }

    /// Delivers the example of an event, with these fields instead of its own; what was answered.
    pub async fn deliver(&self, event: &str, action: Option<&str>, overrides: Value, guid: &str) -> Value {
        let mut body = json!({ "event": event, "overrides": overrides, "guid": guid });
        if let Some(action) = action {
            body["action"] = action.into();
        }
        self.tell("webhook", body).await
    }

    /// Connects the installation with a team; our id of it.
    pub async fn connect(&self, client: &Client, team: &str) -> String {
        let url = client.get(&format!("/teams/{team}/github/install-url")).await.expect(200);
        let url = url["url"].as_str().expect("a url").to_owned();
        let state = url.split("state=").nth(1).expect("it has a state");
        let back =
            format!("/github/callback?installation_id={INSTALLATION}&setup_action=install&state={state}");
        let connected = client.get(&back).await.expect(200);
        connected["id"].as_str().expect("an id").to_owned()
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Value) {
    for entry in std::fs::read_dir(folder).expect("it is a directory") {
        let path = entry.expect("it can be read").path();
        let name = path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned();
        if name == ".git" {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files[name] = std::fs::read_to_string(&path).expect("fixtures are text").into();
        }
    }
}

async fn install() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/github");
    let folder = program("test-peers").join("github");
    std::fs::create_dir_all(&folder).expect("it can be made");
    for file in ["package.json", "server.mjs"] {
        std::fs::copy(here.join(file), folder.join(file)).expect("it can be copied");
    }
    if !folder.join("node_modules/@octokit/openapi").is_dir() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]);
        run(npm.current_dir(&folder)).await;
    }
    folder
}

async fn run(command: &mut Command) {
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    assert!(done.expect("it is installed").success(), "{command:?} failed");
}

/// An installation of a team, as the log might have it: GitHub was not asked. The same when there is one.
pub async fn installed(app: &TestApp, owner: &Client, team: &str) -> String {
    let listed = owner.get(&format!("/teams/{team}/installations")).await.expect(200);
    if let Some(id) = listed["items"][0]["id"].as_str() {
        return id.to_owned();
    }
    let team =
        owner.get(&format!("/teams/{team}")).await.expect(200)["id"].as_str().expect("an id").to_owned();
    let id = uuid::Uuid::now_v7().to_string();
    let payload = json!({
        "type": "team.installation_connected",
        "installation_id": id,
        "github_id": INSTALLATION,
        "organization": "acme",
    });
    append(app, ("team", &team), payload).await;
    id
}

/// The preview of a fork's pull request that waits for approval, as the log might have it; its commit too.
pub async fn waiting_preview(app: &TestApp, project: &str) -> (String, &'static str) {
    let (id, commit) = (uuid::Uuid::now_v7().to_string(), "0123456789abcdef0123456789abcdef01234567");
    let pull_request = json!({
        "number": 12, "branch": "topic", "head": commit, "is_fork": true, "expires_at": "2100-01-01T00:00:00Z",
    });
    let environment = json!({
        "id": id, "name": "PR 12", "slug": "pr-12", "kind": "preview", "pull_request": pull_request,
    });
    let payload = json!({ "type": "project.environment_created", "environment": environment });
    append(app, ("project", project), payload).await;
    (id, commit)
}

/// Appends the next event of a stream.
async fn append(app: &TestApp, (kind, id): (&str, &str), payload: Value) {
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             team_id)
         SELECT $1, $2, max(sequence) + 1, $3 ->> 'type', '1', $3, '{}',
                (array_agg(team_id))[1] FROM events WHERE aggregate_type = $1 AND aggregate_id = $2",
    )
    .bind(kind)
    .bind(id)
    .bind(payload)
    .execute(app.db.pool())
    .await
    .expect("it is appended");
    app.settle().await;
}
