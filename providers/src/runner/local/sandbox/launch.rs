//! Starts bubblewrap, puts limits on it while it is held, and lets it go.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use domain::values::Resources;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getgid, getrlimit, getuid, pidfd_open, pidfd_send_signal,
    prlimit,
};
use tokio::process::{Child, Command};

use super::cgroup::{Cgroup, Cgroups};
use super::network::Network;
use super::record::Record;
use super::{Jail, arguments, procfs};
use crate::runner::egress::listen_in;
use crate::runner::local::OPEN_FILES;
use crate::runner::local::network::{self, Space};

/// A sandbox that runs.
pub(super) struct Launched {
    /// The bubblewrap outside, which ends with the command's exit code.
    pub(super) monitor: Child,
    /// The first process inside: when it dies, the kernel kills all others.
    pub(super) init: Init,
    /// Absent where the machine has no usable control groups.
    pub(super) cgroup: Option<Cgroup>,
    /// What the platform has in its network.
    pub(super) inside: Inside,
}

/// Sockets of the platform's in the network of a sandbox.
#[derive(Default)]
pub(super) struct Inside {
    /// The one listener of a network that has no other way.
    pub(super) door: Option<TcpListener>,
    /// Those of a network with ways in and out.
    pub(super) space: Option<Space>,
}

impl Drop for Launched {
    /// Only needed where nobody followed it to its end: the runtime was shut down.
    fn drop(&mut self) {
        self.init.kill();
        let Some(cgroup) = self.cgroup.take().filter(|cgroup| cgroup.end().is_err()) else { return };
        thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(2);
            while cgroup.end().is_err() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
        });
    }
}

/// The first process inside.
pub(super) struct Init {
    /// As seen from outside.
    pub(super) pid: i32,
    handle: OwnedFd,
}

impl Init {
    fn open(pid: i32) -> io::Result<Self> {
        let raw = Pid::from_raw(pid).ok_or_else(|| io::Error::other("bubblewrap told pid 0"))?;
        Ok(Self { pid, handle: pidfd_open(raw, PidfdFlags::empty())? })
    }

    /// Ends the sandbox with everything in it.
    pub(super) fn kill(&self) {
        let _gone_already = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

/// Blocks for some milliseconds. Needs a tokio runtime to be entered.
pub(super) fn launch(
    jail: Jail,
    user: Option<u32>,
    bwrap: &Path,
    cgroup: (&Cgroups, &str),
    record: &Path,
) -> io::Result<Launched> {
    let cgroup = cgroup.0.create(cgroup.1, &jail.limits)?;
    let started = start(jail, user, bwrap, cgroup.as_ref(), record);
    match started {
        Ok((monitor, init, inside)) => Ok(Launched { monitor, init, cgroup, inside }),
        Err(error) => {
            if let Some(cgroup) = cgroup {
                let _swept_later = cgroup.end();
            }
            Err(error)
        }
    }
}

fn start(
    jail: Jail,
    user: Option<u32>,
    bwrap: &Path,
    cgroup: Option<&Cgroup>,
    record: &Path,
) -> io::Result<(Child, Init, Inside)> {
    let (info, info_inside) = io::pipe()?;
    let (block_inside, mut block) = io::pipe()?;
    let (limits, file_bytes, network) = (jail.limits, jail.disk.bytes, jail.network);
    let mut monitor = command(jail, user, bwrap, info_inside.into(), block_inside.into())?.spawn()?;
    let held = (|| {
        let init = Init::open(child_pid(info, &mut monitor)?)?;
        let outside = monitor.id().and_then(|pid| i32::try_from(pid).ok());
        let outside = outside.ok_or_else(|| io::Error::other("bubblewrap ended at once"))?;
        if let Some(cgroup) = cgroup {
            cgroup.add(outside)?;
            cgroup.add(init.pid)?;
        }
        limit(init.pid, &limits, file_bytes, cgroup.is_some())?;
        Record::of_this_life().with(&[outside, init.pid], cgroup).write(record)?;
        let inside = match network {
            Network::Machine => Inside::default(),
            Network::Own(address) => {
                Inside { door: Some(listen_in(init.pid, address)?), ..Inside::default() }
            }
            Network::Ways(platform) => {
                Inside { space: Some(network::enter(init.pid, platform)?), ..Inside::default() }
            }
        };
        block.write_all(b"1").map_err(|_| io::Error::other(complaint("a sandbox ended", &mut monitor)))?;
        Ok((init, inside))
    })();
    if held.is_err() {
        // Before `block` closes, for that would let it go on.
        let _gone_already = monitor.start_kill();
    }
    held.map(|(init, inside)| (monitor, init, inside))
}

fn command(
    mut jail: Jail,
    user: Option<u32>,
    bwrap: &Path,
    info: OwnedFd,
    block: OwnedFd,
) -> io::Result<Command> {
    let channel = jail.channel.take();
    let id = user.unwrap_or_else(|| getuid().as_raw());
    let group = user.unwrap_or_else(|| getgid().as_raw());
    let passwd =
        format!("root:x:0:0:root:/:/bin/false\napp:x:{id}:{group}:app:{}:/bin/sh\n", jail.home.display());
    let mut mappings = vec![
        FdMapping { parent_fd: arguments::file(&jail, user)?, child_fd: arguments::ARGUMENTS },
        FdMapping { parent_fd: info, child_fd: arguments::INFO },
        FdMapping { parent_fd: block, child_fd: arguments::BLOCK },
        FdMapping { parent_fd: arguments::data(&passwd)?, child_fd: arguments::PASSWD },
        FdMapping {
            parent_fd: arguments::data(&format!("root:x:0:\napp:x:{group}:\n"))?,
            child_fd: arguments::GROUP,
        },
    ];
    if let Some(channel) = channel {
        mappings.push(FdMapping { parent_fd: channel, child_fd: super::CHANNEL });
    }
    for inherited in procfs::inheritable() {
        if mappings.iter().all(|mapping| mapping.child_fd != inherited) {
            mappings.push(FdMapping { parent_fd: File::open("/dev/null")?.into(), child_fd: inherited });
        }
    }
    let mut command = Command::new(bwrap);
    command
        .arg("--args")
        .arg(arguments::ARGUMENTS.to_string())
        .arg("--")
        .args(arguments::command(&jail, user));
    command.env_clear().current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    Ok(command)
}

/// Reads the pid that bubblewrap tells before it waits to be let go; else what it says is wrong.
fn child_pid(mut info: PipeReader, monitor: &mut Child) -> io::Result<i32> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"}") && info.read(&mut byte)? == 1 {
        text.push(byte[0]);
    }
    let told: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
    let pid = told.as_ref().and_then(|told| i32::try_from(told.get("child-pid")?.as_i64()?).ok());
    pid.ok_or_else(|| io::Error::other(complaint("bubblewrap could not make a sandbox", monitor)))
}

/// What went wrong, in the words of a bubblewrap that has ended.
fn complaint(what: &str, monitor: &mut Child) -> String {
    let mut said = String::new();
    if let Some(stderr) = monitor.stderr.take().and_then(|stderr| stderr.into_owned_fd().ok()) {
        let _as_far_as_it_goes = File::from(stderr).take(2000).read_to_string(&mut said);
    }
    format!("{what}: {}", said.trim())
}

/// Limits of each process. They are inherited by all that follow.
fn limit(init: i32, limits: &Resources, file_bytes: u64, has_cgroup: bool) -> io::Result<()> {
    let set = |resource: Resource, value: u64| {
        let highest = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
        prlimit(Pid::from_raw(init), resource, Rlimit { current: Some(highest), maximum: Some(highest) })
    };
    set(Resource::Core, 0)?;
    set(Resource::Nofile, OPEN_FILES)?;
    set(Resource::Fsize, file_bytes)?;
    if let Some(pids) = limits.pids.filter(|_| !has_cgroup) {
        set(Resource::Nproc, u64::from(pids))?;
    }
    Ok(())
}
