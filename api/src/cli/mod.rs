//! What the stock `mastra` command line asks of a platform: `/v1/…`, mapped to the commands and queries of the API.
//!
//! It names the team by `x-organization-id`; the gate holds it to that. Its "deploy" is a build whose code it uploads,
//! together with the deployment that follows: both have the id of the build. Fields that it may send and that mean
//! nothing here are passed over, for it grows faster than this.

pub(crate) mod account;
pub(crate) mod deploys;
pub(crate) mod env_vars;
pub(crate) mod environments;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod projects;
mod status;
pub(crate) mod upload;

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use http::StatusCode;
use http::request::Parts;

use crate::error::ApiError;
use crate::limits::{Empty, Who};
use crate::platform::Platform;

pub use upload::UploadRoom;

/// Counts a request that passes no gate.
fn count(platform: &Platform, parts: &Parts) -> Result<(), ApiError> {
    let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else { return Ok(()) };
    platform.limits.take(Who::address(peer.ip())).map(drop).map_err(|Empty { limit, wait, .. }| {
        let detail = format!("Too many requests of this address: {limit} a minute.");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).with_retry_after(wait)
    })
}
