//! The thread that starts every sandbox.
//!
//! A sandbox dies with its parent, and for the kernel the parent is the thread that started it: from a pool
//! thread that retires when idle, it would be killed for no reason. This thread ends only with the runner.

use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

type Task = Box<dyn FnOnce() + Send>;

/// Runs what must be run on the one long-lived thread.
#[derive(Debug)]
pub(super) struct Spawner(mpsc::Sender<Task>);

impl Spawner {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (tasks, waiting) = mpsc::channel::<Task>();
        thread::Builder::new().name("sandbox-spawner".to_owned()).spawn(move || {
            for task in waiting {
                task();
            }
        })?;
        Ok(Self(tasks))
    }

    /// Runs it there. `None` when it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let task = move || {
            let _nobody_waits = answer.send(task());
        };
        self.0.send(Box::new(task)).ok()?;
        answered.await.ok()
    }
}
