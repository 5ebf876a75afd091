//! What a request costs on its way through the router, beside the server's own answer and a bare hyper proxy.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::app::TestApp;
use tests::world::team_and_project;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::measure::{Figure, median};

/// Makes the program a proxy: this, and where to.
pub(crate) const PROXY: &str = "bare-proxy";
/// Requests of one round, one after the other.
const ALONE: usize = 2000;
/// Requests of one round on many connections.
const TOGETHER: usize = 8000;
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 5;

pub(crate) async fn figures() -> Vec<Figure> {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    it.deployed(&app, &owner).await;
    app.settle().await;
    // Where the machine reaches it; in its own network it is at another port.
    let address: String = sqlx::query_scalar("SELECT address FROM read.deployments WHERE status = 'running'")
        .fetch_one(app.db.pool())
        .await
        .expect("it runs");

    let mut proxy = Command::new(std::env::current_exe().expect("a program is a file"))
        .args([PROXY, &address])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(proxy.stdout.take().expect("it was asked for")).lines();
    let bare = lines.next_line().await.expect("it can be heard").expect("it says where it listens");

    let direct = format!("http://{address}/api/version");
    let bare = format!("http://{bare}/api/version");
    let routed = format!("{}{}", app.url, it.url("/api/version").replacen("//", "/", 1));
    // By turns, so that what else the machine does meets all of them.
    let (mut alone, mut together) = ([vec![], vec![], vec![]], [vec![], vec![], vec![]]);
    for _ in 0..ROUNDS {
        for (n, url) in [&direct, &bare, &routed].into_iter().enumerate() {
            alone[n].push(median_of_one_after_the_other(url).await);
            together[n].push(per_second(url).await);
        }
    }
    let [direct, bare, routed] = alone.map(median);
    let [_, bare_rate, rate] = together.map(median);
    vec![
        Figure::limit(
            "a request through the router, beyond the server's own answer, p50",
            (routed - direct) * 1e6,
            "µs",
            300.0,
        ),
        Figure::at_most(
            "a request through the router and through a bare hyper proxy, p50".to_owned(),
            routed * 1e6,
            "µs",
            format!("{:.0} µs through the proxy, {:.0} µs without", bare * 1e6, direct * 1e6),
            routed / bare,
            1.5,
        ),
        Figure::at_least(
            format!("requests through the router at {CONNECTIONS} connections"),
            rate,
            "/s",
            format!("{bare_rate:.0}/s through a bare hyper proxy"),
            rate / bare_rate,
            0.7,
        ),
    ]
}

type Http = Client<HttpConnector, Full<Bytes>>;

fn http() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn ask(http: &Http, url: &str) {
    let answer = http.get(url.parse().expect("a URL")).await.expect("it answers");
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body().collect().await.expect("the body arrives");
}

/// In seconds.
async fn median_of_one_after_the_other(url: &str) -> f64 {
    let http = http();
    let mut times = Vec::with_capacity(ALONE);
    for _ in 0..ALONE {
        let begin = Instant::now();
        ask(&http, url).await;
        times.push(begin.elapsed().as_secs_f64());
    }
    median(times)
}

async fn per_second(url: &str) -> f64 {
    let begin = Instant::now();
    join_all((0..CONNECTIONS).map(|_| async {
        let http = http();
        for _ in 0..TOGETHER / CONNECTIONS {
            ask(&http, url).await;
        }
    }))
    .await;
    TOGETHER as f64 / begin.elapsed().as_secs_f64()
}

/// The least that a proxy on hyper does: a server, a pool of connections, bodies passed on.
#[expect(clippy::print_stdout, reason = "who started it reads where it listens")]
pub(crate) async fn bare_proxy(to: &str) {
    let to: SocketAddr = to.parse().expect("an address");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> =
        Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(3)).build(connector);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    println!("{}", listener.local_addr().expect("it listens"));
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("it is TCP");
        let client = client.clone();
        tokio::spawn(async move {
            let pass = service_fn(|mut request: Request<Incoming>| {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                *request.uri_mut() = format!("http://{to}{path}").parse().expect("a URL");
                let answer = client.request(request);
                async { answer.await.map(|answer| -> Response<BoxBody<_, _>> { answer.map(BodyExt::boxed) }) }
            });
            let _gone =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await;
        });
    }
}
