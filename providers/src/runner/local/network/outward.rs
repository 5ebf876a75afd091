//! The way out: each connection goes where it was meant to, if it may.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ports::logs::{Output, say};
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::rules::ServerRules;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

/// After so long a silence the other side is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(60);

/// What is read of one side before it is written to the other.
const PIECE: usize = 16 << 10;

/// Addresses that a server's log names; the rest is not told.
const TOLD: usize = 50;

/// The way out of one network.
pub(super) struct Outward {
    rules: Arc<ServerRules>,
    /// Where the platform is, at whatever address of the machine.
    platform: Option<u16>,
    output: Arc<dyn Output>,
    told: Mutex<HashSet<SocketAddr>>,
}

impl Outward {
    pub(super) fn new(rules: Arc<ServerRules>, platform: Option<u16>, output: Arc<dyn Output>) -> Self {
        Self { rules, platform, output, told: Mutex::default() }
    }

    /// Passes one connection on, or ends it.
    pub(super) async fn attend(self: Arc<Self>, inside: TcpStream) {
        let Ok(to) = meant_for(&inside) else { return reset(&inside) };
        if let Err(why) = self.rules.judge(to, self.platform) {
            reset(&inside);
            return self.tell(to, why);
        }
        match connect(to).await {
            Ok(outside) => copy(inside, outside).await,
            Err(error) => {
                reset(&inside);
                self.tell(to, &error.to_string());
            }
        }
    }

    /// Says once to whom the server belongs what it did not reach.
    fn tell(&self, to: SocketAddr, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD && told.insert(to) {
            say(&*self.output, &format!("Not reached: {to}. {why}"));
        }
    }
}

/// Passes a connection on to one address.
pub(super) async fn pass(inside: TcpStream, to: SocketAddr) {
    match connect(to).await {
        Ok(outside) => copy(inside, outside).await,
        Err(_) => reset(&inside),
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    timeout(PATIENCE, TcpStream::connect(to)).await?
}

/// Where it was meant to go before it was led here.
fn meant_for(stream: &TcpStream) -> io::Result<SocketAddr> {
    Ok(match stream.local_addr()? {
        SocketAddr::V4(_) => sockopt::ip_original_dst(stream)?.into(),
        SocketAddr::V6(_) => sockopt::ipv6_original_dst(stream)?.into(),
    })
}

/// Passes on what either side says, until both have ended or one is lost.
pub(super) async fn copy(mut one: TcpStream, mut other: TcpStream) {
    for stream in [&one, &other] {
        let _only_slower = stream.set_nodelay(true);
        let _ended_later = sockopt::set_socket_keepalive(stream, true)
            .and_then(|()| sockopt::set_tcp_keepidle(stream, SILENCE));
    }
    let _either_hung_up = tokio::io::copy_bidirectional_with_sizes(&mut one, &mut other, PIECE, PIECE).await;
}

/// When it is dropped, the other side hears that it was refused, and not that all was said.
pub(super) fn reset(stream: &TcpStream) {
    let _ends_softly = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
