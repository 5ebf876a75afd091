//! Where builds and servers run.

pub mod app;
pub mod bounded;
mod code;
mod directories;
mod disk;
pub mod docker;
pub mod egress;
mod ended;
mod environment;
mod failures;
mod health;
pub mod local;
mod tail;
mod unzip;

use std::io;

use tokio::task::spawn_blocking;

/// Runs it where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
