//! Who somebody is, as a sign-in provider vouches for it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::ports::news::{Delivery, News, NewsError};
use crate::team::MemberRole;
use crate::values::{Email, Slug};

/// A sign-in provider. An identity is its issuer and the subject there, never an e-mail address.
#[async_trait]
pub trait Auth: Send + Sync {
    /// Its name in routes and settings.
    fn id(&self) -> &str;

    /// What kind it is: `oidc`, `github`, …
    fn kind(&self) -> &str;

    /// Its name as people read it.
    fn name(&self) -> &str;

    /// Who vouches: a URL, exactly as identities are stored with it.
    fn issuer(&self) -> &str;

    /// Who may come in through it.
    fn admission(&self) -> &Admission;

    /// Where a browser goes to sign in.
    async fn begin(&self, flow: &Flow) -> Result<String, AuthError>;

    /// Who came back from there, with what the provider gave him to bring.
    async fn finish(&self, flow: &Flow, brought: &Brought) -> Result<Identity, AuthError>;

    /// What a delivery says that was signed by the provider's webhooks; [`NewsError::Closed`] of one that has none.
    fn open_news(&self, _delivery: &Delivery<'_>, _now: DateTime<Utc>) -> Result<News, NewsError> {
        Err(NewsError::Closed)
    }

    /// Whom an access token of this provider is for; `None` when it is not for this provider to say.
    async fn validate_token(&self, token: &str) -> Result<Option<Identity>, AuthError>;
}

/// What binds a sign-in to the browser that began it. All secrets are random and 256 bits long.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Where the provider sends the browser back to.
    pub redirect_uri: String,
    /// Comes back with the browser.
    pub state: String,
    /// Comes back inside the ID token.
    pub nonce: String,
    /// The secret of PKCE: only its hash goes with the browser.
    pub verifier: String,
}

/// What a browser brings back.
#[derive(Clone, Debug)]
pub struct Brought {
    /// The authorization code.
    pub code: String,
    /// Who says he gave it (RFC 9207).
    pub iss: Option<String>,
}

/// Somebody, as the provider knows him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who vouches.
    pub issuer: String,
    /// His id there.
    pub subject: String,
    /// His address, when the provider has verified it. One that it has not counts for nothing.
    pub email: Option<Email>,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// The teams that the provider counts him among: slug, and as what; never as an owner.
    pub teams: Vec<(Slug, MemberRole)>,
}

/// Who may come in through a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Domains of verified addresses, in lower case; everybody when absent.
    pub domains: Option<Vec<String>>,
}

impl Admission {
    /// Whether somebody may come in.
    pub fn admits(&self, identity: &Identity) -> bool {
        let Some(domains) = &self.domains else { return true };
        let email = identity.email.as_ref().map(Email::comparable);
        let domain = email.as_deref().and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
        domain.is_some_and(|domain| domains.iter().any(|known| known == domain))
    }
}

/// Why nobody came in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// What was shown proves nothing. The text is for operators: it names no secret and no person.
    #[error("{0}")]
    Refused(String),
    /// The provider is away: worth another try.
    #[error("the provider is away: {0}")]
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(email: Option<&str>) -> Identity {
        Identity {
            issuer: "https://id.example.org".into(),
            subject: "1".into(),
            email: email.map(|email| email.parse().unwrap()),
            first_name: String::new(),
            last_name: String::new(),
            teams: vec![],
        }
    }

    #[test]
    fn a_list_of_domains_admits_verified_addresses_in_them_alone() {
        let listed = Admission { domains: Some(vec!["example.org".into()]) };
        assert!(listed.admits(&with(Some("ann@Example.ORG"))));
        for other in [Some("ann@sub.example.org"), Some("ann@example.org.evil.test"), None] {
            assert!(!listed.admits(&with(other)), "{other:?}");
        }
        assert!(Admission::default().admits(&with(None)));
    }
}
