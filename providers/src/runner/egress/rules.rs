//! What a build may reach.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::addresses::is_public;

/// Registries of packages and hosts of repositories, and where they keep what they hand out.
const USUAL: [&str; 17] = [
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "repo.yarnpkg.com",
    "npm.pkg.github.com",
    "jsr.io",
    "npm.jsr.io",
    "nodejs.org",
    "github.com",
    "api.github.com",
    "codeload.github.com",
    "*.githubusercontent.com",
    "gitlab.com",
    "registry.gitlab.com",
    "bitbucket.org",
    "api.bitbucket.org",
    "codeberg.org",
    "binaries.prisma.sh",
];

/// Ports of hosts that are named without one.
const PORTS: [u16; 2] = [443, 80];

/// What builds may reach, as the operator says it: words and hosts, separated by commas. `default` stands for the
/// usual registries and hosts of repositories, `*` for every public address, `host` (alone) for the machine's own
/// network. A host may begin with `*.`; one that is named with its port may have a private address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressRules {
    /// Nothing is kept away: builds are in the machine's network.
    Machine,
    /// Through the platform's proxy alone.
    Proxy(Vec<EgressRule>),
}

/// Something that may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressRule {
    /// Every public address.
    Public,
    /// A host, and with a leading dot those below it, at public addresses.
    Host(String),
    /// A host at one port, wherever it is.
    Exactly(String, u16),
}

/// What the operator wrote is no rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is none of: default, *, host (alone), a host name, *.domain, host:port")]
pub struct NoRule(String);

/// Why something is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is allowed at any address.
    Anywhere,
    /// It is allowed at addresses of the internet.
    Outside,
    /// It is not.
    No,
}

impl EgressRules {
    /// With a registry that the operator has set besides: it may be one of the own network.
    #[must_use]
    pub fn and_registry(self, registry: Option<&str>) -> Self {
        let registry = registry.and_then(|url| url::Url::parse(url).ok());
        let place = registry.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
        match (self, place) {
            (Self::Proxy(mut rules), Some((host, port))) => {
                rules.push(EgressRule::Exactly(host, port));
                Self::Proxy(rules)
            }
            (same, _) => same,
        }
    }

    /// The rules, where the platform may enter the networks of builds: as root.
    pub(in crate::runner) fn enforceable(self) -> Option<Arc<Vec<EgressRule>>> {
        let Self::Proxy(rules) = self else { return None };
        if !rustix::process::geteuid().is_root() {
            tracing::warn!(
                "the platform is not root: builds see the network around them, whatever they may reach"
            );
            return None;
        }
        Some(Arc::new(rules))
    }
}

impl Default for EgressRules {
    fn default() -> Self {
        Self::Proxy(usual().collect())
    }
}

impl FromStr for EgressRules {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        if text.trim() == "host" {
            return Ok(Self::Machine);
        }
        let mut rules = vec![];
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "default" => rules.extend(usual()),
                "*" => rules.push(EgressRule::Public),
                word => rules.push(host_rule(word).ok_or_else(|| NoRule(word.to_owned()))?),
            }
        }
        Ok(Self::Proxy(rules))
    }
}

fn usual() -> impl Iterator<Item = EgressRule> {
    USUAL.iter().filter_map(|host| host_rule(host))
}

fn host_rule(word: &str) -> Option<EgressRule> {
    let word = word.to_ascii_lowercase();
    if word == "host" {
        return None;
    }
    let (host, port) = match word.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), Some(port.parse().ok()?)),
        None => (word, None),
    };
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !is_name && address.is_none_or(|address| address.parse::<IpAddr>().is_err()) {
        return None;
    }
    match port {
        Some(port) if name == host => Some(EgressRule::Exactly(host, port)),
        Some(_) => None,
        None => Some(EgressRule::Host(host.strip_prefix('*').unwrap_or(&host).to_owned())),
    }
}

/// Whether a host is allowed at a port.
pub(super) fn judge(rules: &[EgressRule], host: &str, port: u16) -> Verdict {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if rules.iter().any(|rule| matches!(rule, EgressRule::Exactly(it, at) if *it == host && *at == port)) {
        return Verdict::Anywhere;
    }
    let named = |rule: &EgressRule| match rule {
        EgressRule::Public => true,
        EgressRule::Host(it) if it.starts_with('.') => host.ends_with(it.as_str()),
        EgressRule::Host(it) => *it == host,
        EgressRule::Exactly(..) => false,
    };
    let is_allowed = PORTS.contains(&port) && rules.iter().any(named);
    if is_allowed { Verdict::Outside } else { Verdict::No }
}

/// Whether an address is outside of everybody's own networks. Those of documentation are nobody's at all, and networks
/// of tests have them.
pub(super) fn is_outside(ip: IpAddr) -> bool {
    is_public(ip) || matches!(ip, IpAddr::V4(ip) if ip.is_documentation())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(rules: &str, host: &str, port: u16) -> Verdict {
        let EgressRules::Proxy(rules) = rules.parse().unwrap() else { panic!("it is a proxy's") };
        judge(&rules, host, port)
    }

    #[test]
    fn what_is_named_is_reached_and_nothing_else() {
        use Verdict::{Anywhere, No, Outside};
        for (rules, host, port, expected) in [
            ("default", "registry.npmjs.org", 443, Outside),
            ("default", "Registry.NPMJS.org.", 443, Outside),
            ("default", "registry.npmjs.org", 22, No),
            ("default", "raw.githubusercontent.com", 443, Outside),
            ("default", "githubusercontent.com", 443, No),
            ("default", "evilgithubusercontent.com", 443, No),
            ("default", "github.com.evil.example", 443, No),
            ("default", "example.org", 443, No),
            ("default, example.org", "example.org", 443, Outside),
            ("example.org", "registry.npmjs.org", 443, No),
            ("*", "anything.example", 80, Outside),
            ("*", "anything.example", 25, No),
            ("default,registry.corp:4873", "registry.corp", 4873, Anywhere),
            ("default,registry.corp:4873", "registry.corp", 443, No),
            ("127.0.0.1:9", "127.0.0.1", 9, Anywhere),
            ("[::1]:9", "[::1]", 9, Anywhere),
            ("", "registry.npmjs.org", 443, No),
        ] {
            assert_eq!(verdict(rules, host, port), expected, "{rules}: {host}:{port}");
        }
        assert_eq!("host".parse(), Ok(EgressRules::Machine));
        assert_eq!("default".parse(), Ok(EgressRules::default()));
        for wrong in ["default,host", "https://example.org", "a b", "*.a:443", "x:port", "exa*mple.org"] {
            assert!(wrong.parse::<EgressRules>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_operators_registry_is_reached_wherever_it_is() {
        let rules = EgressRules::default().and_registry(Some("http://127.0.0.1:9/npm/"));
        let EgressRules::Proxy(rules) = rules else { panic!("it is a proxy's") };
        assert_eq!(judge(&rules, "127.0.0.1", 9), Verdict::Anywhere);
        assert_eq!(judge(&rules, "127.0.0.1", 10), Verdict::No);
        assert_eq!(EgressRules::Machine.and_registry(Some("http://127.0.0.1:9/")), EgressRules::Machine);
    }

    #[test]
    fn own_networks_are_not_outside() {
        for inside in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(!is_outside(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["140.82.121.4", "203.0.113.80", "2606:4700::6810:1"] {
            assert!(is_outside(outside.parse().unwrap()), "{outside}");
        }
    }
}
