//! OpenID Connect: authorization code with PKCE; ID tokens and access tokens. Any certified provider.
//!
//! The flow is `openidconnect`'s; what it brings is proved by `token` alone (ADR 0014).

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ports::auth::{Admission, Auth, AuthError, Brought, Flow, Identity};
use domain::ports::news::{Delivery, News, NewsError};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreProviderMetadata};
use openidconnect::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse,
};
use serde_json::Value;

use super::clerk_webhooks::Webhooks;
use super::fresh::Fresh;
use super::options::Options;
use super::outside::Outside;
use super::person;
use super::token::{Claims, For, Keys, Purpose, Shown};

/// Keys are fetched again after so long.
const KEYS_AGE: Duration = Duration::from_secs(10 * 60);
/// So is what the provider says of itself.
const METADATA_AGE: Duration = Duration::from_secs(60 * 60);

/// What a provider does in its own way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Its kind, as settings name it.
    pub(super) kind: &'static str,
    /// Its name as people read it.
    pub(super) name: &'static str,
    /// Where its keys are, below the issuer; where its metadata says, when absent.
    pub(super) keys_at: Option<&'static str>,
    /// Whether its access tokens have no `aud`, and name by `azp` whom they were made for.
    pub(super) tokens_have_party: bool,
}

/// A provider that speaks OpenID Connect.
#[derive(Debug)]
pub(super) struct Oidc {
    options: Options,
    shape: Shape,
    outside: Outside,
    metadata: Fresh<Metadata>,
    keys: Fresh<Keys>,
    /// How its webhooks are signed, when it has some.
    webhooks: Option<Webhooks>,
}

#[derive(Debug)]
struct Metadata {
    it: CoreProviderMetadata,
    /// It says with each answer who it is (RFC 9207).
    says_iss: bool,
}

/// The flow's own client, made of the metadata.
macro_rules! client {
    ($this:expr, $metadata:expr, $flow:expr) => {{
        let secret = $this.options.client_secret.as_ref().and_then(|secret| secret.expose_str());
        let secret = secret.map(|secret| ClientSecret::new(secret.to_owned()));
        let id = ClientId::new($this.options.client_id.clone());
        let redirect = RedirectUrl::new($flow.redirect_uri.clone());
        let redirect = redirect.map_err(|_| refused("our own address is no URL"))?;
        CoreClient::from_provider_metadata($metadata.it.clone(), id, secret)
            .set_redirect_uri(redirect)
            .set_auth_type(auth_type(&$metadata.it))
    }};
}

impl Oidc {
    /// A provider of this shape. Nobody is asked yet.
    pub(super) fn new(options: Options, shape: Shape, webhooks: Option<Webhooks>) -> Result<Self, AuthError> {
        let outside = Outside::open(options.allow_private)?;
        if !outside.allows(&options.issuer) {
            let issuer = &options.issuer;
            return Err(refused(format!(
                "{issuer} must be https and public, or private addresses be allowed"
            )));
        }
        let (metadata, keys) = (Fresh::new(METADATA_AGE), Fresh::new(KEYS_AGE));
        Ok(Self { options, shape, outside, metadata, keys, webhooks })
    }

    async fn metadata(&self) -> Result<std::sync::Arc<Metadata>, AuthError> {
        let issuer = &self.options.issuer;
        self.metadata
            .get(
                |_| true,
                async || {
                    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                    let document = self.outside.get_json(&url, None).await?;
                    let says_iss = document["authorization_response_iss_parameter_supported"] == true;
                    let it: CoreProviderMetadata = serde_json::from_value(document)
                        .map_err(|error| AuthError::Unavailable(format!("{url}: {error}")))?;
                    if it.issuer().as_str() != issuer {
                        let other = it.issuer().as_str();
                        return Err(refused(format!("{url} says that it is {other}, not {issuer}")));
                    }
                    Ok(Metadata { it, says_iss })
                },
            )
            .await
    }

    /// The provider's keys; fetched anew when the one of this name is not among them.
    async fn keys(&self, kid: &str) -> Result<std::sync::Arc<Keys>, AuthError> {
        self.keys
            .get(
                |keys| keys.has(kid),
                async || {
                    let url = match self.shape.keys_at {
                        Some(path) => format!("{}{path}", self.options.issuer.trim_end_matches('/')),
                        None => self.metadata().await?.it.jwks_uri().to_string(),
                    };
                    let document = self.outside.get_json(&url, None).await?;
                    let none = || AuthError::Unavailable(format!("{url}: these are no keys"));
                    Keys::read(&document).ok_or_else(none)
                },
            )
            .await
    }

    async fn prove(&self, shown: Shown<'_>, whom: &For<'_>) -> Result<Claims, AuthError> {
        let keys = self.keys(shown.kid()).await?;
        shown.prove(&keys, &self.options.issuer, whom).map_err(refused)
    }

    /// What the ID token proves, and what the provider tells besides when it has no address.
    async fn claims(
        &self,
        flow: &Flow,
        metadata: &Metadata,
        id_token: &str,
        access_token: &str,
    ) -> Result<Claims, AuthError> {
        let client_id = std::slice::from_ref(&self.options.client_id);
        let shown = Shown::read(id_token, Purpose::Identity).map_err(refused)?;
        let mut claims = self.prove(shown, &For::Audience(client_id)).await?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("nonce") != Some(&flow.nonce) {
            return Err(refused("its nonce is that of another sign-in"));
        }
        if text("azp").is_some_and(|azp| azp != self.options.client_id) {
            return Err(refused("it was made for another client"));
        }
        if text("typ").is_some_and(|typ| typ != "ID") {
            return Err(refused("it is no ID token"));
        }
        if !claims.contains_key("email")
            && let Some(url) = metadata.it.userinfo_endpoint()
        {
            let more = self.outside.get_json(url.as_str(), Some(access_token)).await?;
            if more["sub"] != claims["sub"] {
                return Err(refused("it tells of somebody else"));
            }
            for (name, value) in more.as_object().into_iter().flatten() {
                claims.entry(name).or_insert_with(|| value.clone());
            }
        }
        Ok(claims)
    }
}

#[async_trait]
impl Auth for Oidc {
    fn id(&self) -> &str {
        &self.options.id
    }

    fn kind(&self) -> &str {
        self.shape.kind
    }

    fn name(&self) -> &str {
        self.options.name.as_deref().unwrap_or(self.shape.name)
    }

    fn issuer(&self) -> &str {
        &self.options.issuer
    }

    fn admission(&self) -> &Admission {
        &self.options.admission
    }

    async fn begin(&self, flow: &Flow) -> Result<String, AuthError> {
        let metadata = self.metadata().await?;
        let client = client!(self, metadata, flow);
        let (state, nonce) = (flow.state.clone(), flow.nonce.clone());
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(flow.verifier.clone()));
        let scopes = self.options.scopes.iter().map(|scope| Scope::new(scope.clone()));
        let (url, ..) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        Ok(url.to_string())
    }

    async fn finish(&self, flow: &Flow, brought: &Brought) -> Result<Identity, AuthError> {
        let metadata = self.metadata().await?;
        match &brought.iss {
            Some(iss) if *iss != self.options.issuer => {
                return Err(refused("another issuer than the one that was asked answers"));
            }
            None if metadata.says_iss => return Err(refused("the issuer does not say who it is")),
            _ => {}
        }
        let client = client!(self, metadata, flow);
        let send = self.outside.sender();
        let answer = client
            .exchange_code(AuthorizationCode::new(brought.code.clone()))
            .map_err(|_| refused("it has no token endpoint"))?
            .set_pkce_verifier(PkceCodeVerifier::new(flow.verifier.clone()))
            .request_async(&send)
            .await
            .map_err(exchange_failed)?;
        let id_token = answer.id_token().ok_or_else(|| refused("it gives no ID token"))?.to_string();
        let access_token = answer.access_token().secret();
        let claims = self.claims(flow, &metadata, &id_token, access_token).await?;
        Ok(person::of_claims(&self.options.issuer, &claims, self.options.teams.as_ref()))
    }

    fn open_news(&self, delivery: &Delivery<'_>, now: DateTime<Utc>) -> Result<News, NewsError> {
        let webhooks = self.webhooks.as_ref().ok_or(NewsError::Closed)?;
        webhooks.open(&self.options.issuer, delivery, now)
    }

    async fn validate_token(&self, token: &str) -> Result<Option<Identity>, AuthError> {
        let whom = if self.shape.tokens_have_party {
            For::Party(&self.options.parties)
        } else {
            For::Audience(&self.options.audiences)
        };
        let (For::Party(names) | For::Audience(names)) = &whom;
        let Ok(shown) = Shown::read(token, Purpose::Access) else { return Ok(None) };
        if names.is_empty() || shown.issuer().as_ref() != Some(&self.options.issuer) {
            return Ok(None);
        }
        let claims = self.prove(shown, &whom).await?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // An ID token is for the client alone, whatever the operator names as audience.
        if claims.contains_key("nonce") || claims.contains_key("at_hash") {
            return Err(refused("it is an ID token"));
        }
        if text("typ").is_some_and(|typ| typ != "Bearer") {
            return Err(refused("it is no access token"));
        }
        if text("sts").is_some_and(|status| status != "active") {
            return Err(refused("its session is not active"));
        }
        let subject = text("sub");
        let client = text("azp").or(text("client_id"));
        if subject == client || text("gty") == Some("client-credentials") {
            return Err(refused("it is a machine's, not a person's"));
        }
        Ok(Some(person::of_claims(&self.options.issuer, &claims, self.options.teams.as_ref())))
    }
}

/// How the client proves itself: as the standard has it, unless the provider knows the other way alone.
fn auth_type(metadata: &CoreProviderMetadata) -> AuthType {
    let basic = CoreClientAuthMethod::ClientSecretBasic;
    match metadata.token_endpoint_auth_methods_supported() {
        Some(known) if !known.contains(&basic) => AuthType::RequestBody,
        _ => AuthType::BasicAuth,
    }
}

/// Why there was no token for a code. What the provider says beside its code may hold anything.
pub(super) fn exchange_failed<E>(error: RequestTokenError<AuthError, E>) -> AuthError
where
    E: openidconnect::ErrorResponse + 'static,
{
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(_) => refused("the provider does not take the code"),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            AuthError::Unavailable("its answer is not understood".to_owned())
        }
    }
}

pub(super) fn refused(why: impl Into<String>) -> AuthError {
    AuthError::Refused(why.into())
}
