//! The message channel of a server: Node writes to it where it really listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// Longer messages are none that we wait for.
const MAX_MESSAGE: usize = 64 << 10;

/// Our end of the channel.
pub(super) struct Channel {
    ready: watch::Receiver<Option<SocketAddr>>,
}

/// `{"type":"server-ready","port":4111,"host":"127.0.0.1"}`, one a line.
#[derive(Deserialize)]
struct Message {
    r#type: String,
    port: u16,
    #[serde(default)]
    host: Option<String>,
}

impl Channel {
    /// Makes one; the descriptor is for the server. Read to its end, so that a chatty server never blocks.
    pub(super) fn open() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (told, ready) = watch::channel(None);
        tokio::spawn(read(UnixStream::from_std(ours)?, told));
        Ok((Self { ready }, theirs.into()))
    }

    /// Where the server says that it listens, once it has said so.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        *self.ready.borrow()
    }
}

async fn read(stream: UnixStream, told: watch::Sender<Option<SocketAddr>>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        if byte != b'\n' {
            if line.len() < MAX_MESSAGE {
                line.push(byte);
            }
            continue;
        }
        if let Ok(Message { r#type, port, host }) = serde_json::from_slice(&line)
            && r#type == "server-ready"
        {
            told.send_replace(Some(reachable(host.as_deref(), port)));
        }
        line.clear();
    }
}

/// The address to reach a server at that listens on this host: the loopback, unless it names another.
fn reachable(host: Option<&str>, port: u16) -> SocketAddr {
    let named = host.and_then(|host| host.parse::<IpAddr>().ok()).filter(|ip| !ip.is_unspecified());
    SocketAddr::new(named.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port)
}
