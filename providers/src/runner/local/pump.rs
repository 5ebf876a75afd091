//! Moves what a command writes to its log, and remembers the end of it.

use std::sync::Arc;

use domain::ports::logs::{LogStream, Output};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::task::JoinHandle;

use crate::runner::tail::Tail;

/// Copies both pipes until they are closed.
pub(super) struct Pump {
    tail: Tail,
    copies: [JoinHandle<()>; 2],
}

impl Pump {
    /// Starts copying.
    pub(super) fn start((stdout, stderr): (ChildStdout, ChildStderr), output: &Arc<dyn Output>) -> Self {
        let tail = Tail::default();
        let copies = [
            tokio::spawn(copy(stdout, LogStream::Stdout, output.clone(), tail.clone())),
            tokio::spawn(copy(stderr, LogStream::Stderr, output.clone(), tail.clone())),
        ];
        Self { tail, copies }
    }

    /// Waits until everything is copied, which is soon after the last process has ended; answers the end of it.
    pub(super) async fn finish(self) -> String {
        for copy in self.copies {
            let _ended = copy.await;
        }
        self.tail.text()
    }
}

async fn copy(mut pipe: impl AsyncRead + Unpin, stream: LogStream, output: Arc<dyn Output>, tail: Tail) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        output.write(stream, &buffer[..count]);
        tail.push(&buffer[..count]);
    }
}
