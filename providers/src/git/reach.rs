//! Where a git host is: its name is looked up once, the addresses are judged, and git connects to those and no others.
//! A name that leads into somebody's own network leads nowhere, whenever it does so (DNS rebinding included).

use std::net::IpAddr;
use std::time::Duration;

use domain::ports::git::GitError;
use domain::values::RepoUrl;
use url::{Host, Url};

use crate::addresses::is_public;

/// How long a name may take to be looked up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host with the addresses that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) host: String,
    pub(super) port: u16,
    /// None of a host that the operator has named: it may be wherever it is.
    pub(super) addresses: Vec<IpAddr>,
}

/// Looks the host of a repository up. `private` are hosts, each with its port or without, that the operator has named:
/// they may be in his own network.
pub(super) async fn reach(url: &RepoUrl, private: &[String]) -> Result<Reached, GitError> {
    let (host, port) = place(url).ok_or_else(|| GitError::NotAllowed(format!("{url} names no host")))?;
    let named = format!("{host}:{port}");
    if private.iter().any(|one| one.eq_ignore_ascii_case(&host) || one.eq_ignore_ascii_case(&named)) {
        return Ok(Reached { host, port, addresses: vec![] });
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<IpAddr> = match bare.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => {
            let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((bare, port))).await;
            let unknown = || GitError::Unreachable(format!("the name {host} could not be looked up"));
            looked_up.map_err(|_| unknown())?.map_err(|_| unknown())?.map(|address| address.ip()).collect()
        }
    };
    let addresses: Vec<IpAddr> = found.into_iter().filter(|address| is_public(*address)).collect();
    if addresses.is_empty() {
        return Err(GitError::NotAllowed(format!(
            "{host} is in a private network, which the operator does not allow (MASTRA_ADMIN_GIT_PRIVATE_HOSTS)"
        )));
    }
    Ok(Reached { host, port, addresses })
}

fn place(url: &RepoUrl) -> Option<(String, u16)> {
    if let Some(ssh) = url.ssh() {
        return Some((ssh.host, ssh.port.unwrap_or(22)));
    }
    let url = Url::parse(url.as_str()).ok()?;
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

impl Reached {
    /// The setting by which git connects nowhere else over https. An address needs none: there is nothing to look up.
    pub(super) fn curl_resolve(&self) -> Option<(String, String)> {
        let is_name = matches!(Host::parse(&self.host), Ok(Host::Domain(_)));
        let first: Vec<String> = self
            .addresses
            .iter()
            .map(|ip| match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            })
            .collect();
        let value = format!("{}:{}:{}", self.host, self.port, first.join(","));
        (is_name && !first.is_empty()).then(|| ("http.curloptResolve".to_owned(), value))
    }

    /// What ssh connects to: an address where they were looked up, the name of a host that the operator has named.
    pub(super) fn ssh_name(&self) -> String {
        self.addresses.first().map_or_else(|| self.host.clone(), IpAddr::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reached(url: &str, private: &[&str]) -> Result<Reached, GitError> {
        let private: Vec<String> = private.iter().map(|host| (*host).to_owned()).collect();
        reach(&url.parse().unwrap(), &private).await
    }

    #[tokio::test]
    async fn own_networks_are_reached_only_where_the_operator_says_so() {
        for inside in [
            "https://127.0.0.1/a",
            "https://2130706433/a",
            "https://0x7f.1/a",
            "https://0177.0.0.1/a",
            "https://127.1/a",
            "https://[::1]/a",
            "https://[::ffff:127.0.0.1]/a",
            "https://[::ffff:7f00:1]/a",
            "https://[fd00::1]/a",
            "https://[64:ff9b::7f00:1]/a",
            "https://169.254.169.254/a",
            "https://10.0.0.1:8443/a",
            "https://localhost/a",
            "ssh://git@127.0.0.1/a",
            "ssh://git@localhost:2222/a",
            "git@192.168.1.1:a",
        ] {
            let answer = reached(inside, &["10.0.0.1:443"]).await;
            assert!(matches!(answer, Err(GitError::NotAllowed(_))), "{inside}: {answer:?}");
        }
        for (named, by) in [
            ("https://127.0.0.1/a", "127.0.0.1"),
            ("https://10.0.0.1:8443/a", "10.0.0.1:8443"),
            ("ssh://git@localhost:2222/a", "LocalHost:2222"),
        ] {
            assert_eq!(reached(named, &[by]).await.unwrap().addresses, Vec::<IpAddr>::new());
        }
        let public = reached("https://140.82.121.4/a", &[]).await.unwrap();
        assert_eq!((public.curl_resolve(), public.ssh_name()), (None, "140.82.121.4".to_owned()));
    }

    #[test]
    fn git_connects_to_what_was_judged() {
        let addresses = vec!["140.82.121.4".parse().unwrap(), "2606:50c0::1".parse().unwrap()];
        let reached = Reached { host: "git.example.org".to_owned(), port: 443, addresses };
        let (key, value) = reached.curl_resolve().unwrap();
        assert_eq!(key, "http.curloptResolve");
        assert_eq!(value, "git.example.org:443:140.82.121.4,[2606:50c0::1]");
        assert_eq!(reached.ssh_name(), "140.82.121.4");
    }
}
