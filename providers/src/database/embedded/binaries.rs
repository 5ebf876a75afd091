//! Finds PostgreSQL's programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::cluster::VERSION_FILE;
use super::error::EmbeddedError;

/// `CREATE DATABASE … STRATEGY` and start-up progress in the log came with it.
const OLDEST_MAJOR: u32 = 15;

/// Where Debian and its kin keep one directory a major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// One installation.
#[derive(Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// The server.
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    /// The program that makes a cluster.
    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }
}

/// The installation for the cluster in `cluster`: of its major version, or the first one found when there is no
/// cluster yet. With `bin_dir` nothing else is looked at; without it, PATH comes first, then Debian's
/// directories, newest first.
pub(super) async fn find(bin_dir: Option<&Path>, cluster: &Path) -> Result<Binaries, EmbeddedError> {
    let looked = bin_dir.map_or_else(places, |dir| vec![dir.to_owned()]);
    let mut found = Vec::new();
    for place in &looked {
        if let Some(binaries) = installation(place).await {
            found.push(binaries);
        }
    }
    if found.is_empty() {
        return Err(EmbeddedError::NoBinaries { oldest: OLDEST_MAJOR, looked });
    }
    let Some(wanted) = major_of_cluster(cluster)? else {
        return Ok(found.swap_remove(0));
    };
    match found.iter().position(|binaries| binaries.major == wanted) {
        Some(at) => Ok(found.swap_remove(at)),
        None => Err(EmbeddedError::OtherMajor {
            dir: cluster.to_owned(),
            cluster: wanted,
            found: found.iter().map(|it| format!("{} ({})", it.major, it.dir.display())).collect(),
        }),
    }
}

/// The major version that made the cluster, if there is one.
fn major_of_cluster(cluster: &Path) -> Result<Option<u32>, EmbeddedError> {
    let file = cluster.join(VERSION_FILE);
    match fs::read_to_string(&file) {
        Ok(version) => Ok(leading_number(&version)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EmbeddedError::files(&file)(error)),
    }
}

fn places() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((leading_number(entry.file_name().to_str()?)?, entry.path().join("bin"))))
        .collect();
    debian.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    places.extend(debian.into_iter().map(|(_, bin)| bin));
    if !places.iter().any(|place| place.starts_with(DEBIAN)) {
        places.push(format!("{DEBIAN}/*/bin").into()); // for the message
    }
    places
}

/// Follows links (distributions put some of the programs on PATH that way) to where `initdb` really is, and takes
/// that directory if the server is there too: `initdb` looks for it beside itself.
async fn installation(place: &Path) -> Option<Binaries> {
    let initdb = fs::canonicalize(place.join("initdb")).ok()?;
    let dir = initdb.parent()?.to_owned();
    let output =
        Command::new(dir.join("postgres")).arg("--version").kill_on_drop(true).output().await.ok()?;
    let version = String::from_utf8(output.stdout).ok()?; // postgres (PostgreSQL) 15.18 (Debian …)
    let major = leading_number(version.split_whitespace().nth(2)?)?;
    (major >= OLDEST_MAJOR).then_some(Binaries { dir, major })
}

/// `15.18`, `16beta1` and `17devel` begin with their major version.
fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}
