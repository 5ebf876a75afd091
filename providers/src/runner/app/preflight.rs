//! What Mastra noted about the code while it bundled it.

use std::path::Path;

use serde::Deserialize;

use super::manifest;
use super::plain::plain;

/// Where Mastra writes it: in the output, or beside it.
pub(crate) const NOTES: &str = "preflight-metadata.json";

/// More names and warnings than this are not shown.
const MAX_ITEMS: usize = 200;
const MAX_WARNINGS: usize = 20;

/// What is worth telling the owner.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Preflight {
    /// Environment variables that the code reads.
    pub(super) env_refs: Vec<String>,
    /// Paths that will not do on a server.
    pub(super) warnings: Vec<String>,
}

/// `preflight-metadata.json`, as far as it is understood.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    local_paths: Vec<LocalPath>,
    #[serde(default)]
    user_env_refs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LocalPath {
    value: String,
    #[serde(default)]
    guarded_by: Option<String>,
}

/// Reads the notes in `output`, or beside it. A build without them, or with notes of another kind, has none.
pub(super) fn read(output: &Path) -> Preflight {
    let beside = output.parent().and_then(|mastra| manifest::text(mastra, &mastra.join(NOTES)));
    let Some(text) = manifest::text(output, &output.join(NOTES)).or(beside) else {
        return Preflight::default();
    };
    let Ok(metadata) = serde_json::from_str::<Metadata>(&text) else { return Preflight::default() };
    let names =
        metadata.user_env_refs.into_iter().filter(|name| name.parse::<domain::values::EnvKey>().is_ok());
    let mut env_refs: Vec<String> = names.take(MAX_ITEMS).collect();
    env_refs.sort();
    env_refs.dedup();
    let warnings = metadata.local_paths.iter().take(MAX_WARNINGS).map(warning).collect();
    Preflight { env_refs, warnings }
}

fn warning(path: &LocalPath) -> String {
    let value: String = plain(&path.value).chars().filter(|c| !c.is_control()).take(200).collect();
    let fate = match value.starts_with("file:") {
        true => "is a file in the server's own directory: it is gone with the next deployment",
        false => "is an address of this machine only: the server will not reach what it means",
    };
    match &path.guarded_by {
        Some(name) if name.parse::<domain::values::EnvKey>().is_ok() => {
            format!("Unless `{name}` is set, `{value}` is used, which {fate}.")
        }
        _ => format!("`{value}` {fate}."),
    }
}
