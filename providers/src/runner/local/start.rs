//! Brings a server up: unpacked, started, ready.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::ports::logs::{Output, say};
use domain::ports::runner::{StartFailure, StartPlan, Started};
use domain::secret::Secret;
use domain::values::{HealthGate, Resources};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::network::{self, Platform, Ways};
use super::pump::Pump;
use super::sandbox::{CHANNEL, Claim, Jail, Mount, Network, Running};
use super::server::Ready;
use super::unpacked::Tree;
use super::{Inner, server};
use crate::runner::app::package;
use crate::runner::blocking;
use crate::runner::directories::{self, clear};
use crate::runner::disk::Disk;
use crate::runner::ended::Ended;
use crate::runner::environment::{self, ServerPlaces};
use crate::runner::failures::{cannot_start, never_ready, stopped_early};
use crate::runner::health;

/// Where a server sees its own things.
const APP: &str = "/app";
const HOME: &str = "/home/app";

/// Who is asked for names, in a server's directory.
const NAMES: &str = "resolv.conf";

/// The port of a server in a network of its own.
const PORT: u16 = 4111;

/// Somebody else may take the free port before the server does.
const PORT_TRIES: usize = 4;

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
    if plan.replicas > 1 {
        say(&*output, &format!("The local runner runs one server of a deployment, not {}", plan.replicas));
    }
    let claim = inner.sandbox.claim(&server::name(plan.deployment_id)).await;
    let claim = claim.map_err(|error| cannot_start(&error))?;
    let dir = inner.servers_dir.join(plan.deployment_id.to_string());
    let platform = Platform::of(plan.telemetry.as_ref()).await;
    let attempt = Attempt { inner: &inner, plan: &plan, output: &output, claim: &claim, dir: &dir, platform };
    let outcome = tokio::select! {
        outcome = attempt.bring_up() => outcome,
        () = claim.wanted() => Err(stopped_early()),
        () = abandoned.cancelled() => Err(stopped_early()),
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
    platform: Platform,
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
            let port = self.port().map_err(|error| cannot_start(&error))?;
            let (channel, theirs) = Channel::open().map_err(|error| cannot_start(&error))?;
            let jail = self.jail(&tree, &node, port, theirs);
            let since = Instant::now();
            let deadline = since + self.plan.start_deadline;
            let mut running = self.claim.run(jail).await.map_err(|error| cannot_start(&error))?;
            let pipes = running.pipes.take().expect("nobody has taken them before");
            let pump = Pump::start(pipes, self.output);
            let gate = &self.plan.health;
            let ways = self.ways(&mut running).await.map_err(|error| cannot_start(&error))?;
            let server = Starting { running: &running, channel: &channel, ways: ways.as_ref() };
            let ended = match server.until_ready(port, gate, deadline).await {
                Outcome::Ready(address) => {
                    let gate = gate.clone();
                    return Ok(Ready { address, running, pump, gate, tree, ways });
                }
                Outcome::Exited(ended) => ended,
                Outcome::Late(why) => return Err(never_ready(port, gate, since.elapsed(), &why)),
            };
            let tail = pump.finish().await;
            // In a network of its own nobody else takes it: it would be the same port again.
            let may_help = self.inner.world.is_none() && tail.contains("EADDRINUSE");
            if attempt == PORT_TRIES || !may_help {
                return Err(ended.before_ready(self.limits(), &tail));
            }
            say(&**self.output, &format!("Port {port} was taken meanwhile; trying another one"));
        }
    }

    /// Makes the server's directories. The answer holds its modules.
    async fn prepare(&self) -> Result<Tree, StartFailure> {
        let platform = |error: io::Error| cannot_start(&error);
        let (dir, user) = (self.dir.to_owned(), self.inner.sandbox.user(self.plan.team_id));
        let renewed = dir.clone();
        blocking(move || directories::renew(&renewed)).await.map_err(platform)?;
        let tree = match self.inner.unpacked.find(&self.plan.artifact, user) {
            Some(tree) => tree,
            None => self.unpack(user).await?,
        };
        let has_own_network = self.inner.world.is_some();
        let prepared = blocking(move || {
            if has_own_network {
                let machine = fs::read_to_string(network::NAMES).unwrap_or_default();
                fs::write(dir.join(NAMES), network::names_inside(&machine))?;
            }
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
        let platform = |error: io::Error| cannot_start(&error);
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
        if self.inner.world.is_some() {
            mounts.push(mount(self.dir.join(NAMES), network::NAMES, false));
        }
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
                before: 0,
                bytes: u64::from(limits.disk_mib.unwrap_or_default()) << 20,
                // What serves goes on.
                gives_way: false,
            },
            network: match self.inner.world {
                Some(_) => Network::Ways(self.platform.loopback),
                None => Network::Machine,
            },
            channel: Some(channel),
        }
    }

    fn environment(&self, node: &Path, port: u16) -> Vec<(String, Secret)> {
        let path =
            environment::path([node.display().to_string()].into_iter(), "/usr/local/bin:/usr/bin:/bin");
        let host = Ipv4Addr::LOCALHOST.to_string();
        let places = ServerPlaces { home: HOME, app: APP, path, host, port };
        let mut env = environment::of_server(self.plan, self.limits(), places);
        env.push(("NODE_CHANNEL_FD".to_owned(), Secret::new(CHANNEL.to_string())));
        env
    }

    fn limits(&self) -> Resources {
        self.plan.limits.or(Resources::SERVER)
    }

    /// A port for the server: where its network is its own, the usual one.
    fn port(&self) -> io::Result<u16> {
        match self.inner.world {
            Some(_) if self.platform.loopback.is_some_and(|at| at.port() == PORT) => Ok(PORT + 1),
            Some(_) => Ok(PORT),
            None => free_port(),
        }
    }

    /// The ways of its network, if that is one of its own.
    async fn ways(&self, running: &mut Running) -> io::Result<Option<Ways>> {
        let (Some(world), Some(space)) = (&self.inner.world, running.space.take()) else { return Ok(None) };
        Ways::open(space, world, self.platform, self.output.clone()).await.map(Some)
    }
}

/// A server on its way.
struct Starting<'a> {
    running: &'a Running,
    channel: &'a Channel,
    ways: Option<&'a Ways>,
}

impl Starting<'_> {
    /// Looks until the server answers its health check at the port we gave or at the one it told. The port must be
    /// its own: another team's server could sit on it, or the platform.
    async fn until_ready(&self, port: u16, gate: &HealthGate, deadline: Instant) -> Outcome {
        let mut looks = health::Looks::new(gate);
        let given = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let looking = async {
            loop {
                let told = self.channel.address().unwrap_or(given);
                if let Some(address) = self.reached(told).await
                    && looks.look(address).await
                {
                    if self.running.listens(told.port()).await {
                        return Some(address);
                    }
                    looks.why = "another program answers there".to_owned();
                }
                if !looks.go_on().await {
                    return None;
                }
            }
        };
        tokio::select! {
            biased;
            ended = self.running.ended() => return Outcome::Exited(ended),
            ready = looking => if let Some(address) = ready {
                return Outcome::Ready(address);
            },
            () = sleep_until(deadline) => {}
        }
        Outcome::Late(looks.why)
    }

    /// Where the machine reaches what listens at an address of the server's.
    async fn reached(&self, told: SocketAddr) -> Option<SocketAddr> {
        let Some(ways) = self.ways else { return Some(told) };
        ways.aim(told);
        ways.leads_somewhere().await.then(|| ways.address())
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
