//! Twelve repositories whose builds do what they should not, all at once, on one platform; and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::app::TestApp;
use crate::client::Client;
use crate::repository;
use crate::world::{Project, project, team};

/// The attacks: each is a file of `fixtures/hostile`.
pub const ATTACKS: [&str; 12] =
    ["environ", "host", "fork", "memory", "disk", "daemon", "log", "symlink", "tar", "scan", "echo", "hooks"];
/// What a build has, so that it is over soon.
const LIMITS: (u32, u32, u32, u32) = (512, 128, 128, 60);

/// A platform with secrets of its own and of others, and with builds that want them.
pub struct Siege {
    /// The platform.
    pub app: TestApp,
    /// Its owner.
    pub owner: Client,
    /// How many connections something on the machine's loopback had that is nobody's business.
    pub knocks: Arc<AtomicUsize>,
    /// What nobody may see, by what it is.
    pub secrets: BTreeMap<&'static str, String>,
    /// Where everybody may write who gets there.
    pub loot: PathBuf,
    /// In the command line of what a build leaves behind.
    pub daemon: String,
    target: Value,
}

/// How an attack ended.
pub struct Outcome {
    /// The build, as the API shows it.
    pub build: Value,
    /// Its log.
    pub log: String,
}

fn canary(what: &str) -> String {
    format!("canary-{what}-{}", Uuid::now_v7().simple())
}

impl Siege {
    /// Starts the platform with these variables.
    pub async fn start(runner: &[(&str, &str)]) -> Self {
        let in_environment = canary("environment");
        let usual = [("PLATFORM_SECRET", &*in_environment), ("MASTRA_ADMIN_BUILDS", "4")];
        let app = TestApp::start_with(&[&usual, runner].concat()).await;
        let owner = app.owner().await;
        let (knocks, answer) = (Arc::new(AtomicUsize::new(0)), canary("loopback"));
        let port = listen(knocks.clone(), answer.clone()).await;

        // As bad as an operator could have it: what lies about may be read and written by everybody.
        let outside = app.dir.path().join("outside");
        let (file, loot) = (outside.join("secret"), outside.join("loot"));
        fs::create_dir_all(&loot).expect("it can be made");
        fs::write(&file, canary("file")).expect("it can be written");
        for (path, mode) in [(app.dir.path(), 0o755), (&outside, 0o755), (&loot, 0o777), (&file, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let key = app.dir.path().join("data/master.key");
        let secrets = BTreeMap::from([
            ("the platform's environment", in_environment),
            ("the answer of something on loopback", answer),
            ("a file of the machine", fs::read_to_string(&file).expect("it is there")),
            ("the master key", fs::read_to_string(&key).expect("there is one").trim().to_owned()),
            ("a variable of another team", canary("variable")),
            ("a connection to a socket of the machine", canary("connected")),
        ]);
        let daemon = canary("daemon");
        let platform: u16 = app.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let database = app.db.options().get_socket().cloned().unwrap_or_default();
        let target = json!({
            "secret": [file, key, format!("/proc/{}/environ", app.pid())],
            "loot": loot,
            "ports": [port, platform],
            "database": database.join(format!(".s.PGSQL.{}", app.db.options().get_port())),
            "canary": { "daemon": daemon, "connected": secrets["a connection to a socket of the machine"] },
        });
        Self { app, owner, knocks, secrets, loot, daemon, target }
    }

    /// Another team's build, which has a secret and goes on.
    pub async fn victim(&self) -> Project {
        let repository = self.app.repository("tiny", "victim");
        let sleep = ("behaviour.json", r#"{ "version": "1", "sleep": 60000 }"#);
        repository::change(&self.app.repositories().join("victim"), &[sleep]);
        team(&self.owner, "victim").await;
        let it = project(&self.owner, "victim", "agent", &repository, json!({})).await;
        set(&self.owner, &it, "VICTIMS_SECRET", &self.secrets["a variable of another team"]).await;
        it
    }

    /// A team whose project's build is the attack.
    pub async fn attacker(&self, attack: &str) -> Project {
        let at = self.app.repositories().join(attack);
        let repository = self.app.repository("tiny", attack);
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hostile");
        let read = |file: &str| fs::read_to_string(fixtures.join(file)).expect("there is such an attack");
        let (build, script) = (read("build.mjs"), read(&format!("{attack}.mjs")));
        if attack == "hooks" {
            looks_like_a_repository(&at, &self.loot);
        }
        let target = self.target.to_string();
        repository::change(&at, &[("build.mjs", &build), ("attack.mjs", &script), ("target.json", &target)]);
        team(&self.owner, attack).await;
        let (memory, pids, disk, timeout) = LIMITS;
        let limits = json!({ "memoryMib": memory, "pids": pids, "diskMib": disk, "timeoutSeconds": timeout });
        let more = json!({ "resources": { "builder": limits } });
        let it = project(&self.owner, attack, "agent", &repository, more).await;
        set(&self.owner, &it, "OWN_SECRET", "p4ss/w0rd+\"quoted\" & ünïcode: SECRET").await;
        it
    }

    /// Builds it, and waits until that is over.
    pub async fn outcome(&self, it: &Project) -> Outcome {
        let build = it.built(&self.app, &self.owner).await;
        let log = self.owner.get(&format!("/builds/{}/logs", build["id"].as_str().expect("an id"))).await;
        assert_eq!(log.status, 200, "{}", log.text);
        Outcome { build, log: log.text }
    }

    /// Asks the API this and that until told to stop; how long each answer took.
    pub async fn answers(&self, until: impl Future<Output = ()>) -> Vec<Duration> {
        tokio::pin!(until);
        let mut took = Vec::new();
        let asked = ["/teams", "/me", "/teams/victim/projects", "/teams/victim/audit"];
        for path in asked.iter().cycle() {
            let begin = Instant::now();
            tokio::select! {
                () = &mut until => break,
                answer = self.owner.get(path) => assert_eq!(answer.status, 200, "{path}: {}", answer.text),
            }
            took.push(begin.elapsed());
            let pause = tokio::time::sleep(Duration::from_millis(20));
            tokio::select! {
                () = &mut until => break,
                () = pause => {}
            }
        }
        took
    }

    /// Processes of this machine that a build has left behind.
    pub fn daemons(&self) -> Vec<String> {
        let commands = fs::read_dir("/proc").expect("Linux has it").filter_map(|entry| {
            let command = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&command).replace('\0', " "))
        });
        commands.filter(|command| command.contains(&self.daemon)).collect()
    }
}

async fn set(owner: &Client, it: &Project, key: &str, value: &str) {
    let body = json!({ "value": value, "sensitive": true, "availability": "both" });
    owner.put(&format!("/projects/{}/env-vars/{key}", it.id), body).await.expect(200);
}

/// Something of the machine's that listens on loopback only and trusts whoever comes. Its port.
async fn listen(knocks: Arc<AtomicUsize>, answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            knocks.fetch_add(1, Ordering::Relaxed);
            let _gone = stream.write_all(format!("HTTP/1.1 200 {answer}\r\n\r\n").as_bytes()).await;
        }
    });
    port
}

/// A bare repository among the files, with programs in its configuration and hooks; and a submodule and attributes that
/// name programs, too.
fn looks_like_a_repository(at: &Path, loot: &Path) {
    let touch = format!("touch {}/looted", loot.display());
    for folder in ["objects", "refs", "hooks"] {
        fs::create_dir_all(at.join(folder)).expect("it can be made");
        fs::write(at.join(folder).join("keep"), "").expect("it can be written");
    }
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = \"{touch}\"\n\
         \tsshCommand = \"{touch}\"\n[filter \"evil\"]\n\tsmudge = \"{touch}\"\n\tclean = \"{touch}\"\n"
    );
    let submodule = format!("[submodule \"evil\"]\n\tpath = evil\n\turl = ext::sh -c '{touch}'\n");
    let hook = format!("#!/bin/sh\n{touch}\n");
    for (file, text) in [
        ("HEAD", "ref: refs/heads/main\n"),
        ("config", &config),
        (".gitmodules", &submodule),
        (".gitattributes", "* filter=evil\n"),
        ("hooks/post-checkout", &hook),
        ("hooks/pre-commit", &hook),
    ] {
        fs::write(at.join(file), text).expect("it can be written");
        let mode = if file.starts_with("hooks") { 0o755 } else { 0o644 };
        fs::set_permissions(at.join(file), fs::Permissions::from_mode(mode)).expect("it is ours");
    }
}
