//! Starts a deployment's server and watches over it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use commands::{CommandError, Context, deployment_token};
use domain::build::FailureCode;
use domain::deployment::{Deployment, DeploymentCommand, DeploymentError, PROBATION};
use domain::ids::DeploymentId;
use domain::ports::logs::{LogOrigin, LogSource, Output, say};
use domain::ports::runner::{ExitReport, StartPlan, Started, TelemetryAccess};
use domain::project::Project;
use domain::values::Resources;
use projections::deployments::DeploymentRow;
use tokio::sync::oneshot;

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
    // What was frozen before its name was forbidden stays away, too.
    let vars: Vec<_> = row.env_vars.iter().filter(|var| var.is_at_run_time()).cloned().collect();
    let vars = secrets::open(world, row.project_id, &vars).await?;
    let telemetry = telemetry(world, id).await?;
    let output = output(world, row, &vars).await?;
    let plan = StartPlan {
        deployment_id: id,
        project_id: row.project_id,
        environment_id: row.environment_id,
        team_id: row.team_id,
        cause: work.cause(),
        artifact: row.artifact.clone(),
        node_version: row.node_version.clone(),
        env: secrets::env(vars),
        telemetry,
        limits: settings.resources.runner.unwrap_or_default().or(Resources::SERVER),
        port: settings.port,
        health: settings.health.clone().unwrap_or_default(),
        start_deadline: world.start_deadline,
    };
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
        Ok(Started { address, exited }) => {
            let active = DeploymentCommand::ActivateDeployment { fence, address };
            if let Err(error) = world.commands.deployment(id, active, &context()).await {
                world.runner.stop(id, Duration::ZERO).await?;
                return Err(error.into());
            }
            tokio::spawn(watch(world.clone(), context(), id, fence, first_time, exited));
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

/// Takes up a server that went on while the platform was away, if it is still where requests are sent.
pub(crate) async fn resume(world: &World, row: &DeploymentRow) -> Result<bool, JobError> {
    if !world.runner.outlives_platform() {
        return Ok(false);
    }
    let deployment = world.commands.load::<Deployment>(row.id).await?.aggregate;
    let events = projections::log::read_stream(&world.pool, "deployment", &row.id.to_string()).await?;
    let Some(cause) = events.last().filter(|_| deployment.is_running()) else { return Ok(false) };
    let vars = secrets::open(world, row.project_id, &row.env_vars).await?;
    let output = output(world, row, &vars).await?;
    let Some(Started { address, exited }) = world.runner.resume(row.id, output).await else {
        return Ok(false);
    };
    if row.address.as_deref() != Some(address.to_string().as_str()) {
        return Ok(false); // it is started anew, which finds it and tells the new address
    }
    tracing::info!(deployment.id = %row.id, "deployment {} went on without the platform", row.id);
    let correlation = cause.metadata.envelope().correlation.clone();
    let request = format!("resume/{}", row.id);
    let context = Context::process(
        "keep_running",
        Some(row.team_id),
        cause.event_id,
        correlation,
        request,
        (world.now)(),
    );
    // It has worked before.
    tokio::spawn(watch(world.clone(), context, row.id, deployment.fence(), false, exited));
    Ok(true)
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

/// Waits for a server's end and reports it, for as long as the log cannot be reached.
async fn watch(
    world: World,
    context: Context,
    id: DeploymentId,
    fence: i64,
    first_time: bool,
    exited: oneshot::Receiver<ExitReport>,
) {
    let since = Instant::now();
    let Ok(report) = exited.await else { return };
    let up = since.elapsed();
    let message = describe(&report);
    let command = if first_time && up < PROBATION {
        let message = format!("the server became ready and ended {:.1} s later: {message}", up.as_secs_f32());
        let code = FailureCode::CrashedAfterStart;
        DeploymentCommand::FailDeployment { fence, code, message, exit_code: report.exit_code }
    } else {
        let exit_code = report.exit_code;
        DeploymentCommand::ReportCrash { fence, exit_code, message, up_seconds: up.as_secs() }
    };
    loop {
        let context = Context { at: (world.now)(), ..context.clone() };
        match world.commands.deployment(id, command.clone(), &context).await {
            Ok(_) => return,
            Err(CommandError::Refused(DeploymentError::AlreadyOver | DeploymentError::StaleFence)) => return,
            Err(error) => {
                tracing::warn!(deployment.id = %id, %error, "the end of deployment {id} was not recorded yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn describe(report: &ExitReport) -> String {
    match (report.out_of_memory, report.exit_code, report.signal) {
        (true, ..) => "it used more memory than its limit and was ended".to_owned(),
        (false, Some(code), _) => format!("it exited with code {code}"),
        (false, None, Some(signal)) => format!("it was ended by signal {signal}"),
        (false, None, None) => "it ended".to_owned(),
    }
}
