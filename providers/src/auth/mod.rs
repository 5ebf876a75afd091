//! The auth port: sign-in providers.
//!
//! `MASTRA_ADMIN_AUTH_PROVIDERS` names them: `keycloak`, or `okta=oidc` to name one of a kind by a name of one's own.

mod auth0;
mod clerk;
mod clerk_webhooks;
mod fresh;
mod github;
mod google;
mod keycloak;
mod oidc;
mod options;
mod outside;
mod person;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::ports::auth::{Auth, AuthError};

use self::clerk_webhooks::Webhooks;
use self::github::GitHub;
use self::oidc::{Oidc, Shape, refused};
use self::options::{Defaults, Options};

/// Names that mean something else in routes.
const RESERVED: [&str; 3] = ["local", "sessions", "providers"];

const OIDC: Shape = Shape { kind: "oidc", name: "Single sign-on", keys_at: None, tokens_have_party: false };
const OWN: Defaults = Defaults { issuer: None, scopes: "email profile", knows_everybody: false };

/// The providers that are named, with their settings out of `MASTRA_ADMIN_AUTH_…`. A setting that belongs to none is
/// an error: it would be a mistyped one.
pub fn open(
    names: &[String],
    mut settings: BTreeMap<String, String>,
) -> Result<Vec<Arc<dyn Auth>>, AuthError> {
    let mut providers: Vec<Arc<dyn Auth>> = Vec::new();
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let (id, kind) = name.split_once('=').unwrap_or((name, name));
        let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if id.is_empty() || id.len() > 40 || !id.chars().all(is_good) || RESERVED.contains(&id) {
            return Err(refused(format!("{id:?} cannot name a provider: a-z, 0-9 and - can")));
        }
        if providers.iter().any(|known| known.id() == id) {
            return Err(refused(format!("{id} is named twice")));
        }
        let provider = one(id, kind, &mut settings)?;
        if let Some(known) = providers.iter().find(|known| known.issuer() == provider.issuer()) {
            let known = known.id();
            return Err(refused(format!("{id} and {known} have the same issuer")));
        }
        providers.push(provider);
    }
    match settings.keys().next() {
        Some(unknown) => Err(refused(format!("{unknown} belongs to no provider that is named"))),
        None => Ok(providers),
    }
}

fn one(id: &str, kind: &str, settings: &mut BTreeMap<String, String>) -> Result<Arc<dyn Auth>, AuthError> {
    let webhooks = match kind {
        "clerk" => options::take(id, "WEBHOOK_SECRET", settings),
        _ => None,
    };
    let webhooks = webhooks.map(|text| Webhooks::read(&text)).transpose()?;
    let oidc = |shape: Shape, defaults: Defaults| -> Result<Arc<dyn Auth>, AuthError> {
        Ok(Arc::new(Oidc::new(Options::take(id, defaults, settings)?, shape, webhooks)?))
    };
    match kind {
        "oidc" => oidc(OIDC, OWN),
        "keycloak" => oidc(keycloak::SHAPE, OWN),
        "auth0" => oidc(auth0::SHAPE, OWN),
        "clerk" => oidc(clerk::SHAPE, OWN),
        "google" => {
            oidc(google::SHAPE, Defaults { issuer: Some(google::ISSUER), knows_everybody: true, ..OWN })
        }
        "github" => {
            let scopes = "read:user user:email";
            let defaults = Defaults { issuer: Some(github::ISSUER), scopes, knows_everybody: true };
            let options = Options::take(id, defaults, settings)?;
            if options.teams.is_some() {
                return Err(refused(format!("{id} is GitHub, which has no claims: leave out …_TEAM_CLAIM")));
            }
            Ok(Arc::new(GitHub::new(options)?))
        }
        _ => {
            let known = "oidc, keycloak, auth0, clerk, google, github";
            Err(refused(format!("{kind:?} is no kind of provider: {known} are")))
        }
    }
}

#[cfg(test)]
mod tests;
