//! What gets into an artifact, and what comes out of one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use domain::build::FailureCode;
use domain::ports::artifacts::{Artifact, Artifacts};
use tempfile::TempDir;

use super::super::package::{Packed, pack, unpack};
use crate::artifacts::folder::FolderArtifacts;

const MAX: u64 = 1 << 20;

struct Room {
    dir: TempDir,
    store: FolderArtifacts,
}

impl Room {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = FolderArtifacts::open(dir.path().join("store")).await.unwrap();
        let room = Self { dir, store };
        for name in ["output", "into", "scratch"] {
            fs::create_dir(room.path(name)).unwrap();
        }
        room.write("index.mjs", "console.log(1)\n");
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path("output").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn pack(&self) -> Result<Packed, domain::ports::runner::BuildFailure> {
        pack(&self.path("output"), MAX, &self.store, &self.path("scratch")).await
    }

    async fn unpack(&self, artifact: &Artifact) -> Result<(), domain::ports::runner::StartFailure> {
        unpack(&self.store, artifact, &self.path("into"), &self.path("scratch")).await
    }

    /// Stores an archive that `pack` would never write.
    async fn forged(
        &self,
        fill: impl FnOnce(&mut tar::Builder<zstd::Encoder<'static, fs::File>>),
    ) -> Artifact {
        let path = self.path("forged");
        let mut tar = tar::Builder::new(zstd::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap());
        fill(&mut tar);
        tar.into_inner().unwrap().finish().unwrap();
        self.store.put(&path).await.unwrap()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(dir).min_depth(1).sort_by_file_name().into_iter();
    walk.map(|e| e.unwrap().path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned()).collect()
}

fn entry(kind: tar::EntryType, name: &str, link: Option<&str>) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(0);
    // Written byte by byte: the crate itself refuses such names.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        header.set_link_name_literal(link).unwrap();
    }
    header.set_cksum();
    header
}

#[tokio::test]
async fn what_is_packed_comes_out_again() {
    let room = Room::new().await;
    let long = format!("node_modules/{}/{}.js", "a".repeat(120), "b".repeat(120));
    room.write(&long, "long");
    room.write("node_modules/tool/cli.js", "#!/usr/bin/env node\n");
    fs::create_dir_all(room.path("output/node_modules/.bin")).unwrap();
    symlink("../tool/cli.js", room.path("output/node_modules/.bin/tool")).unwrap();
    let executable = fs::Permissions::from_mode(0o700);
    fs::set_permissions(room.path("output/node_modules/tool/cli.js"), executable).unwrap();

    let packed = room.pack().await.unwrap();
    room.unpack(&packed.artifact).await.unwrap();

    assert_eq!(names(&room.path("into")), names(&room.path("output")));
    let mode = |name: &str| fs::metadata(room.path("into").join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("index.mjs"), mode("node_modules/tool/cli.js")), (0o644, 0o755));
    assert_eq!(fs::read_to_string(room.path("into").join(long)).unwrap(), "long");
    let linked = fs::read_link(room.path("into/node_modules/.bin/tool")).unwrap();
    assert_eq!(linked, Path::new("../tool/cli.js"));
    assert_eq!(names(&room.path("scratch")), Vec::<String>::new());
}

#[tokio::test]
async fn the_same_content_is_the_same_artifact() {
    let (one, other) = (Room::new().await, Room::new().await);
    for room in [&one, &other] {
        room.write("b", "2");
        room.write("a", "1");
    }
    let old = fs::File::options().write(true).open(other.path("output/a")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(one.pack().await.unwrap(), other.pack().await.unwrap());
}

#[tokio::test]
async fn credentials_and_env_files_stay_behind() {
    let room = Room::new().await;
    for name in
        [".npmrc", "node_modules/a/.npmrc", ".yarnrc.yml", "node_modules/a/.env.example", "workspace/.netrc"]
    {
        room.write(name, "//registry/:_authToken=s3cret");
    }
    room.write(".env", "KEY=s3cret");
    room.write("sub/.env.production", "KEY=s3cret");
    room.write("environment.js", "");

    let packed = room.pack().await.unwrap();
    room.unpack(&packed.artifact).await.unwrap();

    let left = ["environment.js", "index.mjs", "node_modules", "node_modules/a", "sub", "workspace"];
    assert_eq!(names(&room.path("into")), left);
    assert_eq!(
        packed.warnings,
        ["`.env`, `sub/.env.production` is not taken to the server: set its variables as environment \
          variables of the project."]
    );
}

#[tokio::test]
async fn what_mastra_noted_is_told() {
    let room = Room::new().await;
    room.write(
        "preflight-metadata.json",
        r#"{"version":1,"userEnvRefs":["B","A","A","not a name"],"localPaths":[
            {"value":"file:./mastra.db","hint":"x","module":"/w/src/a.ts","guardedBy":"TURSO_DATABASE_URL"},
            {"value":"file:./b.db","hint":"x","module":"y"},
            {"value":"postgres://localhost/x","hint":"x","module":"y"}]}"#,
    );
    let packed = room.pack().await.unwrap();
    assert_eq!(packed.env_refs, ["A", "B"]);
    assert_eq!(
        packed.warnings,
        [
            "Unless `TURSO_DATABASE_URL` is set, `file:./mastra.db` is used, which is a file in the \
             server's own directory: it is gone with the next deployment.",
            "`file:./b.db` is a file in the server's own directory: it is gone with the next deployment.",
            "`postgres://localhost/x` is an address of this machine only: the server will not reach \
             what it means.",
        ]
    );
    room.write("preflight-metadata.json", "[1]");
    assert_eq!(room.pack().await.unwrap().warnings, Vec::<String>::new());
}

#[tokio::test]
async fn an_output_that_cannot_be_packed_is_refused_with_a_reason() {
    let room = Room::new().await;
    fs::remove_file(room.path("output/index.mjs")).unwrap();
    assert_eq!(room.pack().await.unwrap_err().code, FailureCode::OutputMissing);

    room.write("index.mjs", &"x".repeat(MAX as usize + 1));
    let large = room.pack().await.unwrap_err();
    assert_eq!(
        (large.code, large.message.as_str()),
        (FailureCode::PackagingFailed, "The output is larger than 1 MiB.")
    );

    room.write("index.mjs", "");
    symlink("/etc/passwd", room.path("output/out")).unwrap();
    let link = room.pack().await.unwrap_err();
    assert_eq!(link.message, "The link `out` leads out of the output.");

    fs::remove_file(room.path("output/out")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(room.path("output/socket")).unwrap();
    let socket = room.pack().await.unwrap_err();
    assert_eq!(socket.message, "`socket` is neither a file nor a directory.");
    assert_eq!(names(&room.path("scratch")), Vec::<String>::new());
}

#[tokio::test]
async fn an_output_behind_a_link_is_not_packed() {
    let room = Room::new().await;
    fs::rename(room.path("output"), room.path("elsewhere")).unwrap();
    symlink(room.path("elsewhere"), room.path("output")).unwrap();
    assert_eq!(room.pack().await.unwrap_err().code, FailureCode::PackagingFailed);
}

#[tokio::test]
async fn an_archive_that_was_not_packed_here_writes_nothing_outside() {
    use tar::EntryType::{Block, Fifo, Link, Regular, Symlink};
    let cases = [
        vec![entry(Regular, "../evil", None)],
        vec![entry(Regular, "/tmp/evil", None)],
        vec![entry(Symlink, "out", Some("..")), entry(Regular, "out/evil", None)],
        vec![entry(Symlink, "out", Some("/etc"))],
        vec![entry(Symlink, "a", Some(".")), entry(Symlink, "out", Some("a/../.."))],
        vec![entry(Link, "hard", Some("/etc/passwd"))],
        vec![entry(Fifo, "fifo", None)],
        vec![entry(Block, "device", None)],
        vec![entry(Regular, "twice", None), entry(Regular, "twice", None)],
    ];
    for entries in cases {
        let room = Room::new().await;
        let shown = format!("{entries:?}");
        let artifact = room
            .forged(|tar| {
                for header in &entries {
                    tar.append(header, std::io::empty()).unwrap();
                }
            })
            .await;
        let failure = room.unpack(&artifact).await.expect_err(&shown);
        assert_eq!(failure.code, FailureCode::PlatformError);
        assert!(!room.path("evil").exists(), "{shown}");
    }
}

#[tokio::test]
async fn a_bomb_is_stopped() {
    let room = Room::new().await;
    let artifact = room
        .forged(|tar| {
            let mut header = entry(tar::EntryType::Regular, "huge", None);
            header.set_size(1 << 40);
            header.set_cksum();
            tar.append(&header, std::io::empty()).unwrap();
        })
        .await;
    let failure = room.unpack(&artifact).await.unwrap_err();
    assert!(failure.message.ends_with("it is too large"), "{}", failure.message);
}

#[tokio::test]
async fn a_missing_artifact_is_not_worth_another_try() {
    let room = Room::new().await;
    let absent = Artifact { sha256: "0".repeat(64), bytes: 1 };
    let failure = room.unpack(&absent).await.unwrap_err();
    assert_eq!((failure.code, failure.retry), (FailureCode::ArtifactMissing, false));
}
