//! Where the output of builds and servers goes and is read from.
//!
//! Part of the observability port: one implementation a telemetry store.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::ids::{BuildId, DeploymentId, ProjectId, TeamId};
use crate::secret::Secret;

/// Stores and reads lines of output.
#[async_trait]
pub trait Logs: Send + Sync {
    /// Opens the source for writing. Numbering goes on after what is stored already. The values of `mask`
    /// never reach the store, raw or encoded (base64, URL, JSON), also across chunk borders.
    async fn open(&self, origin: LogOrigin, mask: Vec<Secret>) -> Result<Arc<dyn Output>, LogError>;

    /// Lines with `seq > after`, oldest first, at most `limit`.
    async fn read(&self, source: LogSource, after: i64, limit: i64) -> Result<Vec<LogLine>, LogError>;

    /// Follows a source: the value is the highest stored `seq`; a changed value means "read again".
    fn follow(&self, source: LogSource) -> watch::Receiver<i64>;
}

/// Takes raw output. Never blocks the writer for long: what the store cannot take within the bounds is
/// dropped with an explicit line that says how much.
#[async_trait]
pub trait Output: Send + Sync {
    /// Takes bytes as they came; line splitting, masking and time stamps happen behind.
    fn write(&self, stream: LogStream, bytes: &[u8]);

    /// Stores everything written so far. Answers when it is readable.
    async fn flush(&self);
}

/// Says one line on the platform's own behalf.
pub fn say(output: &dyn Output, line: &str) {
    output.write(LogStream::Platform, format!("{line}\n").as_bytes());
}

/// What the lines belong to, and its owner.
#[derive(Clone, Copy, Debug)]
pub struct LogOrigin {
    /// The build or deployment.
    pub source: LogSource,
    /// Its project.
    pub project: ProjectId,
    /// Its team.
    pub team: TeamId,
}

/// A build or a deployment: its lines are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// Output of clone, install, build, packaging.
    Build(BuildId),
    /// Output of the running server.
    Deployment(DeploymentId),
}

/// Which pipe a line came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// The program's standard output.
    Stdout,
    /// The program's standard error.
    Stderr,
    /// Said by the platform itself.
    Platform,
}

/// One stored line. ANSI sequences are kept as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Number in its source, from 1, without holes.
    pub seq: i64,
    /// When the platform read it.
    pub at: DateTime<Utc>,
    /// Which pipe it came through.
    pub stream: LogStream,
    /// The text without its newline; U+0000 replaced by U+FFFD.
    pub text: String,
}

/// The store could not be reached or failed.
#[derive(Debug, Error)]
#[error("the log store failed")]
pub struct LogError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
