//! What a program's output is written into: masks and splits it, each stream by itself.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ports::logs::{LogStream, Output};
use tokio::time::sleep;

use super::super::lines::Splitter;
use super::super::mask::{Masker, Secrets};
use super::source::{Line, Source};
use super::{Shared, lock};

/// After such a silence lines are shown that were held back because they began like a secret.
const IDLE: Duration = Duration::from_millis(50);

/// One opening of a source.
pub(super) struct Pipes {
    shared: Arc<Shared>,
    source: Arc<Source>,
    state: Mutex<State>,
    me: Weak<Self>,
}

struct State {
    /// One a stream, in the order of `LogStream`.
    pipes: [Pipe; 3],
    written: Instant,
    /// Whether a task waits for silence.
    waiting: bool,
}

struct Pipe {
    stream: LogStream,
    masker: Masker,
    lines: Splitter,
}

impl Pipes {
    pub(super) fn open(shared: Arc<Shared>, source: Arc<Source>, secrets: Arc<Secrets>) -> Arc<Self> {
        let pipes = [LogStream::Stdout, LogStream::Stderr, LogStream::Platform].map(|stream| Pipe {
            stream,
            masker: Masker::new(secrets.clone()),
            lines: Splitter::default(),
        });
        let state = Mutex::new(State { pipes, written: Instant::now(), waiting: false });
        Arc::new_cyclic(|me| Self { shared, source, state, me: me.clone() })
    }

    /// Everything that is held back goes into the queue, and what is known of dropped lines. Answers how many
    /// items will be stored then.
    fn finish(&self) -> u64 {
        let now = Utc::now();
        for pipe in &mut lock(&self.state).pipes {
            let mut out = Vec::new();
            pipe.masker.release(&mut out);
            let mut take = |text| self.offer(now, pipe.stream, text);
            pipe.lines.push(&out, &mut take);
            pipe.lines.finish(&mut take);
        }
        let items = self.source.settle();
        self.shared.schedule(&self.source);
        items
    }

    fn offer(&self, at: DateTime<Utc>, stream: LogStream, text: String) {
        if let Some(pause) = self.source.offer(Line { at, stream, text }) {
            let (shared, source) = (Arc::downgrade(&self.shared), self.source.clone());
            self.shared.runtime.spawn(async move {
                sleep(pause).await;
                if let Some(shared) = shared.upgrade() {
                    source.renew();
                    shared.schedule(&source);
                }
            });
        }
    }

    /// Shows lines that are held back, once nothing came for a while.
    async fn wait_for_silence(pipes: Weak<Self>) {
        let mut rest = IDLE;
        while !rest.is_zero() {
            sleep(rest).await;
            let Some(pipes) = pipes.upgrade() else { return };
            rest = pipes.release_if_silent();
        }
    }

    /// Answers how much of the silence is missing.
    fn release_if_silent(&self) -> Duration {
        let mut state = lock(&self.state);
        let rest = IDLE.saturating_sub(state.written.elapsed());
        if rest.is_zero() {
            state.waiting = false;
            for pipe in &mut state.pipes {
                let mut out = Vec::new();
                pipe.masker.release_lines(&mut out);
                pipe.lines.push(&out, &mut |text| self.offer(Utc::now(), pipe.stream, text));
            }
            self.shared.schedule(&self.source);
        }
        rest
    }
}

#[async_trait]
impl Output for Pipes {
    fn write(&self, stream: LogStream, bytes: &[u8]) {
        let mut state = lock(&self.state);
        state.written = Instant::now();
        let pipe = &mut state.pipes[stream as usize];
        let (now, mut out) = (Utc::now(), Vec::new());
        pipe.masker.push(bytes, &mut out);
        pipe.lines.push(&out, &mut |text| self.offer(now, stream, text));
        self.shared.schedule(&self.source);
        if pipe.masker.holds_line() && !state.waiting {
            state.waiting = true;
            self.shared.runtime.spawn(Self::wait_for_silence(self.me.clone()));
        }
    }

    async fn flush(&self) {
        let items = self.finish();
        self.source.wait_for(items).await;
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.finish();
        self.source.leave();
        self.shared.retire_if_done(&self.source);
    }
}
