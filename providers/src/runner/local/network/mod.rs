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
mod rules;
mod space;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::logs::Output;
use domain::ports::runner::TelemetryAccess;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::{Host, Url};

use self::inward::Inward;
use self::names::Names;
pub(super) use self::names::{MACHINE as NAMES, inside as names_inside};
pub use self::names::{NameServers, NoNameServer};
use self::outward::Outward;
pub(super) use self::rules::knows_itself;
pub use self::rules::{NoServerRule, ServerRules};
pub(super) use self::space::{Space, enter};

/// After a connection that could not be taken: there were too many of the whole platform.
const AGAIN: Duration = Duration::from_millis(100);

/// Files and sockets that the platform has open at most.
const OPEN_FILES: u64 = 65_536;

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
        let outward = Arc::new(Outward::new(world.rules.clone(), platform.port, output));
        for door in doors {
            let outward = outward.clone();
            let attend = move |stream| outward.clone().attend(stream);
            tokio::spawn(serve(TcpListener::from_std(door)?, outward::CONNECTIONS, closing.clone(), attend));
        }
        if let Some(to) = platform.loopback {
            for door in platform_doors {
                let attend = move |stream| outward::pass(stream, to);
                tokio::spawn(serve(
                    TcpListener::from_std(door)?,
                    outward::CONNECTIONS,
                    closing.clone(),
                    attend,
                ));
            }
        }
        let resolver = Arc::new(Names::new(world.name_servers.clone()));
        let streams = resolver.clone();
        let attend = move |stream| streams.clone().attend(stream);
        tokio::spawn(serve(TcpListener::from_std(name_streams)?, names::STREAMS, closing.clone(), attend));
        tokio::spawn(resolver.serve(tokio::net::UdpSocket::from_std(names)?, closing.clone()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let inward = Arc::new(Inward::new(sockets));
        let coming = inward.clone();
        let attend = move |stream| coming.clone().attend(stream);
        tokio::spawn(serve(listener, inward::CONNECTIONS, closing.clone(), attend));
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

/// Connections of servers are the platform's own: it may have as many open as a server may, where the machine allows it.
pub(super) fn have_room() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays where it is: {error}");
        }
    }
}

/// Attends to what comes, so many at a time, until it is closed; then what is under way has a moment.
async fn serve<F>(
    listener: TcpListener,
    at_once: usize,
    closing: CancellationToken,
    attend: impl Fn(tokio::net::TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(at_once));
    let mut open = JoinSet::new();
    loop {
        let coming = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = closing.cancelled() => break,
            Some(_ended) = open.join_next() => continue,
            coming = coming => coming,
        };
        let Ok((stream, _)) = accepted else {
            sleep(AGAIN).await;
            continue;
        };
        let attended = attend(stream);
        open.spawn(async move {
            let _permit = permit;
            attended.await;
        });
    }
    drop(listener);
    let _in_time = timeout(LAST_WORDS, async { while open.join_next().await.is_some() {} }).await;
}
