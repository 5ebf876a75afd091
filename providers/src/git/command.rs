//! Reads repositories with the system's git.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::git::{Access, Git, GitError, KeyPair, Repository};
use domain::values::{BranchName, CommitSha, HostKey, RepoUrl};
use tokio::process::Command;
use url::Url;
use walkdir::WalkDir;

use super::environment::{Environment, local_git_dir};
use super::explain::{explain, lacks_commit, refuses_ids};
use super::reach::{Reached, reach};
use super::ssh::{self, Ssh, SshConfig};
use crate::child::{self, Bounds, CutOff, Ended};
use crate::links;

/// Bytes of a listing that are read: about 400 000 files.
const MAX_LISTING: usize = 64 << 20;

/// What the operator decides about git.
#[derive(Clone, Debug)]
pub struct GitConfig {
    /// The git binary.
    pub git: PathBuf,
    /// Directories below which `file://` repositories may be; none by default.
    pub local_roots: Vec<PathBuf>,
    /// `host:port` of a git host that the operator himself reaches without TLS; every other is reached with it.
    pub plain_host: Option<String>,
    /// Hosts, each with its port or without, that may be in the operator's own network; every other must be at a public
    /// address.
    pub private_hosts: Vec<String>,
    /// The system's ssh; without it nothing is read over ssh.
    pub ssh: Option<SshConfig>,
    /// How long one call of git may take.
    pub timeout: Duration,
    /// How many bytes a checkout may have, and as many what is fetched for it.
    pub max_checkout_bytes: u64,
}

/// The system's git, run by argument vectors with nothing of the machine's or the repository's configuration.
#[derive(Debug)]
pub struct GitCommand {
    config: GitConfig,
    /// Settings on top; only tests have some.
    pub(super) extra: Vec<(String, String)>,
}

impl GitCommand {
    /// Uses the given git.
    pub fn new(config: GitConfig) -> Self {
        Self { config, extra: Vec::new() }
    }
}

#[async_trait]
impl Git for GitCommand {
    async fn resolve(&self, repository: &Repository, branch: &BranchName) -> Result<CommitSha, GitError> {
        let session = self.open(repository, &std::env::temp_dir()).await?;
        let name = format!("refs/heads/{branch}");
        let arguments = ["ls-remote", "--quiet", "--refs", "--end-of-options", &session.address, &name];
        let listing = match session.run(None, &arguments).await {
            Ok(ended) => ended.or_explain(repository)?,
            Err(CutOff::TooSlow) => {
                return Err(GitError::Unreachable("it did not answer in time".to_owned()));
            }
            Err(cut_off) => return Err(session.cut_off(&cut_off)),
        };
        // git matches the end of a name, so `x/refs/heads/main` answers for `main` too.
        String::from_utf8_lossy(&listing)
            .lines()
            .find_map(|line| line.split_once('\t').filter(|(_, found)| *found == name)?.0.parse().ok())
            .ok_or_else(|| GitError::NoBranch(branch.to_string()))
    }

    async fn checkout(
        &self,
        repository: &Repository,
        commit: &CommitSha,
        into: &Path,
    ) -> Result<(), GitError> {
        let parent = into.parent().ok_or_else(|| failed(&io::ErrorKind::InvalidInput.into()))?;
        let session = self.open(repository, parent).await?;
        session.git(None, &["init", "--quiet", "--bare", "--template="]).await?.or_explain(repository)?;
        session.fetch(commit).await?;
        session.measure(commit).await?;
        session
            .git(Some(into), &["read-tree", "--reset", "-u", "--end-of-options", commit.as_str()])
            .await?
            .or_explain(repository)?;
        let into = into.to_owned();
        let checked = tokio::task::spawn_blocking(move || refuse_links_out(&into)).await;
        checked.map_err(|_| GitError::Unreachable("the check of the checkout was cut off".to_owned()))?
    }

    async fn host_keys(&self, url: &RepoUrl) -> Result<Vec<HostKey>, GitError> {
        if url.ssh().is_none() {
            return Err(GitError::NotAllowed(format!("{url} is not read over ssh")));
        }
        ssh::scan(self.ssh()?, &reach(url, &self.config.private_hosts).await?).await
    }

    fn new_deploy_key(&self) -> KeyPair {
        ssh::new_key()
    }
}

impl GitCommand {
    async fn open<'a>(&'a self, repository: &'a Repository, parent: &Path) -> Result<Session<'a>, GitError> {
        let local = match repository.url.is_local() {
            true => {
                Some(local_git_dir(repository.url.as_str(), &self.config.local_roots).ok_or_else(|| {
                    let url = &repository.url;
                    GitError::NotAllowed(format!("the operator does not allow local repositories like {url}"))
                })?)
            }
            false => None,
        };
        let plain = self.config.plain_host.as_ref();
        let plain = plain.and_then(|host| repository.url.as_str().strip_prefix(&format!("https://{host}/")));
        let (mut extra, mut ssh) = (self.extra.clone(), None);
        let (protocol, address) = match (&local, plain) {
            (Some(path), _) => {
                ("file", Url::from_file_path(path).expect("canonical, so absolute").to_string())
            }
            (None, Some(_)) => ("http", repository.url.as_str().replacen("https:", "http:", 1)),
            (None, None) => {
                let reached = reach(&repository.url, &self.config.private_hosts).await?;
                ssh = self.prepare_ssh(repository, &reached)?;
                extra.extend(reached.curl_resolve());
                (if ssh.is_some() { "ssh" } else { "https" }, repository.url.to_string())
            }
        };
        let opened = (protocol, local.as_deref());
        let environment = Environment::create(parent, repository, opened, ssh, &extra);
        let environment = environment.map_err(|error| failed(&error))?;
        Ok(Session { config: &self.config, repository, address, environment })
    }

    fn ssh(&self) -> Result<&SshConfig, GitError> {
        let missing = "ssh is not installed on the build host".to_owned();
        self.config.ssh.as_ref().ok_or(GitError::Unreachable(missing))
    }

    /// What reads a repository over ssh; nothing when it is not read so.
    fn prepare_ssh(&self, repository: &Repository, reached: &Reached) -> Result<Option<Ssh>, GitError> {
        if repository.url.ssh().is_none() {
            return Ok(None);
        }
        let refuse = |why: &str| Err(GitError::NotAllowed(format!("{} {why}", repository.url)));
        let Access::Keys { keys, host_keys } = &repository.access else {
            return refuse("is read over ssh, and the project has no deploy key");
        };
        if host_keys.is_empty() {
            return refuse(
                "is at a server whose keys are not pinned for the project: nothing would prove it",
            );
        }
        let ssh = Ssh::prepare(self.ssh()?, reached, keys, host_keys).map_err(|error| failed(&error))?;
        Ok(Some(ssh))
    }
}

/// One use of git on one repository; its directory goes away with it.
struct Session<'a> {
    config: &'a GitConfig,
    repository: &'a Repository,
    /// What git is given to fetch from.
    address: String,
    environment: Environment,
}

impl Session<'_> {
    /// Runs git, on files in `work_tree` if there is one.
    async fn git(&self, work_tree: Option<&Path>, arguments: &[&str]) -> Result<Ended, GitError> {
        self.run(work_tree, arguments).await.map_err(|cut_off| self.cut_off(&cut_off))
    }

    async fn run(&self, work_tree: Option<&Path>, arguments: &[&str]) -> Result<Ended, CutOff> {
        let mut command = Command::new(&self.config.git);
        command.env_clear().envs(self.environment.variables()).current_dir(self.environment.dir());
        command.env("GIT_DIR", self.environment.git_dir());
        if let Some(work_tree) = work_tree {
            command.env("GIT_WORK_TREE", work_tree).current_dir(work_tree);
        }
        command.args(arguments.iter().map(OsStr::new));
        let bounds = Bounds {
            timeout: self.config.timeout,
            stdout: MAX_LISTING,
            directory: Some((self.environment.dir().to_owned(), self.config.max_checkout_bytes)),
        };
        child::run(command, bounds).await
    }

    fn cut_off(&self, cut_off: &CutOff) -> GitError {
        match cut_off {
            CutOff::NotStarted(error) if error.kind() == io::ErrorKind::NotFound => {
                GitError::Unreachable("git is not installed on the build host".to_owned())
            }
            CutOff::NotStarted(error) => failed(error),
            CutOff::TooSlow => GitError::OverLimit(format!(
                "reading the repository took longer than {} seconds",
                self.config.timeout.as_secs_f32()
            )),
            CutOff::TooMuch => self.too_large(),
        }
    }

    fn too_large(&self) -> GitError {
        let max = self.config.max_checkout_bytes >> 20;
        GitError::OverLimit(format!("the repository is larger than {max} MiB or has too many files"))
    }

    /// Gets the objects of one commit: alone if the host sends single commits, else with all branches.
    async fn fetch(&self, commit: &CommitSha) -> Result<(), GitError> {
        let fetch = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"];
        let one = ["--depth=1", "--end-of-options", &self.address, commit.as_str()];
        let ended = self.git(None, &[&fetch[..], &one].concat()).await?;
        if ended.status.success() {
            return Ok(());
        }
        if !refuses_ids(&ended.stderr) {
            return Err(self.explain_fetch(&ended.stderr, commit));
        }
        let all = ["--end-of-options", &self.address, "+refs/heads/*:refs/heads/*"];
        let ended = self.git(None, &[&fetch[..], &all].concat()).await?;
        if !ended.status.success() {
            return Err(self.explain_fetch(&ended.stderr, commit));
        }
        let object = format!("{commit}^{{commit}}");
        let found =
            self.git(None, &["rev-parse", "--verify", "--quiet", "--end-of-options", &object]).await?;
        if found.status.success() { Ok(()) } else { Err(GitError::NoCommit(commit.to_string())) }
    }

    fn explain_fetch(&self, stderr: &str, commit: &CommitSha) -> GitError {
        match lacks_commit(stderr) {
            true => GitError::NoCommit(commit.to_string()),
            false => explain(stderr, self.repository),
        }
    }

    /// Adds up what the checkout would write, before it does: a small pack may hold very large files.
    async fn measure(&self, commit: &CommitSha) -> Result<(), GitError> {
        let listing = self
            .git(None, &["ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", commit.as_str()])
            .await?
            .or_explain(self.repository)?;
        // An entry: "100644 blob 7898…    2\tname"; a submodule has no size.
        let sizes = listing.split(|byte| *byte == 0).filter_map(|entry| {
            let entry = String::from_utf8_lossy(entry);
            entry.split_once('\t')?.0.split_whitespace().nth(3)?.parse::<u64>().ok()
        });
        let total = sizes.fold(0, u64::saturating_add);
        if total > self.config.max_checkout_bytes { Err(self.too_large()) } else { Ok(()) }
    }
}

impl Ended {
    /// What it printed, or why it failed.
    fn or_explain(self, repository: &Repository) -> Result<Vec<u8>, GitError> {
        if self.status.success() { Ok(self.stdout) } else { Err(explain(&self.stderr, repository)) }
    }
}

/// A link out of the checkout would let whoever reads it read files of this machine.
fn refuse_links_out(checkout: &Path) -> Result<(), GitError> {
    for entry in WalkDir::new(checkout).min_depth(1) {
        let entry = entry.map_err(|error| failed(&error.into()))?;
        if entry.path_is_symlink() && !links::stay_inside(checkout, entry.path()) {
            let link = entry.path().strip_prefix(checkout).unwrap_or(entry.path()).display();
            return Err(GitError::NotAllowed(format!("the link `{link}` leads out of the repository")));
        }
    }
    Ok(())
}

/// Something on this side failed: worth another try. The error's own text may hold a path, its kind does not.
fn failed(error: &io::Error) -> GitError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => GitError::NoSpace,
        kind => GitError::Unreachable(format!("the build host failed: {kind}")),
    }
}
