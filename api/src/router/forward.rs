//! Sends one request to one server: streaming both ways, upgrades tunnelled.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, Uri, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::io::InspectReader;

use super::connection::{Answered, Connection};
use super::headers;
use crate::error::ApiError;

/// How long a connection may take to be made; the server is on this machine.
const CONNECT: Duration = Duration::from_secs(2);
/// Idle connections end before Node's own keep-alive of 5 s does.
const KEPT: Duration = Duration::from_secs(3);

/// How long the router waits for a server.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the last byte of a request that the server took to the head of its answer.
    pub first_byte: Duration,
    /// Between two pieces of an answer, or of what goes through a tunnel either way.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first_byte: Duration::from_secs(300), idle: Duration::from_secs(600) }
    }
}

/// The client side of the router.
pub(super) struct Forwarder {
    client: Client<HttpConnector, Upload>,
    is_https: bool,
    patience: Patience,
}

/// Why there is no answer.
pub(super) enum Failure {
    /// Nothing listens there, and nothing of the request was sent: it may go elsewhere.
    NotSent(Box<Request>),
    /// The server ended the connection without an answer. What only reads may be asked of another one.
    Broken(ApiError, Option<Box<Request>>),
    /// The request was sent, at least in part.
    Lost(ApiError),
}

impl Forwarder {
    pub(super) fn new(is_https: bool, patience: Patience) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .retry_canceled_requests(true)
            .build(connector);
        Self { client, is_https, patience }
    }

    /// The answer of the server at `address`; `connection` is held until its last byte.
    pub(super) async fn send(
        &self,
        request: Request,
        address: SocketAddr,
        prefix: &str,
        connection: Connection,
    ) -> Result<Response, Failure> {
        let Some(uri) = inner(request.uri(), prefix, address) else {
            return Err(Failure::Lost(ApiError::not_found()));
        };
        let (mut parts, body) = request.into_parts();
        let upload = Upload::new(body);
        let (slot, upgrade) = (upload.clone(), parts.headers.get(header::UPGRADE).cloned());
        let mut sent = Request::from_parts(parts.clone(), Body::empty());
        headers::outward(&mut sent, prefix, self.is_https, upgrade.clone());
        *sent.uri_mut() = uri;
        *sent.version_mut() = http::Version::HTTP_11;
        let answer = self.client.request(sent.map(|_| upload));
        let mut response = match self.in_time(answer, &slot).await? {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%error, "a server did not answer: {error}");
                let is_read = parts.method.is_safe();
                let whole = slot.untouched().map(|body| Box::new(Request::from_parts(parts, body)));
                // Whoever is not there was found out before the body was touched.
                return Err(match whole {
                    Some(request) if error.is_connect() => Failure::NotSent(request),
                    whole => Failure::Broken(bad_gateway(), whole.filter(|_| is_read)),
                });
            }
        };
        let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if is_upgrade && let Some(client_side) = parts.extensions.remove::<hyper::upgrade::OnUpgrade>() {
            let server_side = hyper::upgrade::on(&mut response);
            headers::homeward(response.headers_mut(), prefix, true);
            tokio::spawn(tunnel(client_side, server_side, connection, self.patience.idle));
            return Ok(response.map(|_| Body::empty()));
        }
        headers::homeward(response.headers_mut(), prefix, false);
        let idle = self.patience.idle;
        Ok(response.map(|body| Body::new(Answered::new(Body::new(body), connection, idle))))
    }

    /// Waits for the head of an answer, as long as the request goes on and then as long as is usual.
    async fn in_time<T>(&self, answer: impl Future<Output = T>, sent: &Upload) -> Result<T, Failure> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let left = self.patience.first_byte.saturating_sub(sent.last().elapsed());
            match timeout(left, &mut answer).await {
                Ok(answer) => return Ok(answer),
                Err(_) if sent.last().elapsed() < self.patience.first_byte => {}
                Err(_) => {
                    let detail = "The server did not begin to answer in time.";
                    let problem = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "gateway_timeout", detail);
                    return Err(Failure::Lost(problem));
                }
            }
        }
    }
}

fn bad_gateway() -> ApiError {
    let detail = "The server ended the connection without an answer.";
    ApiError::new(StatusCode::BAD_GATEWAY, "bad_gateway", detail).with_retry_after(1)
}

/// The address of the app's own path, byte for byte as it came.
fn inner(uri: &Uri, prefix: &str, address: SocketAddr) -> Option<Uri> {
    let whole = uri.path_and_query().map_or("/", |whole| whole.as_str());
    let rest = whole.strip_prefix(prefix)?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Uri::builder().scheme("http").authority(address.to_string()).path_and_query(rest).build().ok()
}

async fn tunnel(
    client: hyper::upgrade::OnUpgrade,
    server: hyper::upgrade::OnUpgrade,
    mut connection: Connection,
    idle: Duration,
) {
    let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
    let (heard, silence) = watch::channel(());
    let hear = |_: &[u8]| heard.send_replace(());
    let mut client = InspectReader::new(TokioIo::new(client), hear);
    let mut server = InspectReader::new(TokioIo::new(server), hear);
    // Either side ends it, or the silence of both, or the loss of the right to it.
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        () = lasting(silence, idle) => {}
        () = connection.lost() => {}
    }
}

/// Resolves when nothing has been heard for so long.
async fn lasting(mut heard: watch::Receiver<()>, idle: Duration) {
    while let Ok(Ok(())) = timeout(idle, heard.changed()).await {}
}

/// The body of a request: it can be had back until somebody has read of it.
#[derive(Clone)]
struct Upload(Arc<Mutex<UploadState>>);

struct UploadState {
    body: Body,
    is_touched: bool,
    /// When something of it was last read.
    last: Instant,
}

impl Upload {
    fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(UploadState { body, is_touched: false, last: Instant::now() })))
    }

    fn last(&self) -> Instant {
        self.0.lock().expect("no holder panics").last
    }

    fn untouched(&self) -> Option<Body> {
        let mut state = self.0.lock().expect("no holder panics");
        (!state.is_touched).then(|| std::mem::take(&mut state.body))
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = self.0.lock().expect("no holder panics");
        state.is_touched = true;
        let polled = Pin::new(&mut state.body).poll_frame(context);
        if polled.is_ready() {
            state.last = Instant::now();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().expect("no holder panics").body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().expect("no holder panics").body.size_hint()
    }
}
