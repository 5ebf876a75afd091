//! `build.requested` → a runner builds it → `build.succeeded`, `build.failed` or `build.cancelled`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use commands::Context;
use domain::build::{Build, BuildCommand, BuildEvent, FailureCode, Phase};
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use domain::ports::git::{GitError, Repository};
use domain::ports::logs::{LogOrigin, LogSource, Output, say};
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch, Built};
use domain::project::Project;
use domain::values::{BranchName, CommitSha, Resources};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::secrets;
use crate::{Job, JobError, Process, Work, World};

/// How often a running build asks whether somebody wants it to end.
const CANCEL_POLL: Duration = Duration::from_millis(300);

/// Runs builds.
pub(crate) struct RunBuild;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    build_id: BuildId,
    team_id: TeamId,
    project_id: ProjectId,
    environment_id: EnvironmentId,
    branch: BranchName,
    commit: Option<CommitSha>,
}

#[async_trait]
impl Process for RunBuild {
    fn name(&self) -> &'static str {
        "run_build"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, _recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Build(
            build_id,
            BuildEvent::BuildRequested { team_id, project_id, environment_id, branch, commit, .. },
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
            commit: commit.clone(),
        };
        Some(Job {
            key: build_id.to_string(),
            lane: format!("build:{environment_id}"),
            payload: serde_json::to_value(payload).expect("it serialises"),
            delay: Duration::ZERO,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let payload: Payload = work.payload()?;
        let fence = work.claimed.fence;
        let runner = world.runner.name().to_owned();
        let report = Report { world, work, id: payload.build_id, team: payload.team_id };
        report.say(BuildCommand::StartBuild { fence, runner }).await?;
        match attempt(&payload, work, world, &report).await {
            Ok(built) => {
                let Built { artifact, node_version, warnings, env_refs } = built;
                report
                    .say(BuildCommand::SucceedBuild { fence, artifact, node_version, warnings, env_refs })
                    .await
            }
            Err(Ended::Failed(failure)) => report.say(BuildCommand::FailBuild { fence, failure }).await,
            Err(Ended::Cancelled) => report.say(BuildCommand::ConfirmBuildCancelled { fence }).await,
            Err(Ended::Undone(error)) => Err(error),
        }
    }

    async fn give_up(&self, work: &Work, world: &World, why: &str) -> Result<(), JobError> {
        let payload: Payload = work.payload()?;
        let fence = work.claimed.fence;
        let runner = world.runner.name().to_owned();
        let report = Report { world, work, id: payload.build_id, team: payload.team_id };
        report.say(BuildCommand::StartBuild { fence, runner }).await?;
        let message = format!("the platform could not run this build: {why}");
        let failure = BuildFailure {
            code: FailureCode::PlatformError,
            phase: Phase::Cloning,
            message,
            exit_code: None,
        };
        report.say(BuildCommand::FailBuild { fence, failure }).await
    }
}

/// How a try ended without a result.
enum Ended {
    Failed(BuildFailure),
    Cancelled,
    /// Not the build's fault: it is tried again, or another worker has it.
    Undone(JobError),
}

impl<E: Into<JobError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Undone(error.into())
    }
}

/// Sends reports of one build.
struct Report<'a> {
    world: &'a World,
    work: &'a Work,
    id: BuildId,
    team: TeamId,
}

impl Report<'_> {
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
        loop {
            match self.world.commands.load::<Build>(self.id).await {
                Ok(build) if build.aggregate.is_cancel_requested() || build.aggregate.is_finished() => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(build.id = %self.id, %error, "the build could not be read"),
            }
            tokio::time::sleep(CANCEL_POLL).await;
        }
    }
}

async fn attempt(payload: &Payload, work: &Work, world: &World, report: &Report<'_>) -> Result<Built, Ended> {
    let source = LogSource::Build(payload.build_id);
    let origin = LogOrigin { source, project: payload.project_id, team: payload.team_id };
    let project = world.commands.load::<Project>(payload.project_id).await?.aggregate;
    let Some((_, settings)) = project.living() else {
        return Err(Ended::Failed(failure(FailureCode::RepositoryUnavailable, "the project was deleted")));
    };
    world.caught_up(work).await?;
    let vars: Vec<_> = project
        .env_vars_in(payload.environment_id)
        .into_iter()
        .filter(|var| var.availability.at_build_time())
        .collect();
    let vars = secrets::open(world, payload.project_id, &vars).await?;
    let output = world.logs.open(origin, secrets::masked(&vars)).await?;
    let repository = Repository { url: settings.repo_url.clone(), token: None };
    let commit = match resolve(payload, world, &repository).await {
        Ok(commit) => commit,
        Err(error) => {
            let failure = git_failure(error)?;
            say(&*output, &failure.message);
            output.flush().await;
            return Err(Ended::Failed(failure));
        }
    };
    let fence = work.claimed.fence;
    report.say(BuildCommand::ResolveBuildCommit { fence, commit: commit.clone() }).await?;
    let plan = BuildPlan {
        build_id: payload.build_id,
        project_id: payload.project_id,
        team_id: payload.team_id,
        repository,
        commit,
        project_root: settings.project_root.clone(),
        mastra_directory: settings.mastra_directory.clone(),
        install_command: settings.install_command.clone(),
        build_command: settings.build_command.clone(),
        env: secrets::env(vars),
        limits: settings.resources.builder.unwrap_or_default().or(Resources::BUILD),
    };
    run(plan, output, work, world, report).await
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
    let building = world.runner.build(plan, BuildWatch { output: output.clone(), phase, cancel: cancelled });
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
        _ if work.lost.is_cancelled() => Err(JobError::Retry("the worker was stopped".to_owned()).into()),
        Ok(built) => Ok(built),
        Err(failure) if failure.code == FailureCode::PlatformError => {
            Err(JobError::Retry(failure.message).into())
        }
        Err(failure) => Err(Ended::Failed(failure)),
    }
}

async fn resolve(payload: &Payload, world: &World, repository: &Repository) -> Result<CommitSha, GitError> {
    match &payload.commit {
        Some(commit) => Ok(commit.clone()),
        None => world.git.resolve(repository, &payload.branch).await,
    }
}

fn git_failure(error: GitError) -> Result<BuildFailure, JobError> {
    let code = match error {
        GitError::Unreachable(why) => return Err(JobError::Retry(why)),
        GitError::NoBranch(_) | GitError::NoCommit(_) => FailureCode::RevisionNotFound,
        GitError::NoAccess(_) | GitError::NotAllowed(_) | GitError::OverLimit(_) => {
            FailureCode::RepositoryUnavailable
        }
    };
    Ok(failure(code, &error.to_string()))
}

fn failure(code: FailureCode, message: &str) -> BuildFailure {
    BuildFailure { code, phase: Phase::Cloning, message: message.to_owned(), exit_code: None }
}
