//! No runner is waited for without end: what it has not answered in time has failed, by the platform's own fault.
//!
//! Each call is a task of its own, so that one that blocks or hangs takes nothing with it. One that is given up is
//! dropped, which is how runners hear that nobody waits any more; should it do its work after all, a later try finds
//! it by its id.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::build::{FailureCode, Phase};
use domain::ids::DeploymentId;
use domain::ports::logs::Output;
use domain::ports::runner::{
    BuildFailure, BuildPlan, BuildWatch, Built, Health, Runner, RunnerError, StartFailure, StartPlan, Started,
};
use domain::values::Resources;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::failures::{cancelled, failure};

/// How much longer than its own bounds a runner may take for each thing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Beyond the time limit of a build: for its place, and for keeping what was built.
    pub build: Duration,
    /// From being told that a build is not wanted to nothing being left of it.
    pub cancel: Duration,
    /// Beyond the deadline of a start: for fetching and unpacking.
    pub start: Duration,
    /// Beyond the grace of a stop.
    pub stop: Duration,
    /// For the answer whether a server is well.
    pub health: Duration,
    /// For removing what an earlier life has left.
    pub sweep: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            build: Duration::from_secs(300),
            cancel: Duration::from_secs(60),
            start: Duration::from_secs(300),
            stop: Duration::from_secs(60),
            health: Duration::from_secs(60),
            sweep: Duration::from_secs(600),
        }
    }
}

/// A runner that answers in time, one way or the other.
pub struct Bounded {
    runner: Arc<dyn Runner>,
    patience: Patience,
}

impl Bounded {
    /// Bounds this one.
    pub fn new(runner: Arc<dyn Runner>, patience: Patience) -> Self {
        Self { runner, patience }
    }
}

#[async_trait]
impl Runner for Bounded {
    fn name(&self) -> &'static str {
        self.runner.name()
    }

    fn outlives_platform(&self) -> bool {
        self.runner.outlives_platform()
    }

    fn shares_loopback(&self) -> bool {
        self.runner.shares_loopback()
    }

    fn keeps_servers_apart(&self) -> bool {
        self.runner.keeps_servers_apart()
    }

    async fn build(&self, plan: BuildPlan, watch: BuildWatch) -> Result<Built, BuildFailure> {
        let (mut cancel, phase) = (watch.cancel.clone(), watch.phase.clone());
        let seconds = plan.limits.or(Resources::BUILD).timeout_seconds.unwrap_or_default();
        let whole = Duration::from_secs(seconds.into()) + self.patience.build;
        let unwanted = async {
            cancelled(&mut cancel).await;
            sleep(self.patience.cancel).await;
        };
        let runner = self.runner.clone();
        let building = async move { runner.build(plan, watch).await };
        let answer = tokio::select! {
            answer = within(whole, building) => answer,
            () = unwanted => Err(late("end a build", self.patience.cancel)),
        };
        answer.unwrap_or_else(|why| {
            let phase = phase.borrow().unwrap_or(Phase::Cloning);
            Err(failure(FailureCode::PlatformError, phase, why))
        })
    }

    async fn start(&self, plan: StartPlan, output: Arc<dyn Output>) -> Result<Started, StartFailure> {
        let bound = plan.start_deadline + self.patience.start;
        let runner = self.runner.clone();
        let answer = within(bound, async move { runner.start(plan, output).await }).await;
        answer.unwrap_or_else(|message| {
            let code = FailureCode::PlatformError;
            Err(StartFailure { code, message, exit_code: None, retry: true })
        })
    }

    async fn stop(&self, deployment: DeploymentId, grace: Duration) -> Result<(), RunnerError> {
        let runner = self.runner.clone();
        let stopping = async move { runner.stop(deployment, grace).await };
        within(grace + self.patience.stop, stopping).await.unwrap_or_else(|why| Err(RunnerError(why)))
    }

    async fn health(&self, deployment: DeploymentId) -> Health {
        let runner = self.runner.clone();
        let asking = async move { runner.health(deployment).await };
        within(self.patience.health, asking).await.unwrap_or_else(Health::Unhealthy)
    }

    async fn resume(&self, plan: StartPlan, output: Arc<dyn Output>) -> Option<Started> {
        let (id, bound) = (plan.deployment_id, plan.start_deadline + self.patience.start);
        let runner = self.runner.clone();
        within(bound, async move { runner.resume(plan, output).await }).await.unwrap_or_else(|error| {
            tracing::warn!(deployment.id = %id, error, "deployment {id} was not taken up again: {error}");
            None
        })
    }

    async fn sweep(&self, keep: &[DeploymentId]) -> Result<(), RunnerError> {
        let (runner, keep) = (self.runner.clone(), keep.to_vec());
        let sweeping = async move { runner.sweep(&keep).await };
        within(self.patience.sweep, sweeping).await.unwrap_or_else(|why| Err(RunnerError(why)))
    }
}

/// The answer, if there is one in time; else why there is none.
async fn within<T: Send + 'static>(
    bound: Duration,
    call: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    match timeout(bound, AbortOnDropHandle::new(tokio::spawn(call))).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(panic)) => Err(format!("the runner failed: {panic}")),
        Err(_elapsed) => Err(late("answer", bound)),
    }
}

fn late(what: &str, bound: Duration) -> String {
    format!("the runner hangs: it did not {what} within {} s", bound.as_secs_f32().ceil())
}

#[cfg(test)]
mod tests;
