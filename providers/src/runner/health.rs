//! Asks a server whether it is healthy.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use domain::values::HealthGate;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// More than any answer to a health check has.
const MAX_BODY: usize = 64 << 10;

/// What came instead of a good answer.
pub(in crate::runner) enum Unwell {
    /// Nobody is there.
    Absent(String),
    /// Somebody is, and does not answer as he should.
    Wrong(String),
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Absent(why) | Self::Wrong(why)) = self;
        f.write_str(why)
    }
}

/// The looks at a server until it is ready.
pub(in crate::runner) struct Looks<'a> {
    gate: &'a HealthGate,
    bad: u32,
    /// What came last instead of a good answer.
    pub(in crate::runner) why: String,
}

impl<'a> Looks<'a> {
    pub(in crate::runner) fn new(gate: &'a HealthGate) -> Self {
        Self { gate, bad: 0, why: "it does not listen there".to_owned() }
    }

    /// Whether it is healthy now.
    pub(in crate::runner) async fn look(&mut self, address: SocketAddr) -> bool {
        let Err(unwell) = check(address, self.gate).await else { return true };
        self.bad += u32::from(matches!(unwell, Unwell::Wrong(_)));
        self.why = unwell.to_string();
        false
    }

    /// Waits for the next look; false when it has answered badly more often than its gate allows.
    pub(in crate::runner) async fn go_on(&self) -> bool {
        if self.gate.retries.is_some_and(|retries| self.bad > retries) {
            return false;
        }
        sleep(self.gate.interval()).await;
        true
    }
}

/// The path must answer 2xx; Mastra's own with the body `{"success":true}`, since a Mastra server answers 200 to every
/// unknown path too. No redirect is followed.
pub(in crate::runner) async fn check(address: SocketAddr, gate: &HealthGate) -> Result<(), Unwell> {
    let connection = match timeout(gate.timeout(), TcpStream::connect(address)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(Unwell::Absent(format!("nothing listens: {error}"))),
        Err(_elapsed) => return Err(Unwell::Absent("nothing listens: it took too long".to_owned())),
    };
    match timeout(gate.timeout(), ask(connection, address, gate)).await {
        Ok(answer) => answer.map_err(Unwell::Wrong),
        Err(_elapsed) => Err(Unwell::Wrong(format!("no answer within {} ms", gate.timeout().as_millis()))),
    }
}

async fn ask(connection: TcpStream, address: SocketAddr, gate: &HealthGate) -> Result<(), String> {
    let path = gate.path();
    let said = |error: hyper::Error| format!("no HTTP answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await.map_err(said)?;
    let answer = async {
        let request = Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new());
        let response =
            sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(said)?;
        let status = response.status();
        if !status.is_success() || (gate.path.is_none() && status != 200) {
            return Err(format!("{path} answered {status}"));
        }
        if gate.path.is_some() {
            return Ok(());
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
