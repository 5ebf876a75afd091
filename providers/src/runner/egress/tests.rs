//! The proxy of builds: a lie inside a tunnel does not pass, and a name that nobody tells keeps nobody else.

use std::time::Instant;

use async_trait::async_trait;
use domain::ports::logs::LogStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[derive(Default)]
struct Recorder(Mutex<Vec<u8>>);

#[async_trait]
impl Output for Recorder {
    fn write(&self, _: LogStream, bytes: &[u8]) {
        self.0.lock().unwrap().extend(bytes);
    }

    async fn flush(&self) {}
}

const SLOW: Duration = Duration::from_secs(4);
const SOON: Duration = Duration::from_millis(300);

/// `slow.test` is not told for long, `far.test` is at an address of nobody, all else is on this machine.
fn names(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host == "slow.test" {
        std::thread::sleep(SLOW);
    }
    Ok(vec![(Ipv4Addr::LOCALHOST, port).into()])
}

async fn proxy(rules: &str, output: Arc<Recorder>) -> SocketAddr {
    let EgressRules::Proxy(rules) = rules.parse().unwrap() else { panic!("it is a proxy's") };
    let proxy = Proxy { lookup: names, patience: SOON, ..Proxy::new(Arc::new(rules), output) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Arc::new(proxy).serve(listener));
    address
}

async fn ask(proxy: SocketAddr, target: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    (stream, String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Says back what it hears.
async fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reading, mut writing) = stream.split();
                tokio::io::copy(&mut reading, &mut writing).await
            });
        }
    });
    port
}

/// A greeting for a host, as a client says it.
fn greeting(host: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let name = sized(&[&[0][..], &sized(host.as_bytes())].concat());
    let extensions = [&[0, 0][..], &sized(&name)].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &sized(&[19, 1]), &[1, 0], &sized(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &sized(&[&[1][..], &length[1..], &body].concat())].concat()
}

/// What comes back from a tunnel to `a.test` into which this was said.
async fn through(said: &[u8], output: Arc<Recorder>) -> Vec<u8> {
    let (near, port) = (echo().await, 443);
    let outside = TcpStream::connect((Ipv4Addr::LOCALHOST, near)).await.unwrap();
    outside.set_nodelay(true).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Proxy { patience: SOON, ..Proxy::new(Arc::new(vec![]), output) };
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (give, mut given) = mpsc::channel(1);
        let service = service_fn(|mut request: Request<Incoming>| {
            give.try_send(hyper::upgrade::on(&mut request)).unwrap();
            async { Ok::<_, std::convert::Infallible>(Response::new(empty())) }
        });
        let serving =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        serving.with_upgrades().await.unwrap();
        let upgrade = given.recv().await.unwrap();
        let host = "a.test".to_owned();
        let tunnel = Tunnel { upgrade, outside, host, port, is_judged: true };
        if let Err(why) = tunnel.pass(SOON).await {
            proxy.tell("a.test", port, why);
        }
    });
    let (mut stream, answer) = ask(address, "a.test:443").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream.write_all(said).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = vec![];
    // What was said and not read resets the connection.
    let _ended_somehow = stream.read_to_end(&mut heard).await;
    heard
}

#[tokio::test]
async fn tls_for_another_host_does_not_pass() {
    let output = Arc::<Recorder>::default();
    let good = greeting("a.test");
    assert_eq!(through(&good, output.clone()).await, good);
    assert!(output.0.lock().unwrap().is_empty());

    assert_eq!(through(&greeting("hidden.test"), output.clone()).await, hello::UNRECOGNIZED);
    let said = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("Not reached: a.test:443. The tunnel was for this host"), "{said}");

    let output = Arc::<Recorder>::default();
    assert_eq!(through(b"GET / HTTP/1.1\r\n\r\n", output.clone()).await, b"");
    let said = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("Tunnels are for TLS."), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_tells_keeps_no_other_build() {
    let port = echo().await;
    let rules = format!("slow.test:{port}, near.test:{port}");
    let output = Arc::<Recorder>::default();
    let [one, other] = [proxy(&rules, output.clone()).await, proxy(&rules, output).await];
    let before = Instant::now();
    // More than may be looked up at a time, by far.
    let slow = (0..40).map(|_| tokio::spawn(async move { ask(one, &format!("slow.test:{port}")).await.1 }));
    let slow: Vec<_> = slow.collect();
    let (_open, answer) = ask(other, &format!("near.test:{port}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for answer in slow {
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
    assert!(before.elapsed() < SLOW, "{:?}", before.elapsed());
}
