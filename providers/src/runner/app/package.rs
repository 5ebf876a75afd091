//! Packs a build's output into an artifact and unpacks it to run.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use domain::build::{FailureCode, Phase};
use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts};
use domain::ports::runner::{BuildFailure, StartFailure};
use tar::{Archive, Builder, EntryType, Header};
use walkdir::{DirEntry, WalkDir};

pub(crate) use super::preflight::NOTES;
use super::preflight::{self, Preflight};
use crate::links;
use crate::runner::failures::{self, DISK_FULL};

/// zstd's own default: on a Mastra output, half the time of the disk.
const LEVEL: i32 = 3;
/// Files, directories and links of one artifact. A Mastra server with its modules has about 22 000.
const MAX_ENTRIES: usize = 500_000;
/// What one artifact may unpack to, whatever a build was allowed.
pub(crate) const MAX_UNPACKED: u64 = 16 << 30;
/// Files that hold credentials for registries. A server needs none of them: its modules are there already.
const REGISTRY_FILES: [&str; 5] = [".npmrc", ".yarnrc", ".yarnrc.yml", "bunfig.toml", ".netrc"];

/// A packed output and what was seen in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Where it is stored.
    pub artifact: Artifact,
    /// What the owner should know, in plain words.
    pub warnings: Vec<String>,
    /// Environment variables that the code reads.
    pub env_refs: Vec<String>,
}

/// Packs `output_dir` (`.mastra/output`, with its modules) and stores it; the same content gives the same
/// artifact. `scratch` takes the temporary file; more than `max_bytes` of content is refused.
///
/// `output_dir` must be absolute and without links, as the paths of `App` are: a build that put a link in its
/// way would have files packed that are not its own.
pub async fn pack(
    output_dir: &Path,
    max_bytes: u64,
    artifacts: &dyn Artifacts,
    scratch: &Path,
) -> Result<Packed, BuildFailure> {
    let (output, scratch) = (output_dir.to_owned(), scratch.to_owned());
    let packing = tokio::task::spawn_blocking(move || write(&output, max_bytes, &scratch));
    let (file, dropped, preflight) = packing.await.map_err(|_| platform_error("packing was cut off"))??;
    let artifact = artifacts.put(&file).await.map_err(|error| match error {
        ArtifactError::NoSpace => failure(FailureCode::DiskFull, DISK_FULL),
        error => platform_error(&error.to_string()),
    })?;
    let mut warnings = preflight.warnings;
    if !dropped.is_empty() {
        let names = dropped.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        warnings.push(format!(
            "{names} is not taken to the server: set its variables as environment variables of the project."
        ));
    }
    Ok(Packed { artifact, warnings, env_refs: preflight.env_refs })
}

/// Unpacks an artifact into the existing empty directory `into`. `scratch` takes the packed file meanwhile.
pub async fn unpack(
    artifacts: &dyn Artifacts,
    artifact: &Artifact,
    into: &Path,
    scratch: &Path,
) -> Result<(), StartFailure> {
    let (room, packed) = fetch(artifacts, artifact, scratch).await?;
    let into = into.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || {
        let answer = read(&packed, &into, MAX_UNPACKED);
        drop(room);
        answer
    });
    let answer = unpacking.await.map_err(|_| cannot_start("unpacking was cut off"))?;
    answer.map_err(|error| failures::cannot_start(&error))
}

/// The packed artifact as a file, which goes with its directory.
pub(crate) async fn fetch(
    artifacts: &dyn Artifacts,
    artifact: &Artifact,
    scratch: &Path,
) -> Result<(tempfile::TempDir, PathBuf), StartFailure> {
    let room = tempfile::tempdir_in(scratch).map_err(|error| failures::cannot_start(&error))?;
    let packed = room.path().join("artifact.tar.zst");
    artifacts.get(artifact, &packed).await.map_err(|error| match error {
        ArtifactError::Missing(_) => StartFailure {
            code: FailureCode::ArtifactMissing,
            message: "The artifact is missing or damaged. Build the commit again.".to_owned(),
            exit_code: None,
            retry: false,
        },
        ArtifactError::NoSpace => failures::cannot_start(&io::Error::from(io::ErrorKind::StorageFull)),
        error => cannot_start(&error.to_string()),
    })?;
    Ok((room, packed))
}

type Written = (tempfile::TempPath, Vec<String>, Preflight);

fn write(output: &Path, max_bytes: u64, scratch: &Path) -> Result<Written, BuildFailure> {
    if fs::symlink_metadata(output.join("index.mjs")).is_err() {
        return Err(failure(
            FailureCode::OutputMissing,
            "The build ended well but wrote no `.mastra/output/index.mjs`: the build command has to run \
             `mastra build`.",
        ));
    }
    if output.canonicalize().ok().as_deref() != Some(output) {
        return Err(failure(
            FailureCode::PackagingFailed,
            "`.mastra/output` is a link: it has to be a directory.",
        ));
    }
    let file = tempfile::Builder::new().prefix(".pack-").tempfile_in(scratch).map_err(|e| disk(&e))?;
    let mut encoder = zstd::Encoder::new(file, LEVEL).map_err(|error| disk(&error))?;
    encoder.include_checksum(true).map_err(|error| disk(&error))?;
    let mut packer =
        Packer { root: output, tar: Builder::new(encoder), left: max_bytes, max_bytes, dropped: vec![] };
    let entries = WalkDir::new(output).min_depth(1).sort_by_file_name();
    for (count, entry) in entries.into_iter().enumerate() {
        if count >= MAX_ENTRIES {
            return Err(failure(FailureCode::PackagingFailed, "The output has more than 500000 files."));
        }
        packer.add(&entry.map_err(|error| disk(&error.into()))?)?;
    }
    let dropped = std::mem::take(&mut packer.dropped);
    let file = packer.tar.into_inner().and_then(zstd::Encoder::finish).map_err(|error| disk(&error))?;
    Ok((file.into_temp_path(), dropped, preflight::read(output)))
}

/// Puts one file after the other into an archive that depends on names and contents alone.
struct Packer<'a, W: io::Write> {
    root: &'a Path,
    tar: Builder<W>,
    left: u64,
    max_bytes: u64,
    dropped: Vec<String>,
}

impl<W: io::Write> Packer<'_, W> {
    fn add(&mut self, entry: &DirEntry) -> Result<(), BuildFailure> {
        let path = entry.path();
        let name = path.strip_prefix(self.root).expect("the walk began at the root").to_owned();
        let kind = entry.file_type();
        if !kind.is_dir() && self.is_left_out(entry, &name) {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            self.tar.append_data(&mut header, &name, io::empty()).map_err(|error| disk(&error))
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|error| disk(&error))?;
            if !links::stay_inside(self.root, path) {
                let text = format!("The link `{}` leads out of the output.", name.display());
                return Err(failure(FailureCode::PackagingFailed, &text));
            }
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            self.tar.append_link(&mut header, &name, target).map_err(|error| disk(&error))
        } else if kind.is_file() {
            self.add_file(path, &name, header)
        } else {
            let text = format!("`{}` is neither a file nor a directory.", name.display());
            Err(failure(FailureCode::PackagingFailed, &text))
        }
    }

    fn add_file(&mut self, path: &Path, name: &Path, mut header: Header) -> Result<(), BuildFailure> {
        let no_follow =
            i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("a flag of open(2) is an int");
        let file = OpenOptions::new().read(true).custom_flags(no_follow).open(path).map_err(|e| disk(&e))?;
        let metadata = file.metadata().map_err(|error| disk(&error))?;
        self.left = self.left.checked_sub(metadata.len()).ok_or_else(|| {
            let text = format!("The output is larger than {} MiB.", self.max_bytes >> 20);
            failure(FailureCode::PackagingFailed, &text)
        })?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 });
        header.set_size(metadata.len());
        self.tar.append_data(&mut header, name, file.take(metadata.len())).map_err(|error| disk(&error))
    }

    /// Whether it may hold credentials. A package's own example of a `.env` file is not worth a word.
    fn is_left_out(&mut self, entry: &DirEntry, name: &Path) -> bool {
        let file_name = entry.file_name();
        if is_env(file_name) && !name.components().any(|part| part.as_os_str() == "node_modules") {
            self.dropped.push(name.display().to_string());
        }
        holds_credentials(file_name)
    }
}

/// Removes from an output what `pack` leaves out of its artifact, so that it may run in the artifact's place.
pub(crate) fn strip(output: &Path) -> io::Result<()> {
    for entry in WalkDir::new(output) {
        let entry = entry?;
        if !entry.file_type().is_dir() && holds_credentials(entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn holds_credentials(file_name: &OsStr) -> bool {
    is_env(file_name) || REGISTRY_FILES.iter().any(|name| file_name == *name)
}

fn is_env(file_name: &OsStr) -> bool {
    let file_name = file_name.to_string_lossy();
    file_name == ".envrc" || file_name == ".env" || file_name.starts_with(".env.")
}

/// Unpacks with the rules that `write` keeps; an archive that breaks one was not written by it.
fn read(packed: &Path, into: &Path, max_bytes: u64) -> io::Result<()> {
    let links = extract(decoded(packed, max_bytes)?, into, max_bytes, Origin::Artifact)?;
    match links.iter().all(|link| links::stay_inside(into, link)) {
        true => Ok(()),
        false => Err(io::Error::other("it has a link that leads out of it")),
    }
}

/// The archive in an artifact. Names and headers count too: one of nothing but empty files must end.
pub(crate) fn decoded(packed: &Path, max_bytes: u64) -> io::Result<impl Read + use<>> {
    Ok(zstd::Decoder::new(File::open(packed)?)?.take(max_bytes + MAX_ENTRIES as u64 * 2048))
}

/// Who made an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `pack`.
    Artifact,
    /// A container's engine, of a directory that a build filled: everything is below one name, and a file may
    /// be there under several.
    Engine,
}

/// Writes the content of an archive into an empty directory; answers its links, which nobody has checked.
///
/// The content is hostile: nothing is written through a link, for links are made last.
pub(crate) fn extract(
    archive: impl Read,
    into: &Path,
    max_bytes: u64,
    origin: Origin,
) -> io::Result<Vec<PathBuf>> {
    let (mut left, mut found) = (max_bytes, Vec::new());
    let place = |name: &Path| -> io::Result<PathBuf> {
        let below = name.components().skip(usize::from(origin == Origin::Engine));
        let mut to = into.to_owned();
        for part in below {
            match part {
                Component::Normal(part) => to.push(part),
                _ => return Err(io::Error::other("it has a name that leads out of it")),
            }
        }
        Ok(to)
    };
    let mut archive = Archive::new(archive);
    for (count, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        if count >= MAX_ENTRIES {
            return Err(io::Error::other("it has too many files"));
        }
        let to = place(&entry.path()?)?;
        let target = || entry.link_name()?.ok_or_else(|| io::Error::other("it has a link to nothing"));
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&to)?,
            EntryType::Regular => {
                left = left.checked_sub(entry.size()).ok_or_else(|| io::Error::other("it is too large"))?;
                let executable = entry.header().mode()? & 0o111 != 0;
                let mode = if executable { 0o755 } else { 0o644 };
                let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&to)?;
                io::copy(&mut entry, &mut file)?;
            }
            EntryType::Symlink => found.push((to, target()?.into_owned())),
            EntryType::Link if origin == Origin::Engine => fs::hard_link(place(&target()?)?, to)?,
            _ => return Err(io::Error::other("it holds something that is no file, directory or link")),
        }
    }
    for (link, target) in &found {
        std::os::unix::fs::symlink(target, link)?;
    }
    Ok(found.into_iter().map(|(link, _)| link).collect())
}

fn disk(error: &io::Error) -> BuildFailure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            failure(FailureCode::DiskFull, DISK_FULL)
        }
        kind => platform_error(&format!("the output could not be packed: {kind}")),
    }
}

fn failure(code: FailureCode, message: &str) -> BuildFailure {
    BuildFailure { code, phase: Phase::Packaging, message: message.to_owned(), exit_code: None }
}

fn platform_error(message: &str) -> BuildFailure {
    failure(FailureCode::PlatformError, message)
}

fn cannot_start(message: &str) -> StartFailure {
    StartFailure {
        code: FailureCode::PlatformError,
        message: message.to_owned(),
        exit_code: None,
        retry: true,
    }
}
