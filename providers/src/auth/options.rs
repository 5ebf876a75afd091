//! Settings of one sign-in provider: `MASTRA_ADMIN_AUTH_<ID>_…`.

use std::collections::BTreeMap;

use domain::ports::auth::{Admission, AuthError};
use domain::secret::Secret;
use domain::team::MemberRole;

use super::oidc::refused;

/// What an operator says of a provider.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Its name in routes.
    pub(super) id: String,
    /// Its name as people read it, when it is not that of its kind.
    pub(super) name: Option<String>,
    /// Who vouches.
    pub(super) issuer: String,
    /// Our id there.
    pub(super) client_id: String,
    /// Our secret there; none of public clients.
    pub(super) client_secret: Option<Secret>,
    /// What is asked for.
    pub(super) scopes: Vec<String>,
    /// Audiences of access tokens that are taken as bearer; none are taken without.
    pub(super) audiences: Vec<String>,
    /// Origins for which such tokens were made, where tokens have no audience.
    pub(super) parties: Vec<String>,
    /// Whether it may be at a private address, and speak plain HTTP.
    pub(super) allow_private: bool,
    /// Who may come in.
    pub(super) admission: Admission,
    /// Which claim names his teams.
    pub(super) teams: Option<TeamClaim>,
}

/// The claim that names somebody's teams.
#[derive(Clone, Debug)]
pub(super) struct TeamClaim {
    /// Its name.
    pub(super) name: String,
    /// As what somebody joins where the claim does not say.
    pub(super) role: MemberRole,
}

/// What a kind of provider has of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    /// Its issuer, where there is one for everybody.
    pub(super) issuer: Option<&'static str>,
    /// What is asked for.
    pub(super) scopes: &'static str,
    /// Whether anybody at all has an account there.
    pub(super) knows_everybody: bool,
}

impl Options {
    /// Takes the settings of a provider out of all.
    pub(super) fn take(
        id: &str,
        defaults: Defaults,
        settings: &mut BTreeMap<String, String>,
    ) -> Result<Self, AuthError> {
        let prefix = prefix(id);
        let mut take = |name: &str| take(id, name, settings);
        let missing = |name: &str| refused(format!("{prefix}_{name} is missing"));
        let issuer = take("ISSUER").or(defaults.issuer.map(str::to_owned));
        let issuer = issuer.ok_or_else(|| missing("ISSUER"))?;
        if issuer.len() > 500 || issuer.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(refused(format!("{prefix}_ISSUER is no URL")));
        }
        let domains = take("ALLOWED_DOMAINS").map(|text| words(&text.to_lowercase()));
        let domains = match domains {
            None if defaults.knows_everybody => {
                return Err(refused(format!(
                    "{prefix}_ALLOWED_DOMAINS is missing: anybody has an account there; say whose addresses may come in, \
                 or * for everybody"
                )));
            }
            Some(all) if all == ["*"] => None,
            domains => domains,
        };
        let allow_private = match take("ALLOW_PRIVATE").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(refused(format!("{prefix}_ALLOW_PRIVATE must be true or false"))),
        };
        let role = match take("TEAM_ROLE").as_deref() {
            None => MemberRole::Developer,
            Some(text) => team_role(text)
                .ok_or_else(|| refused(format!("{prefix}_TEAM_ROLE must be viewer, developer or admin")))?,
        };
        let teams = take("TEAM_CLAIM").map(|name| TeamClaim { name, role });
        Ok(Self {
            id: id.to_owned(),
            name: take("NAME"),
            issuer,
            client_id: take("CLIENT_ID").ok_or_else(|| missing("CLIENT_ID"))?,
            client_secret: take("CLIENT_SECRET").map(Secret::new),
            scopes: words(&take("SCOPES").unwrap_or_else(|| defaults.scopes.to_owned())),
            audiences: words(&take("AUDIENCES").unwrap_or_default()),
            parties: words(&take("AUTHORIZED_PARTIES").unwrap_or_default()),
            allow_private,
            admission: Admission { domains },
            teams,
        })
    }
}

/// A role that a provider may give: it makes no owners.
pub(super) fn team_role(text: &str) -> Option<MemberRole> {
    let role = serde_json::from_value(text.into()).ok();
    role.filter(|role| *role != MemberRole::Owner)
}

/// Takes one setting of a provider; none when it is empty.
pub(super) fn take(id: &str, name: &str, settings: &mut BTreeMap<String, String>) -> Option<String> {
    settings.remove(&format!("{}_{name}", prefix(id))).filter(|text| !text.is_empty())
}

fn prefix(id: &str) -> String {
    format!("MASTRA_ADMIN_AUTH_{}", id.to_uppercase().replace('-', "_"))
}

/// Words between commas or blanks.
fn words(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
