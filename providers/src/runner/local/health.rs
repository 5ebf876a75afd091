//! Asks a server whether it is healthy.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// More than any answer to a health check has.
const MAX_BODY: usize = 64 << 10;

/// `GET /health` must answer 200 with the body `{"success":true}`: a Mastra server answers 200 to every unknown
/// path too. The error says what came instead.
pub(super) async fn check(address: SocketAddr, patience: Duration) -> Result<(), String> {
    match timeout(patience, ask(address)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}

async fn ask(address: SocketAddr) -> Result<(), String> {
    let connection =
        TcpStream::connect(address).await.map_err(|error| format!("nothing listens: {error}"))?;
    let said = |error: hyper::Error| format!("no HTTP answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await.map_err(said)?;
    let answer = async {
        let request = Request::get("/health").header("host", address.to_string()).body(Empty::<Bytes>::new());
        let response =
            sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(said)?;
        let status = response.status();
        if status != 200 {
            return Err(format!("/health answered {status}"));
        }
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        let body: Option<serde_json::Value> = serde_json::from_slice(&body.to_bytes()).ok();
        let healthy = body.is_some_and(|body| body.get("success") == Some(&true.into()));
        healthy.then_some(()).ok_or_else(|| "/health answered 200, but not {\"success\":true}".to_owned())
    };
    let driving = async {
        let _broken = connection.await; // the request hears of it too
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driving => never,
    }
}
