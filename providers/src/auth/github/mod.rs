//! GitHub: OAuth with PKCE, and who it is from GitHub's API. It knows no OpenID Connect and gives no signed tokens.

use async_trait::async_trait;
use domain::ports::auth::{Admission, Auth, AuthError, Brought, Flow, Identity};
use domain::values::Email;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient};
use openidconnect::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, JsonWebKeySet, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenUrl,
};
use serde_json::Value;

use super::oidc::{exchange_failed, refused};
use super::options::Options;
use super::outside::Outside;
use super::person;

/// GitHub itself, and not somebody's own GitHub Enterprise Server.
pub(super) const ISSUER: &str = "https://github.com";

/// GitHub.
#[derive(Debug)]
pub(super) struct GitHub {
    options: Options,
    outside: Outside,
    /// Where its API is, without a slash at the end.
    api: String,
}

macro_rules! client {
    ($this:expr, $flow:expr) => {{
        let url = |path: &str| format!("{}{path}", $this.options.issuer);
        let ours = |_| refused("the issuer is no URL");
        let issuer = IssuerUrl::new($this.options.issuer.clone()).map_err(ours)?;
        let secret = $this.options.client_secret.as_ref().and_then(|secret| secret.expose_str());
        let id = ClientId::new($this.options.client_id.clone());
        CoreClient::new(id, issuer, JsonWebKeySet::default())
            .set_client_secret(ClientSecret::new(secret.unwrap_or_default().to_owned()))
            .set_auth_uri(AuthUrl::new(url("/login/oauth/authorize")).map_err(ours)?)
            .set_token_uri(TokenUrl::new(url("/login/oauth/access_token")).map_err(ours)?)
            .set_redirect_uri(RedirectUrl::new($flow.redirect_uri.clone()).map_err(ours)?)
            .set_auth_type(AuthType::RequestBody)
            .disable_openid_scope()
    }};
}

impl GitHub {
    /// GitHub, or the GitHub Enterprise Server at the issuer. Nobody is asked yet.
    pub(super) fn new(mut options: Options) -> Result<Self, AuthError> {
        let outside = Outside::open(options.allow_private)?;
        options.issuer = options.issuer.trim_end_matches('/').to_owned();
        if !outside.allows(&options.issuer) {
            return Err(refused("the issuer must be https and public, or private addresses be allowed"));
        }
        let api = match options.issuer.as_str() {
            ISSUER => "https://api.github.com".to_owned(),
            own => format!("{own}/api/v3"),
        };
        Ok(Self { options, outside, api })
    }

    /// The main address, when GitHub has verified it.
    async fn email(&self, access_token: &str) -> Result<Option<Email>, AuthError> {
        let emails = self.outside.get_json(&format!("{}/user/emails", self.api), Some(access_token)).await?;
        let main = |email: &&Value| email["primary"] == true && email["verified"] == true;
        let main = emails.as_array().into_iter().flatten().find(main);
        Ok(main.and_then(|email| email["email"].as_str()?.parse().ok()))
    }
}

#[async_trait]
impl Auth for GitHub {
    fn id(&self) -> &str {
        &self.options.id
    }

    fn kind(&self) -> &str {
        "github"
    }

    fn name(&self) -> &str {
        self.options.name.as_deref().unwrap_or("GitHub")
    }

    fn issuer(&self) -> &str {
        &self.options.issuer
    }

    fn admission(&self) -> &Admission {
        &self.options.admission
    }

    async fn begin(&self, flow: &Flow) -> Result<String, AuthError> {
        let state = flow.state.clone();
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(flow.verifier.clone()));
        let (mut url, ..) = client!(self, flow)
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                || Nonce::new(String::new()),
            )
            .add_scopes(self.options.scopes.iter().map(|scope| Scope::new(scope.clone())))
            .set_pkce_challenge(challenge)
            .url();
        // There is no ID token that it could come back in.
        let kept: Vec<_> = url.query_pairs().filter(|(name, _)| name != "nonce").map(own).collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
        Ok(url.to_string())
    }

    async fn finish(&self, flow: &Flow, brought: &Brought) -> Result<Identity, AuthError> {
        if brought.iss.as_ref().is_some_and(|iss| iss.trim_end_matches('/') != self.options.issuer) {
            // GitHub names its OAuth server, not itself.
            let its_own = format!("{}/login/oauth", self.options.issuer);
            if brought.iss.as_deref() != Some(&its_own) {
                return Err(refused("another issuer than the one that was asked answers"));
            }
        }
        let send = self.outside.sender();
        let answer = client!(self, flow)
            .exchange_code(AuthorizationCode::new(brought.code.clone()))
            .set_pkce_verifier(PkceCodeVerifier::new(flow.verifier.clone()))
            .request_async(&send)
            .await
            .map_err(exchange_failed)?;
        let token = answer.access_token().secret();
        let user = self.outside.get_json(&format!("{}/user", self.api), Some(token)).await?;
        // The number stays; the login may become somebody else's.
        let id = user["id"].as_u64().ok_or_else(|| refused("it does not say who this is"))?;
        let (first, last) = person::split(user["name"].as_str().unwrap_or_default());
        Ok(Identity {
            issuer: self.options.issuer.clone(),
            subject: id.to_string(),
            email: self.email(token).await?,
            first_name: person::name(first),
            last_name: person::name(last),
            teams: vec![],
        })
    }

    /// GitHub's tokens are nobody's proof: any application that somebody has let in holds one.
    async fn validate_token(&self, _: &str) -> Result<Option<Identity>, AuthError> {
        Ok(None)
    }
}

fn own((name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)) -> (String, String) {
    (name.into_owned(), value.into_owned())
}

#[cfg(test)]
mod tests;
