//! Questions for names: passed on to the name servers of the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::AGAIN;
use super::outward::{copy, reset};
use super::room::Places;

/// Questions of one server in a second, and as many at once.
const RATE: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);
/// For so long it is known who the machine's name servers are.
const KNOWN: Duration = Duration::from_secs(1);
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
    /// Those of the machine, and when it was read who they are.
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    room: Places,
    pace: Mutex<Pace>,
}

impl Names {
    pub(super) fn new(servers: Arc<NameServers>, room: Places) -> Self {
        Self { servers, read: Mutex::default(), room, pace: Mutex::default() }
    }

    /// Answers what is asked by UDP, until it is closed. What comes faster than it may waits, or is lost.
    pub(super) async fn serve(self: Arc<Self>, socket: UdpSocket, closing: CancellationToken) {
        closing.run_until_cancelled(self.attend_all(Arc::new(socket))).await;
    }

    async fn attend_all(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut question = vec![0; MAX_ANSWER];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut question).await else {
                sleep(AGAIN).await;
                continue;
            };
            self.turn().await;
            let Some(place) = self.room.try_take() else { continue };
            let (names, socket, question) = (self.clone(), socket.clone(), question[..length].to_vec());
            tokio::spawn(async move {
                let _place = place;
                if let Some(answer) = names.ask(&question).await {
                    let _asks_again = socket.send_to(&answer, from).await;
                }
            });
        }
    }

    /// Passes on a connection to a name server.
    pub(super) async fn attend(self: Arc<Self>, inside: TcpStream) {
        self.turn().await;
        for server in self.servers().await {
            if let Ok(Ok(outside)) = timeout(PATIENCE, TcpStream::connect(server)).await {
                let _in_time = timeout(STREAM_PATIENCE, copy(inside, outside)).await;
                return;
            }
        }
        reset(&inside);
    }

    async fn turn(&self) {
        let turn = self.pace.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now());
        sleep_until(turn).await;
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
        if let NameServers::These(servers) = &*self.servers {
            return servers.clone();
        }
        let read = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, servers)) = &*read()
            && at.elapsed() < KNOWN
        {
            return servers.clone();
        }
        let text = tokio::fs::read_to_string(MACHINE).await.unwrap_or_default();
        let servers: Vec<_> = told(&text).take(MOST).collect();
        *read() = Some((Instant::now(), servers.clone()));
        servers
    }
}

/// When the next question may be asked: so many a second, and as many at once after a silence.
#[derive(Debug, Default)]
struct Pace(Option<Instant>);

impl Pace {
    /// The turn of one that comes now.
    fn next(&mut self, now: Instant) -> Instant {
        let turn = self.0.map_or(now, |free| free.max(now));
        self.0 = Some(turn + SECOND / RATE);
        // What a silence has saved may go at once.
        turn.checked_sub(SECOND).map_or(now, |early| early.max(now))
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
    use super::super::room::Room;
    use super::*;

    #[test]
    fn questions_come_at_a_pace() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let turns: Vec<_> = (0..2 * RATE + 1).map(|_| pace.next(now) - now).collect();
        assert!(turns[..=RATE as usize].iter().all(Duration::is_zero), "so many at once");
        assert_eq!(turns[RATE as usize + 1], SECOND / RATE);
        assert_eq!(turns[2 * RATE as usize], SECOND, "then so many a second");
        let later = now + SECOND * 9;
        let turns: Vec<_> = (0..RATE + 2).map(|_| pace.next(later) - later).collect();
        assert!(
            turns[..=RATE as usize].iter().all(Duration::is_zero)
                && turns[RATE as usize + 1] > Duration::ZERO
        );
    }

    #[tokio::test]
    async fn a_server_that_asks_without_end_is_passed_on_at_a_pace() {
        let bind = async || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (machine, door, asking) = (bind().await, bind().await, bind().await);
        let servers = Arc::new(NameServers::These(vec![machine.local_addr().unwrap()]));
        let names = Arc::new(Names::new(servers, Room::of(u64::MAX).server().questions));
        *names.pace.lock().unwrap() = Pace(Some(Instant::now() + SECOND));
        let address = door.local_addr().unwrap();
        let closing = CancellationToken::new();
        let _close = closing.clone().drop_guard();
        tokio::spawn(names.serve(door, closing));
        let since = Instant::now();
        for question in 0..20 {
            asking.send_to(&[question], address).await.unwrap();
            let (mut heard, mut answer) = ([0; 9], [0; 9]);
            let (_, from) = machine.recv_from(&mut heard).await.unwrap();
            machine.send_to(&[heard[0], 7], from).await.unwrap();
            assert_eq!(asking.recv(&mut answer).await.unwrap(), 2);
            assert_eq!(answer[..2], [question, 7]);
        }
        // Its second was used up: all but the first wait for their turn.
        assert!(since.elapsed() >= SECOND / RATE * 18, "{:?}", since.elapsed());
    }

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
