//! What the processes need from the router.

use std::time::Duration;

use async_trait::async_trait;

use crate::ids::DeploymentId;

/// The router's side of a switch.
#[async_trait]
pub trait Traffic: Send + Sync {
    /// Waits until new requests no longer go to `deployment` (the router has seen the log up to `position`)
    /// and those under way have ended, or until `timeout`.
    async fn drained(&self, deployment: DeploymentId, position: i64, timeout: Duration);

    /// For how long no request to `deployment` has been under way, as far as this router knows; `None` when it has
    /// had none. A stream is under way until it ends.
    fn idle(&self, deployment: DeploymentId) -> Option<Duration>;

    /// Where the environment with these slugs (team, project, environment) is reached, without a slash at the end, by
    /// people who reach this server at `public_url`.
    fn address(&self, public_url: &str, place: (&str, &str, &str)) -> String;
}
