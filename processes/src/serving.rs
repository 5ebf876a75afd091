//! Starts a deployment's servers and watches over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use commands::{CommandError, Context, deployment_token};
use domain::build::FailureCode;
use domain::deployment::{Deployment, DeploymentCommand, DeploymentError, PROBATION};
use domain::ids::DeploymentId;
use domain::ports::logs::{LogOrigin, LogSource, Output, say};
use domain::ports::runner::{Cause, ExitReport, Serving, StartPlan, Started, TelemetryAccess};
use domain::project::{Project, ProjectSettings};
use domain::values::{EnvKey, Resources};
use projections::deployments::DeploymentRow;

use crate::secrets;
use crate::{JobError, Work, World};

/// Starts the server, reports it active, and from then on reports when it ends by itself.
pub(crate) async fn serve(work: &Work, world: &World, row: &DeploymentRow) -> Result<(), JobError> {
    let id = row.id;
    let context = || world.context(work, Some(row.team_id));
    let fence = work.claimed.fence;
    let before = world.commands.load::<Deployment>(id).await?.aggregate;
    let first_time = !before.has_served();
    if before.is_asleep() {
        // What is left of the server that slept.
        world.runner.stop(id, Duration::ZERO).await?;
    }
    let runner = world.runner.name().to_owned();
    let start = DeploymentCommand::StartDeployment { fence, runner };
    world.commands.deployment(id, start, &context()).await?;

    let project = world.commands.load::<Project>(row.project_id).await?.aggregate;
    let Some((_, settings)) = project.living() else {
        return Err(JobError::Lost("the project was deleted".to_owned()));
    };
    let (plan, output) = plan(world, row, settings, work.cause()).await?;
    let started = tokio::select! {
        started = world.runner.start(plan, output.clone()) => started,
        () = unwanted(world, id) => {
            world.runner.stop(id, Duration::ZERO).await?;
            return Err(JobError::Lost("the deployment was stopped while it started".to_owned()));
        }
        () = work.lost.cancelled() => {
            world.runner.stop(id, Duration::ZERO).await?;
            return Err(JobError::Retry("the worker was stopped".to_owned()));
        }
    };
    match started {
        Ok(started) => {
            let Serving { addresses, lost } = started.serving.borrow().clone();
            // All of its servers have to work before it takes over.
            if let Some(report) = lost.filter(|_| first_time) {
                let failed = ended_before(fence, &report);
                return Ok(world.commands.deployment(id, failed, &context()).await.map(drop)?);
            }
            let active = DeploymentCommand::ActivateDeployment { fence, addresses: addresses.clone() };
            if let Err(error) = world.commands.deployment(id, active, &context()).await {
                world.runner.stop(id, Duration::ZERO).await?;
                return Err(error.into());
            }
            let (world, context) = (world.clone(), context());
            tokio::spawn(Watch { world, context, id, fence, first_time, addresses }.run(started));
            Ok(())
        }
        Err(failure) if failure.retry => Err(JobError::Retry(failure.message)),
        // It has served before: a machine that is busy now is no reason to have no server for ever.
        Err(failure) if !first_time && failure.code == FailureCode::NeverReady => {
            Err(JobError::Retry(failure.message))
        }
        Err(failure) => {
            say(&*output, &failure.message);
            output.flush().await;
            let (code, message, exit_code) = (failure.code, failure.message, failure.exit_code);
            let failed = DeploymentCommand::FailDeployment { fence, code, message, exit_code };
            world.commands.deployment(id, failed, &context()).await?;
            Ok(())
        }
    }
}

fn ended_before(fence: i64, report: &ExitReport) -> DeploymentCommand {
    let message = format!("one of its servers ended before they took over: {}", describe(report));
    let (code, exit_code) = (FailureCode::CrashedAfterStart, report.exit_code);
    DeploymentCommand::FailDeployment { fence, code, message, exit_code }
}

/// Takes up servers that went on while the platform was away, if requests are still sent to them.
pub(crate) async fn resume(world: &World, row: &DeploymentRow) -> Result<bool, JobError> {
    if !world.runner.outlives_platform() {
        return Ok(false);
    }
    let deployment = world.commands.load::<Deployment>(row.id).await?.aggregate;
    let events = projections::log::read_stream(&world.pool, "deployment", &row.id.to_string()).await?;
    let Some(last) = events.last().filter(|_| deployment.is_running()) else { return Ok(false) };
    let project = world.commands.load::<Project>(row.project_id).await?.aggregate;
    let Some((_, settings)) = project.living() else { return Ok(false) };
    let cause = Cause { event: last.event_id, fence: deployment.fence() };
    let (plan, output) = plan(world, row, settings, cause).await?;
    let Some(started) = world.runner.resume(plan, output).await else { return Ok(false) };
    tracing::info!(deployment.id = %row.id, "deployment {} went on without the platform", row.id);
    let correlation = last.metadata.envelope().correlation.clone();
    let request = format!("resume/{}", row.id);
    let context = Context::process(
        "keep_running",
        Some(row.team_id),
        last.event_id,
        correlation,
        request,
        (world.now)(),
    );
    let watch = Watch {
        world: world.clone(),
        context,
        id: row.id,
        fence: deployment.fence(),
        first_time: false, // it has worked before
        addresses: deployment.addresses().to_vec(),
    };
    tokio::spawn(watch.run(started));
    Ok(true)
}

/// What a runner is told of a deployment, and where its output goes.
async fn plan(
    world: &World,
    row: &DeploymentRow,
    settings: &ProjectSettings,
    cause: Cause,
) -> Result<(StartPlan, Arc<dyn Output>), JobError> {
    let mut vars = secrets::open(world, row.project_id, &row.env_vars).await?;
    let output = output(world, row, &vars).await?;
    // What was frozen before its name was forbidden stays away, too.
    let is_at_run_time =
        |key: &EnvKey| row.env_vars.iter().any(|var| &var.key == key && var.is_at_run_time());
    vars.retain(|var| is_at_run_time(&var.key));
    let plan = StartPlan {
        deployment_id: row.id,
        project_id: row.project_id,
        environment_id: row.environment_id,
        team_id: row.team_id,
        cause,
        artifact: row.artifact.clone(),
        node_version: row.node_version.clone(),
        env: secrets::env(vars),
        telemetry: telemetry(world, row.id).await?,
        limits: settings.resources.runner.unwrap_or_default().or(Resources::SERVER),
        replicas: settings.replicas(),
        port: settings.port,
        health: settings.health.clone().unwrap_or_default(),
        start_deadline: world.start_deadline,
    };
    Ok((plan, output))
}

/// Where the server of a deployment sends its telemetry, if it can reach the platform.
async fn telemetry(world: &World, id: DeploymentId) -> Result<Option<TelemetryAccess>, JobError> {
    let Some(url) = world.telemetry_url.clone() else { return Ok(None) };
    let token = deployment_token::of(world.commands.vault(), id).await?;
    Ok(Some(TelemetryAccess { url, token }))
}

/// Where its output goes, without what must never be seen in it. Its token is that also where it is told none any more:
/// one that went on without the platform still has it.
async fn output(
    world: &World,
    row: &DeploymentRow,
    vars: &[secrets::OpenVar],
) -> Result<Arc<dyn Output>, JobError> {
    let mut masked = secrets::masked(vars);
    masked.push(deployment_token::of(world.commands.vault(), row.id).await?);
    let source = LogSource::Deployment(row.id);
    Ok(world.logs.open(LogOrigin { source, project: row.project_id, team: row.team_id }, masked).await?)
}

/// Returns when the deployment is over while it still starts.
async fn unwanted(world: &World, id: DeploymentId) {
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if world.commands.load::<Deployment>(id).await.is_ok_and(|loaded| loaded.aggregate.is_over()) {
            return;
        }
    }
}

/// A deployment that serves, as its worker watches over it.
struct Watch {
    world: World,
    context: Context,
    id: DeploymentId,
    fence: i64,
    first_time: bool,
    /// Where the log says that its servers listen.
    addresses: Vec<SocketAddr>,
}

impl Watch {
    /// Reports which of its servers come and go, and its end, for as long as the log cannot be reached.
    async fn run(mut self, started: Started) {
        let Started { mut serving, mut exited } = started;
        let since = Instant::now();
        loop {
            let now = serving.borrow_and_update().clone();
            if now.addresses != self.addresses && !self.tell(now, since).await {
                return;
            }
            tokio::select! {
                Ok(()) = serving.changed() => {}
                report = &mut exited => {
                    let Ok(report) = report else { return };
                    self.report(self.end(&report, since)).await;
                    return;
                }
            }
        }
    }

    /// Tells where its servers are now. Answers whether it goes on.
    async fn tell(&mut self, now: Serving, since: Instant) -> bool {
        let Serving { addresses, lost } = now;
        let lost = lost.filter(|_| self.addresses.iter().any(|old| !addresses.contains(old)));
        let is_new = self.first_time && since.elapsed() < PROBATION;
        if let Some(report) = lost.as_ref().filter(|_| is_new) {
            // All of its servers have to work, and one does not.
            self.report(self.end(report, since)).await;
            return false;
        }
        let (fence, message) = (self.fence, lost.as_ref().map(describe));
        self.addresses.clone_from(&addresses);
        self.report(DeploymentCommand::ChangeReplicas { fence, addresses, message }).await
    }

    /// What is reported of one that has ended.
    fn end(&self, report: &ExitReport, since: Instant) -> DeploymentCommand {
        let (up, fence, exit_code) = (since.elapsed(), self.fence, report.exit_code);
        let message = describe(report);
        if self.first_time && up < PROBATION {
            let message =
                format!("the server became ready and ended {:.1} s later: {message}", up.as_secs_f32());
            let code = FailureCode::CrashedAfterStart;
            DeploymentCommand::FailDeployment { fence, code, message, exit_code }
        } else {
            DeploymentCommand::ReportCrash { fence, exit_code, message, up_seconds: up.as_secs() }
        }
    }

    /// Answers whether the deployment is still this worker's.
    async fn report(&self, command: DeploymentCommand) -> bool {
        let id = self.id;
        loop {
            let context = Context { at: (self.world.now)(), ..self.context.clone() };
            match self.world.commands.deployment(id, command.clone(), &context).await {
                Ok(_) => return true,
                Err(CommandError::Refused(
                    DeploymentError::AlreadyOver
                    | DeploymentError::StaleFence
                    | DeploymentError::UnknownFence,
                )) => {
                    return false;
                }
                // It fell asleep: what ends then is no news.
                Err(CommandError::Refused(DeploymentError::NotStarted)) if is_change(&command) => {
                    return true;
                }
                Err(error) => {
                    tracing::warn!(deployment.id = %id, %error, "what became of deployment {id} was not recorded yet");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

fn is_change(command: &DeploymentCommand) -> bool {
    matches!(command, DeploymentCommand::ChangeReplicas { .. })
}

fn describe(report: &ExitReport) -> String {
    match (report.out_of_memory, report.exit_code, report.signal) {
        (true, ..) => "it used more memory than its limit and was ended".to_owned(),
        (false, Some(code), _) => format!("it exited with code {code}"),
        (false, None, Some(signal)) => format!("it was ended by signal {signal}"),
        (false, None, None) => "it ended".to_owned(),
    }
}
