//! Moves what a command writes to its log, and remembers the end of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use domain::ports::logs::{LogStream, Output};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::task::JoinHandle;

/// How much of the end is remembered, for the message of a failure.
const TAIL: usize = 32 << 10;

/// Copies both pipes until they are closed.
pub(super) struct Pump {
    tail: Arc<Mutex<VecDeque<u8>>>,
    copies: [JoinHandle<()>; 2],
}

impl Pump {
    /// Starts copying.
    pub(super) fn start((stdout, stderr): (ChildStdout, ChildStderr), output: &Arc<dyn Output>) -> Self {
        let tail = Arc::default();
        let copies = [
            tokio::spawn(copy(stdout, LogStream::Stdout, output.clone(), Arc::clone(&tail))),
            tokio::spawn(copy(stderr, LogStream::Stderr, output.clone(), Arc::clone(&tail))),
        ];
        Self { tail, copies }
    }

    /// Waits until everything is copied, which is soon after the last process has ended; answers the end of it.
    pub(super) async fn finish(self) -> String {
        for copy in self.copies {
            let _ended = copy.await;
        }
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }
}

async fn copy(
    mut pipe: impl AsyncRead + Unpin,
    stream: LogStream,
    output: Arc<dyn Output>,
    tail: Arc<Mutex<VecDeque<u8>>>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        output.write(stream, &buffer[..count]);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..count]);
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }
}
