//! What bubblewrap is told: which namespaces, which files, which environment.
//!
//! It all goes through a file descriptor, not the argument vector, so that no list of processes shows a
//! variable's value; and bubblewrap's own environment is empty, so that neither `/proc/1/environ` holds
//! anything nor a variable like `LD_PRELOAD` takes effect outside the sandbox.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Jail, Mount, Network};

/// Descriptors of bubblewrap's; 3 is the command's own channel.
pub(super) const ARGUMENTS: i32 = 4;
pub(super) const INFO: i32 = 5;
pub(super) const BLOCK: i32 = 6;
pub(super) const PASSWD: i32 = 7;
pub(super) const GROUP: i32 = 8;

/// What of the machine's `/etc` programs need: names, certificates, time zone, alternatives of programs.
const ETC: [&str; 11] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/alternatives",
];

const NAMESPACES: [&str; 9] = [
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--hostname",
    "sandbox",
    "--die-with-parent",
    "--new-session",
    "--clearenv",
];

/// As root, bubblewrap sets everything up as root, so that it reaches directories that nobody else may, and
/// `setpriv` gives the rest up for good.
const AS_ROOT: [&str; 4] = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"];

/// As somebody else, it gets its rights from a user namespace; the command may not make another one.
const AS_USER: [&str; 2] = ["--unshare-user", "--disable-userns"];

const SYSTEM: [&str; 8] = ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", "67108864"];

/// All arguments but the command, as a file to read them from.
pub(super) fn file(jail: &Jail, user: Option<u32>) -> io::Result<OwnedFd> {
    let mut arguments = Arguments(File::from(memfd_create("arguments", MemfdFlags::CLOEXEC)?));
    arguments.all(&NAMESPACES)?;
    arguments.all(if user.is_some() { &AS_ROOT[..] } else { &AS_USER[..] })?;
    if jail.network != Network::Machine {
        arguments.add("--unshare-net")?;
    }
    for (key, value) in &jail.env {
        arguments.add("--setenv")?;
        arguments.add(key)?;
        arguments.add(OsStr::from_bytes(value.expose()))?;
    }
    arguments.all(&SYSTEM)?;
    arguments.all(&[
        "--tmpfs",
        "/dev/shm",
        "--ro-bind",
        "/usr",
        "/usr",
        "--dir",
        "/etc",
        "--dir",
        "/etc/ssl",
    ])?;
    for dir in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        match fs::read_link(dir) {
            Ok(target) => {
                arguments.add("--symlink")?;
                arguments.add(target)?;
                arguments.add(dir)?;
            }
            Err(_) => arguments.all(&["--ro-bind-try", dir, dir])?,
        }
    }
    for file in ETC {
        arguments.all(&["--ro-bind-try", file, file])?;
    }
    let (passwd, group) = (PASSWD.to_string(), GROUP.to_string());
    arguments.all(&["--perms", "0644", "--ro-bind-data", &passwd, "/etc/passwd"])?;
    arguments.all(&["--perms", "0644", "--ro-bind-data", &group, "/etc/group"])?;
    // What lies inside another mount comes after it, or it would be hidden.
    let mut mounts: Vec<&Mount> = jail.mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.inside.components().count());
    for Mount { host, inside, writable } in mounts {
        // Those that bubblewrap makes on the way are for root alone.
        let ancestors: Vec<&Path> = inside.ancestors().skip(1).filter(|dir| dir.parent().is_some()).collect();
        for dir in ancestors.into_iter().rev() {
            arguments.add("--dir")?;
            arguments.add(dir)?;
        }
        arguments.add(if *writable { "--bind" } else { "--ro-bind" })?;
        arguments.add(host)?;
        arguments.add(inside)?;
    }
    arguments.all(&["--remount-ro", "/dev", "--remount-ro", "/", "--chdir"])?;
    arguments.add(&jail.cwd)?;
    arguments.all(&["--info-fd", &INFO.to_string(), "--block-fd", &BLOCK.to_string()])?;
    arguments.rewound()
}

/// A file in memory with this content.
pub(super) fn data(content: &str) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("data", MemfdFlags::CLOEXEC)?);
    file.write_all(content.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// The command after bubblewrap's own arguments.
pub(super) fn command(jail: &Jail, user: Option<u32>) -> Vec<OsString> {
    let mut argv = Vec::new();
    if let Some(user) = user {
        argv.push("/usr/bin/setpriv".into());
        argv.push(format!("--reuid={user}").into());
        argv.push(format!("--regid={user}").into());
        argv.extend(["--clear-groups", "--inh-caps=-all", "--"].map(Into::into));
    }
    argv.extend(jail.argv.iter().map(Into::into));
    argv
}

struct Arguments(File);

impl Arguments {
    fn add(&mut self, argument: impl AsRef<OsStr>) -> io::Result<()> {
        let bytes = argument.as_ref().as_bytes();
        if bytes.contains(&0) {
            // It would end this argument, and what follows would be an option of bubblewrap's.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an argument contains U+0000"));
        }
        self.0.write_all(bytes)?;
        self.0.write_all(&[0])
    }

    fn all(&mut self, arguments: &[&str]) -> io::Result<()> {
        arguments.iter().try_for_each(|argument| self.add(argument))
    }

    fn rewound(mut self) -> io::Result<OwnedFd> {
        self.0.rewind()?;
        Ok(self.0.into())
    }
}
