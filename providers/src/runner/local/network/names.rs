//! Questions for names: passed on to the name servers of the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::outward::{copy, reset};

/// Questions of one server at a time; it asks again for those that are lost.
const QUESTIONS: usize = 128;
/// Those that are asked by TCP.
pub(super) const STREAMS: usize = 16;
/// How long a name server may take before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one connection may last.
const STREAM_PATIENCE: Duration = Duration::from_secs(30);
/// How many are asked, as the system does.
const MOST: usize = 3;
/// More than any answer by UDP has.
const MAX_ANSWER: usize = 65_535;
/// Where the machine says who its name servers are.
pub(in crate::runner::local) const MACHINE: &str = "/etc/resolv.conf";

/// Who knows names, separated by commas: addresses, with a port or at port 53.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameServers {
    /// Those of the machine, as it says whenever one is asked.
    #[default]
    Machine,
    /// These.
    These(Vec<SocketAddr>),
}

/// What the operator wrote is no name server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no address of a name server, such as 10.0.0.53 or 10.0.0.53:5353")]
pub struct NoNameServer(String);

impl FromStr for NameServers {
    type Err = NoNameServer;

    fn from_str(text: &str) -> Result<Self, NoNameServer> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let found: Result<Vec<_>, _> =
            words.map(|word| place(word).ok_or_else(|| NoNameServer(word.to_owned()))).collect();
        found.map(|found| if found.is_empty() { Self::Machine } else { Self::These(found) })
    }
}

fn place(word: &str) -> Option<SocketAddr> {
    word.parse().ok().or_else(|| Some((word.parse::<IpAddr>().ok()?, 53).into()))
}

/// What a server is told about names: ask here, the rest as the machine does.
pub(in crate::runner::local) fn inside(machine: &str) -> String {
    let rest = machine.lines().filter(|line| !line.trim_start().starts_with("nameserver"));
    rest.chain(["nameserver 127.0.0.1"]).fold(String::new(), |text, line| text + line + "\n")
}

/// Asks in the name of one server.
pub(super) struct Names {
    servers: Arc<NameServers>,
    room: Arc<Semaphore>,
}

impl Names {
    pub(super) fn new(servers: Arc<NameServers>) -> Self {
        Self { servers, room: Arc::new(Semaphore::new(QUESTIONS)) }
    }

    /// Answers what is asked by UDP, until it is closed.
    pub(super) async fn serve(self: Arc<Self>, socket: UdpSocket, closing: CancellationToken) {
        let socket = Arc::new(socket);
        let mut question = vec![0; MAX_ANSWER];
        loop {
            let asked = tokio::select! {
                () = closing.cancelled() => return,
                asked = socket.recv_from(&mut question) => asked,
            };
            let Ok((length, from)) = asked else { continue };
            let Ok(permit) = self.room.clone().try_acquire_owned() else { continue };
            let (names, socket, question) = (self.clone(), socket.clone(), question[..length].to_vec());
            tokio::spawn(async move {
                let _permit = permit;
                if let Some(answer) = names.ask(&question).await {
                    let _asks_again = socket.send_to(&answer, from).await;
                }
            });
        }
    }

    /// Passes on a connection to a name server.
    pub(super) async fn attend(self: Arc<Self>, inside: TcpStream) {
        for server in self.servers().await {
            if let Ok(Ok(outside)) = timeout(PATIENCE, TcpStream::connect(server)).await {
                let _in_time = timeout(STREAM_PATIENCE, copy(inside, outside)).await;
                return;
            }
        }
        reset(&inside);
    }

    async fn ask(&self, question: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers().await {
            if let Ok(Ok(answer)) = timeout(PATIENCE, ask(server, question)).await {
                return Some(answer);
            }
        }
        None
    }

    async fn servers(&self) -> Vec<SocketAddr> {
        match &*self.servers {
            NameServers::These(servers) => servers.clone(),
            NameServers::Machine => {
                told(&tokio::fs::read_to_string(MACHINE).await.unwrap_or_default()).take(MOST).collect()
            }
        }
    }
}

/// A socket of its own for each question, so that nobody else can answer.
async fn ask(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; MAX_ANSWER];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

/// The name servers that a `resolv.conf` tells.
fn told(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| place(words.next()?)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_they_are_written() {
        let these =
            |places: &[&str]| NameServers::These(places.iter().map(|place| place.parse().unwrap()).collect());
        assert_eq!("".parse(), Ok(NameServers::Machine));
        assert_eq!("10.0.0.53, [::1]:5353".parse(), Ok(these(&["10.0.0.53:53", "[::1]:5353"])));
        assert!("dns.example.org".parse::<NameServers>().is_err());
        let text = "# nameserver 1.1.1.1\nsearch x\nnameserver 10.0.0.1\nnameserver\nnameserver fe80::1%eth0\nnameserver ::1";
        assert_eq!(inside("search x\n nameserver 10.0.0.1\n"), "search x\nnameserver 127.0.0.1\n");
        let found: Vec<_> = told(text).map(|place| place.to_string()).collect();
        assert_eq!(found, ["10.0.0.1:53", "[::1]:53"]);
    }
}
