//! The way in: what comes to a port of the machine's loopback is passed on inside.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::outward::{copy, reset};
use super::space::Sockets;

/// A server takes a connection at once, or is not there.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way into one network.
pub(super) struct Inward {
    sockets: Sockets,
    target: Mutex<Option<SocketAddr>>,
}

impl Inward {
    pub(super) fn new(sockets: Sockets) -> Self {
        Self { sockets, target: Mutex::default() }
    }

    pub(super) fn aim(&self, inside: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(inside);
    }

    /// To where it is aimed at.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let target = target.ok_or(io::ErrorKind::NotConnected)?;
        let socket = self.sockets.make(target).await?;
        timeout(PATIENCE, socket.connect(target)).await?
    }

    /// Passes one connection on.
    pub(super) async fn attend(self: std::sync::Arc<Self>, outside: TcpStream) {
        match self.connect().await {
            Ok(inside) => copy(outside, inside).await,
            // As if nothing listened.
            Err(_) => reset(&outside),
        }
    }
}
