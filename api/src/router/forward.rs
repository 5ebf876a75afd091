//! Sends one request to one server: streaming both ways, upgrades tunnelled.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::headers;
use super::in_flight::Guard;
use crate::error::ApiError;

/// How long a connection may take to be made; the server is on this machine.
const CONNECT: Duration = Duration::from_secs(2);
/// Idle connections end before Node's own keep-alive of 5 s does.
const IDLE: Duration = Duration::from_secs(3);

/// The client side of the router.
pub(super) struct Forwarder {
    client: Client<HttpConnector, Body>,
    is_https: bool,
}

/// Why there is no answer.
pub(super) enum Failure {
    /// Nothing listens there, and nothing of the request was sent: it may go elsewhere.
    NotSent(Box<Request>),
    /// The request was sent, at least in part.
    Lost(ApiError),
}

impl Forwarder {
    pub(super) fn new(is_https: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .retry_canceled_requests(true)
            .build(connector);
        Self { client, is_https }
    }

    /// The answer of the server at `address`; `guard` is held until its last byte.
    pub(super) async fn send(
        &self,
        mut request: Request,
        address: SocketAddr,
        prefix: &str,
        guard: Guard,
    ) -> Result<Response, Failure> {
        // Whoever is not there is found out before the body is touched.
        if !accepts(address).await {
            return Err(Failure::NotSent(Box::new(request)));
        }
        let Some(uri) = inner(request.uri(), prefix, address) else {
            return Err(Failure::Lost(ApiError::not_found()));
        };
        let upgrade = request.headers().get(header::UPGRADE).cloned();
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        headers::outward(&mut request, prefix, self.is_https, upgrade);
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_11;
        let started = std::time::Instant::now();
        let mut response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%error, "a server did not answer: {error}");
                let detail = "The server ended the connection without an answer.";
                let problem =
                    ApiError::new(StatusCode::BAD_GATEWAY, "bad_gateway", detail).with_retry_after(1);
                return Err(Failure::Lost(problem));
            }
        };
        let class = format!("{}xx", response.status().as_u16() / 100);
        metrics::counter!("mastra_admin_router_requests_total", "status" => class).increment(1);
        metrics::histogram!("mastra_admin_router_seconds").record(started.elapsed());
        let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let (true, Some(client_side)) = (is_upgrade, client_side) {
            let server_side = hyper::upgrade::on(&mut response);
            headers::homeward(response.headers_mut(), prefix, true);
            tokio::spawn(tunnel(client_side, server_side, guard));
            return Ok(response.map(|_| Body::empty()));
        }
        headers::homeward(response.headers_mut(), prefix, false);
        Ok(response.map(|body| {
            Body::new(Guarded { body: Body::new(body.map_err(axum::Error::new)), _guard: guard })
        }))
    }
}

/// Whether somebody listens there.
async fn accepts(address: SocketAddr) -> bool {
    matches!(tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// The address of the app's own path, byte for byte as it came.
fn inner(uri: &Uri, prefix: &str, address: SocketAddr) -> Option<Uri> {
    let whole = uri.path_and_query()?.as_str();
    let rest = whole.strip_prefix(prefix)?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Uri::builder().scheme("http").authority(address.to_string()).path_and_query(rest).build().ok()
}

async fn tunnel(client: hyper::upgrade::OnUpgrade, server: hyper::upgrade::OnUpgrade, guard: Guard) {
    let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    // Either side ends it.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    drop(guard);
}

/// A body that holds the request's place among those under way until its end.
struct Guarded {
    body: Body,
    _guard: Guard,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
