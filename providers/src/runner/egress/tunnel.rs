//! A tunnel to a host that was allowed.

use std::net::IpAddr;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::hello::{self, UNRECOGNIZED};

/// What a build was promised.
pub(super) struct Tunnel {
    pub(super) upgrade: OnUpgrade,
    pub(super) outside: TcpStream,
    /// As it was asked for.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether what goes through has to be for that host.
    pub(super) is_judged: bool,
}

impl Tunnel {
    /// Passes on what either side says. An error says why nothing was passed on.
    pub(super) async fn pass(mut self, patience: Duration) -> Result<(), &'static str> {
        let Ok(inside) = self.upgrade.await else { return Ok(()) };
        let mut inside = TokioIo::new(inside);
        if self.is_judged {
            let Some(greeting) = hello::read(&mut inside, patience).await else {
                return Err("Tunnels are for TLS.");
            };
            if !is_for(greeting.host.as_deref(), &self.host) {
                let _gone_already = inside.write_all(&UNRECOGNIZED).await;
                return Err("The tunnel was for this host, and TLS inside named another one.");
            }
            if self.outside.write_all(&greeting.said).await.is_err() {
                return Ok(());
            }
        }
        let _either_hung_up = copy_bidirectional(&mut inside, &mut self.outside).await;
        Ok(())
    }
}

/// Whether a greeting names the host. One to an address names none.
fn is_for(named: Option<&str>, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match named {
        Some(named) => named == host,
        None => host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_for_the_host_that_was_asked_for() {
        assert!(
            is_for(Some("a.test"), "A.test.") && is_for(None, "203.0.113.9") && is_for(None, "[2001:db8::1]")
        );
        assert!(!is_for(Some("b.test"), "a.test") && !is_for(None, "a.test"));
        assert!(!is_for(Some("a.test"), "203.0.113.9"));
    }
}
