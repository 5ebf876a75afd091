//! A disk that is full: said as such, and over as soon as there is room, without a restart.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::app::TestApp;
use tests::repository;
use tests::world::team_and_project;

/// Writes more than there is room for, then what a build leaves.
const GREEDY: &str = r#"
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
mkdirSync('.mastra/output', { recursive: true });
writeFileSync('.mastra/output/index.mjs', '');
for (let written = 0; written < 200; written++) appendFileSync('filler', Buffer.alloc(1 << 20, written));
"#;

/// Output that hardly packs.
const LARGE: &str = r#"
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
mkdirSync('.mastra/output', { recursive: true });
for (const name of ['server.mjs', 'behaviour.json']) {
  cpSync(name, '.mastra/output/' + (name === 'server.mjs' ? 'index.mjs' : name));
}
writeFileSync('.mastra/output/blob', randomBytes(24 << 20));
"#;

/// A small file system of its own. Dropped, it is gone.
pub(crate) struct Small(PathBuf);

impl Small {
    /// Needs the right to mount, as the tests of other limits need root.
    pub(crate) fn mount(place: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(place).unwrap();
        let size = format!("size={mebibytes}m,mode=755");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).status();
        assert!(
            mount.is_ok_and(|status| status.success()),
            "{} cannot be mounted: run as root",
            place.display()
        );
        Self(place.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn assert_full(build: &Value, phase: &str) {
    assert_eq!(build["failure"]["code"], "disk_full", "{build}");
    assert_eq!(build["failure"]["phase"], phase, "{build}");
    assert!(
        build["failure"]["message"].as_str().unwrap().to_lowercase().contains("no space left"),
        "{build}"
    );
    assert_eq!(build["tries"], 1, "the disk does not get emptier by trying: {build}");
}

#[tokio::test]
async fn a_build_on_a_full_disk_says_so_and_the_next_one_with_room_is_good() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let repository = app.repositories().join("tiny");
    let good = std::fs::read_to_string(repository.join("build.mjs")).unwrap();
    project.deployed(&app, &owner).await;

    let small = Small::mount(&app.dir.path().join("data/builds"), 32);
    repository::change(&repository, &[("build.mjs", GREEDY)]);
    assert_full(&project.built(&app, &owner).await, "building");
    assert_eq!(project.ask(&owner, "/api/version").await.status, 200, "what serves goes on");
    repository::change(&repository, &[("build.mjs", &good), ("behaviour.json", r#"{ "version": "2" }"#)]);
    let next = project.deployed(&app, &owner).await;
    assert_eq!(next["status"], "running", "the failed build has left its room: {next}");
    drop(small);

    let small = Small::mount(&app.dir.path().join("data/artifacts"), 8);
    repository::change(&repository, &[("build.mjs", LARGE)]);
    assert_full(&project.built(&app, &owner).await, "packaging");
    drop(small);
    let build = project.built(&app, &owner).await;
    assert_eq!(build["status"], "ready", "{build}");
}
