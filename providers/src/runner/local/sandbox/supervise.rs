//! Follows one sandbox from its start until nothing of it is left.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use domain::build::Peak;
use domain::values::Resources;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cgroup::Cgroup;
use super::launch::{Inside, Launched, launch};
use super::{Claim, Jail, procfs};
use crate::runner::disk::Disk;
use crate::runner::ended::{Ended, Excess};
use crate::runner::failures::mebibytes;
use crate::runner::local::network::Space;

/// Between two looks at the memory of a sandbox.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the kernel may take to end processes before we ask again.
const KILL_AGAIN: Duration = Duration::from_millis(500);

/// A command in its sandbox. Dropped, it is killed.
pub(in crate::runner::local) struct Running {
    /// What it writes.
    pub(in crate::runner::local) pipes: Option<(ChildStdout, ChildStderr)>,
    /// The platform's listener in its network, when that is one of its own.
    pub(in crate::runner::local) door: Option<TcpListener>,
    /// The platform's sockets in its network, when that has ways in and out.
    pub(in crate::runner::local) space: Option<Space>,
    init: i32,
    gone: CancellationToken,
    ended: watch::Receiver<Option<Ended>>,
    _kill: DropGuard,
}

impl Running {
    /// Resolves as soon as its processes are gone; what they used and left is looked at afterwards.
    pub(in crate::runner::local) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Resolves when it has ended and nothing of it is left.
    pub(in crate::runner::local) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let answer = ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
        answer.unwrap_or_default()
    }

    /// Asks the command itself, and nothing that it started, to end.
    pub(in crate::runner::local) fn terminate(&self) {
        let opened = procfs::command_of(self.init).and_then(Pid::from_raw);
        if let Some(command) = opened.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
            let _gone_already = pidfd_send_signal(command, Signal::TERM);
        }
    }

    /// Whether a process of the sandbox listens on the TCP port.
    pub(in crate::runner::local) async fn listens(&self, port: u16) -> bool {
        let init = self.init;
        spawn_blocking(move || procfs::listens(&procfs::tree(init), port)).await.unwrap_or(false)
    }
}

/// Starts the command, in a task of its own: what was started is followed to its end even if nobody waits for
/// the answer any more.
pub(super) async fn run(claim: Arc<Claim>, jail: Jail) -> io::Result<Running> {
    let (answer, answered) = oneshot::channel();
    let tracker = claim.running.clone();
    tracker.spawn(supervise(claim, jail, answer));
    answered.await.map_err(io::Error::other)?
}

async fn supervise(claim: Arc<Claim>, jail: Jail, answer: oneshot::Sender<io::Result<Running>>) {
    let (limits, disk) = (jail.limits, jail.disk.clone());
    let mut launched = match launched(&claim, jail).await {
        Ok(launched) => launched,
        Err(error) => {
            let _nobody_waits = answer.send(Err(error));
            return;
        }
    };
    let kill = claim.end.child_token();
    let (tell, ended) = watch::channel(None);
    let pipes = launched.monitor.stdout.take().zip(launched.monitor.stderr.take());
    let Inside { door, space } = std::mem::take(&mut launched.inside);
    let (init, _kill) = (launched.init.pid, kill.clone().drop_guard());
    let gone = CancellationToken::new();
    let tell_gone = gone.clone().drop_guard();
    let _dropped_kills = answer.send(Ok(Running { pipes, door, space, init, gone, ended, _kill }));
    let (outcome, used) = until_gone(launched, &limits, disk, &kill, tell_gone).await;
    claim.note(used);
    drop(claim);
    tell.send_replace(Some(outcome));
}

async fn launched(claim: &Claim, jail: Jail) -> io::Result<Launched> {
    let runtime = tokio::runtime::Handle::current();
    let user = claim.sandbox.user(jail.team);
    let (sandbox, name) = (claim.sandbox.clone(), claim.cgroup_name());
    let record = sandbox.record(&claim.name);
    let launched = claim.sandbox.0.spawner.run(move || {
        let _entered = runtime.enter();
        let inner = &sandbox.0;
        launch(jail, user, &inner.bwrap, (&inner.cgroups, &name), &record)
    });
    launched.await.unwrap_or_else(|| Err(io::Error::other("the sandbox spawner is gone")))
}

async fn until_gone(
    mut launched: Launched,
    limits: &Resources,
    disk: Disk,
    kill: &CancellationToken,
    gone: DropGuard,
) -> (Ended, Peak) {
    let mut most = 0;
    let watched_memory = limits.memory_mib.filter(|_| launched.cgroup.is_none());
    let mut excess = tokio::select! {
        _status = launched.monitor.wait() => None,
        () = kill.cancelled() => None,
        excess = disk.outgrown(&mut most) => Some(excess),
        () = memory_full(launched.init.pid, watched_memory) => Some(Excess::Memory),
    };
    launched.init.kill();
    let status = loop {
        match timeout(KILL_AGAIN, launched.monitor.wait()).await {
            Ok(status) => break status.ok(),
            Err(_still_there) => {
                launched.init.kill();
                let _gone_already = launched.monitor.start_kill();
            }
        }
    };
    drop(gone);
    let code = status.and_then(|status| status.code());
    let mut used = Peak::default();
    if let Some(cgroup) = &launched.cgroup {
        used = cgroup.peak();
        if excess.is_none() && code != Some(0) && cgroup.out_of_memory() {
            excess = Some(Excess::Memory);
        }
        remove(cgroup).await;
    }
    let (size, too_much) = disk.look().await;
    if excess.is_none() && code != Some(0) {
        excess = too_much;
    }
    used.disk_mib = Some(mebibytes(size.max(most)));
    let ended = match code {
        Some(code) => Ended::of_code(code, excess),
        None => Ended { exit_code: None, signal: Some(9), excess },
    };
    (ended, used)
}

async fn remove(cgroup: &Cgroup) {
    let deadline = Instant::now() + KILL_AGAIN * 4;
    while let Err(error) = cgroup.end() {
        if Instant::now() > deadline {
            tracing::warn!(%error, "a control group of a sandbox could not be removed");
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Resolves when the processes have outgrown the limit. Only where no control group does it better.
async fn memory_full(init: i32, mebibytes: Option<u32>) {
    let Some(mebibytes) = mebibytes else { return std::future::pending().await };
    loop {
        let resident = spawn_blocking(move || procfs::resident(&procfs::tree(init))).await;
        if resident.is_ok_and(|bytes| bytes > u64::from(mebibytes) << 20) {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}
