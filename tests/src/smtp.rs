//! An SMTP server that keeps what it is given (PyPI `aiosmtpd`), in a process of its own.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

use crate::app::TestApp;
use crate::python;

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
        let folder = tempfile::tempdir().expect("a temporary directory");
        let arguments: Vec<&OsStr> =
            [folder.path().as_os_str()].into_iter().chain(more.iter().map(OsStr::new)).collect();
        let (child, port) = python::start("smtp", "smtp_sink.py", &arguments).await;
        let port = port.parse().expect("a port");
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
