//! Builds of an environment after its first: what they take over, and that nobody can tell by what they give.
//!
//! Only the local runner does so.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use domain::ids::EnvironmentId;
use domain::ports::runner::{BuildFailure, BuildPlan, Built};
use domain::secret::Secret;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha512};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::kit::{Bench, Kind, SERVER, Watched, get, node_version, plan};

/// What `mastra build` does as far as it matters here.
const MASTRA: &str = r#"#!/usr/bin/env node
const fs = require('fs');
const output = '.mastra/output/';
fs.mkdirSync(output, { recursive: true });
fs.copyFileSync('server.mjs', output + 'index.mjs');
fs.copyFileSync('output.json', output + 'package.json');
if (process.env.MASTRA_BUILD_SKIP_INSTALL !== '1') {
  console.log('the output is installed');
  fs.mkdirSync(output + 'node_modules/.bin', { recursive: true });
  fs.copyFileSync('output.json', output + 'node_modules/asked.json');
  fs.writeFileSync(output + 'node_modules/run.js', '', { mode: 0o755 });
  fs.writeFileSync(output + 'node_modules/.npmrc', 'token=abc');
  fs.symlinkSync('../run.js', output + 'node_modules/.bin/run');
  fs.writeFileSync(output + 'package-lock.json', '{}');
}
if (fs.existsSync('patch')) fs.appendFileSync('node_modules/mastra/build.js', '// patched');
if (fs.existsSync('fail')) process.exit(1);
"#;

/// An environment whose repository has an app in each of several directories.
struct Home {
    bench: Bench,
    plan: BuildPlan,
}

/// How a build went.
struct Went {
    result: Result<Built, BuildFailure>,
    /// Whether the project's modules were installed, and those of the output.
    installed: (bool, bool),
    said: String,
}

impl Home {
    async fn new() -> Self {
        let files = repository(registry().await);
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let bench = Bench::reaching(Kind::Local, &files, "host").await;
        let Watched { mut plan, .. } = bench.watched();
        plan.install_command = None;
        // What is kept gives way where less is free than a build may write.
        plan.limits.disk_mib = Some(64);
        Self { bench, plan }
    }

    /// Builds the app in a directory.
    async fn build(&self, root: &str) -> Went {
        self.build_with(root, |_| {}).await
    }

    async fn build_with(&self, root: &str, change: impl FnOnce(&mut BuildPlan)) -> Went {
        let Watched { watch, cancel: _owner, plan: fresh, .. } = self.bench.watched();
        let mut plan = self.plan.clone();
        (plan.build_id, plan.project_root) = (fresh.build_id, root.parse().unwrap());
        change(&mut plan);
        let before = self.bench.output.text().len();
        let result = self.bench.runner.build(plan, watch).await;
        let said = self.bench.output.text().split_off(before);
        assert!(fs::read_dir(self.bench.dir.path().join("builds")).unwrap().next().is_none());
        let installed = (said.contains("$ npm ci"), said.contains("the output is installed"));
        Went { result, installed, said }
    }

    /// How many environments' modules are kept.
    fn kept(&self) -> usize {
        fs::read_dir(self.bench.dir.path().join("modules")).unwrap().count()
    }
}

impl Went {
    fn artifact(&self) -> String {
        let built = self.result.as_ref().unwrap_or_else(|failure| panic!("{failure}: {}", self.said));
        built.artifact.sha256.clone()
    }
}

/// Answers with the one package there is, whatever it is asked for: where it is, and the package's hash.
async fn registry() -> (u16, String) {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let manifest = r#"{"name":"mastra","version":"1.0.0","bin":{"mastra":"build.js"}}"#;
    for (path, text) in [("package/package.json", manifest), ("package/build.js", MASTRA)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let package = archive.into_inner().unwrap().finish().unwrap();
    let hash = format!("sha512-{}", BASE64_STANDARD.encode(Sha512::digest(&package)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let package = Arc::new(package);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let package = package.clone();
            tokio::spawn(async move {
                let _request = stream.read(&mut [0; 4096]).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    package.len()
                );
                let _cut_off = stream.write_all(&[head.as_bytes(), &package].concat()).await;
            });
        }
    });
    (port, hash)
}

/// The app in `usual`, and others that differ from it by what their names say.
fn repository((port, hash): (u16, String)) -> Vec<(String, String)> {
    let manifest = json!({
        "name": "app", "version": "1.0.0", "scripts": { "build": "mastra build" },
        "engines": { "node": node_version() }, "devDependencies": { "mastra": "1.0.0" },
    });
    let lock = json!({ "name": "app", "version": "1.0.0", "lockfileVersion": 3, "packages": {
        "": { "name": "app", "version": "1.0.0", "devDependencies": { "mastra": "1.0.0" } },
        "node_modules/mastra": {
            "version": "1.0.0", "resolved": format!("http://127.0.0.1:{port}/mastra.tgz"), "integrity": hash,
            "dev": true, "bin": { "mastra": "build.js" },
        },
    }});
    let mut scripted = manifest.clone();
    scripted["scripts"]["postinstall"] = json!("node --version");
    let (manifest, lock, scripted) = (manifest.to_string(), lock.to_string(), scripted.to_string());
    let apps: [(&str, &[(&str, &str)]); 9] = [
        ("usual", &[]),
        ("source", &[("server.mjs", "// changed")]),
        ("output", &[("output.json", r#"{"dependencies":{"a":"1"}}"#)]),
        ("lock", &[("package-lock.json", &format!("{lock}\n"))]),
        ("manifest", &[("package.json", &format!("{manifest}\n"))]),
        ("settings", &[(".npmrc", "fund=false\n")]),
        ("scripted", &[("package.json", &scripted)]),
        ("patching", &[("patch", "")]),
        ("failing", &[("fail", "")]),
    ];
    let usual = [
        ("package.json", &*manifest),
        ("package-lock.json", &*lock),
        ("output.json", "{}"),
        ("server.mjs", SERVER),
    ];
    let file = |app: &str, (name, text): &(&str, &str)| (format!("{app}/{name}"), (*text).to_owned());
    apps.iter().flat_map(|(app, own)| usual.iter().chain(*own).map(|entry| file(app, entry))).collect()
}

#[tokio::test]
async fn an_unchanged_lock_leaves_out_both_installs_and_gives_the_same_artifact() {
    let home = Home::new().await;
    let first = home.build("usual").await;
    assert_eq!(first.installed, (true, true), "{}", first.said);
    // Its modules are in use, while they are in the next output, too.
    let mut start = plan(first.result.as_ref().unwrap().artifact.clone());
    start.team_id = home.plan.team_id;
    let server = home.bench.runner.start(start.clone(), home.bench.output.clone()).await.unwrap();
    for _ in 0..2 {
        let again = home.build_again("usual").await;
        assert_eq!(again.artifact(), first.artifact());
    }
    let changed = home.build_again("source").await;
    assert_ne!(changed.artifact(), first.artifact());
    let afresh = home.build_with("source", other_environment).await;
    assert_eq!((afresh.installed, afresh.artifact()), ((true, true), changed.artifact()));

    let files = get(server.address(), "/files").await.unwrap();
    assert!(files.contains("node_modules/.bin/run") && !files.contains(".npmrc"), "{files}");
    home.bench.runner.stop(start.deployment_id, Duration::from_secs(9)).await.unwrap();
}

impl Home {
    /// Builds without any install.
    async fn build_again(&self, root: &str) -> Went {
        let went = self.build(root).await;
        assert_eq!(went.installed, (false, false), "{}", went.said);
        let said = "Modules are those of the last build: the lockfile has not changed\n";
        assert!(went.said.contains(said), "{}", went.said);
        went
    }
}

fn other_environment(plan: &mut BuildPlan) {
    plan.environment_id = EnvironmentId(Uuid::now_v7());
}

#[tokio::test]
async fn whatever_an_install_looks_at_has_it_done() {
    let home = Home::new().await;
    for other in ["lock", "manifest", "settings", "scripted"] {
        for root in ["usual", other] {
            let went = home.build(root).await;
            assert_eq!(went.installed, (true, true), "{root} before or after {other}: {}", went.said);
            went.artifact();
        }
    }
    home.build("usual").await.artifact();
    let set = |key: &str, value: &str| (key.parse().unwrap(), Secret::new(value));
    for variable in [set("BUILD_FLAG", "off"), set("MASTRA_ADMIN_NO_MODULE_CACHE", "1")] {
        let changed = home.build_with("usual", |plan| plan.env = vec![variable]).await;
        assert_eq!(changed.installed, (true, true), "{}", changed.said);
    }
    home.build("usual").await.artifact();
    let other = home.build_with("usual", other_environment).await;
    assert_eq!(other.installed, (true, true), "another environment's are its own: {}", other.said);
    home.build_again("usual").await;
}

#[tokio::test]
async fn a_build_that_failed_leaves_nothing_to_the_next() {
    let home = Home::new().await;
    home.build("usual").await.artifact();
    assert_eq!(home.kept(), 1);
    let failed = home.build("failing").await;
    assert!(failed.result.is_err() && !failed.installed.0, "{}", failed.said);
    assert_eq!(home.kept(), 0);
    let next = home.build("usual").await;
    assert_eq!(next.installed, (true, true), "{}", next.said);
}

#[tokio::test]
async fn modules_that_a_build_changed_are_not_the_next_ones() {
    let home = Home::new().await;
    let patched = home.build("patching").await;
    assert_eq!((patched.installed, home.kept()), ((true, true), 0), "{}", patched.said);
    home.build("usual").await.artifact();
    let patched = home.build("patching").await;
    assert_eq!((patched.installed, home.kept()), ((false, false), 0), "{}", patched.said);
    assert_eq!(home.build("usual").await.installed, (true, true));
}

#[tokio::test]
async fn an_output_that_asks_for_other_modules_gets_them() {
    let home = Home::new().await;
    home.build("usual").await.artifact();
    let other = home.build("output").await;
    assert_eq!(other.installed, (false, true), "{}", other.said);
    let afresh = home.build_with("output", other_environment).await;
    assert_eq!((afresh.installed, afresh.artifact()), ((true, true), other.artifact()));
    home.build_again("output").await;
}

#[tokio::test]
async fn without_the_last_output_its_modules_are_installed() {
    let home = Home::new().await;
    let first = home.build("usual").await;
    for entry in fs::read_dir(home.bench.dir.path().join("unpacked")).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    let again = home.build("usual").await;
    assert_eq!((again.installed, again.artifact()), ((false, true), first.artifact()), "{}", again.said);
}
