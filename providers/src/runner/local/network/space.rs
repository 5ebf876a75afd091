//! What a network is given while its sandbox is held: routes, rules, and sockets of the platform's.

use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use crate::programs;

/// The address of a server that it takes for its own, beside loopback.
pub(super) const OWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);
pub(super) const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd4d, 0x4153, 0x5452, 0, 0, 0, 0, 2);

/// Ports inside that everything is led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doors {
    /// For connections to anywhere.
    world: u16,
    /// For questions for names.
    names: u16,
}

impl Doors {
    /// Not the platform's own port, which is answered there as well.
    fn beside(platform: Option<SocketAddr>) -> Self {
        match platform.map(|at| at.port()) {
            Some(3127 | 3128) => Self { world: 3126, names: 3125 },
            _ => Self { world: 3128, names: 3127 },
        }
    }
}

/// How long the sandbox may take to bring its loopback up, and a program to set rules.
const PATIENCE: Duration = Duration::from_secs(5);

/// Someone of the internet, to see whether there is a way to addresses of version 6. Nothing is sent.
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888);

/// Sockets of the platform's inside the network of a server.
pub(in crate::runner::local) struct Space {
    /// Take what is to go out.
    pub(super) doors: Vec<TcpListener>,
    /// Takes questions for names.
    pub(super) names: UdpSocket,
    /// Takes those that are asked by TCP.
    pub(super) name_streams: TcpListener,
    /// Take what is for the platform, at its own port.
    pub(super) platform: Vec<TcpListener>,
    /// Makes more.
    pub(super) sockets: Sockets,
}

/// Makes sockets inside: they stay in the network that they were made in.
pub(super) struct Sockets(mpsc::Sender<Order>);

struct Order {
    is_v6: bool,
    answer: oneshot::Sender<io::Result<TcpSocket>>,
}

impl Sockets {
    /// One that is not connected yet, for addresses like this one.
    pub(super) async fn make(&self, like: SocketAddr) -> io::Result<TcpSocket> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the network of a server is gone");
        self.0.send(Order { is_v6: like.is_ipv6(), answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Enters the network of a process whose command is held, and prepares it. The thread that enters stays there to make
/// sockets, for as long as somebody may ask for one.
pub(in crate::runner::local) fn enter(pid: i32, platform: Option<SocketAddr>) -> io::Result<Space> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    let has_v6 = reaches_v6();
    let (tell, told) = mpsc::channel();
    let (orders, ordered) = mpsc::channel();
    let entered = move || {
        let made = prepare(network, platform, has_v6, Sockets(orders));
        let is_made = made.is_ok();
        if tell.send(made).is_err() || !is_made {
            return;
        }
        drop(tell);
        for Order { is_v6, answer } in ordered {
            let _nobody_waits = answer.send(if is_v6 { TcpSocket::new_v6() } else { TcpSocket::new_v4() });
        }
    };
    thread::Builder::new().name("server-network".to_owned()).stack_size(256 << 10).spawn(entered)?;
    let late = |_| io::Error::other("the network of a server was not made in time");
    told.recv_timeout(PATIENCE * 3).map_err(late)?
}

fn prepare(network: File, platform: Option<SocketAddr>, has_v6: bool, sockets: Sockets) -> io::Result<Space> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    drop(network);
    until_up()?;
    let at = Doors::beside(platform);
    run("ip", &["-batch", "-"], &routes(has_v6))?;
    run("nft", &["-f", "-"], &filter(has_v6, at))?;
    let listen = |address: SocketAddr| {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        io::Result::Ok(listener)
    };
    let mut doors = vec![listen((Ipv4Addr::LOCALHOST, at.world).into())?];
    if has_v6 {
        doors.push(listen((Ipv6Addr::LOCALHOST, at.world).into())?);
    }
    let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, at.names))?;
    names.set_nonblocking(true)?;
    let name_streams = listen((Ipv4Addr::LOCALHOST, at.names).into())?;
    let mut own = vec![];
    if let Some(first) = platform {
        own.push(listen(first)?);
        // By whatever name it is called. Not everywhere is there a version 6.
        let others = [(Ipv4Addr::LOCALHOST, first.port()).into(), (Ipv6Addr::LOCALHOST, first.port()).into()];
        own.extend(others.into_iter().filter(|other| *other != first).filter_map(|other| listen(other).ok()));
    }
    Ok(Space { doors, names, name_streams, platform: own, sockets })
}

/// The sandbox gives its loopback an address and brings it up by itself; both fails if somebody else was first.
fn until_up() -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        if Instant::now() > deadline {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn reaches_v6() -> bool {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0));
    socket.is_ok_and(|socket| socket.connect((FAR_V6, 53)).is_ok())
}

/// Everything is near: what goes anywhere is to be had by the rules.
fn routes(has_v6: bool) -> String {
    let mut lines =
        format!("link set lo up\naddr add {OWN_V4}/32 dev lo\nroute add default dev lo src {OWN_V4}\n");
    if has_v6 {
        lines += &format!("addr add {OWN_V6}/128 dev lo nodad\nroute add ::/0 dev lo src {OWN_V6}\n");
    }
    lines
}

/// Leads names and connections to the platform, and refuses what is neither.
fn filter(has_v6: bool, Doors { world, names }: Doors) -> String {
    let v6 = if has_v6 {
        format!("ip6 daddr {OWN_V6} accept\n    meta nfproto ipv6 meta l4proto tcp redirect to :{world}")
    } else {
        String::new()
    };
    let own_v6 = if has_v6 { format!("ip6 daddr {OWN_V6} accept") } else { String::new() };
    format!(
        "table inet ways {{
  chain led {{
    type nat hook output priority -100; policy accept;
    meta nfproto ipv4 meta l4proto {{ tcp, udp }} th dport 53 redirect to :{names}
    ip daddr {{ 127.0.0.0/8, {OWN_V4} }} accept
    ip6 daddr ::1 accept
    meta nfproto ipv4 meta l4proto tcp redirect to :{world}
    {v6}
  }}
  chain kept {{
    type filter hook output priority 0; policy accept;
    ct status dnat accept
    ct state established accept
    ip daddr {{ 127.0.0.0/8, {OWN_V4} }} accept
    ip6 daddr ::1 accept
    {own_v6}
    reject
  }}
}}
"
    )
}

/// Runs a program of the system in the network of this thread, with its orders on standard input.
fn run(program: &str, arguments: &[&str], orders: &str) -> io::Result<()> {
    let found = programs::find(program)
        .ok_or_else(|| io::Error::other(format!("the program {program} is missing")))?;
    let mut command = Command::new(found);
    command.args(arguments).env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read them says why by itself.
        let _ended_already = stdin.write_all(orders.as_bytes());
    }
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let ended = child.wait_with_output()?;
    if ended.status.success() {
        return Ok(());
    }
    let complaint: String = String::from_utf8_lossy(&ended.stderr).chars().take(500).collect();
    Err(io::Error::other(format!("{program} made no network: {}", complaint.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_may_be_at_any_port() {
        let beside = |port| Doors::beside(Some((Ipv4Addr::LOCALHOST, port).into()));
        assert_eq!(Doors::beside(None), Doors { world: 3128, names: 3127 });
        for port in [3125, 3126, 3127, 3128, 4111, 8080] {
            let Doors { world, names } = beside(port);
            assert!(world != port && names != port && world != names, "{port}");
            let rules = filter(true, beside(port));
            assert_eq!(rules.matches(&format!("redirect to :{world}\n")).count(), 2, "{rules}");
            assert_eq!(rules.matches(&format!("redirect to :{names}\n")).count(), 1, "{rules}");
        }
    }
}
