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
}
