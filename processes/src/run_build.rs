//! `build.requested` → a runner builds it → `build.succeeded`, `build.failed` or `build.cancelled`; or
//! `build.requeued`, when it was the platform's fault and there are tries left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use commands::Context;
use domain::build::{Build, BuildCommand, BuildEvent, FailureCode, Peak, Phase, Source};
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use domain::ports::git::{GitError, Repository};
use domain::ports::logs::{LogOrigin, LogSource, Output, say};
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch, Built, Code};
use domain::project::{EnvVar, EnvironmentType, Project, ProjectSettings};
use domain::values::{BranchName, CommandLine, CommitSha, Resources};
use projections::queue::{self, Limits};
use projections::work::Claimed;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::repository::{self, Closed};
use crate::secrets;
use crate::worker::LEASE;
use crate::{Due, Job, JobError, Needless, Process, Work, World};

/// A running build asks whether somebody wants it to end whenever something was appended, but not more often than
/// this; and now and then in case that it was not told.
const CANCEL_PAUSE: Duration = Duration::from_millis(50);
const CANCEL_POLL: Duration = Duration::from_secs(1);

/// How often the platform tries what fails by its own fault, and the pause after the first try; each next one is four
/// times as long.
const TRIES: i32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Runs builds.
pub(crate) struct RunBuild {
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    build_id: BuildId,
    team_id: TeamId,
    project_id: ProjectId,
    environment_id: EnvironmentId,
    branch: BranchName,
    /// What goes first within a team: 0 production, 1 staging, 2 previews. Read by the queue.
    #[serde(default)]
    rank: i32,
}

#[async_trait]
impl Process for RunBuild {
    fn name(&self) -> &'static str {
        "run_build"
    }

    fn concurrency(&self) -> usize {
        self.limits.total.try_into().unwrap_or(usize::MAX)
    }

    fn on(&self, _recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Build(
            build_id,
            BuildEvent::BuildRequested {
                team_id, project_id, environment_id, environment_type, branch, ..
            },
        ) = fact
        else {
            return None;
        };
        let payload = Payload {
            build_id: *build_id,
            team_id: *team_id,
            project_id: *project_id,
            environment_id: *environment_id,
            branch: branch.clone(),
            rank: match environment_type {
                Some(EnvironmentType::Production) | None => 0,
                Some(EnvironmentType::Staging) => 1,
                Some(EnvironmentType::Preview) => 2,
            },
        };
        Some(Job {
            key: build_id.to_string(),
            lane: format!("build:{environment_id}"),
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    /// A build that ends while it waits leaves the queue; the newer one that made it needless gets its place.
    fn needless(&self, fact: &Fact) -> Option<Needless> {
        let Fact::Build(id, event) = fact else { return None };
        let heir = match event {
            BuildEvent::BuildSuperseded { by } => Some(by.to_string()),
            BuildEvent::BuildCancelled {} | BuildEvent::BuildFailed { .. } => None,
            _ => return None,
        };
        Some(Needless { key: id.to_string(), heir })
    }

    async fn claim(&self, world: &World, worker: &str) -> sqlx::Result<Option<Claimed>> {
        queue::claim(&world.pool, self.limits, worker, LEASE).await
    }

    fn tries(&self) -> i32 {
        TRIES
    }

    fn pause(&self, attempts: i32) -> Duration {
        FIRST_PAUSE * 4_u32.pow(attempts.clamp(1, TRIES).unsigned_abs() - 1)
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let payload: Payload = work.payload()?;
        let fence = work.claimed.fence;
        let runner = world.runner.name().to_owned();
        let report = Report::new(world, work, &payload);
        if !world.is_open(payload.team_id).await? {
            // One that nobody has begun is over with that, and cannot be begun.
            report.say(BuildCommand::CancelBuild).await?;
        }
        report.say(BuildCommand::StartBuild { fence, runner }).await?;
        let ended = attempt(&payload, work, world, &report).await;
        let peak = report.peak.borrow().known();
        match ended {
            Err(Ended::Undone(failure)) if work.claimed.attempts < TRIES || work.lost.is_cancelled() => {
                let why = failure.message.clone();
                report.say(BuildCommand::RequeueBuild { fence, failure }).await?;
                Err(JobError::Retry(why))
            }
            Ok(built) => {
                let Built { artifact, node_version, warnings, env_refs } = built;
                let good =
                    BuildCommand::SucceedBuild { fence, artifact, node_version, warnings, env_refs, peak };
                report.say(good).await
            }
            Err(Ended::Failed(failure) | Ended::Undone(failure)) => {
                report.say(BuildCommand::FailBuild { fence, failure, peak }).await
            }
            Err(Ended::Cancelled) => report.say(BuildCommand::ConfirmBuildCancelled { fence }).await,
            Err(Ended::Lost(error)) => Err(error),
        }
    }

    async fn give_up(&self, work: &Work, world: &World, why: &str) -> Result<(), JobError> {
        let payload: Payload = work.payload()?;
        let fence = work.claimed.fence;
        let runner = world.runner.name().to_owned();
        let report = Report::new(world, work, &payload);
        report.say(BuildCommand::StartBuild { fence, runner }).await?;
        let code = match work.claimed.is_taken_over {
            true => FailureCode::WorkerLost,
            false => FailureCode::PlatformError,
        };
        let failure = failure(code, &format!("the platform could not run this build: {why}"));
        report.say(BuildCommand::FailBuild { fence, failure, peak: None }).await
    }
}

/// How a try ended without a result.
enum Ended {
    Failed(BuildFailure),
    Cancelled,
    /// Not the build's fault: it is tried again.
    Undone(BuildFailure),
    /// Another worker has it, or nobody wants it any more.
    Lost(JobError),
}

impl<E: Into<JobError>> From<E> for Ended {
    fn from(error: E) -> Self {
        match error.into() {
            JobError::Retry(why) | JobError::Later(why, _) => {
                Self::Undone(failure(FailureCode::PlatformError, &why))
            }
            error => Self::Lost(error),
        }
    }
}

/// Sends reports of one build.
struct Report<'a> {
    world: &'a World,
    work: &'a Work,
    id: BuildId,
    team: TeamId,
    /// What it used at most, told by the runner.
    peak: watch::Sender<Peak>,
}

impl<'a> Report<'a> {
    fn new(world: &'a World, work: &'a Work, payload: &Payload) -> Self {
        Self { world, work, id: payload.build_id, team: payload.team_id, peak: watch::Sender::default() }
    }

    fn context(&self) -> Context {
        self.world.context(self.work, Some(self.team))
    }

    async fn say(&self, command: BuildCommand) -> Result<(), JobError> {
        self.world.commands.build(self.id, command, &self.context()).await?;
        Ok(())
    }

    /// Tells each phase as it begins, until the runner is done.
    async fn phases(&self, mut phase: watch::Receiver<Option<Phase>>) {
        while phase.changed().await.is_ok() {
            let now = *phase.borrow_and_update();
            if let Some(phase) = now
                && let Err(error) =
                    self.say(BuildCommand::EnterBuildPhase { fence: self.work.claimed.fence, phase }).await
            {
                tracing::debug!(build.id = %self.id, %error, "a phase was not told");
            }
        }
    }

    /// Returns when somebody wants the build to end.
    async fn cancelled(&self) {
        let mut appended = self.world.feed.appended();
        loop {
            appended.mark_unchanged();
            match self.world.commands.load::<Build>(self.id).await {
                Ok(build) if build.aggregate.is_cancel_requested() || build.aggregate.is_finished() => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(build.id = %self.id, %error, "the build could not be read"),
            }
            tokio::time::sleep(CANCEL_PAUSE).await;
            let _told_or_not = tokio::time::timeout(CANCEL_POLL, appended.changed()).await;
        }
    }
}

async fn attempt(payload: &Payload, work: &Work, world: &World, report: &Report<'_>) -> Result<Built, Ended> {
    let (plan, output) = tokio::select! {
        prepared = prepare(payload, work, world, report) => prepared?,
        () = report.cancelled() => return Err(Ended::Cancelled),
        () = work.lost.cancelled() => return Err(stopped()),
    };
    run(plan, output, work, world, report).await
}

/// What the runner needs: settings, variables, and the code.
async fn prepare(
    payload: &Payload,
    work: &Work,
    world: &World,
    report: &Report<'_>,
) -> Result<(BuildPlan, Arc<dyn Output>), Ended> {
    let source = LogSource::Build(payload.build_id);
    let origin = LogOrigin { source, project: payload.project_id, team: payload.team_id };
    let project = world.commands.load::<Project>(payload.project_id).await?.aggregate;
    let Some((_, settings)) = project.living() else {
        return Err(Ended::Failed(failure(FailureCode::RepositoryUnavailable, "the project was deleted")));
    };
    world.caught_up(work).await?;
    let vars: Vec<_> =
        project.env_vars_in(payload.environment_id).into_iter().filter(EnvVar::is_at_build_time).collect();
    let vars = secrets::open(world, payload.project_id, &vars).await?;
    let output = world.logs.open(origin, secrets::masked(&vars)).await?;
    let build = world.commands.load::<Build>(payload.build_id).await?.aggregate;
    let code = code(&build, settings, payload, world, report, &*output).await?;
    // They are for what comes from the repository.
    let own = |command: &Option<CommandLine>| command.clone().filter(|_| build.source().is_repository());
    let plan = BuildPlan {
        build_id: payload.build_id,
        project_id: payload.project_id,
        environment_id: payload.environment_id,
        team_id: payload.team_id,
        cause: work.cause(),
        code,
        project_root: settings.project_root.clone(),
        mastra_directory: settings.mastra_directory.clone(),
        install_command: own(&settings.install_command),
        build_command: own(&settings.build_command),
        env: secrets::env(vars),
        limits: settings.resources.builder.unwrap_or_default().or(Resources::BUILD),
    };
    Ok((plan, output))
}

/// What is to be built: what was uploaded, or a commit, which is then known.
async fn code(
    build: &Build,
    settings: &ProjectSettings,
    payload: &Payload,
    world: &World,
    report: &Report<'_>,
    output: &dyn Output,
) -> Result<Code, Ended> {
    if let Source::Upload(archive) = build.source() {
        return Ok(Code::Upload(archive.clone()));
    }
    let found = match repository::open(world, (payload.project_id, payload.team_id), settings).await {
        Ok(repository) => {
            resolve(build.commit(), payload, world, &repository).await.map(|commit| (repository, commit))
        }
        Err(Closed::Git(error)) => Err(error),
        Err(Closed::Job(error)) => return Err(error.into()),
    };
    let (repository, commit) = match found {
        Ok(found) => found,
        Err(error) => {
            let failure = git_failure(&error);
            say(output, &failure.message);
            output.flush().await;
            return Err(ended(failure));
        }
    };
    let fence = report.work.claimed.fence;
    report.say(BuildCommand::ResolveBuildCommit { fence, commit: commit.clone() }).await?;
    Ok(Code::Commit { repository, commit })
}

/// Lets the runner build, tells what it does, and ends it when it is not wanted any more.
async fn run(
    plan: BuildPlan,
    output: Arc<dyn Output>,
    work: &Work,
    world: &World,
    report: &Report<'_>,
) -> Result<Built, Ended> {
    let (phase, phases) = watch::channel(None);
    let (cancel, cancelled) = watch::channel(false);
    let watch = BuildWatch { output: output.clone(), phase, peak: report.peak.clone(), cancel: cancelled };
    let building = world.runner.build(plan, watch);
    tokio::pin!(building);
    let telling = report.phases(phases);
    tokio::pin!(telling);
    let mut telling_done = false;
    let mut unwanted = false;
    let result = loop {
        tokio::select! {
            result = &mut building => break result,
            () = &mut telling, if !telling_done => telling_done = true,
            () = report.cancelled(), if !unwanted => {
                unwanted = true;
                cancel.send_replace(true);
            }
            () = work.lost.cancelled(), if !*cancel.borrow() => {
                cancel.send_replace(true);
            }
        }
    };
    if let Err(failure) = &result {
        let line = if unwanted { "Cancelled." } else { failure.message.as_str() };
        say(&*output, line);
    }
    output.flush().await;
    match result {
        _ if unwanted => Err(Ended::Cancelled),
        Ok(built) => Ok(built),
        Err(_) if work.lost.is_cancelled() => Err(stopped()),
        Err(failure) => Err(ended(failure)),
    }
}

/// Whose fault it was.
fn ended(failure: BuildFailure) -> Ended {
    if failure.code.is_the_platforms_fault() { Ended::Undone(failure) } else { Ended::Failed(failure) }
}

fn stopped() -> Ended {
    Ended::Undone(failure(FailureCode::PlatformError, "the worker was stopped"))
}

async fn resolve(
    known: Option<&CommitSha>,
    payload: &Payload,
    world: &World,
    repository: &Repository,
) -> Result<CommitSha, GitError> {
    match known {
        Some(commit) => Ok(commit.clone()),
        None => world.git.resolve(repository, &payload.branch).await,
    }
}

fn git_failure(error: &GitError) -> BuildFailure {
    let code = match error {
        GitError::Unreachable(_) => FailureCode::RepositoryUnreachable,
        GitError::NoSpace => FailureCode::DiskFull,
        GitError::NoBranch(_) | GitError::NoCommit(_) => FailureCode::RevisionNotFound,
        GitError::NoAccess(_) | GitError::NotAllowed(_) | GitError::OverLimit(_) => {
            FailureCode::RepositoryUnavailable
        }
    };
    failure(code, &error.to_string())
}

fn failure(code: FailureCode, message: &str) -> BuildFailure {
    BuildFailure { code, phase: Phase::Cloning, message: message.to_owned(), exit_code: None }
}
