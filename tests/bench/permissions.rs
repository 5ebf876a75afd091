//! What it costs to know who asks and whether he may: a decision, a session or token with a request, a token that is
//! none.

use std::hint::black_box;
use std::time::{Duration, Instant};

use domain::ids::{ProjectId, TeamId};
use domain::policy::{self, Action, BuiltinRole, Context, Grant, Resource, Scope};
use futures_util::future::join_all;
use serde_json::json;
use tests::app::TestApp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::measure::{Figure, percentile};

const DECISIONS: u32 = 1_000_000;
/// Rounds of requests and queries in turn.
const ROUNDS: usize = 20;
/// Of each kind in a round.
const EACH: usize = 200;
/// Connections that send bad tokens.
const CONNECTIONS: usize = 8;
/// Requests that such a connection sends before it reads the answers.
const PIPELINED: usize = 64;
const FLOOD: Duration = Duration::from_secs(5);
/// Bad tokens a second.
const REFUSALS: f64 = 20_000.0;

pub(crate) async fn figures() -> Vec<Figure> {
    // What is measured is not how much is let in.
    let unlimited = ["ADDRESS", "USER", "TOKEN", "TEAM"].map(|of| format!("MASTRA_ADMIN_RATE_{of}"));
    let unlimited: Vec<_> = unlimited.iter().map(|name| (name.as_str(), "0")).collect();
    let app = TestApp::start_with(&unlimited).await;
    let mut figures = vec![decision()];
    figures.extend(overheads(&app).await);
    figures.push(refusals(&app).await);
    figures
}

/// Of somebody with a role in each of 20 places, about the last of them.
fn decision() -> Figure {
    let team = |n| TeamId(Uuid::from_u128(n));
    let mut grants: Vec<Grant> =
        (0..15).map(|n| Grant { scope: Scope::Team { team_id: team(n) }, permissions: role(n) }).collect();
    grants.extend((0..5).map(|n| {
        let project_id = ProjectId(Uuid::from_u128(n));
        Grant {
            scope: Scope::Project { project_id },
            permissions: BuiltinRole::ProjectDeployer.permissions(),
        }
    }));
    let project_id = Some(ProjectId(Uuid::from_u128(4)));
    let context = Context { team_id: Some(team(99)), project_id, ..Context::default() };
    assert!(policy::allows(&grants, Resource::Build, Action::Execute, &context));
    assert!(!policy::allows(&grants, Resource::Team, Action::Delete, &context));
    let start = Instant::now();
    for n in 0..DECISIONS {
        // Half of them are denied, which looks at everything.
        let (resource, action) = match n % 2 {
            0 => (Resource::Build, Action::Execute),
            _ => (Resource::Team, Action::Delete),
        };
        black_box(policy::allows(black_box(&grants), resource, action, black_box(&context)));
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS);
    Figure::limit("permission decision of 20 grants, mean", micros, "µs", 1.0)
}

fn role(n: u128) -> Vec<policy::Permission> {
    let role = match n % 3 {
        0 => BuiltinRole::TeamAdmin,
        1 => BuiltinRole::TeamDeveloper,
        _ => BuiltinRole::TeamViewer,
    };
    role.permissions()
}

/// A request that is refused for its query right after it is known who asks, against the same one to a route that
/// asks nobody: what lies between is to know who asks. In turn with a query for one row.
async fn overheads(app: &TestApp) -> Vec<Figure> {
    let owner = app.owner().await;
    let made = owner.post("/me/tokens", json!({ "name": "bench" })).await.expect(201);
    let token = made["plainToken"].as_str().expect("a token");
    let asks = [("auth/providers", None), ("me/tokens", owner.token()), ("me/tokens", Some(token))]
        .map(|(route, bearer)| request(&format!("/api/v1/{route}?dryRun=perhaps"), bearer));
    let mut connection = Connection::open(app).await;
    let (mut times, mut queries) = ([const { Vec::new() }; 3], Vec::new());
    for _ in 0..ROUNDS {
        for (kind, ask) in asks.iter().enumerate() {
            for _ in 0..EACH {
                let start = Instant::now();
                assert_eq!(connection.ask(ask).await, 422);
                times[kind].push(start.elapsed());
            }
        }
        for _ in 0..EACH {
            let start = Instant::now();
            let row = sqlx::query("SELECT payload FROM events WHERE position = 1").fetch_one(app.db.pool());
            row.await.expect("there is an event");
            queries.push(start.elapsed());
        }
    }
    let query = percentile(queries, 50) * 1000.0;
    let [nobody, session, token] = times.map(|times| percentile(times, 50) * 1000.0);
    [("session", session), ("API token", token)]
        .into_iter()
        .map(|(kind, micros)| {
            let (name, over) = (format!("authentication of a busy {kind}, median"), micros - nobody);
            let against = format!("one-row query of {query:.0} µs");
            Figure::at_most(name, over, "µs", against, over / query, 0.1)
        })
        .collect()
}

/// Made-up tokens of the right form, refused by their checksum.
async fn refusals(app: &TestApp) -> Figure {
    let bad = format!("ma_{}000000", "A".repeat(43));
    let one = request("/api/v1/me", Some(&bad));
    let many = one.repeat(PIPELINED);
    let start = Instant::now();
    let refused = join_all((0..CONNECTIONS).map(|_| async {
        let mut connection = Connection::open(app).await;
        let mut refused = 0;
        while start.elapsed() < FLOOD {
            connection.stream.write_all(&many).await.expect("it is sent");
            for _ in 0..PIPELINED {
                assert_eq!(connection.answer().await, 401);
            }
            refused += PIPELINED;
        }
        refused
    }))
    .await;
    let rate = refused.into_iter().sum::<usize>() as f64 / start.elapsed().as_secs_f64();
    let against = format!("goal of {REFUSALS:.0}/s");
    Figure::at_least("bad tokens refused".to_owned(), rate, "/s", against, rate / REFUSALS, 1.0)
}

fn request(path: &str, bearer: Option<&str>) -> Vec<u8> {
    let credentials = bearer.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{credentials}\r\n").into_bytes()
}

/// A connection that does no more than it must, so that the server is measured and not the client.
struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn open(app: &TestApp) -> Self {
        let address = app.url.strip_prefix("http://").expect("plain HTTP");
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, read: Vec::new() }
    }

    async fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.expect("it is sent");
        self.answer().await
    }

    /// Reads one answer; its status.
    async fn answer(&mut self) -> u16 {
        loop {
            if let Some((status, length)) = whole(&self.read) {
                self.read.drain(..length);
                return status;
            }
            let read = self.stream.read_buf(&mut self.read).await.expect("it answers");
            assert!(read > 0, "the server has hung up");
        }
    }
}

/// Status and length of the first answer, when all of it is there.
fn whole(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).expect("a head is ASCII");
    let status = text.get(9..12).and_then(|code| code.parse().ok()).expect("a status line");
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").trim().parse().expect("a number");
    (bytes.len() >= head + length).then_some((status, head + length))
}
