//! A runner that hangs fails what was asked of it, and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};

use domain::ids::{BuildId, EnvironmentId, EventId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::ports::logs::LogStream;
use domain::ports::runner::{Cause, Code};
use domain::values::HealthGate;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;

const SOON: Duration = Duration::from_millis(40);

/// Never answers; counts who waits for it. One that blocks keeps its thread as well.
#[derive(Default)]
struct Hanging {
    waiting: Arc<AtomicUsize>,
    blocks: Duration,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hanging {
    async fn hang<T>(&self) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self.waiting.clone());
        std::thread::sleep(self.blocks);
        std::future::pending().await
    }
}

#[async_trait]
impl Runner for Hanging {
    fn name(&self) -> &'static str {
        "hanging"
    }

    async fn build(&self, _: BuildPlan, watch: BuildWatch) -> Result<Built, BuildFailure> {
        watch.phase.send_replace(Some(Phase::Building));
        self.hang().await
    }

    async fn start(&self, _: StartPlan, _: Arc<dyn Output>) -> Result<Started, StartFailure> {
        self.hang().await
    }

    async fn stop(&self, _: DeploymentId, _: Duration) -> Result<(), RunnerError> {
        self.hang().await
    }

    async fn health(&self, _: DeploymentId) -> Health {
        self.hang().await
    }

    async fn resume(&self, _: StartPlan, _: Arc<dyn Output>) -> Option<Started> {
        self.hang().await
    }

    async fn sweep(&self, _: &[DeploymentId]) -> Result<(), RunnerError> {
        self.hang().await
    }
}

struct Silent;

#[async_trait]
impl Output for Silent {
    fn write(&self, _: LogStream, _: &[u8]) {}

    async fn flush(&self) {}
}

fn bounded(runner: Hanging) -> (Bounded, Arc<AtomicUsize>) {
    let waiting = runner.waiting.clone();
    let patience = Patience { build: SOON, cancel: SOON, start: SOON, stop: SOON, health: SOON, sweep: SOON };
    (Bounded::new(Arc::new(runner), patience), waiting)
}

fn cause() -> Cause {
    Cause { event: EventId(Uuid::nil()), fence: 1 }
}

fn build(timeout_seconds: u32) -> (BuildPlan, BuildWatch, watch::Sender<bool>) {
    let plan = BuildPlan {
        build_id: BuildId(Uuid::nil()),
        project_id: ProjectId(Uuid::nil()),
        environment_id: EnvironmentId(Uuid::nil()),
        team_id: TeamId(Uuid::nil()),
        cause: cause(),
        code: Code::Upload(artifact()),
        project_root: ".".parse().unwrap(),
        mastra_directory: "src/mastra".parse().unwrap(),
        install_command: None,
        build_command: None,
        env: vec![],
        limits: Resources { timeout_seconds: Some(timeout_seconds), ..Resources::default() },
    };
    let (cancel, cancelled) = watch::channel(false);
    let watch = BuildWatch {
        output: Arc::new(Silent),
        phase: watch::Sender::default(),
        peak: watch::Sender::default(),
        cancel: cancelled,
    };
    (plan, watch, cancel)
}

fn artifact() -> Artifact {
    Artifact { sha256: "0".repeat(64), bytes: 1 }
}

fn start() -> StartPlan {
    StartPlan {
        deployment_id: DeploymentId(Uuid::nil()),
        project_id: ProjectId(Uuid::nil()),
        environment_id: EnvironmentId(Uuid::nil()),
        team_id: TeamId(Uuid::nil()),
        cause: cause(),
        artifact: artifact(),
        node_version: "22.0.0".to_owned(),
        env: vec![],
        telemetry: None,
        limits: Resources::default(),
        replicas: 1,
        port: None,
        health: HealthGate::default(),
        start_deadline: SOON,
    }
}

#[tokio::test]
async fn what_is_not_answered_in_time_has_failed_by_the_platforms_fault() {
    let (runner, waiting) = bounded(Hanging::default());
    let id = DeploymentId(Uuid::nil());

    let failure = runner.start(start(), Arc::new(Silent)).await.unwrap_err();
    assert!(failure.retry && failure.code == FailureCode::PlatformError);
    assert!(failure.message.contains("the runner hangs"), "{failure}");
    assert!(runner.resume(start(), Arc::new(Silent)).await.is_none());
    assert!(runner.stop(id, SOON).await.unwrap_err().to_string().contains("the runner hangs"));
    assert!(runner.sweep(&[id]).await.unwrap_err().to_string().contains("the runner hangs"));
    let Health::Unhealthy(why) = runner.health(id).await else { panic!("nobody knows that it is well") };
    assert!(why.contains("the runner hangs"), "{why}");

    let (plan, watch, _owner) = build(0);
    let failure = runner.build(plan, watch).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::PlatformError, Phase::Building));
    assert!(
        failure.code.is_the_platforms_fault() && failure.message.contains("the runner hangs"),
        "{failure}"
    );
    while waiting.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await; // those who were given up hear of it
    }
}

#[tokio::test]
async fn a_build_that_nobody_wants_is_waited_for_no_longer_than_a_moment() {
    let (runner, _) = bounded(Hanging::default());
    let (plan, watch, cancel) = build(3600);
    let mut phase = watch.phase.subscribe();
    let cancelling = async {
        phase.wait_for(Option::is_some).await.unwrap();
        cancel.send_replace(true);
    };
    let (failure, ()) = tokio::join!(runner.build(plan, watch), cancelling);
    assert!(failure.unwrap_err().message.contains("it did not end a build"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_blocks_its_thread_is_waited_for_no_longer() {
    let blocks = Duration::from_secs(3);
    let (runner, _) = bounded(Hanging { blocks, ..Hanging::default() });
    let before = std::time::Instant::now();
    assert!(runner.stop(DeploymentId(Uuid::nil()), SOON).await.is_err());
    assert!(before.elapsed() < blocks, "{:?}", before.elapsed());
}
