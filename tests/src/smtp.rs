//! An SMTP server that keeps what it is given (PyPI `aiosmtpd`), in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::app::{TestApp, program};

static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();

/// The server. Dropping it kills it.
pub struct Sink {
    /// Its port on `localhost`.
    pub port: u16,
    folder: TempDir,
    _child: Child,
}

/// A mail that arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// As it was sent, headers and all.
    pub text: String,
    /// `from`, `to`, `tls`, `user`.
    pub said: Value,
}

impl Arrived {
    /// The value of a header of one line.
    pub fn header(&self, name: &str) -> &str {
        let begin = format!("{name}: ");
        self.text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_default()
    }
}

impl Sink {
    /// Starts it, asking for STARTTLS; the first time, pip brings what it needs.
    pub async fn start() -> Self {
        Self::start_as(&[]).await
    }

    /// Starts it with TLS from the first byte.
    pub async fn start_wrapped() -> Self {
        Self::start_as(&["tls"]).await
    }

    async fn start_as(more: &[&str]) -> Self {
        let python = INSTALLED.get_or_init(install).await;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut child = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/smtp/smtp_sink.py"))
            .arg(folder.path())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("python is installed");
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let line = line.expect("it starts in time").expect("it can be read").expect("it says where it is");
        let port = line.strip_prefix("READY ").and_then(|port| port.parse().ok()).expect("a port");
        Self { port, folder, _child: child }
    }

    /// The certificate that it shows, which nobody else vouches for.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Settings of a platform that sends its mail here.
    pub fn settings(&self) -> Vec<(String, String)> {
        let set = |name: &str, value: &str| (format!("MASTRA_ADMIN_{name}"), value.to_owned());
        vec![
            set("EMAIL", "smtp"),
            set("SMTP_HOST", "localhost"),
            set("SMTP_PORT", &self.port.to_string()),
            set("SMTP_FROM", "Mastra <mastra@example.org>"),
            set("SMTP_USER", "mailer"),
            set("SMTP_PASSWORD", "secret"),
            set("SMTP_CA_FILE", &self.certificate().to_string_lossy()),
        ]
    }

    /// A platform that sends its mail here, with these settings instead of the usual ones.
    pub async fn app(&self, other: &[(&str, &str)]) -> TestApp {
        let settings = self.settings();
        let mut all: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend(other);
        TestApp::start_with(&all).await
    }

    /// What arrived so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        let read = |name: String| std::fs::read_to_string(self.folder.path().join(name)).ok();
        let mail = |n: usize| {
            let said = serde_json::from_str(&read(format!("{n}.json"))?).expect("JSON");
            Some(Arrived { text: read(format!("{n}.eml"))?, said })
        };
        (1..).map_while(mail).collect()
    }

    /// The mails to an address, once there are so many.
    pub async fn until(&self, app: &TestApp, to: &str, count: usize) -> Vec<Arrived> {
        let mine = || -> Vec<_> {
            let all = self.arrived().into_iter();
            all.filter(|mail| mail.said["to"][0].as_str().is_some_and(|it| it == to)).collect()
        };
        let what = format!("{count} mails to {to} have arrived");
        app.wait_until(&what, Duration::from_secs(60), async || mine().len() >= count).await;
        mine()
    }

    /// How often somebody was written to, in vain or not.
    pub fn tries(&self, who: &str) -> u64 {
        let tries = std::fs::read_to_string(self.folder.path().join("tries")).unwrap_or_default();
        serde_json::from_str::<Value>(&tries).ok().and_then(|it| it[who].as_u64()).unwrap_or_default()
    }
}

async fn install() -> PathBuf {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/smtp/requirements.txt");
    let folder = program("test-peers").join("smtp");
    std::fs::create_dir_all(&folder).expect("it can be made");
    let (python, done) = (folder.join("bin/python"), folder.join("installed"));
    if !done.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status().await;
        assert!(made.expect("python is installed").success(), "there is no virtual environment");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        let installed = Command::new(&python).args(pip).arg(requirements).status().await;
        assert!(installed.expect("pip runs").success(), "pip could not install the SMTP server");
        std::fs::write(done, "").expect("it can be written");
    }
    python
}
