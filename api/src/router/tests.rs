use std::time::Duration;

use axum::Router as Axum;
use axum::body::Body;
use axum::routing::{any, get};
use domain::ids::{EnvironmentId, ProjectId, TeamId};
use domain::project::Protection;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use projections::routes::RouteRow;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::*;

fn deployment(n: u128) -> DeploymentId {
    DeploymentId(Uuid::from_u128(n))
}

fn row(environment: &str, servers: Vec<(DeploymentId, SocketAddr)>) -> RouteRow {
    RouteRow {
        team: "acme".into(),
        project: "agent".into(),
        environment: environment.into(),
        environment_id: EnvironmentId(Uuid::from_u128(1)),
        project_id: ProjectId(Uuid::from_u128(2)),
        team_id: TeamId(Uuid::from_u128(3)),
        protection: Protection::Public,
        asleep: None,
        servers: servers.into_iter().map(|(id, address)| (id, vec![address.to_string()])).collect(),
    }
}

/// An environment whose one deployment has several servers.
fn several(servers: &[SocketAddr]) -> RouteRow {
    let servers = servers.iter().map(ToString::to_string).collect();
    RouteRow { servers: vec![(deployment(1), servers)], ..row("production", vec![]) }
}

fn router(rows: Vec<RouteRow>) -> Arc<Router> {
    patient(rows, Patience::default())
}

fn patient(rows: Vec<RouteRow>, patience: Patience) -> Arc<Router> {
    let router = Router::new(false, None, patience);
    router.replace(7, rows);
    Arc::new(router)
}

/// What the path form answers.
async fn handle(router: &Router, request: Request) -> Response {
    match router.of_path(request.uri().path()) {
        Some(target) => {
            let sent = router.send(&target, request, || None).await;
            sent.unwrap_or_else(|_| unavailable().into_response())
        }
        None => ApiError::not_found().into_response(),
    }
}

/// A server that answers with the path and query as it got them.
async fn echo() -> SocketAddr {
    serve(Axum::new().fallback(any(|request: Request| async move { request.uri().to_string() }))).await
}

async fn serve(app: Axum) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

async fn gone() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn ask(router: &Router, uri: &str) -> (u16, String) {
    let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
    let response = handle(router, request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn the_prefix_is_cut_and_the_rest_is_kept_byte_for_byte() {
    let address = echo().await;
    let router = router(vec![row("production", vec![(deployment(1), address)])]);
    for (uri, seen) in [
        ("/p/acme/agent", "/"),
        ("/p/acme/agent/", "/"),
        ("/p/acme/agent/api/agents", "/api/agents"),
        ("/p/acme/agent/a%2Fb//c?x=%20&y", "/a%2Fb//c?x=%20&y"),
        ("/p/acme/agent?x=1", "/?x=1"),
        ("/p/acme/agent/../../api", "/../../api"),
    ] {
        assert_eq!(ask(&router, uri).await, (200, seen.to_owned()), "{uri}");
    }
}

#[tokio::test]
async fn an_environments_slug_wins_and_production_is_the_rest() {
    let (production, staging) = (echo().await, echo().await);
    let servers = |n, address| vec![(deployment(n), address)];
    let router = router(vec![row("production", servers(1, production)), row("staging", servers(2, staging))]);
    assert_eq!(router.of_path("/p/acme/agent/staging/x").unwrap().route.servers[0].1, [staging]);
    assert_eq!(router.of_path("/p/acme/agent/stagings/x").unwrap().route.servers[0].1, [production]);
    assert_eq!(ask(&router, "/p/acme/agent/staging/x").await.1, "/x");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_does_not_run_is_unavailable() {
    let router = router(vec![row("production", vec![])]);
    assert_eq!(ask(&router, "/p/acme/other/x").await.0, 404);
    assert_eq!(ask(&router, "/p/acme/agent/x").await.0, 503);
}

#[tokio::test]
async fn the_server_before_takes_what_the_newest_does_not_accept() {
    let (newest, before) = (gone().await, echo().await);
    let router = router(vec![row("production", vec![(deployment(2), newest), (deployment(1), before)])]);
    assert_eq!(ask(&router, "/p/acme/agent/x").await, (200, "/x".to_owned()));
}

/// A server that says its name.
async fn named(name: &'static str) -> SocketAddr {
    serve(Axum::new().fallback(any(move || async move { name }))).await
}

/// A server that takes connections and ends them without an answer.
async fn breaks_off() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _some_of_it = socket.read(&mut [0; 4096]).await;
        }
    });
    address
}

#[tokio::test]
async fn several_servers_answer_in_turn_and_who_is_gone_is_left_out() {
    let (one, two, three) = (named("one").await, gone().await, named("three").await);
    let alive = router(vec![several(&[one, three])]);
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(ask(&alive, "/p/acme/agent/x").await.1);
    }
    assert_eq!(said, ["one", "three", "one", "three"]);

    let router = router(vec![several(&[one, two, three])]);
    for _ in 0..20 {
        assert_eq!(ask(&router, "/p/acme/agent/x").await.0, 200);
    }
    // It is there again, at another address.
    router.replace(8, vec![several(&[one, echo().await, three])]);
    let (mut said, route) = (Vec::new(), "/p/acme/agent/x");
    for _ in 0..3 {
        said.push(ask(&router, route).await.1);
    }
    said.sort();
    assert_eq!(said, ["/x", "one", "three"]);
}

#[tokio::test]
async fn what_only_reads_is_asked_of_another_one_and_what_writes_never_twice() {
    let broken = breaks_off().await;
    let request =
        |method: &str| Request::builder().method(method).uri("/p/acme/agent/x").body(Body::empty()).unwrap();
    for (method, alone, beside_another) in [("GET", 502, 200), ("POST", 502, 502)] {
        let lonely = router(vec![several(&[broken])]);
        assert_eq!(handle(&lonely, request(method)).await.status(), alone, "{method}");
        let router = router(vec![several(&[broken, echo().await])]);
        assert_eq!(handle(&router, request(method)).await.status(), beside_another, "{method}");
    }
}

#[tokio::test]
async fn an_answer_that_goes_on_counts_until_it_ends() {
    let (send, receive) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let receive = Arc::new(std::sync::Mutex::new(Some(receive)));
    let streams = serve(Axum::new().fallback(get(move || {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receive.lock().unwrap().take().unwrap());
        async move { Body::from_stream(stream) }
    })))
    .await;
    let router = router(vec![several(&[streams, named("other").await])]);
    let request = Request::builder().uri("/p/acme/agent/x").body(Body::empty()).unwrap();
    let under_way = handle(&router, request).await;
    for _ in 0..4 {
        assert_eq!(ask(&router, "/p/acme/agent/x").await.1, "other", "the first has a stream to send");
    }
    drop(send);
    under_way.into_body().collect().await.unwrap();
    let target = router.of_path("/p/acme/agent/x").unwrap();
    let servers = &target.route.servers[0].1;
    let (next, _place) = router.balance.choose(deployment(1), servers, &[]).unwrap();
    assert_eq!(next, streams, "it was asked longest ago");
}

#[tokio::test]
async fn what_no_server_takes_comes_back_and_waits_for_news_of_its_environment() {
    let (old, new) = (gone().await, echo().await);
    let router = router(vec![row("production", vec![(deployment(1), old)])]);
    let mut target = router.of_path("/p/acme/agent/x").unwrap();
    let request = Request::builder().method("POST").uri("/p/acme/agent/x").body("all of it".into()).unwrap();
    let untaken = router.send(&target, request, || None).await.unwrap_err();
    let asleep = || RouteRow { asleep: Some((deployment(1), 8)), ..row("production", vec![]) };
    let changes = async {
        while router.position.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        router.replace(8, vec![row("production", vec![(deployment(1), old)])]);
        router.replace(9, vec![asleep()]);
    };
    let (news, ()) = tokio::join!(router.news(&target.route), changes);
    target.route = news.unwrap();
    assert_eq!(target.route.asleep, Some((deployment(1), 8)), "what is the same is no news");
    router.replace(10, vec![row("production", vec![(deployment(1), new)])]);
    target.route = router.news(&target.route).await.unwrap();
    assert_eq!(untaken.body().size_hint().exact(), Some(9), "nothing of it is lost");
    assert_eq!(router.send(&target, *untaken, || None).await.unwrap().status(), 200);
    router.replace(11, vec![RouteRow { protection: Protection::Team, ..asleep() }]);
    assert!(router.news(&target.route).await.is_none(), "who may use it is asked anew");
}

#[tokio::test]
async fn an_answer_streams_before_it_ends() {
    let (send, receive) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let receive = Arc::new(std::sync::Mutex::new(Some(receive)));
    let app = Axum::new().fallback(get(move || {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receive.lock().unwrap().take().unwrap());
        async move { Body::from_stream(stream) }
    }));
    let router = router(vec![row("production", vec![(deployment(1), serve(app).await)])]);
    let request = Request::builder().uri("/p/acme/agent/x").body(Body::empty()).unwrap();
    let mut body = handle(&router, request).await.into_body();
    for word in ["one", "two"] {
        send.send(Ok(word)).await.unwrap();
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop(send);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_drain_waits_for_what_is_under_way_and_no_longer() {
    let (send, receive) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let receive = Arc::new(std::sync::Mutex::new(Some(receive)));
    let app = Axum::new().fallback(get(move || {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receive.lock().unwrap().take().unwrap());
        async move { Body::from_stream(stream) }
    }));
    let router = router(vec![row("production", vec![(deployment(1), serve(app).await)])]);
    let long = Duration::from_secs(60);
    tokio::time::timeout(Duration::from_secs(1), router.drained(deployment(1), 7, long)).await.unwrap();

    let request = Request::builder().uri("/p/acme/agent/x").body(Body::empty()).unwrap();
    let response = handle(&router, request).await;
    let drain = router.drained(deployment(1), 7, long);
    tokio::pin!(drain);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut drain).await.is_err());
    drop(send);
    response.into_body().collect().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), drain).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_until_both_sides_are_silent() {
    // A server that switches protocols and then sends back what it gets, in capitals.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut seen = vec![0; 4096];
                let mut length = 0;
                while !seen[..length].ends_with(b"\r\n\r\n") {
                    match socket.read(&mut seen[length..]).await.unwrap_or(0) {
                        0 => return,
                        read => length += read,
                    }
                }
                let answer =
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";
                socket.write_all(answer.as_bytes()).await.unwrap();
                while let Ok(read @ 1..) = socket.read(&mut seen).await {
                    socket.write_all(&seen[..read].to_ascii_uppercase()).await.unwrap();
                }
            });
        }
    });
    let patience = Patience { idle: Duration::from_millis(500), ..Patience::default() };
    let router = patient(vec![row("production", vec![(deployment(1), upstream)])], patience);
    let front = serve(Axum::new().fallback(any(move |request: Request| {
        let router = router.clone();
        async move { handle(&router, request).await }
    })))
    .await;
    let mut socket = TcpStream::connect(front).await.unwrap();
    let hello = "GET /p/acme/agent/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";
    socket.write_all(hello.as_bytes()).await.unwrap();
    let mut seen = vec![0; 4096];
    let read = socket.read(&mut seen).await.unwrap();
    assert!(seen[..read].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen[..read]));
    socket.write_all(b"quiet").await.unwrap();
    let mut answer = [0; 5];
    tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"QUIET");
    let end = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut answer)).await;
    assert_eq!(end.expect("it is cut").unwrap_or(0), 0);
}
