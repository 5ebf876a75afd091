//! What a build reaches of the world: what the operator has named, through the platform alone.

use std::net::Ipv4Addr;

use domain::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::kit::{Bench, Kind, Watched, app};

/// Tries every way there is, and says how far it came.
const TRAVELLER: &str = r#"
const dns = require('dns'), http = require('http'), net = require('net');
const [near, far] = process.env.PORTS.split(',');
const proxy = new URL(process.env.HTTPS_PROXY);
const at = { host: proxy.hostname, port: proxy.port };
const said = (request) => new Promise((done) => request.on('error', (e) => done(e.code)).on('response', (r) => {
  let text = ''; r.on('data', (d) => text += d).on('end', () => done(r.statusCode + text.trim()));
}).on('connect', (r, socket) => { socket.destroy(); done(r.statusCode); }).end());
const plain = (path) => said(http.request({ ...at, path }));
const tunnel = (path) => said(http.request({ ...at, path, method: 'CONNECT' }));
const direct = (port, host) => new Promise((done) =>
  net.connect(port, host).on('error', (e) => done(e.code)).on('connect', () => done('there')));
(async () => console.log('SEEN ' + JSON.stringify({
  plain: await plain(`http://127.0.0.1:${near}/x`), tunnel: await tunnel(`127.0.0.1:${near}`),
  neighbour: await tunnel(`127.0.0.1:${far}`), loopback: await tunnel('localhost:443'),
  six: await tunnel('[::ffff:127.0.0.1]:443'), metadata: (await plain('http://169.254.169.254/')).slice(0, 3),
  private: await tunnel('10.0.0.1:443'), mail: await tunnel('example.org:25'),
  itself: (await plain('/')).slice(0, 3),
  directly: [await direct(near, '127.0.0.1'), await direct(443, '203.0.113.1'), await direct(80, '169.254.169.254')],
  name: await new Promise((done) => dns.resolve4('example.org', (e) => done(e ? 'unknown' : 'known'))),
})))();
const fs = require('fs');
fs.mkdirSync('.mastra/output', { recursive: true });
fs.copyFileSync('server.mjs', '.mastra/output/index.mjs');
"#;

pub(super) async fn a_build_reaches_what_was_named_and_nothing_else(kind: Kind) {
    let near = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let far = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let [open, closed] = [&near, &far].map(|listener| listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = near.accept().await {
            let mut asked = vec![0; 1024];
            let length = stream.read(&mut asked).await.unwrap_or_default();
            if String::from_utf8_lossy(&asked[..length]).starts_with("GET /x HTTP/1.1") {
                let _cut_off = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n hi").await;
            }
        }
    });
    let files = app(TRAVELLER);
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    // All that is public, and one port of this machine.
    let egress = format!("*, 127.0.0.1:{open}");
    let bench = Bench::reaching(kind, &files, &egress).await;
    let Watched { mut plan, watch, cancel: _owner, .. } = bench.watched();
    plan.env = vec![("PORTS".parse().unwrap(), Secret::new(format!("{open},{closed}")))];
    bench.runner.build(plan, watch).await.unwrap();

    let text = bench.output.text();
    let seen = text.lines().find_map(|line| line.strip_prefix("SEEN ")).unwrap_or_else(|| panic!("{text}"));
    let expected = json!({
        "plain": "200hi", "tunnel": 200, "neighbour": 403, "loopback": 403, "six": 403, "metadata": "403",
        "private": 403, "mail": 403, "itself": "400",
        "directly": ["ECONNREFUSED", "ENETUNREACH", "ENETUNREACH"], "name": "unknown",
    });
    assert_eq!(serde_json::from_str::<Value>(seen).unwrap(), expected);
    assert!(text.contains(&format!("Not reached: 127.0.0.1:{closed}. ")), "{text}");
    assert!(text.contains("Not reached: localhost:443. Its address is of a private network"), "{text}");
    drop(far);
}
