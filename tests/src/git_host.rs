//! Git hosts that are not GitHub: git's own CGI program over http, a real sshd, and who signs webhooks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::python::{self, Oracle};

/// Serves the repositories below a root to who sends a name and a password. Dropping it kills it.
pub struct HttpHost {
    /// Where it is: `127.0.0.1:PORT`.
    pub place: String,
    _child: Child,
}

impl HttpHost {
    /// Starts it.
    pub async fn start(root: &Path, user: &str, password: &str) -> Self {
        let arguments = [root.as_os_str(), OsStr::new(user), OsStr::new(password)];
        let (child, port) = python::start("git", "server.py", &arguments).await;
        Self { place: format!("127.0.0.1:{port}"), _child: child }
    }
}

/// A real sshd that lets in who has one of the authorized keys. Dropping it kills it.
pub struct SshHost {
    /// Where it is: `127.0.0.1:PORT`.
    pub place: String,
    /// Its public host key: `ssh-ed25519 AAAA…`.
    pub host_key: String,
    dir: TempDir,
    _child: Child,
}

impl SshHost {
    /// Starts it; it has no configuration of the machine's.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let host_key = new_key(&dir.path().join("host_key")).await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it has an address").port();
        drop(free);
        let file = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\n",
            file("host_key"),
            file("authorized_keys"),
        );
        std::fs::write(dir.path().join("config"), config).expect("it can be written");
        std::fs::write(dir.path().join("authorized_keys"), "").expect("it can be written");
        // The system makes it when it starts its own.
        std::fs::create_dir_all("/run/sshd").expect("tests run as root");
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("openssh-server is installed");
        let place = format!("127.0.0.1:{port}");
        let begin = std::time::Instant::now();
        while tokio::net::TcpStream::connect(&place).await.is_err() {
            assert!(begin.elapsed() < std::time::Duration::from_secs(60), "sshd never listens");
            assert!(child.try_wait().expect("it is ours").is_none(), "sshd ended");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self { place, host_key, dir, _child: child }
    }

    /// Lets in who has these keys, and nobody else.
    pub fn authorize(&self, keys: &[&str]) {
        std::fs::write(self.dir.path().join("authorized_keys"), keys.join("\n") + "\n")
            .expect("it can be written");
    }

    /// The address of a repository on this machine, as projects have it.
    pub fn repo_url(&self, path: &Path) -> String {
        format!("ssh://{}@{}{}", whoami(), self.place, path.display())
    }

    /// A public key that is not this host's.
    pub async fn other_key(&self) -> String {
        new_key(&self.dir.path().join("other_key")).await
    }
}

fn whoami() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "root".to_owned())
}

async fn new_key(path: &PathBuf) -> String {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path);
    assert!(keygen.status().await.expect("openssh-client is installed").success());
    let public = std::fs::read_to_string(path.with_extension("pub")).expect("it was made");
    public.trim().to_owned()
}

/// Who signs webhooks: libraries of others. Dropping it kills it.
pub struct Signer(Oracle);

impl Signer {
    /// Starts it; the first time, pip brings what it needs.
    pub async fn start() -> Self {
        Self(Oracle::start("git", "sign.py").await)
    }

    /// Headers of a delivery that is signed now, or so many seconds later: as `standard` or `gitea`.
    pub async fn sign(
        &mut self,
        who: &str,
        secret: &str,
        id: &str,
        body: &str,
        later: i64,
    ) -> Vec<(String, String)> {
        let timestamp = chrono::Utc::now().timestamp() + later;
        let asked = json!({ "as": who, "secret": secret, "id": id, "timestamp": timestamp, "body": body });
        let line = self.0.ask(&asked).await;
        let headers: Value = serde_json::from_str(&line).expect("it is JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        headers
            .as_object()
            .expect("an object")
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect()
    }
}

/// The headers of GitLab, which sends the secret itself.
pub fn gitlab(secret: &str, id: &str) -> Vec<(String, String)> {
    [
        ("User-Agent", "GitLab/18.0.0"),
        ("X-Gitlab-Event", "Push Hook"),
        ("X-Gitlab-Webhook-UUID", "a3b1c1a2-7f4f-4b3a-9f36-0d1e2f3a4b5c"),
        ("X-Gitlab-Instance", "https://gitlab.example.com"),
        ("X-Gitlab-Event-UUID", "13792a34-cac6-4fda-95a8-c58e00a3954e"),
        ("Idempotency-Key", id),
        ("X-Gitlab-Token", secret),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The example of a push as a host documents it (`gitlab` or `gitea`), with these fields instead of its own.
pub fn example(host: &str, fields: Value) -> Value {
    let path = python::peers().join(format!("git/{host}-push.json"));
    let text = std::fs::read_to_string(path).expect("it is in the repository");
    let mut payload: Value = serde_json::from_str(&text).expect("it is JSON");
    for (name, value) in fields.as_object().expect("an object") {
        payload[name] = value.clone();
    }
    payload
}
