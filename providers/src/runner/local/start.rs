//! Brings a server up: unpacked, started, ready.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::build::FailureCode;
use domain::ports::logs::{Output, say};
use domain::ports::runner::{StartFailure, StartPlan, Started};
use domain::secret::Secret;
use domain::values::Resources;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::build::clear;
use super::channel::Channel;
use super::commands::heap_option;
use super::pump::Pump;
use super::sandbox::{CHANNEL, Claim, Disk, Ended, Jail, Mount, Running};
use super::server::Ready;
use super::unpacked::Tree;
use super::{Inner, blocking, directories, excess, health, server};
use crate::runner::app::package;

/// Where a server sees its own things.
const APP: &str = "/app";
const HOME: &str = "/home/app";

/// Between two looks at whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long one look may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// Somebody else may take the free port before the server does.
const PORT_TRIES: usize = 4;

/// Lines of output that a failure quotes.
const QUOTED_LINES: usize = 15;

/// Starts a server, or leaves neither a process nor a file of it. One that is ready already is answered again.
pub(super) async fn start(
    inner: Arc<Inner>,
    plan: StartPlan,
    output: Arc<dyn Output>,
    abandoned: CancellationToken,
) -> Result<Started, StartFailure> {
    if let Some(server) = server::find(&inner, plan.deployment_id) {
        return Ok(server.started());
    }
    let claim = inner.sandbox.claim(&server::name(plan.deployment_id)).await;
    let claim = claim.map_err(|error| platform_failure(&error))?;
    let dir = inner.servers_dir.join(plan.deployment_id.to_string());
    let attempt = Attempt { inner: &inner, plan: &plan, output: &output, claim: &claim, dir: &dir };
    let outcome = tokio::select! {
        outcome = attempt.bring_up() => outcome,
        () = claim.wanted() => Err(stopped()),
        () = abandoned.cancelled() => Err(stopped()),
    };
    match outcome {
        Ok(ready) => Ok(server::attend(inner.clone(), plan.deployment_id, ready, claim, output)),
        Err(failure) => {
            claim.end().await;
            clear(dir).await;
            output.flush().await;
            Err(failure)
        }
    }
}

struct Attempt<'a> {
    inner: &'a Inner,
    plan: &'a StartPlan,
    output: &'a Arc<dyn Output>,
    claim: &'a Arc<Claim>,
    dir: &'a Path,
}

/// How one try on one port went.
enum Outcome {
    Ready(SocketAddr),
    Exited(Ended),
    /// Not ready in time; why not, as far as we know.
    Late(String),
}

impl Attempt<'_> {
    async fn bring_up(&self) -> Result<Ready, StartFailure> {
        let tree = self.prepare().await?;
        let node = self.inner.toolchains.node(&self.plan.node_version).await?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let port = free_port().map_err(|error| platform_failure(&error))?;
            let (channel, theirs) = Channel::open().map_err(|error| platform_failure(&error))?;
            let jail = self.jail(&tree, &node, port, theirs);
            let deadline = Instant::now() + self.plan.start_deadline;
            let mut running = self.claim.run(jail).await.map_err(|error| platform_failure(&error))?;
            let pipes = running.pipes.take().expect("nobody has taken them before");
            let pump = Pump::start(pipes, self.output);
            let ended = match until_ready(&running, &channel, port, deadline).await {
                Outcome::Ready(address) => return Ok(Ready { address, running, pump, tree }),
                Outcome::Exited(ended) => ended,
                Outcome::Late(why) => return Err(self.never_ready(port, &why)),
            };
            let tail = pump.finish().await;
            if attempt == PORT_TRIES || !tail.contains("EADDRINUSE") {
                return Err(self.exited(ended, &tail));
            }
            say(&**self.output, &format!("Port {port} was taken meanwhile; trying another one"));
        }
    }

    /// Makes the server's directories. The answer holds its modules.
    async fn prepare(&self) -> Result<Tree, StartFailure> {
        let platform = |error: io::Error| platform_failure(&error);
        let (dir, user) = (self.dir.to_owned(), self.inner.sandbox.user(self.plan.team_id));
        let renewed = dir.clone();
        blocking(move || directories::renew(&renewed)).await.map_err(platform)?;
        let tree = match self.inner.unpacked.find(&self.plan.artifact, user) {
            Some(tree) => tree,
            None => self.unpack(user).await?,
        };
        let prepared = blocking(move || {
            ["output", "home", "tmp"].iter().try_for_each(|name| fs::create_dir(dir.join(name)))?;
            tree.copy(&dir.join("output"))?;
            if tree.modules().is_some() {
                fs::create_dir(dir.join("output/node_modules"))?;
            }
            ["output", "home", "tmp"].iter().try_for_each(|name| directories::give(&dir.join(name), user))?;
            Ok(tree)
        });
        prepared.await.map_err(platform)
    }

    async fn unpack(&self, user: Option<u32>) -> Result<Tree, StartFailure> {
        let platform = |error: io::Error| platform_failure(&error);
        let (unpacked, artifact) = (self.inner.unpacked.clone(), self.plan.artifact.clone());
        let fresh = unpacked.begin().map_err(platform)?;
        package::unpack(&*self.inner.artifacts, &artifact, fresh.path(), self.dir).await?;
        let adopted = blocking(move || {
            directories::give(fresh.path(), user)?;
            unpacked.adopt(&artifact, user, fresh.path())
        });
        adopted.await.map_err(platform)
    }

    fn jail(&self, tree: &Tree, node: &Path, port: u16, channel: std::os::fd::OwnedFd) -> Jail {
        let limits = self.limits();
        let mount = |host: PathBuf, inside: &str, writable| Mount { host, inside: inside.into(), writable };
        let mut mounts = vec![
            Mount { host: node.to_owned(), inside: node.to_owned(), writable: false },
            mount(self.dir.join("output"), APP, true),
            mount(self.dir.join("home"), HOME, true),
            mount(self.dir.join("tmp"), "/tmp", true),
        ];
        // Shared with other servers of the artifact, and nothing to measure again and again.
        mounts.extend(tree.modules().map(|modules| mount(modules, "/app/node_modules", false)));
        Jail {
            team: self.plan.team_id,
            argv: vec![node.join("node").display().to_string(), "index.mjs".to_owned()],
            env: self.environment(node, port),
            mounts,
            cwd: APP.into(),
            home: HOME.into(),
            limits,
            disk: Disk {
                dirs: vec![self.dir.to_owned()],
                bytes: u64::from(limits.disk_mib.unwrap_or_default()) << 20,
            },
            channel: Some(channel),
        }
    }

    /// Later ones win: the project's over the platform's defaults, the reserved names over all.
    fn environment(&self, node: &Path, port: u16) -> Vec<(String, Secret)> {
        let text = |key: &str, value: String| (key.to_owned(), Secret::new(value));
        let mut env = vec![
            text("NODE_ENV", "production".to_owned()),
            text("NODE_OPTIONS", heap_option(self.limits(), 5, 8)),
            text("MASTRA_TELEMETRY_DISABLED", "1".to_owned()),
            text("LANG", "C.UTF-8".to_owned()),
            text("USER", "app".to_owned()),
            text("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", node.display())),
            text("HOME", HOME.to_owned()),
        ];
        let own = self.plan.env.iter().filter(|(key, _)| !key.is_reserved());
        env.extend(own.map(|(key, value)| (key.to_string(), value.clone())));
        env.push(text("PORT", port.to_string()));
        env.push(text("MASTRA_HOST", Ipv4Addr::LOCALHOST.to_string()));
        env.push(text("MASTRA_PROJECT_ROOT", APP.to_owned()));
        env.push(text("NODE_CHANNEL_FD", CHANNEL.to_string()));
        env
    }

    fn limits(&self) -> Resources {
        self.plan.limits.or(Resources::SERVER)
    }

    fn exited(&self, ended: Ended, tail: &str) -> StartFailure {
        let usual = || {
            (FailureCode::ExitedBeforeReady, format!("the server ended before it was ready: {}", how(ended)))
        };
        let (code, what) = excess::explain("server", self.limits(), ended, tail).unwrap_or_else(usual);
        let message = format!("{what}{}", quote(tail));
        StartFailure { code, message, exit_code: ended.exit_code, retry: false }
    }

    fn never_ready(&self, port: u16, why: &str) -> StartFailure {
        let seconds = self.plan.start_deadline.as_secs_f32();
        let message = format!(
            "the server ran but did not answer GET /health on port {port} within {seconds} s ({why}); it must listen \
             on the port that PORT tells"
        );
        StartFailure { code: FailureCode::NeverReady, message, exit_code: None, retry: false }
    }
}

/// Looks until the server answers its health check at the port we gave or at the one it told. The port must be
/// its own: another team's server could sit on it.
async fn until_ready(running: &Running, channel: &Channel, port: u16, deadline: Instant) -> Outcome {
    let mut why = "it does not listen there".to_owned();
    let given = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let looking = async {
        loop {
            let address = channel.address().unwrap_or(given);
            match health::check(address, LOOK_PATIENCE).await {
                Ok(()) if running.listens(address.port()).await => return address,
                Ok(()) => why = "another program answers there".to_owned(),
                Err(error) => why = error,
            }
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        biased;
        ended = running.ended() => return Outcome::Exited(ended),
        address = looking => return Outcome::Ready(address),
        () = sleep_until(deadline) => {}
    }
    Outcome::Late(why)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn how(ended: Ended) -> String {
    match (ended.exit_code, ended.signal) {
        (Some(code), _) => format!("it exited with code {code}"),
        (None, Some(signal)) => format!("signal {signal} killed it"),
        (None, None) => "it vanished".to_owned(),
    }
}

fn quote(tail: &str) -> String {
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
    if last.is_empty() { String::new() } else { format!(". Its last output:\n{}", last.join("\n")) }
}

fn stopped() -> StartFailure {
    let message = "stopped before it was ready".to_owned();
    StartFailure { code: FailureCode::PlatformError, message, exit_code: None, retry: true }
}

/// The platform's own fault: worth another try.
pub(super) fn platform_failure(error: &dyn std::error::Error) -> StartFailure {
    let message = format!("the runner failed: {error}");
    StartFailure { code: FailureCode::PlatformError, message, exit_code: None, retry: true }
}
