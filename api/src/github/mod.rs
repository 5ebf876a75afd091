//! GitHub: a team connects an installation of the App, and sees what it opens.

pub(crate) mod callback;
pub(crate) mod install_url;
pub(crate) mod installations;
pub(crate) mod repositories;

use domain::ports::git_host::{GitHost, HostError};
use http::StatusCode;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::platform::Platform;

/// Its name among the git hosts.
pub(crate) const GITHUB: &str = "github";

/// GitHub, when the operator has connected it.
pub(crate) fn github(platform: &Platform) -> Result<&dyn GitHost, ApiError> {
    let host = platform.hosts.iter().find(|host| host.id() == GITHUB);
    host.map(|host| &**host).ok_or_else(not_configured)
}

fn not_configured() -> ApiError {
    let detail = "The operator has not connected GitHub (docs/github.md).";
    ApiError::new(StatusCode::CONFLICT, "github_not_configured", detail)
}

/// The state of an installation that has begun, as it is stored.
fn hash(state: &str) -> Vec<u8> {
    Sha256::digest(state.as_bytes()).to_vec()
}

impl From<HostError> for ApiError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::NotConfigured => not_configured(),
            HostError::NotFound(_) => Self::not_found(),
            HostError::Refused(why) => {
                tracing::info!(why, "GitHub refuses: {why}");
                let detail = "GitHub does not allow this to the installation: it may be suspended or lack a permission.";
                Self::new(StatusCode::CONFLICT, "github_refused", detail)
            }
            HostError::Unavailable { why, retry_after } => {
                tracing::warn!(why, "GitHub does not serve: {why}");
                let detail = "GitHub does not answer as it should; try again soon.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "github_unavailable", detail)
                    .with_retry_after(retry_after.unwrap_or(10))
            }
        }
    }
}
