//! The one way out of a build: a proxy of the platform's, at a port of the build's own network, which has no other.
//!
//! Invariant: where a build gets to was named by the operator, and unless he named it with its port, its address is
//! looked at when it is connected to: a name that leads into his own network leads nowhere. What goes through a tunnel to
//! a host is for that host: TLS that names another one does not pass.

mod door;
mod hello;
mod rules;
mod tunnel;

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::ports::logs::{Output, say};
use domain::secret::Secret;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderName};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::door::listen_in;
pub use self::rules::{EgressRule, EgressRules, NoRule};
use self::rules::{Verdict, is_outside, judge};
use self::tunnel::Tunnel;

/// The port of the proxy, in a network where nothing else is.
const PORT: u16 = 3128;
/// Connections of one build at a time; more wait.
const CONNECTIONS: usize = 64;
/// Names of one build that are looked up at a time. The system may take its time for each, and nobody can hurry it: this
/// many threads it may keep from the rest of the platform.
const LOOKUPS: usize = 4;
/// How long a connection to the outside may take to come about, and a client to say what it wants.
const PATIENCE: Duration = Duration::from_secs(15);
/// After a connection that could not be taken: there were too many of the whole platform.
const AGAIN: Duration = Duration::from_millis(100);
/// Refused hosts that a build's log names; the rest is not told.
const TOLD: usize = 50;
/// Headers between a client and its proxy.
const OWN: [HeaderName; 4] =
    [CONNECTION, header::PROXY_AUTHORIZATION, header::PROXY_AUTHENTICATE, header::TE];

type Body = BoxBody<Bytes, hyper::Error>;

/// Where the proxy of a build listens, as seen from inside.
pub(super) fn address() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, PORT).into()
}

/// Listens in the network of a process, and serves what it may reach for as long as the answer is held.
pub(super) fn serve(
    pid: i32,
    rules: Arc<Vec<EgressRule>>,
    output: Arc<dyn Output>,
) -> io::Result<AbortOnDropHandle<()>> {
    serve_at(listen_in(pid, address())?, rules, output)
}

/// The same at a listener that is there.
pub(super) fn serve_at(
    door: std::net::TcpListener,
    rules: Arc<Vec<EgressRule>>,
    output: Arc<dyn Output>,
) -> io::Result<AbortOnDropHandle<()>> {
    let proxy = Arc::new(Proxy::new(rules, output));
    Ok(AbortOnDropHandle::new(tokio::spawn(proxy.serve(TcpListener::from_std(door)?))))
}

/// What tools need to be told to use it. Names differ in case and by tool; all of these are asked for by some.
pub(super) fn environment() -> impl Iterator<Item = (String, Secret)> {
    let proxy = format!("http://127.0.0.1:{PORT}");
    let own = "localhost,127.0.0.1,::1";
    let ways = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "npm_config_proxy"]
        .into_iter()
        .chain(["npm_config_https_proxy", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY"])
        .map(move |name| (name.to_owned(), proxy.clone()));
    let not = ["NO_PROXY", "no_proxy", "npm_config_noproxy"].map(|name| (name.to_owned(), own.to_owned()));
    // Node's own `fetch` asks for this one.
    ways.chain(not)
        .chain([("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned())])
        .map(|(name, value)| (name, Secret::new(value)))
}

/// The proxy of one network.
struct Proxy {
    rules: Arc<Vec<EgressRule>>,
    /// Takes what was refused.
    output: Arc<dyn Output>,
    refused: Mutex<HashSet<String>>,
    lookups: Arc<Semaphore>,
    lookup: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    patience: Duration,
}

impl Proxy {
    fn new(rules: Arc<Vec<EgressRule>>, output: Arc<dyn Output>) -> Self {
        let lookups = Arc::new(Semaphore::new(LOOKUPS));
        Self { rules, output, refused: Mutex::default(), lookups, lookup, patience: PATIENCE }
    }

    /// Serves until it is dropped, which cuts what is open.
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut open = tokio::task::JoinSet::new();
        loop {
            let permit = room.clone().acquire_owned().await;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a build's connection was not taken: {error}");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            let proxy = self.clone();
            open.spawn(async move {
                let _permit = permit;
                proxy.attend(stream).await;
            });
            while open.try_join_next().is_some() {}
        }
    }

    /// One connection of the build: requests, and at last perhaps a tunnel.
    async fn attend(self: Arc<Self>, stream: TcpStream) {
        let (tunnel, mut tunnels) = mpsc::channel(1);
        let service = service_fn(|request| {
            let (proxy, tunnel) = (self.clone(), tunnel.clone());
            async move { Ok::<_, std::convert::Infallible>(proxy.answer(request, tunnel).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a build's connection ended: {error}");
        }
        if let Ok(tunnel) = tunnels.try_recv() {
            let Tunnel { host, port, .. } = &tunnel;
            let (host, port) = (host.clone(), *port);
            if let Err(why) = tunnel.pass(self.patience).await {
                self.tell(&host, port, why);
            }
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, tunnel: mpsc::Sender<Tunnel>) -> Response<Body> {
        let is_tunnel = request.method() == Method::CONNECT;
        let Some((host, port)) = target(request.uri(), is_tunnel) else {
            return refusal(
                StatusCode::BAD_REQUEST,
                "This is a proxy: say http://host/… or CONNECT host:port.",
            );
        };
        if is_tunnel && port == 80 {
            // What goes through a tunnel says by itself for which host it is, and without TLS nobody checks that.
            let why = "Tunnels are for TLS.";
            self.tell(&host, port, why);
            return refusal(StatusCode::FORBIDDEN, why);
        }
        let (stream, verdict) = match self.connect(&host, port).await {
            Ok(connected) => connected,
            Err(Refused::NotAllowed(why)) => {
                self.tell(&host, port, why);
                return refusal(StatusCode::FORBIDDEN, why);
            }
            Err(Refused::Away(error)) => {
                return refusal(StatusCode::BAD_GATEWAY, &format!("{host}:{port}: {error}"));
            }
        };
        if is_tunnel {
            let upgrade = hyper::upgrade::on(&mut request);
            // Where everything public may be reached, nothing is to be gained by a lie.
            let is_judged = verdict == Verdict::Outside && !self.rules.contains(&EgressRule::Public);
            let _the_only_one = tunnel.try_send(Tunnel { upgrade, outside: stream, host, port, is_judged });
            return Response::new(empty());
        }
        match forward(request, stream).await {
            Ok(response) => response.map(BodyExt::boxed),
            Err(error) => refusal(StatusCode::BAD_GATEWAY, &format!("{host}:{port}: {error}")),
        }
    }

    /// Connects to what is allowed: to the very address that was looked at.
    async fn connect(&self, host: &str, port: u16) -> Result<(TcpStream, Verdict), Refused> {
        let verdict = judge(&self.rules, host, port);
        if verdict == Verdict::No {
            return Err(Refused::NotAllowed("Builds may not reach this."));
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let found = timeout(self.patience, self.find(bare, port)).await.map_err(|_| Refused::late())?;
        let found = found.map_err(Refused::Away)?;
        let allowed: Vec<_> = found
            .iter()
            .filter(|address| verdict == Verdict::Anywhere || is_outside(address.ip()))
            .copied()
            .collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(Refused::NotAllowed(
                "Its address is of a private network, which builds may not reach.",
            ));
        }
        let stream =
            timeout(self.patience, TcpStream::connect(&*allowed)).await.map_err(|_| Refused::late())?;
        let stream = stream.map_err(Refused::Away)?;
        let _only_slower = stream.set_nodelay(true);
        Ok((stream, verdict))
    }

    /// Addresses of a name. Its place is taken for as long as the system looks, whoever still waits for it.
    async fn find(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let place = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (lookup, host) = (self.lookup, host.to_owned());
        let found = spawn_blocking(move || {
            let _place = place;
            lookup(&host, port)
        });
        found.await.map_err(io::Error::other)?
    }

    /// Says once to whom the build belongs what it did not reach.
    fn tell(&self, host: &str, port: u16, why: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < TOLD && refused.insert(format!("{host}:{port}")) {
            let host: String = host.chars().take(200).filter(|c| !c.is_control()).collect();
            say(&*self.output, &format!("Not reached: {host}:{port}. {why}"));
        }
    }
}

/// As the system knows it. Blocks.
fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

enum Refused {
    /// The rules say no.
    NotAllowed(&'static str),
    /// The network says no.
    Away(io::Error),
}

impl Refused {
    fn late() -> Self {
        Self::Away(io::ErrorKind::TimedOut.into())
    }
}

/// Host and port that are asked for.
fn target(uri: &Uri, is_tunnel: bool) -> Option<(String, u16)> {
    let authority = uri.authority()?;
    let port = match (authority.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("http")) if !is_tunnel => 80,
        _ => return None,
    };
    let host = authority.host();
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// Sends a request on over a connection of its own.
async fn forward(mut request: Request<Incoming>, stream: TcpStream) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let path = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    if let Ok(path) = path.parse() {
        *request.uri_mut() = path;
    }
    let headers = request.headers_mut();
    for name in OWN {
        headers.remove(name);
    }
    headers.remove("proxy-connection");
    if let Ok(host) = authority.parse() {
        headers.insert(HOST, host);
    }
    sender.send_request(request).await
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

fn refusal(status: StatusCode, why: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("{why}\n"))).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
