//! Reading over ssh: the system's ssh with a configuration of ours and of nobody else, keys that it only asks to sign
//! with, and servers that are known.
//!
//! git starts ssh through this program itself (`GIT_SSH` names one program without arguments, and a command line would
//! be run by a shell): `become_ssh` replaces it by ssh with one more argument, our configuration.

mod agent;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::git::{GitError, KeyPair};
use domain::secret::Secret;
use domain::values::HostKey;
use tempfile::TempDir;
use tokio::process::Command;

use super::reach::Reached;
use crate::child::{self, Bounds};
use agent::Agent;

/// Names the configuration to the program that git starts.
const CONFIG: &str = "MASTRA_ADMIN_SSH_CONFIG";
/// Names the ssh to it.
const PROGRAM: &str = "MASTRA_ADMIN_SSH_PROGRAM";
/// What the server is called in our list of known ones, whatever its name and address.
const ALIAS: &str = "git-host";

/// The system's ssh.
#[derive(Clone, Debug)]
pub struct SshConfig {
    /// The ssh binary; `ssh-keyscan` is beside it.
    pub ssh: PathBuf,
    /// The program that calls [`become_ssh`] first of all: our own.
    pub helper: PathBuf,
}

/// One connection to be made: its directory and its agent go away with it.
pub(super) struct Ssh {
    dir: TempDir,
    program: SshConfig,
    _agent: Agent,
}

impl Ssh {
    /// Writes down what ssh may do. No private key is written anywhere: ssh asks the agent here to sign.
    pub(super) fn prepare(
        program: &SshConfig,
        reached: &Reached,
        keys: &[KeyPair],
        host_keys: &[HostKey],
    ) -> io::Result<Self> {
        // The path of a socket must be short, so this is not in the directory of the build.
        let dir = tempfile::Builder::new().prefix("ma-ssh-").tempdir()?;
        let known: String = host_keys.iter().map(|key| format!("{ALIAS} {key}\n")).collect();
        std::fs::write(dir.path().join("known"), known)?;
        for (number, key) in keys.iter().enumerate() {
            std::fs::write(dir.path().join(format!("{number}.pub")), format!("{}\n", key.public))?;
        }
        std::fs::write(dir.path().join("config"), config(dir.path(), reached, keys.len()))?;
        let agent = Agent::start(&dir.path().join("agent"), keys)?;
        Ok(Self { dir, program: program.clone(), _agent: agent })
    }

    /// What git must be told to use it.
    pub(super) fn variables(&self) -> [(String, OsString); 4] {
        [
            ("GIT_SSH".to_owned(), self.program.helper.clone().into()),
            ("GIT_SSH_VARIANT".to_owned(), "ssh".into()),
            (CONFIG.to_owned(), self.dir.path().join("config").into()),
            (PROGRAM.to_owned(), self.program.ssh.clone().into()),
        ]
    }
}

/// Nothing of the machine's configuration, no other key, no other way to prove who one is, nothing forwarded, nothing
/// run, and no server but the one that is known.
fn config(dir: &Path, reached: &Reached, keys: usize) -> String {
    let file = |name: &str| format!("\"{}\"", dir.join(name).display());
    let mut lines = vec![
        format!("HostName {}", reached.ssh_name()),
        format!("HostKeyAlias {ALIAS}"),
        format!("UserKnownHostsFile {}", file("known")),
        format!("IdentityAgent {}", file("agent")),
    ];
    lines.extend((0..keys).map(|number| format!("IdentityFile {}", file(&format!("{number}.pub")))));
    let fixed = [
        "GlobalKnownHostsFile none",
        "StrictHostKeyChecking yes",
        "CheckHostIP no",
        "UpdateHostKeys no",
        "VerifyHostKeyDNS no",
        "CanonicalizeHostname no",
        "IdentitiesOnly yes",
        "AddKeysToAgent no",
        "BatchMode yes",
        "PreferredAuthentications publickey",
        "PubkeyAuthentication yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "HostbasedAuthentication no",
        "GSSAPIAuthentication no",
        "ProxyCommand none",
        "ControlMaster no",
        "ControlPath none",
        "PermitLocalCommand no",
        "ClearAllForwardings yes",
        "ForwardAgent no",
        "ForwardX11 no",
        "Tunnel no",
        "RequestTTY no",
        "EscapeChar none",
        "ConnectTimeout 20",
        "ServerAliveInterval 15",
        "LogLevel ERROR",
    ];
    lines.extend(fixed.map(str::to_owned));
    lines.iter().fold("Host *\n".to_owned(), |text, line| text + "  " + line + "\n")
}

/// Becomes ssh when git has started this program as it; comes back at once when it has not, and with what went wrong when
/// ssh could not be started.
pub fn become_ssh() -> Option<io::Error> {
    use std::os::unix::process::CommandExt as _;
    let (config, ssh) = (std::env::var_os(CONFIG)?, std::env::var_os(PROGRAM)?);
    let mut command = std::process::Command::new(ssh);
    command.arg("-F").arg(config).args(std::env::args_os().skip(1));
    Some(command.env_remove(CONFIG).env_remove(PROGRAM).exec())
}

/// A new key pair.
pub(super) fn new_key() -> KeyPair {
    let mut seed = vec![0; 32];
    getrandom::fill(&mut seed).expect("the operating system has random bytes");
    let secret = Secret::new(seed);
    let public = pair(&secret).expect("any 32 bytes are a key");
    let blob = blob(public.public_key().as_ref());
    let public = format!("ssh-ed25519 {}", STANDARD.encode(blob)).parse().expect("this is its form");
    KeyPair { public, secret }
}

fn pair(secret: &Secret) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(secret.expose()).ok()
}

/// A public key as ssh sends it.
fn blob(public: &[u8]) -> Vec<u8> {
    [text(b"ssh-ed25519"), text(public)].concat()
}

/// Bytes with their length before them.
fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("nothing here is as long");
    [&length.to_be_bytes(), bytes].concat()
}

/// The keys that a server shows to whoever asks.
pub(super) async fn scan(program: &SshConfig, reached: &Reached) -> Result<Vec<HostKey>, GitError> {
    let mut command = Command::new(program.ssh.with_file_name("ssh-keyscan"));
    command.env_clear().args(["-T", "10", "-t", "ed25519,ecdsa,rsa", "-p", &reached.port.to_string()]);
    command.arg("--").arg(reached.ssh_name());
    let bounds = Bounds { timeout: Duration::from_secs(30), stdout: 64 << 10, directory: None };
    let unreachable = || GitError::Unreachable(format!("{} shows no keys of an ssh server", reached.host));
    let ended = child::run(command, bounds).await.map_err(|_| unreachable())?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    // A line: "[192.0.2.1]:2222 ssh-ed25519 AAAA…".
    let keys = said.lines().filter_map(|line| line.split_once(' ')?.1.parse().ok());
    let mut keys: Vec<HostKey> = keys.collect();
    keys.sort();
    keys.dedup();
    if keys.is_empty() { Err(unreachable()) } else { Ok(keys) }
}
