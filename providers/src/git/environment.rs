//! The only configuration git sees: nothing of the machine, of a home directory or of the repository.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::git::{Access, Repository};
use tempfile::TempDir;
use url::Url;

use super::ssh::Ssh;

/// Oddities of old commits that are harmless and widespread; every other finding of `fsck` refuses a fetch.
const HARMLESS: [&str; 8] = [
    "badDate",
    "badEmail",
    "badName",
    "badTimezone",
    "missingEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "zeroPaddedFilemode",
];

/// A directory for one use of git: its home, its object store, and the variables that git runs with.
pub(super) struct Environment {
    dir: TempDir,
    protocol: &'static str,
    settings: Vec<(String, String)>,
    safe: Vec<PathBuf>,
    ssh: Option<Ssh>,
}

impl Environment {
    /// Makes the directory in `parent`. git speaks this protocol alone; `local` is the git directory of a
    /// `file://` repository, checked by the caller. `extra` settings are the tests' way to reach a server without TLS.
    pub(super) fn create(
        parent: &Path,
        repository: &Repository,
        (protocol, local): (&'static str, Option<&Path>),
        ssh: Option<Ssh>,
        extra: &[(String, String)],
    ) -> io::Result<Self> {
        // No name from here on may be a link: git compares the ceiling below with real paths.
        let dir = tempfile::Builder::new().prefix(".git-work-").tempdir_in(parent.canonicalize()?)?;
        std::fs::create_dir(dir.path().join("home"))?;
        let mut settings = settings(protocol);
        if let (Access::Token { username, token }, "http" | "https") = (&repository.access, protocol) {
            let pair = [username.as_bytes(), b":", token.expose()].concat();
            let header = format!("Authorization: Basic {}", STANDARD.encode(pair));
            settings.push(("http.extraHeader".to_owned(), header));
        }
        settings.extend_from_slice(extra);
        let safe =
            local.map(|git| [Some(git), git.parent()].into_iter().flatten().map(Path::to_owned).collect());
        let environment = Self { dir, protocol, settings, safe: safe.unwrap_or_default(), ssh };
        std::fs::write(environment.global(), environment.global_file())?;
        Ok(environment)
    }

    /// Where git runs: outside of any repository.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The object store, made by `git init`.
    pub(super) fn git_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// All variables that git gets.
    pub(super) fn variables(&self) -> Vec<(String, OsString)> {
        let mut variables: Vec<(String, OsString)> = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LC_ALL", "C"), // its messages are read by `explain`
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_PROTOCOL_FROM_USER", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into();
        let allowed = if self.test_http() { "https:http" } else { self.protocol };
        variables.push(("GIT_ALLOW_PROTOCOL".to_owned(), allowed.into()));
        variables.extend(self.ssh.iter().flat_map(Ssh::variables));
        variables.push(("HOME".to_owned(), self.dir().join("home").into()));
        variables.push(("GIT_CONFIG_GLOBAL".to_owned(), self.global().into()));
        let above = self.dir().parent().unwrap_or(Path::new("/"));
        variables.push(("GIT_CEILING_DIRECTORIES".to_owned(), above.into()));
        variables.push(("GIT_CONFIG_COUNT".to_owned(), self.settings.len().to_string().into()));
        for (index, (key, value)) in self.settings.iter().enumerate() {
            variables.push((format!("GIT_CONFIG_KEY_{index}"), key.into()));
            variables.push((format!("GIT_CONFIG_VALUE_{index}"), value.into()));
        }
        variables
    }

    /// Whether the settings redirect https to a server of the tests.
    fn test_http(&self) -> bool {
        cfg!(test) && self.settings.iter().any(|(key, _)| key.starts_with("url.http://127.0.0.1"))
    }

    fn global(&self) -> PathBuf {
        self.dir.path().join("global")
    }

    /// Reading a local repository starts a second git, which ignores settings of the environment and refuses
    /// repositories of other owners unless its user-wide file names them.
    fn global_file(&self) -> String {
        let mut text = String::new();
        for path in &self.safe {
            let path = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
            text.push_str(&format!("[safe]\n\tdirectory = \"{path}\"\n"));
        }
        text
    }
}

/// Nothing runs that the repository or its host could choose, and nothing is fetched from elsewhere.
fn settings(protocol: &str) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.symlinks", "true"),
        ("core.protectHFS", "true"),
        ("core.protectNTFS", "true"),
        ("core.attributesFile", "/dev/null"),
        ("protocol.allow", "never"),
        ("http.followRedirects", "false"),
        ("credential.helper", ""),
        ("submodule.recurse", "false"),
        ("fetch.recurseSubmodules", "no"),
        ("fetch.unpackLimit", "1"), // one pack instead of many small files
        ("transfer.fsckObjects", "true"),
        ("transfer.bundleURI", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    settings.push((format!("protocol.{protocol}.allow"), "always".to_owned()));
    settings.extend(HARMLESS.map(|finding| (format!("fetch.fsck.{finding}"), "ignore".to_owned())));
    settings
}

/// The git directory that a `file://` address names, if it lies below one of `roots` with every link
/// followed.
pub(super) fn local_git_dir(address: &str, roots: &[PathBuf]) -> Option<PathBuf> {
    let path = Url::parse(address).ok()?.to_file_path().ok()?;
    let roots: Vec<PathBuf> = roots.iter().filter_map(|root| root.canonicalize().ok()).collect();
    let below = |path: PathBuf| {
        let path = path.canonicalize().ok()?;
        roots.iter().any(|root| path.starts_with(root)).then_some(path)
    };
    // What is outside must look the same whether it exists or not, so the directory itself comes first.
    let path = below(path)?;
    // git prefers a `.git` below what it is given: a link or file of that name could lead anywhere.
    let inner = path.join(".git");
    match inner.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => Some(inner),
        Ok(_) => None,
        Err(_) => Some(path),
    }
}
