//! Reads small files of a checkout that may be anything: `package.json` above all.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// Larger files of this kind are nobody's real ones.
const MAX_BYTES: u64 = 1 << 20;

/// A `package.json`, read leniently: a field of another type is as good as absent.
pub(super) struct Manifest(Value);

/// What reading one gave.
pub(super) enum Reading {
    /// It is there.
    Found(Manifest),
    /// There is none.
    Absent,
    /// There is one that cannot be used, and why.
    Broken(String),
}

impl Manifest {
    /// Reads `directory/package.json`; nothing outside of `checkout` is read.
    pub(super) fn read(checkout: &Path, directory: &Path) -> Reading {
        let Some(text) = text(checkout, &directory.join("package.json")) else { return Reading::Absent };
        match serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')) {
            Ok(value @ Value::Object(_)) => Reading::Found(Self(value)),
            Ok(_) => Reading::Broken("it is not an object".to_owned()),
            Err(error) => Reading::Broken(error.to_string()),
        }
    }

    /// The same, without caring why there is none.
    pub(super) fn open(checkout: &Path, directory: &Path) -> Option<Self> {
        match Self::read(checkout, directory) {
            Reading::Found(manifest) => Some(manifest),
            Reading::Absent | Reading::Broken(_) => None,
        }
    }

    /// Whether it needs the package in any way that installs it.
    pub(super) fn depends_on(&self, package: &str) -> bool {
        ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"]
            .iter()
            .any(|kind| self.0[kind].get(package).is_some_and(Value::is_string))
    }

    /// A script that is not empty.
    pub(super) fn has_script(&self, name: &str) -> bool {
        self.0["scripts"][name].as_str().is_some_and(|script| !script.trim().is_empty())
    }

    /// `engines.node`.
    pub(super) fn node(&self) -> Option<&str> {
        self.0["engines"]["node"].as_str()
    }

    /// The field `packageManager` without its hash: name and version.
    pub(super) fn package_manager(&self) -> Option<(&str, &str)> {
        let (name, version) = self.0["packageManager"].as_str()?.split_once('@')?;
        Some((name, version.split('+').next().unwrap_or(version)))
    }

    /// Whether it names workspaces.
    pub(super) fn has_workspaces(&self) -> bool {
        self.0["workspaces"].is_array() || self.0["workspaces"]["packages"].is_array()
    }
}

/// The text of a small regular file inside of `checkout`, with every link followed.
pub(super) fn text(checkout: &Path, path: &Path) -> Option<String> {
    let path = path.canonicalize().ok().filter(|path| path.starts_with(checkout) && path.is_file())?;
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}
