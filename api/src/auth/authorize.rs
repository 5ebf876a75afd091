//! `GET /auth/{provider}/authorize` — sends a browser to a sign-in provider.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use domain::ports::auth::{AuthError, Flow};
use domain::sealed::KeyOwner;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::auth::login::cookie;
use crate::auth::providers::find;
use crate::auth::token::random;
use crate::body::{Params, Query};
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;

/// As long as somebody may take to sign in at the provider.
pub(crate) const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// Where to go afterwards.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Begin {
    return_to: Option<String>,
}

/// A sign-in that has begun. It is kept, sealed, by the browser that began it and by nobody else: another browser
/// cannot end it, and the server has nothing to forget.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) provider: String,
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
    pub(crate) return_to: String,
    pub(crate) at: DateTime<Utc>,
}

impl Started {
    /// What the seal is bound to.
    pub(crate) const SEAL: &str = "sign-in that has begun";

    /// The cookie's name; with TLS it is bound to the host.
    pub(crate) fn cookie_name(https: bool) -> &'static str {
        if https { "__Host-mastra_sign_in" } else { "mastra_sign_in" }
    }

    /// The same for the provider.
    pub(crate) fn flow(&self, platform: &Platform) -> Flow {
        let base = platform.settings.public_url.trim_end_matches('/');
        Flow {
            redirect_uri: format!("{base}/api/v1/auth/{}/callback", self.provider),
            state: self.state.clone(),
            nonce: self.nonce.clone(),
            verifier: self.verifier.clone(),
        }
    }
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    params: Params,
    Query(Begin { return_to }): Query<Begin>,
) -> Result<Response, ApiError> {
    let provider = find(&platform, params.text("provider"))?;
    let return_to = return_to.unwrap_or_else(|| "/".to_owned());
    if !is_own_path(&return_to) {
        return Err(ApiError::field("returnTo", "invalid", "must be a path of this server, like /teams"));
    }
    let started = Started {
        provider: provider.id().to_owned(),
        state: random(),
        nonce: random(),
        verifier: random(),
        return_to,
        at: caller.at(),
    };
    let url = provider.begin(&started.flow(&platform)).await.map_err(|error| away(provider.id(), &error))?;
    let text = serde_json::to_string(&started).map_err(|error| ApiError::internal(&error))?;
    let vault = platform.commands.vault();
    let sealed = vault.seal_note(KeyOwner::System, Started::SEAL, &text, caller.at()).await?;
    let cookie = cookie(&platform, Started::cookie_name(platform.is_https()), &sealed);
    let cookie = format!("{cookie}; Max-Age={}", PATIENCE.num_seconds());
    Ok((StatusCode::FOUND, [(header::SET_COOKIE, cookie), (header::LOCATION, url)]).into_response())
}

/// The provider cannot be asked now, or is not what it was configured as: nothing that who signs in can mend.
pub(crate) fn away(provider: &str, error: &AuthError) -> ApiError {
    tracing::warn!(provider, %error, "the sign-in provider {provider} does not serve: {error}");
    let detail = "The sign-in provider does not answer as it should; try again soon.";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable", detail).with_retry_after(30)
}

/// Whether it is a path of ours. Browsers read `//` and `/\\` as another host, and leave out tabs and line ends.
pub(crate) fn is_own_path(path: &str) -> bool {
    let mut bytes = path.bytes();
    path.len() <= 2000
        && bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::is_own_path;

    #[test]
    fn one_comes_back_to_this_server_alone() {
        for own in ["/", "/teams/acme?tab=1#x", "/a//b"] {
            assert!(is_own_path(own), "{own}");
        }
        for other in [
            "",
            "teams",
            "https://evil.test",
            "//evil.test",
            "/\\evil.test",
            "/\t/evil.test",
            "/a b",
            "/\r\nset-cookie:x",
            "javascript:x",
            "/é",
        ] {
            assert!(!is_own_path(other), "{other:?}");
        }
        assert!(!is_own_path(&format!("/{}", "a".repeat(2000))));
    }
}
