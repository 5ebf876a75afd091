//! What projects that sleep take up.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use tests::app::TestApp;
use tests::world::{project, team};

use crate::measure::{Figure, mebibytes};

/// Projects that sleep, beside the first one.
const ASLEEP: usize = 8;

/// Memory of the server and of all that it has started, a sleeping project.
pub(crate) async fn figure() -> Figure {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_SLEEP_AFTER", "1")]).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let repository = app.repository("tiny", "tiny");
    let put_to_sleep = async |n: usize| {
        let it = project(&owner, "acme", &format!("agent-{n}"), &repository, json!({ "minScale": 0 })).await;
        let deployment = it.deployed(&app, &owner).await;
        let at = format!("/deployments/{}", deployment["id"].as_str().expect("an id"));
        app.until_status(&owner, &at, &["sleeping"]).await;
        app.wait_until("its server is gone", Duration::from_secs(60), async || {
            owner.get(&format!("{at}/health")).await.body["health"] == "absent"
        })
        .await;
        app.settle().await;
    };
    put_to_sleep(0).await;
    let before = of_all(app.pid());
    for n in 1..=ASLEEP {
        put_to_sleep(n).await;
    }
    let more = (of_all(app.pid()) - before).max(0.0) / ASLEEP as f64;
    Figure::limit("memory of a sleeping project, server and processes", more, "MiB", 1.0)
}

/// Resident memory that is not of files, of a process and all below it, in MiB.
fn of_all(root: u32) -> f64 {
    let mut parents: HashMap<u32, (u32, f64)> = HashMap::new();
    for entry in std::fs::read_dir("/proc").expect("Linux has it").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        parents.insert(pid, (parent.unwrap_or(0), mebibytes(&status, "RssAnon:").unwrap_or(0.0)));
    }
    let is_below = |mut pid: u32| {
        while pid != root {
            match parents.get(&pid) {
                Some((parent, _)) if *parent != 0 => pid = *parent,
                _ => return false,
            }
        }
        true
    };
    parents.iter().filter(|(pid, _)| is_below(**pid)).map(|(_, (_, mib))| mib).sum()
}
