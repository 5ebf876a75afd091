//! Requests for what sleeps: they wake it and wait, so many and so long as is good for everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::ids::{DeploymentId, EnvironmentId};
use http::StatusCode;
use projections::{log, work};

use super::table::Route;
use super::{Router, unavailable};
use crate::error::ApiError;
use crate::platform::Platform;

/// Requests that wait for one environment.
const EACH: usize = 100;
/// Requests that wait for all of them together.
const ALL: usize = 1000;
/// How long one waits.
const LONG: Duration = Duration::from_secs(60);

/// How many wait.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<EnvironmentId, usize>>);

/// One that waits; it does no longer when this is dropped.
struct Place<'a> {
    held: &'a Held,
    environment: EnvironmentId,
}

impl Held {
    fn enter(&self, environment: EnvironmentId) -> Option<Place<'_>> {
        let mut waiting = self.0.lock().expect("no holder panics");
        let all: usize = waiting.values().sum();
        let here = waiting.entry(environment).or_default();
        if *here >= EACH || all >= ALL {
            return None;
        }
        *here += 1;
        Some(Place { held: self, environment })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.held.0.lock().expect("no holder panics");
        if let Some(here) = waiting.get_mut(&self.environment) {
            *here -= 1;
            if *here == 0 {
                waiting.remove(&self.environment);
            }
        }
    }
}

impl Router {
    /// The same environment once something of it runs. What sleeps is woken for it.
    pub(super) async fn awake(&self, platform: &Platform, route: Arc<Route>) -> Result<Arc<Route>, ApiError> {
        let (true, Some(asleep)) = (route.servers.is_empty(), route.asleep) else { return Ok(route) };
        let environment = route.environment;
        let busy = || {
            let detail = "It sleeps, and as many requests as may wait for it to wake up already do.";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "waking_up", detail).with_retry_after(2)
        };
        let _place = self.held.enter(environment).ok_or_else(busy)?;
        let mut moved = self.position.subscribe();
        wake(platform, asleep).await?;
        let ready = async {
            loop {
                moved.mark_unchanged();
                let route = self.of_environment(environment).ok_or_else(ApiError::not_found)?;
                if !route.servers.is_empty() {
                    return Ok(route);
                }
                if route.asleep.is_none() {
                    return Err(unavailable());
                }
                let _ = moved.changed().await;
            }
        };
        let late = || {
            let detail = "It sleeps and did not wake up in time.";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "waking_up", detail).with_retry_after(5)
        };
        tokio::time::timeout(LONG, ready).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Asks for its server to be started: once for each time that it fell asleep, whoever asks how often.
async fn wake(platform: &Platform, (deployment, since): (DeploymentId, i64)) -> Result<(), ApiError> {
    let cause = log::read_at(&platform.pool, &[since]).await?;
    let Some(cause) = cause.first() else { return Ok(()) };
    let key = format!("{deployment}/wake/{since}");
    work::run_again(&platform.pool, deployment, key, cause).await?;
    platform.feed.wake();
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn so_many_wait_and_no_more() {
        let held = Held::default();
        let (one, other) = (EnvironmentId(Uuid::from_u128(1)), EnvironmentId(Uuid::from_u128(2)));
        let mut places: Vec<_> = (0..EACH).map(|_| held.enter(one).unwrap()).collect();
        assert!(held.enter(one).is_none() && held.enter(other).is_some());
        places.pop();
        assert!(held.enter(one).is_some());
        drop(places);
        assert!(held.0.lock().unwrap().is_empty(), "nothing is kept of who waits no more");
    }
}
