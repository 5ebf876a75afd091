//! The network of a server: one of its own, with a way to the world and a way in, both through the platform.
//!
//! Inside there is only loopback, and every connection to anywhere else is led to a listener of the platform's there, which
//! looks at the address and connects from the machine, or does not. Requests come in the same way: the platform
//! listens at a port of the machine's loopback and connects from inside.
//!
//! Invariant: nothing of it outlives the server or the platform: it is sockets of the platform and rules of a network
//! that ends with its last process and socket.

mod inward;
mod names;
mod outward;
mod room;
mod rules;
mod space;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::logs::Output;
use domain::ports::runner::TelemetryAccess;
use tokio::net::{TcpListener, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::{Host, Url};

use self::inward::Inward;
use self::names::Names;
pub(super) use self::names::{MACHINE as NAMES, inside as names_inside};
pub use self::names::{NameServers, NoNameServer};
use self::outward::Outward;
use self::room::Places;
pub(super) use self::room::Room;
pub(super) use self::rules::knows_itself;
pub use self::rules::{NoServerRule, ServerRules};
pub(super) use self::space::{Space, enter};

/// After a connection that could not be taken: there were too many of the whole platform.
const AGAIN: Duration = Duration::from_millis(100);

/// How long the machine may think about the name of the platform.
const LOOKUP: Duration = Duration::from_secs(2);

/// What is under way when a server has ended may take this long to arrive.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Which network servers get.
#[derive(Clone, Debug)]
pub enum ServerNetwork {
    /// That of the machine.
    Machine,
    /// One of their own where this machine can make it; else that of the machine, which is said.
    Own(ServerRules, NameServers),
    /// One of their own; the runner does not open without.
    Required(ServerRules, NameServers),
}

impl Default for ServerNetwork {
    fn default() -> Self {
        Self::Own(ServerRules::default(), NameServers::default())
    }
}

/// What servers may reach, where they have networks of their own.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) rules: Arc<ServerRules>,
    pub(super) name_servers: Arc<NameServers>,
    /// For the connections of all servers.
    pub(super) room: Room,
}

/// Where a server finds the platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Platform {
    /// At the machine's loopback: the same port is answered on the server's.
    pub(super) loopback: Option<SocketAddr>,
    /// At an address that may be one of the machine's, at this port.
    pub(super) port: Option<u16>,
}

impl Platform {
    /// As the address says where telemetry goes. A name that this machine knows for its own loopback is that.
    pub(super) async fn of(telemetry: Option<&TelemetryAccess>) -> Self {
        let Some(url) = telemetry.and_then(|access| Url::parse(&access.url).ok()) else {
            return Self::default();
        };
        let Some(port) = url.port_or_known_default() else { return Self::default() };
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) if ip.is_unspecified() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Some(Host::Ipv4(ip)) => Some(ip.into()).filter(IpAddr::is_loopback),
            Some(Host::Ipv6(ip)) => Some(ip.into()).filter(IpAddr::is_loopback),
            Some(Host::Domain(name)) => {
                let found = timeout(LOOKUP, lookup_host((name, port))).await;
                let found = found.ok().and_then(Result::ok).into_iter().flatten().map(|at| at.ip());
                let mut near: Vec<_> = found.filter(IpAddr::is_loopback).collect();
                near.sort_unstable(); // version 4 first
                near.first().copied()
            }
            None => None,
        };
        match ip {
            Some(ip) => Self { loopback: Some((ip, port).into()), port: None },
            None => Self { loopback: None, port: Some(port) },
        }
    }
}

/// The ways of one server.
pub(super) struct Ways {
    inward: Arc<Inward>,
    /// Where the machine reaches the server.
    address: SocketAddr,
    closing: CancellationToken,
    _close: DropGuard,
}

impl Ways {
    /// Opens them. Until it has been aimed, what comes in goes nowhere.
    pub(super) async fn open(
        space: Space,
        world: &World,
        platform: Platform,
        output: Arc<dyn Output>,
    ) -> io::Result<Self> {
        let Space { doors, names, name_streams, platform: platform_doors, sockets } = space;
        let closing = CancellationToken::new();
        let close = closing.clone().drop_guard();
        let room = world.room.server();
        let outward = Arc::new(Outward::new(world.rules.clone(), platform.port, output));
        for door in doors {
            let outward = outward.clone();
            let attend = move |stream| outward.clone().attend(stream);
            tokio::spawn(serve(TcpListener::from_std(door)?, room.outward.clone(), closing.clone(), attend));
        }
        if let Some(to) = platform.loopback {
            for door in platform_doors {
                let attend = move |stream| outward::pass(stream, to);
                let door = TcpListener::from_std(door)?;
                tokio::spawn(serve(door, room.outward.clone(), closing.clone(), attend));
            }
        }
        let resolver = Arc::new(Names::new(world.name_servers.clone(), room.questions));
        let streams = resolver.clone();
        let attend = move |stream| streams.clone().attend(stream);
        let name_streams = TcpListener::from_std(name_streams)?;
        tokio::spawn(serve(name_streams, room.outward, closing.clone(), attend));
        tokio::spawn(resolver.serve(tokio::net::UdpSocket::from_std(names)?, closing.clone()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let inward = Arc::new(Inward::new(sockets));
        let coming = inward.clone();
        let attend = move |stream| coming.clone().attend(stream);
        tokio::spawn(serve(listener, room.inward, closing.clone(), attend));
        Ok(Self { inward, address, closing, _close: close })
    }

    /// Where the machine reaches the server.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What comes in goes to this address of the server's own network.
    pub(super) fn aim(&self, inside: SocketAddr) {
        self.inward.aim(inside);
    }

    /// Whether something listens where it was aimed at.
    pub(super) async fn leads_somewhere(&self) -> bool {
        self.inward.connect().await.is_ok()
    }

    /// Takes no more connections. What is under way may end.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }
}

/// Attends to what comes, as far as there is room, until it is closed; then what is under way has a moment.
async fn serve<F>(
    listener: TcpListener,
    room: Places,
    closing: CancellationToken,
    attend: impl Fn(tokio::net::TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            Some(_ended) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(AGAIN).await;
            continue;
        };
        // Taken only now: a listener that waits holds no place.
        let place = tokio::select! {
            () = closing.cancelled() => break,
            place = room.take() => place,
        };
        let attended = attend(stream);
        open.spawn(async move {
            let _place = place;
            attended.await;
        });
    }
    drop(listener);
    let _in_time = timeout(LAST_WORDS, async { while open.join_next().await.is_some() {} }).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpStream;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// Keeps everybody who comes until told to let one go.
    struct Inn {
        inside: AtomicUsize,
        most: AtomicUsize,
        came: mpsc::UnboundedSender<()>,
        leave: Semaphore,
    }

    impl Inn {
        async fn keep(self: Arc<Self>, _guest: TcpStream) {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(inside, Ordering::SeqCst);
            self.came.send(()).unwrap();
            self.leave.acquire().await.unwrap().forget();
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn all_listeners_of_a_server_share_its_room() {
        let (came, mut comes) = mpsc::unbounded_channel();
        let leave = Semaphore::new(0);
        let inn = Arc::new(Inn { inside: 0.into(), most: 0.into(), came, leave });
        let places = Room::of(0).server().outward;
        let closing = CancellationToken::new();
        let _close = closing.clone().drop_guard();
        let mut guests = vec![];
        for _ in 0..3 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let inn = inn.clone();
            let attend = move |guest| inn.clone().keep(guest);
            tokio::spawn(serve(listener, places.clone(), closing.clone(), attend));
            for _ in 0..3 {
                guests.push(TcpStream::connect(address).await.unwrap());
            }
        }
        for _ in 0..2 {
            comes.recv().await.unwrap();
        }
        assert!(places.try_take().is_none(), "both are taken");
        for _ in 2..guests.len() {
            inn.leave.add_permits(1);
            comes.recv().await.unwrap();
        }
        assert_eq!(inn.most.load(Ordering::SeqCst), 2);
    }
}
