//! Several servers of a deployment, as only the Docker runner has them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::ids::DeploymentId;
use domain::ports::runner::{ExitReport, Health, Serving, Started};
use futures_util::future::join_all;

use super::docker::container_of;
use super::kit::{Bench, DEADLINE, Kind, Recorder, SERVER, get};
use crate::engine_api;

const LONG: Duration = Duration::from_secs(30);

async fn three() -> (Bench, DeploymentId, Started) {
    let bench = Bench::start(Kind::Docker).await;
    let mut plan = bench.plan(SERVER);
    plan.replicas = 3;
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    (bench, id, started)
}

/// Waits until so many are there.
async fn until(started: &mut Started, count: usize) -> Serving {
    let so_many = started.serving.wait_for(|serving| serving.addresses.len() == count);
    tokio::time::timeout(DEADLINE, so_many).await.expect("they come and go").unwrap().clone()
}

#[tokio::test]
async fn one_that_is_lost_is_started_again_and_the_others_go_on() {
    let (bench, id, mut started) = three().await;
    let first: Vec<SocketAddr> = started.serving.borrow().addresses.clone();
    let lost = container_of(&bench, &format!("server-{id}-2")).await;
    assert_eq!(lost["Config"]["Labels"]["mastra-admin.replica"], "2");
    engine_api::kill(&bench.host, lost["Id"].as_str().unwrap()).await;
    let serving = until(&mut started, 2).await;
    assert_eq!(serving.addresses, [first[0], first[2]]);
    let killed = ExitReport { exit_code: None, signal: Some(9), out_of_memory: false };
    assert_eq!(serving.lost, Some(killed));
    let serving = until(&mut started, 3).await;
    assert_eq!([serving.addresses[0], serving.addresses[2]], [first[0], first[2]]);
    assert!(get(serving.addresses[1], "/health").await.is_ok());
    assert_eq!(bench.runner.health(id).await, Health::Healthy);
    let again = container_of(&bench, &format!("server-{id}-2")).await;
    assert_ne!(again["Id"], lost["Id"]);
    assert!(started.exited.try_recv().is_err(), "the deployment goes on");
    let text = bench.output.text();
    assert!(text.contains("Server 2 of 3 ended: signal 9 killed it"), "{text}");
    assert_eq!((text.matches("listening").count(), text.matches("goodbye").count()), (4, 0), "{text}");
    bench.runner.stop(id, LONG).await.unwrap();
    assert!(bench.is_clean().await);
}

#[tokio::test]
async fn when_all_are_lost_the_deployment_has_ended() {
    let (bench, id, started) = three().await;
    let addresses = started.serving.borrow().addresses.clone();
    join_all(addresses.iter().map(|address| get(*address, "/crash"))).await;
    let report = tokio::time::timeout(DEADLINE, started.exited).await.unwrap().unwrap();
    assert_eq!(report.exit_code, Some(3));
    assert_eq!(bench.runner.health(id).await, Health::Absent);
    assert!(bench.is_clean().await, "{:?}", bench.left().await);
}

#[tokio::test]
async fn a_stop_waits_for_none_that_is_about_to_start_again() {
    let (bench, id, mut started) = three().await;
    let address = started.serving.borrow().addresses[2];
    let _cut_off = get(address, "/crash").await;
    until(&mut started, 2).await;
    bench.runner.stop(id, LONG).await.unwrap();
    assert!(started.exited.await.is_err(), "a stop is no news");
    assert!(bench.is_clean().await, "{:?}", bench.left().await);
    assert_eq!(bench.runner.health(id).await, Health::Absent);
}

#[tokio::test]
async fn the_next_life_finds_all_of_them() {
    let (bench, id, started) = three().await;
    let first = started.serving.borrow().addresses.clone();
    let (next, output) = (bench.next_life().await, Arc::new(Recorder::default()));
    next.sweep(&[id]).await.unwrap();
    let mut plan = bench.plan(SERVER);
    (plan.deployment_id, plan.team_id) = (id, team_of(&bench, id).await);
    let resumed = next.resume(plan, output).await.unwrap();
    assert_eq!(resumed.serving.borrow().addresses, first, "as many as there were, whatever is wanted by now");
    assert_eq!(next.health(id).await, Health::Healthy);
    // The first life goes on beside the next one here, and is told, too.
    let (one, other) = tokio::join!(bench.runner.stop(id, LONG), next.stop(id, LONG));
    assert!(one.is_ok() && other.is_ok() && bench.left().await.is_empty());
}

async fn team_of(bench: &Bench, id: DeploymentId) -> domain::ids::TeamId {
    let container = container_of(bench, &format!("server-{id}")).await;
    container["Config"]["Labels"]["mastra-admin.team"].as_str().unwrap().parse().unwrap()
}
