//! The network of a server of the local runner: the world, the platform, and nothing else of the machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::ports::runner::Runner;
use domain::secret::Secret;
use providers::runner::app::toolchain::Toolchains;
use providers::runner::local::{LocalRunner, LocalRunnerConfig, ServerNetwork};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::kit::{Bench, Kind, SERVER, Shelf, eventually, get};

/// Knocks where it is told to, and says what it hears; scans its loopback; gives back what it gets.
const TRAVELLER: &str = r#"
import http from 'node:http';
import net from 'node:net';
import dgram from 'node:dgram';
const knock = (host, port) => new Promise((done) => {
  const socket = net.connect({ host, port, timeout: 20000 });
  socket.on('data', (data) => { socket.destroy(); done(data.toString().trim()); });
  socket.on('error', (error) => done(error.code)).on('end', () => done('ended')).on('timeout', () => done('silent'));
});
const open = (port) => new Promise((done) => {
  // One that has met itself has met nobody.
  const socket = net.connect(port, '127.0.0.1', () => {
    const met = socket.localPort === port ? 0 : port;
    socket.destroy();
    done(met);
  });
  socket.on('error', () => done(0));
});
const shout = (host) => new Promise((done) => {
  const socket = dgram.createSocket('udp4').on('error', (error) => done(error.code));
  socket.connect(9, host, () => socket.send('x', () => setTimeout(() => socket.send('x', (e) => done(e?.code ?? 'sent')), 50)));
});
http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://x');
  if (url.pathname === '/health') return response.end('{"success":true}');
  if (url.pathname === '/knock') return response.end(await knock(url.searchParams.get('host'), url.searchParams.get('port')));
  if (url.pathname === '/shout') return response.end(await shout(url.searchParams.get('host')));
  if (url.pathname === '/fetch') {
    return response.end(await fetch(url.searchParams.get('url')).then((r) => r.text(), (e) => String(e.cause?.code)));
  }
  if (url.pathname === '/scan') {
    const found = [];
    for (let from = 1; from < 65536; from += 500) {
      const ports = Array.from({ length: Math.min(500, 65536 - from) }, (_, at) => from + at);
      found.push(...(await Promise.all(ports.map(open))).filter(Boolean));
    }
    return response.end(JSON.stringify(found));
  }
  request.pipe(response);
}).listen(Number(process.env.PORT), process.env.MASTRA_HOST);
"#;

/// Says a word to everybody who comes, and counts them.
struct Host {
    port: u16,
    guests: Arc<AtomicUsize>,
}

impl Host {
    async fn at(ip: IpAddr, word: &'static str) -> Self {
        Self::on(TcpListener::bind((ip, 0)).await.unwrap(), word)
    }

    fn on(listener: TcpListener, word: &'static str) -> Self {
        let (port, guests) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
        let counted = guests.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let answer = format!("HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n{word}\n");
                    // Whoever asks nothing hears the word alone.
                    let mut asked = [0; 4096];
                    let asking =
                        tokio::time::timeout(Duration::from_millis(300), stream.read(&mut asked)).await;
                    let said = if matches!(asking, Ok(Ok(1..))) { answer } else { format!("{word}\n") };
                    let _cut_off = stream.write_all(said.as_bytes()).await;
                    let _cut_off = stream.shutdown().await;
                });
            }
        });
        Self { port, guests }
    }

    fn guests(&self) -> usize {
        self.guests.load(Ordering::Relaxed)
    }
}

/// A name server that says of each name that it is here.
async fn name_server(here: Ipv4Addr) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            let name = question[12..length].iter().position(|byte| *byte == 0).unwrap() + 12;
            let is_v4 = question[name + 1..name + 3] == [0, 1];
            let mut answer = question[..name + 5].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
            if is_v4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
                answer.extend(here.octets());
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

/// The machine's address to others. Nothing is sent.
fn own_address() -> Ipv4Addr {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9)).unwrap();
    let SocketAddr::V4(own) = socket.local_addr().unwrap() else { panic!("it was asked for version 4") };
    *own.ip()
}

#[tokio::test]
async fn a_server_reaches_the_world_and_the_platform_and_nothing_else_of_the_machine() {
    let (loopback, own) = (IpAddr::V4(Ipv4Addr::LOCALHOST), own_address());
    let [database, platform] = [Host::at(loopback, "rows").await, Host::at(loopback, "platform").await];
    let [neighbour, world] = [Host::at(own.into(), "neighbour").await, Host::at(own.into(), "world").await];
    // What stands for the world is at this machine, and so has to be named.
    let rules = format!("*, {own}:{}", world.port).parse().unwrap();
    let names = name_server(own).await.to_string().parse().unwrap();
    let bench = Bench::networked(Kind::Local, &ServerNetwork::Required(rules, names)).await;
    let other = bench.runner.start(bench.plan(SERVER), bench.output.clone()).await.unwrap().address();
    let mut plan = bench.plan(TRAVELLER);
    plan.telemetry.as_mut().unwrap().url = format!("http://127.0.0.1:{}", platform.port);
    let address = bench.runner.start(plan, bench.output.clone()).await.unwrap().address();
    let knock =
        async |host: &str, port: u16| get(address, &format!("/knock?host={host}&port={port}")).await.unwrap();

    assert_eq!(knock(&own.to_string(), world.port).await, "world");
    assert_eq!(knock("world.test", world.port).await, "world");
    let fetched = format!("/fetch?url=http://world.test:{}/", world.port);
    assert_eq!(get(address, &fetched).await.unwrap().trim(), "world");
    assert_eq!(knock("127.0.0.1", platform.port).await, "platform");

    assert_eq!(knock("127.0.0.1", database.port).await, "ECONNREFUSED");
    assert_eq!(knock("127.0.0.1", other.port()).await, "ECONNREFUSED");
    for (host, port) in [(own.to_string().as_str(), neighbour.port), ("neighbour.test", neighbour.port)] {
        assert_eq!(knock(host, port).await, "ECONNRESET", "{host}");
    }
    assert_eq!(knock("169.254.169.254", 80).await, "ECONNRESET");
    assert_eq!(knock("::ffff:127.0.0.1", database.port).await, "ECONNREFUSED");
    let shout = get(address, &format!("/shout?host={own}")).await.unwrap();
    assert!(["ECONNREFUSED", "EPERM"].contains(&shout.as_str()), "{shout}");
    let found: Vec<u16> = serde_json::from_str(&get(address, "/scan").await.unwrap()).unwrap();
    let expected = [4111, platform.port];
    assert!(expected.iter().all(|port| found.contains(port)), "{found:?}");
    // The ways out take whoever comes to them, and hang up.
    let others = found.iter().filter(|port| !expected.contains(port) && ![3127, 3128].contains(*port));
    assert_eq!(others.count(), 0, "its own port, and the platform's: {found:?}");
    assert_eq!((database.guests(), neighbour.guests()), (0, 0));

    let text = bench.output.text();
    assert!(text.contains(&format!("Not reached: {own}:{}. It is the machine", neighbour.port)), "{text}");
    assert!(text.contains("Not reached: 169.254.169.254:80. "), "{text}");
}

#[tokio::test]
async fn large_bodies_and_many_connections_pass_whole() {
    let bench = Bench::start(Kind::Local).await;
    let address = bench.runner.start(bench.plan(TRAVELLER), bench.output.clone()).await.unwrap().address();
    let sent: Arc<[u8]> = (0..4 << 20).map(|at: u32| (at % 251) as u8).collect();
    let echoes = (0..24).map(|_| {
        let sent = sent.clone();
        tokio::spawn(async move {
            let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
            let uploading = tokio::spawn(async move {
                let head = format!(
                    "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    sent.len()
                );
                writing.write_all(head.as_bytes()).await.unwrap();
                writing.write_all(&sent).await.unwrap();
                writing
            });
            let mut answer = vec![];
            reading.read_to_end(&mut answer).await.unwrap();
            uploading.await.unwrap();
            answer
        })
    });
    for echo in echoes.collect::<Vec<_>>() {
        let answer = echo.await.unwrap();
        // In chunks, whose sizes stand between.
        assert!(answer.len() >= sent.len(), "{} of {}", answer.len(), sent.len());
        assert!(answer.ends_with(b"\r\n0\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_port_that_is_taken_in_a_network_of_its_own_is_not_tried_again() {
    let bench = Bench::start(Kind::Local).await;
    let twice = "import net from 'node:net';
const port = Number(process.env.PORT);
net.createServer().listen(port, '127.0.0.1', () => net.createServer().listen(port, '127.0.0.1'));";
    let failure = bench.runner.start(bench.plan(twice), bench.output.clone()).await.err().unwrap();
    assert_eq!(failure.exit_code, Some(1), "{failure:?}");
    let text = bench.output.text();
    assert_eq!(text.matches("Error: listen EADDRINUSE").count(), 1, "{text}");
    assert!(!text.contains("trying another one"), "{text}");
}

#[tokio::test]
async fn a_platform_at_the_port_of_the_ways_out_is_reached_and_so_is_the_world() {
    // Either would do; who else runs on this machine may have one.
    let ports = [3128, 3127].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let listener = TcpListener::bind(&ports[..]).await.unwrap();
    let (own, platform) = (own_address(), Host::on(listener, "platform"));
    let world = Host::at(own.into(), "world").await;
    let rules = format!("{own}:{}", world.port).parse().unwrap();
    let names = name_server(own).await.to_string().parse().unwrap();
    let bench = Bench::networked(Kind::Local, &ServerNetwork::Required(rules, names)).await;
    let mut plan = bench.plan(TRAVELLER);
    plan.telemetry.as_mut().unwrap().url = format!("http://127.0.0.1:{}", platform.port);
    let address = bench.runner.start(plan, bench.output.clone()).await.unwrap().address();
    let knock =
        async |host: &str, port: u16| get(address, &format!("/knock?host={host}&port={port}")).await.unwrap();
    assert_eq!(knock("127.0.0.1", platform.port).await, "platform");
    assert_eq!(knock("world.test", world.port).await, "world");
}

#[tokio::test]
async fn the_network_of_a_server_ends_with_it() {
    let bench = Bench::start(Kind::Local).await;
    let plan = bench.plan(TRAVELLER);
    let id = plan.deployment_id;
    let address = bench.runner.start(plan, bench.output.clone()).await.unwrap().address();
    let [network] = networks(bench.dir.path())[..] else { panic!("there is one server") };
    assert!(held(network), "its processes are in it");
    assert_ne!(Some(network), network_of(Path::new("/proc/self")));
    bench.runner.stop(id, Duration::from_secs(9)).await.unwrap();
    eventually("nothing is in its network", async || !held(network)).await;
    eventually("nobody listens for it", async || TcpStream::connect(address).await.is_err()).await;
}

#[tokio::test]
async fn where_no_networks_can_be_made_it_is_said_or_refused() {
    let open = async |servers: ServerNetwork| {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Shelf::default());
        let config = LocalRunnerConfig {
            data_dir: dir.path().to_owned(),
            toolchains: Toolchains::new(dir.path().join("toolchains"), None),
            git: super::kit::no_repositories(),
            uploads: store.clone(),
            artifacts: store,
            // It makes nothing at all.
            bwrap: "/usr/bin/false".into(),
            egress: "default".parse().unwrap(),
            servers,
            cache_bytes: 1 << 20,
            uid_base: 210_000,
        };
        LocalRunner::open(config).await.map(|runner| runner.keeps_servers_apart())
    };
    let wanted = (Default::default(), Default::default());
    assert!(!open(ServerNetwork::Own(wanted.0, wanted.1)).await.unwrap());
    let refused = open(ServerNetwork::Required(Default::default(), Default::default())).await.unwrap_err();
    assert!(refused.to_string().contains("servers get no networks of their own"), "{refused}");
    assert!(!open(ServerNetwork::Machine).await.unwrap());
}

#[tokio::test]
async fn a_server_in_the_network_of_the_machine_is_so_because_it_was_said() {
    let database = Host::at(IpAddr::V4(Ipv4Addr::LOCALHOST), "rows").await;
    let bench = Bench::networked(Kind::Local, &ServerNetwork::Machine).await;
    assert!(!bench.runner.keeps_servers_apart());
    let mut plan = bench.plan(TRAVELLER);
    plan.env = vec![("GREETING".parse().unwrap(), Secret::new("hello"))];
    let address = bench.runner.start(plan, bench.output.clone()).await.unwrap().address();
    let heard = get(address, &format!("/knock?host=127.0.0.1&port={}", database.port)).await.unwrap();
    assert_eq!(heard, "rows");
}

/// The networks of everything that has a record.
pub(super) fn networks(data_dir: &Path) -> Vec<u64> {
    let records = fs::read_dir(data_dir.join("run")).unwrap();
    let records = records.map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let records = records.map(|text| serde_json::from_slice::<Value>(&text).unwrap());
    let inits = records.filter_map(|record| record["processes"].as_array()?.last()?["pid"].as_i64());
    inits.filter_map(|pid| network_of(&PathBuf::from(format!("/proc/{pid}")))).collect()
}

/// Whether a process or a thread is in the network.
pub(super) fn held(network: u64) -> bool {
    let tasks = |entry: fs::DirEntry| fs::read_dir(entry.path().join("task")).into_iter().flatten().flatten();
    let all = fs::read_dir("/proc").unwrap().flatten().flat_map(tasks);
    all.into_iter().any(|task| network_of(&task.path()) == Some(network))
}

fn network_of(process: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(fs::metadata(process.join("ns/net")).ok()?.ino())
}
