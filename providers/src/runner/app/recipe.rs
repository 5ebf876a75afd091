//! What the modules of an app are made of, so that two builds can tell whether theirs would be the same.

use std::fs;
use std::io;
use std::path::Path;

use domain::ports::runner::{BuildPlan, Code};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::detect::{App, PackageManager};
use super::toolchain::Toolchain;

/// The variable by which a project has all its builds install, whatever its value.
const WAY_OUT: &str = "MASTRA_ADMIN_NO_MODULE_CACHE";
/// The variable by which `mastra build` leaves out the output's install: who sets it has plans of his own.
pub(crate) const SKIP_INSTALL: &str = "MASTRA_BUILD_SKIP_INSTALL";

/// Files of the app's directory, or of one above it, that would have a say in an install by npm.
const OTHER_VOICES: [&str; 7] = [
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    "binding.gyp",
];
/// Scripts that npm runs by itself when it installs or builds: they may read and write anything.
const LIFECYCLE: [&str; 10] = [
    "preinstall",
    "install",
    "postinstall",
    "prepublish",
    "preprepare",
    "prepare",
    "postprepare",
    "dependencies",
    "prebuild",
    "postbuild",
];
/// Packages whose own install scripts look at nothing but themselves, Node and the machine. Others may read the
/// project, as Prisma's reads its schema.
const HARMLESS: [&str; 14] = [
    "@parcel/watcher",
    "@swc/core",
    "better-sqlite3",
    "bufferutil",
    "core-js",
    "cpu-features",
    "esbuild",
    "fsevents",
    "msgpackr-extract",
    "protobufjs",
    "sharp",
    "ssh2",
    "unrs-resolver",
    "utf-8-validate",
];
/// Flags of `mastra build` that leave its output where it is looked for.
const FLAGS: [&str; 9] = ["-d", "--dir", "-t", "--tools", "-s", "--studio", "-f", "--force", "--debug"];
/// Larger files are nobody's real ones.
const MAX_BYTES: u64 = 32 << 20;

/// A hash of all that decides about the modules: of the project, and of the output as far as that has the same
/// `package.json`. It is made of secrets, too: it stays in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recipe([u8; 32]);

impl Recipe {
    /// That of an app which npm installs by its lock and `mastra build` builds, with nothing else that could have a
    /// say; else none. Its sandboxes run as `user`.
    pub(crate) fn of(
        plan: &BuildPlan,
        checkout: &Path,
        app: &App,
        toolchain: &Toolchain,
        user: Option<u32>,
    ) -> Option<Self> {
        let own_commands = plan.install_command.is_some() || plan.build_command.is_some();
        let refused = plan.env.iter().any(|(key, _)| [WAY_OUT, SKIP_INSTALL].contains(&key.as_str()));
        let by_npm = app.package_manager == PackageManager::Npm && app.install_root == app.project_root;
        let is_commit = matches!(plan.code, Code::Commit { .. });
        if own_commands || refused || !by_npm || !is_commit || !stands_alone(checkout, &app.project_root) {
            return None;
        }
        let read = |name: &str| file(&app.install_root.join(name)).ok();
        let (manifest, lock, settings) =
            (read("package.json")??, read("package-lock.json")??, read(".npmrc")?);
        if !is_plain(&parsed(&manifest)?) || !is_exact(&parsed(&lock)?) {
            return None;
        }
        let mut hash = Hash(Sha256::new());
        hash.all([&manifest[..], &lock, toolchain.node_version.as_bytes()]);
        hash.all(settings.iter().map(Vec::as_slice));
        hash.all(app.install.iter().map(String::as_bytes));
        hash.all(app.package_manager_version.iter().map(String::as_bytes));
        hash.all(toolchain.bin_dirs.iter().map(|dir| dir.as_os_str().as_encoded_bytes()));
        hash.all(toolchain.env.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]));
        let mut env: Vec<_> = plan.env.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
        env.sort_by_key(|(key, _)| *key);
        hash.all(env.into_iter().flat_map(|(key, value)| [key.as_bytes(), value]));
        hash.all(user.map(u32::to_le_bytes).iter().map(<[u8; 4]>::as_slice));
        Some(Self(hash.0.finalize().into()))
    }
}

#[cfg(test)]
impl Recipe {
    /// One of several that differ.
    pub(crate) const fn of_test(number: u8) -> Self {
        Self([number; 32])
    }
}

/// Takes lists, so that no two sequences of them look the same.
struct Hash(Sha256);

impl Hash {
    fn all<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        let parts: Vec<_> = parts.into_iter().collect();
        self.0.update((parts.len() as u64).to_le_bytes());
        for part in parts {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }
}

/// Whether nothing in the app's directory or above it takes part in the install.
fn stands_alone(checkout: &Path, project: &Path) -> bool {
    let Ok(checkout) = checkout.canonicalize() else { return false };
    let above = project.ancestors().take_while(|directory| directory.starts_with(&checkout));
    above.enumerate().all(|(level, directory)| {
        let absent = |name: &&str| is_absent(&directory.join(name));
        let ours = ["package.json", "package-lock.json", ".npmrc"];
        OTHER_VOICES.iter().all(absent) && (level == 0 || ours.iter().all(absent))
    })
}

/// Whether a `package.json` asks for nothing but dependencies and `mastra build`.
fn is_plain(manifest: &Value) -> bool {
    let script = |name: &str| manifest["scripts"][name].as_str().unwrap_or_default().trim();
    let build = script("build");
    manifest["workspaces"].is_null()
        && LIFECYCLE.iter().all(|name| script(name).is_empty())
        && (build.is_empty() || is_mastra_build(build))
}

/// Whether a script runs `mastra build` and nothing else.
fn is_mastra_build(script: &str) -> bool {
    let is_harmless = |word: &str| {
        let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./=@".contains(&byte));
        let flag = word.split('=').next().unwrap_or_default();
        plain && (!word.starts_with('-') || FLAGS.contains(&flag))
    };
    let mut words = script.split_ascii_whitespace();
    words.next() == Some("mastra") && words.next() == Some("build") && words.all(is_harmless)
}

/// Whether a `package-lock.json` names the content of every package, and none runs what might look at the project.
fn is_exact(lock: &Value) -> bool {
    let Some(packages) = lock["packages"].as_object() else { return false };
    packages.iter().filter(|(place, _)| !place.is_empty()).all(|(place, package)| {
        let Some((_, last)) = place.rsplit_once("node_modules/") else { return false };
        let name = package["name"].as_str().unwrap_or(last);
        let resolved = package["resolved"].as_str();
        let is_known = package["integrity"].is_string() || package["inBundle"] == true;
        let is_fetched = resolved.is_none_or(|url| url.starts_with("https://") || url.starts_with("http://"));
        let is_quiet = package["hasInstallScript"] != true || HARMLESS.contains(&name);
        place.starts_with("node_modules/") && package["link"] != true && is_known && is_fetched && is_quiet
    })
}

fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// The content of a file that is one and no link, if it is there: what else a build may put there could be waited for
/// without end.
pub(crate) fn file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_BYTES => fs::read(path).map(Some),
        Ok(_) => Err(io::Error::other("it is no small file")),
        Err(error) => Err(error),
    }
}

fn parsed(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}
