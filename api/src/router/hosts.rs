//! The host form: every environment has a host name of its own below the base domain, and with it an origin that it
//! shares with nobody.
//!
//! Invariant: two environments never have the same name. No slug has two dashes together or a dash at an end, so a
//! name that is joined of slugs by `--` says which they were; one with `---` is joined of a hash.

use std::sync::Arc;

use http::Uri;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::DEFAULT;

/// Longest label of a host name (RFC 1035).
const LABEL: usize = 63;
/// Hexadecimal characters of the hash in a name that would be too long.
const HASH: usize = 20;

/// What the path form (`/p/…`) answers when there is a host form.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, serde::Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PathForm {
    /// Sends the client to the host form.
    #[default]
    Redirect,
    /// Is not there.
    Refuse,
}

/// The host form of the router.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// `apps.example.org`
    base: Arc<str>,
    /// `https`
    scheme: Arc<str>,
    /// `:8443`, or nothing.
    port: Arc<str>,
    pub(super) path_form: PathForm,
}

/// Why there is no host form with this base domain.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidBase {
    /// It is no name of a host.
    #[error("{0} is no domain: write it like apps.example.org, without scheme, port or asterisk")]
    NoDomain(String),
    /// Pages of deployed apps could set cookies for the platform.
    #[error(
        "the base domain must not hold the public address: people reach this server at {public}, which is {base} or below it; give the apps a domain of their own"
    )]
    HoldsPlatform {
        /// The host of the public address.
        public: String,
        /// The base domain.
        base: String,
    },
}

/// What a host name is to the router.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// Not below the base domain: the platform's.
    Platform,
    /// Below it, or it; with the label of an environment when it could be one.
    App(Option<&'a str>),
}

impl Hosts {
    /// The host form below `base`, for a platform that people reach at `public_url`: with the same scheme and port.
    pub fn try_new(base: &str, public_url: &str, path_form: PathForm) -> Result<Self, InvalidBase> {
        let base = base.trim().trim_end_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=LABEL).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A label and a dot stand before it; a whole name has at most 253 characters.
        let is_address = base.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if base.len() > 253 - LABEL - 1 || is_address || !base.split('.').all(is_label) {
            return Err(InvalidBase::NoDomain(base));
        }
        let uri: Option<Uri> = public_url.parse().ok();
        let public = uri.as_ref().and_then(Uri::host).unwrap_or_default().to_ascii_lowercase();
        if within(&public, &base).is_some() {
            return Err(InvalidBase::HoldsPlatform { public, base });
        }
        let port = uri.as_ref().and_then(Uri::port_u16).map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = if public_url.starts_with("https:") { "https" } else { "http" };
        Ok(Self { base: base.into(), scheme: scheme.into(), port: port.into(), path_form })
    }

    /// What a request's host is.
    pub(crate) fn read<'a>(&self, host: &'a str) -> Host<'a> {
        // Whatever stands in the place of a port: nothing of the platform answers below the base.
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        match within(name.trim_end_matches('.'), &self.base) {
            None => Host::Platform,
            Some(label) if label.is_empty() || label.contains('.') => Host::App(None),
            Some(label) => Host::App(Some(label)),
        }
    }

    /// Where an environment is reached, without a slash at the end.
    pub(crate) fn origin(&self, label: &str) -> String {
        format!("{}://{label}.{}{}", self.scheme, self.base, self.port)
    }
}

/// What stands before a domain and its dot; nothing for the domain itself, none for what is not in it.
fn within<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let before = name.len().checked_sub(domain.len())?;
    if !name.is_char_boundary(before) || !name[before..].eq_ignore_ascii_case(domain) {
        return None;
    }
    if before == 0 { Some("") } else { name[..before].strip_suffix('.') }
}

/// The label of an environment: `{project}--{environment}--{team}`, `{project}--{team}` for production.
///
/// Too long for a label, or taken for an encoded name (`xn--…`), it is `app---{hash}`.
pub(crate) fn label(team: &str, project: &str, environment: &str) -> String {
    let whole = format!("{project}--{environment}--{team}");
    let label = if environment == DEFAULT { format!("{project}--{team}") } else { whole.clone() };
    if label.len() <= LABEL && project != "xn" {
        return label;
    }
    let hash = hex::encode(Sha256::digest(whole.as_bytes()));
    format!("app---{}", &hash[..HASH])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        Hosts::try_new("Apps.Test.", "http://127.0.0.1:8080", PathForm::Redirect).unwrap()
    }

    #[test]
    fn a_name_is_of_one_environment_alone() {
        assert_eq!(label("acme", "agent", "production"), "agent--acme");
        assert_eq!(label("acme", "agent", "staging"), "agent--staging--acme");
        // What would be one name if slugs had two dashes is not.
        assert_ne!(label("a", "b", "c"), label("c", "b", "a"));
        let (long, other) = ("p".repeat(60), format!("{}q", "p".repeat(59)));
        let (one, two) = (label("t", &long, "e"), label("t", &other, "e"));
        assert!(one.len() <= LABEL && one.starts_with("app---"), "{one}");
        assert_ne!(one, two);
        assert!(label("acme", "xn", "production").starts_with("app---"), "no encoded name");
    }

    #[test]
    fn what_is_below_the_base_domain_is_an_app_and_all_else_the_platform() {
        let hosts = hosts();
        assert_eq!(hosts.read("agent--acme.apps.test:8080"), Host::App(Some("agent--acme")));
        assert_eq!(hosts.read("agent--acme.APPS.test."), Host::App(Some("agent--acme")));
        for nobody in ["apps.test", "a.b.apps.test", ".apps.test"] {
            assert_eq!(hosts.read(nobody), Host::App(None), "{nobody}");
        }
        for platform in ["127.0.0.1:8080", "[::1]:8080", "evilapps.test", "test", "", "é.test"] {
            assert_eq!(hosts.read(platform), Host::Platform, "{platform}");
        }
        assert_eq!(hosts.origin("agent--acme"), "http://agent--acme.apps.test:8080");
    }

    #[test]
    fn a_base_domain_that_would_share_cookies_with_the_platform_is_refused() {
        for public in ["https://example.org", "https://admin.example.org:8443/"] {
            let refused = Hosts::try_new("example.org", public, PathForm::Redirect).unwrap_err();
            assert!(matches!(refused, InvalidBase::HoldsPlatform { .. }), "{refused}");
        }
        for bad in ["", "*.apps.test", "https://apps.test", "apps.test:80", "a..b", "-a.test", "127.0.0.1"] {
            let refused = Hosts::try_new(bad, "https://example.org", PathForm::Redirect).unwrap_err();
            assert!(matches!(refused, InvalidBase::NoDomain(_)), "{bad}: {refused}");
        }
        assert!(Hosts::try_new("apps.example.org", "https://admin.example.org", PathForm::Refuse).is_ok());
    }
}
