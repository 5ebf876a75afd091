//! A git host without TLS: git's own CGI program behind a few lines of HTTP.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::values::RepoUrl;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::super::command::{GitCommand, GitConfig};

/// A running server. It ends with the test.
pub(super) struct GitServer {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: usize,
    leaks: Vec<String>,
}

struct Host {
    root: PathBuf,
    token: String,
    /// Searched for the token while git is at work.
    watched: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

impl GitServer {
    /// Serves the repositories below `root` to who sends `token`.
    pub(super) async fn start(root: PathBuf, token: &str, watched: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (token, watched) = (token.to_owned(), watched.to_owned());
        let host = Arc::new(Host { root, token, watched, seen: seen.clone() });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(host.clone().answer(stream));
            }
        });
        Self { port, seen }
    }

    /// A git that reaches this server instead of `https://git.test`.
    pub(super) fn git(&self, config: GitConfig) -> GitCommand {
        let mut git = GitCommand::new(config);
        let key = format!("url.http://127.0.0.1:{}/.insteadOf", self.port);
        git.extra = vec![
            (key, "https://git.test/".to_owned()),
            ("protocol.http.allow".to_owned(), "always".to_owned()),
        ];
        git
    }

    pub(super) fn url(&self, name: &str) -> RepoUrl {
        format!("https://git.test/{name}").parse().unwrap()
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.lock().unwrap().requests
    }

    pub(super) fn leaks(&self) -> Vec<String> {
        self.seen.lock().unwrap().leaks.clone()
    }
}

impl Host {
    async fn answer(self: Arc<Self>, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut head: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let Some(first) = head.first().cloned() else { return };
        let header = |name: &str| {
            let found = head
                .iter()
                .find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        let basic = format!("Basic {}", STANDARD.encode(format!("x-access-token:{}", self.token)));
        self.look(&basic);
        let answer = if first.contains("/moved") {
            b"HTTP/1.1 301 Moved\r\nlocation: /origin/info/refs\r\ncontent-length: 0\r\n".to_vec()
        } else if header("authorization") != basic {
            b"HTTP/1.1 401 No\r\nwww-authenticate: Basic realm=\"git\"\r\ncontent-length: 0\r\n".to_vec()
        } else {
            let (kind, encoding) = (header("content-type"), header("content-encoding"));
            tokio::task::spawn_blocking(move || self.cgi(&first, &kind, &encoding, &body)).await.unwrap()
        };
        let short = answer.ends_with(b"content-length: 0\r\n");
        let close: &[u8] = if short { b"connection: close\r\n\r\n" } else { b"" };
        stream.write_all(&[&answer, close].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    /// Notes whether the token shows in any argument vector or file while git waits for the answer.
    fn look(&self, basic: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.requests += 1;
        let encoded = basic.trim_start_matches("Basic ");
        let holds = |path: &Path| {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
            text.contains(&self.token) || text.contains(encoded)
        };
        let processes =
            std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
        let files = walkdir::WalkDir::new(&self.watched).into_iter().map(|entry| entry.unwrap().into_path());
        let found = processes.chain(files).filter(|path| holds(path));
        seen.leaks.extend(found.map(|path| path.display().to_string()));
    }

    fn cgi(&self, first: &str, kind: &str, encoding: &str, body: &[u8]) -> Vec<u8> {
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut child = Command::new("git")
            .arg("http-backend")
            .env_clear()
            .envs([
                ("PATH", "/usr/bin:/bin"),
                ("GIT_HTTP_EXPORT_ALL", "1"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ])
            .envs([("REQUEST_METHOD", method), ("PATH_INFO", path), ("QUERY_STRING", query)])
            .envs([("CONTENT_TYPE", kind), ("HTTP_CONTENT_ENCODING", encoding)])
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("GIT_PROJECT_ROOT", &self.root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(body).unwrap();
        let output = child.wait_with_output().unwrap().stdout;
        let status: &[u8] = if output.starts_with(b"Status: 404") { b"404 No" } else { b"200 OK" };
        [b"HTTP/1.1 ", status, b"\r\nconnection: close\r\n", &output].concat()
    }
}
