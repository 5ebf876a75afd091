//! Who is told by webhooks: takes requests on loopback, answers as the test wants, and has what came verified by the
//! library of Standard Webhooks (PyPI `standardwebhooks`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::app::TestApp;
use crate::python::Oracle;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Got {
    /// Path and query.
    pub path: String,
    /// Headers, by their names in small letters.
    pub headers: HashMap<String, String>,
    /// The body.
    pub text: String,
}

impl Got {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// Id of the message.
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status, with a body.
    Status(u16, String),
    /// This status, and to be left alone for so long.
    Later(u16, &'static str),
    /// It is somewhere else.
    Elsewhere(String),
    /// Never anything.
    Silence,
}

/// Listens. Dropping it closes its door.
pub struct Receiver {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
    state: Arc<Mutex<State>>,
    door: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    got: Vec<Got>,
    next: VecDeque<Reply>,
    usual: Option<Reply>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.door.abort();
    }
}

impl Receiver {
    /// Starts it; it answers 200.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let door = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { url, state, door }
    }

    /// What it answers from now on.
    pub fn answers(&self, reply: Reply) {
        self.state.lock().expect("nobody panics").usual = Some(reply);
    }

    /// What it answers next, before what it answers else.
    pub fn answers_once(&self, reply: Reply) {
        self.state.lock().expect("nobody panics").next.push_back(reply);
    }

    /// What has come so far.
    pub fn got(&self) -> Vec<Got> {
        self.state.lock().expect("nobody panics").got.clone()
    }

    /// What has come, once there is so much.
    pub async fn until(&self, app: &TestApp, count: usize) -> Vec<Got> {
        let what = format!("{count} requests have come");
        app.wait_until(&what, Duration::from_secs(60), async || self.got().len() >= count).await;
        self.got()
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    let Some(got) = read(&mut stream).await else { return };
    let reply = {
        let mut state = state.lock().expect("nobody panics");
        state.got.push(got);
        state.next.pop_front().or_else(|| state.usual.clone()).unwrap_or(Reply::Status(200, "ok".to_owned()))
    };
    let answer = match reply {
        Reply::Silence => return std::future::pending().await,
        Reply::Status(status, body) => {
            format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        Reply::Later(status, pause) => {
            format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\nretry-after: {pause}\r\ncontent-length: 0\r\n\r\n"
            )
        }
        Reply::Elsewhere(url) => {
            format!("HTTP/1.1 302 X\r\nconnection: close\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n")
        }
    };
    let _ = stream.get_mut().write_all(answer.as_bytes()).await;
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Got> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Got { path, headers, text: String::from_utf8(body).ok()? })
}

/// What the library of Standard Webhooks says of requests, each with the secret that its receiver has: `ok`, or why not.
pub async fn verdicts(asked: &[(&str, &Got)]) -> Vec<String> {
    let mut library = Oracle::start("standardwebhooks", "verify.py").await;
    let mut verdicts = Vec::new();
    for (secret, got) in asked {
        let asked = json!({ "secret": secret, "body": got.text, "headers": got.headers });
        verdicts.push(library.ask(&asked).await);
    }
    verdicts
}
