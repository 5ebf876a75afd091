//! A deployment's servers: brought up, taken up again after the platform was away, watched over, stopped.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use domain::ids::DeploymentId;
use domain::ports::logs::{Output, say};
use domain::ports::runner::{ExitReport, Health, RunnerError, Serving, StartFailure, StartPlan, Started};
use domain::values::HealthGate;
use futures_util::future::{BoxFuture, join_all, try_join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::claims::Claim;
use super::engine::EngineError;
use super::replica::{Crew, KILLED, Replica};
use super::seats::Seats;
use super::sweep::containers;
use super::{Inner, names};
use crate::runner::ended::{self, Ended};
use crate::runner::failures::{cannot_start, stopped_early};
use crate::runner::health;

/// The servers of a deployment that became ready.
pub(super) struct Server {
    serving: watch::Receiver<Serving>,
    /// How many there should be.
    wanted: u8,
    gate: HealthGate,
    /// Cancelled before they are asked to end, so that their end is no news and none is started again.
    stopping: CancellationToken,
    /// Closed when the last output is stored.
    exit: watch::Receiver<Option<ExitReport>>,
}

impl Server {
    /// Where they are, and the promise to tell how they end.
    fn started(&self) -> Started {
        Started { serving: self.serving.clone(), exited: ended::told(&self.exit) }
    }
}

fn find(inner: &Inner, deployment: DeploymentId) -> Option<Arc<Server>> {
    inner.servers.lock().unwrap_or_else(PoisonError::into_inner).get(&deployment).cloned()
}

/// Starts a deployment's servers, or leaves nothing of them. Those that are ready already are answered again, also when
/// an earlier life of the platform has started them.
pub(super) async fn start(
    inner: Arc<Inner>,
    plan: StartPlan,
    output: Arc<dyn Output>,
    abandoned: CancellationToken,
) -> Result<Started, StartFailure> {
    if let Some(server) = find(&inner, plan.deployment_id) {
        return Ok(server.started());
    }
    let owner = names::server(plan.deployment_id);
    let claim = inner.claims.claim(&owner).await.map_err(|error| cannot_start(&error))?;
    let outcome = tokio::select! {
        outcome = bring_up(inner.clone(), plan, output.clone()) => outcome,
        () = claim.wanted() => Err(stopped_early()),
        () = abandoned.cancelled() => Err(stopped_early()),
    };
    match outcome {
        Ok((crew, ready)) => Ok(attend(crew, ready, claim)),
        Err(failure) => {
            inner.discard(&owner).await;
            output.flush().await;
            Err(failure)
        }
    }
}

/// All of a deployment's servers, ready.
async fn bring_up(
    inner: Arc<Inner>,
    plan: StartPlan,
    output: Arc<dyn Output>,
) -> Result<(Crew, Vec<Replica>), StartFailure> {
    let engine = |error: EngineError| cannot_start(&error);
    let owner = names::server(plan.deployment_id);
    let mut crew = Crew::enter(inner, plan, output).await.map_err(engine)?;
    let mut ready = crew.find().await;
    if ready.is_empty() {
        crew.inner.remove(&owner).await.map_err(engine)?;
    }
    let missing = missing(&crew, &ready);
    ready.extend(try_join_all(missing.into_iter().map(|number| crew.bring_up(number))).await?);
    Ok((crew, ready))
}

fn missing(crew: &Crew, ready: &[Replica]) -> Vec<u8> {
    (1..=crew.plan.replicas).filter(|number| ready.iter().all(|replica| replica.number != *number)).collect()
}

/// Takes up servers that run and are healthy; `None` where there are none.
pub(super) async fn resume(inner: Arc<Inner>, plan: StartPlan, output: Arc<dyn Output>) -> Option<Started> {
    if let Some(server) = find(&inner, plan.deployment_id) {
        return Some(server.started());
    }
    let claim = inner.claims.claim_if_free(&names::server(plan.deployment_id))?;
    let mut crew = Crew::enter(inner, plan, output).await.ok()?;
    let ready = crew.find().await;
    (!ready.is_empty()).then(|| attend(crew, ready, claim))
}

/// Takes in servers that are ready, and watches over them until the last has ended.
fn attend(crew: Crew, ready: Vec<Replica>, claim: Claim) -> Started {
    let (inner, deployment) = (crew.inner.clone(), crew.plan.deployment_id);
    let (tell, exit) = watch::channel(None);
    let seats = Seats::of(ready.iter().map(|replica| (replica.number, replica.address)));
    let (tell_where, serving) = watch::channel(Serving { addresses: seats.addresses(), lost: None });
    let (wanted, gate) = (crew.plan.replicas, crew.plan.health.clone());
    let stopping = CancellationToken::new();
    let server = Arc::new(Server { serving, wanted, gate, stopping: stopping.clone(), exit });
    let started = server.started();
    inner.servers.lock().unwrap_or_else(PoisonError::into_inner).insert(deployment, server);
    // Not kept by this task: when the platform ends, the servers go on.
    tokio::spawn(async move {
        let watched = watch_over(&crew, ready, seats, &stopping, &tell_where);
        let last = tokio::select! {
            last = watched => Some(last),
            () = claim.wanted() => None,
        };
        inner.servers.lock().unwrap_or_else(PoisonError::into_inner).remove(&deployment);
        let report = match last {
            Some((replica, ended)) => Some(ended.report(&replica.finish().await)),
            None => None,
        };
        crew.output.flush().await;
        let asked = stopping.is_cancelled() || claim.is_wanted();
        if !claim.is_wanted() {
            inner.discard(&names::server(deployment)).await;
        }
        drop((crew, claim)); // gives the name back before anybody hears of it
        if !asked {
            tell.send_replace(report);
        }
        drop(tell);
    });
    started
}

/// What becomes of one of them.
enum News {
    Ended(Replica, Ended),
    Again(u8, Result<Replica, StartFailure>),
}

/// Starts again whichever is lost, while one at least is left. Answers the last one and how it ended.
async fn watch_over(
    crew: &Crew,
    ready: Vec<Replica>,
    mut seats: Seats,
    stopping: &CancellationToken,
    tell: &watch::Sender<Serving>,
) -> (Replica, Ended) {
    let wanted = crew.plan.replicas;
    let until_end = |replica: Replica| -> BoxFuture<'_, News> {
        async move {
            let ended = replica.ended(crew).await;
            News::Ended(replica, ended)
        }
        .boxed()
    };
    let again = |number: u8, pause: Duration| -> BoxFuture<'_, News> {
        let start = async move {
            sleep(pause).await;
            News::Again(number, crew.bring_up(number).await)
        };
        async move {
            tokio::select! {
                news = start => news,
                // Nothing is started any more, also not what was half started.
                () = stopping.cancelled() => std::future::pending().await,
            }
        }
        .boxed()
    };
    let mut news: FuturesUnordered<BoxFuture<'_, News>> =
        missing(crew, &ready).into_iter().map(|number| again(number, Duration::ZERO)).collect();
    news.extend(ready.into_iter().map(until_end));
    loop {
        let Some(event) = news.next().await else { return std::future::pending().await };
        match event {
            News::Ended(replica, ended) => {
                let number = replica.number;
                let pause = seats.leave(number, Instant::now());
                if seats.addresses().is_empty() {
                    return (replica, ended);
                }
                let lost = Some(ended.report(&replica.finish().await));
                if stopping.is_cancelled() {
                    continue;
                }
                tell.send_replace(Serving { addresses: seats.addresses(), lost });
                let how = ended.how();
                say(&*crew.output, &format!("Server {number} of {wanted} ended: {how}. It is started again"));
                news.push(again(number, pause));
            }
            News::Again(number, Ok(replica)) => {
                seats.take(number, replica.address, Instant::now());
                tell.send_modify(|serving| serving.addresses = seats.addresses());
                news.push(until_end(replica));
            }
            News::Again(number, Err(failure)) => {
                let pause = seats.leave(number, Instant::now());
                say(&*crew.output, &format!("Server {number} of {wanted} did not start again: {failure}"));
                news.push(again(number, pause));
            }
        }
    }
}

/// Asks them once to end, waits for `grace`, then ends them. Returns when nothing of them is left.
pub(super) async fn stop(
    inner: &Inner,
    deployment: DeploymentId,
    grace: Duration,
) -> Result<(), RunnerError> {
    let failed = |error: EngineError| RunnerError(error.to_string());
    let owner = names::server(deployment);
    let attended = find(inner, deployment);
    if let Some(server) = &attended {
        server.stopping.cancel();
        end(inner, &owner, grace).await.map_err(failed)?;
        let mut exit = server.exit.clone();
        let _gone = timeout(KILLED, async { while exit.changed().await.is_ok() {} }).await;
    }
    // Also ends those that are not ready yet.
    let _claim = inner.claims.claim(&owner).await?;
    if attended.is_none() {
        end(inner, &owner, grace).await.map_err(failed)?; // those that an earlier life left
    }
    inner.remove(&owner).await.map_err(failed)
}

async fn end(inner: &Inner, owner: &str, grace: Duration) -> Result<(), EngineError> {
    let all = containers(&inner.engine, inner.names.filter(Some(owner))).await?;
    let signal = async |signal: &str| {
        try_join_all(all.iter().map(|(container, _)| inner.engine.signal(container, signal))).await.map(drop)
    };
    if !grace.is_zero() {
        signal("SIGTERM").await?;
        let ended = all.iter().map(|(container, _)| inner.engine.ended(container, None));
        let _in_time = timeout(grace, join_all(ended)).await;
    }
    signal("SIGKILL").await
}

/// Whether all of them answer now.
pub(super) async fn health(inner: &Inner, deployment: DeploymentId) -> Health {
    let Some(server) = find(inner, deployment) else { return Health::Absent };
    let addresses = server.serving.borrow().addresses.clone();
    let looks = addresses.iter().map(|address| health::check(*address, &server.gate));
    let unwell = join_all(looks).await.into_iter().find_map(Result::err);
    match unwell {
        Some(_) if server.exit.has_changed().is_err() => Health::Absent,
        Some(why) => Health::Unhealthy(why.to_string()),
        None if addresses.len() < usize::from(server.wanted) => {
            Health::Unhealthy(format!("{} of {} servers are there", addresses.len(), server.wanted))
        }
        None => Health::Healthy,
    }
}
