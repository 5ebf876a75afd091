//! Takes rows of work, does them, keeps their leases.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::runner::Cause;
use projections::work::{self, Claimed};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{JobError, Process, World};

/// How long a worker may be silent before another takes its work.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// How often a worker says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long to wait for a call before looking by oneself.
const POLL: Duration = Duration::from_millis(500);

/// A piece of work in hand.
pub struct Work {
    /// Its row.
    pub claimed: Claimed,
    /// Cancelled when another worker has taken it over, or the server shuts down.
    pub lost: CancellationToken,
}

impl Work {
    /// What `on` has put into it.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        serde_json::from_value(self.claimed.payload.clone())
            .map_err(|error| JobError::Lost(format!("the work does not read: {error}")))
    }

    /// What asked for what a runner is to do.
    pub(crate) fn cause(&self) -> Cause {
        Cause { event: self.claimed.cause_event, fence: self.claimed.fence }
    }
}

/// The workers of this server process.
pub struct Workers {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Workers {
    /// Starts the workers of all processes.
    pub fn start(processes: Vec<Arc<dyn Process>>, world: World, name: String) -> Self {
        let workers = Self { tasks: TaskTracker::new(), stop: CancellationToken::new() };
        for process in processes {
            let (world, name, stop) = (world.clone(), name.clone(), workers.stop.clone());
            let tasks = workers.tasks.clone();
            workers.tasks.spawn(take_work(process, world, name, tasks, stop));
        }
        workers
    }

    /// Takes no more work, and waits until what is in hand has ended or given its lease back.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn take_work(
    process: Arc<dyn Process>,
    world: World,
    worker: String,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(process.concurrency()));
    let mut moved = world.feed.moved(process.name());
    let freed = Arc::new(tokio::sync::Notify::new());
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => return,
            slot = slots.clone().acquire_owned() => slot.expect("nobody closes it"),
        };
        moved.mark_unchanged();
        match process.claim(&world, &worker).await {
            Ok(Some(claimed)) => {
                let (process, world, stop) = (process.clone(), world.clone(), stop.clone());
                let freed = freed.clone();
                tasks.spawn(async move {
                    do_work(process, world, claimed, &stop).await;
                    drop(slot);
                    freed.notify_one();
                });
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(process.name = process.name(), %error, "no work could be taken");
            }
        }
        drop(slot);
        tokio::select! {
            () = stop.cancelled() => return,
            _ = moved.changed() => {}
            () = freed.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

async fn do_work(process: Arc<dyn Process>, world: World, claimed: Claimed, stop: &CancellationToken) {
    let work = Work { claimed, lost: stop.child_token() };
    let (id, fence, attempts) = (work.claimed.id, work.claimed.fence, work.claimed.attempts);
    let name = process.name();
    // It stops with the work, also when that panics: then the lease runs out and the work is taken over.
    let heart = AbortOnDropHandle::new(tokio::spawn(beat(world.clone(), id, fence, work.lost.clone())));
    let in_vain = (attempts > process.tries())
        .then(|| work.claimed.last_error.clone().unwrap_or_else(|| "the worker was lost".to_owned()));
    let result = match &in_vain {
        Some(why) => process.give_up(&work, &world, why).await,
        None => process.run(&work, &world).await,
    };
    drop(heart);
    let settled = match &result {
        Ok(()) => work::finish(&world.pool, id, fence).await,
        Err(JobError::Lost(why)) => {
            tracing::info!(process.name = name, work.id = %id, why, "work {id} of {name} is not wanted any more");
            work::finish(&world.pool, id, fence).await
        }
        Err(JobError::Never(why)) => {
            tracing::error!(process.name = name, work.id = %id, why, "work {id} of {name} is given up: {why}");
            work::give_up(&world.pool, id, fence, why).await
        }
        // Its end is no fault of the work: it does not count as a try.
        Err(JobError::Retry(_) | JobError::Later(..)) if stop.is_cancelled() => {
            work::give_back(&world.pool, id, fence).await
        }
        Err(JobError::Retry(why) | JobError::Later(why, _)) => {
            let asked = if let Err(JobError::Later(_, asked)) = &result { *asked } else { Duration::ZERO };
            // What is said in the end is said soon, as it was known before.
            let (wait, known) = match in_vain {
                Some(known) => (backoff(attempts - process.tries()), known),
                None => (process.pause(attempts).max(asked), why.clone()),
            };
            tracing::warn!(process.name = name, work.id = %id, attempts, why, "work {id} of {name} is tried again");
            work::retry(&world.pool, id, fence, wait, &known).await
        }
    };
    if let Err(error) = settled {
        tracing::warn!(process.name = name, work.id = %id, %error, "work {id} ended but its row was not reached");
    }
}

/// Says that the worker lives; when its lease is another's, tells the work.
async fn beat(world: World, id: domain::ids::WorkId, fence: i64, lost: CancellationToken) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        match work::heartbeat(&world.pool, id, fence, LEASE).await {
            Ok(true) => {}
            Ok(false) => return lost.cancel(),
            Err(error) => tracing::warn!(work.id = %id, %error, "a heartbeat was not heard"),
        }
    }
}

/// 1, 2, 4 … 60 seconds; ten minutes for what is tried on and on.
pub(crate) fn backoff(attempts: i32) -> Duration {
    if attempts > 8 {
        return Duration::from_secs(600);
    }
    Duration::from_secs((1_u64 << attempts.clamp(1, 7) >> 1).min(60))
}
