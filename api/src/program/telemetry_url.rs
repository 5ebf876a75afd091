//! Where deployed servers send their telemetry.

use anyhow::{Context as _, bail};
use url::{Host, Url};

/// What the operator says instead of an address when servers are not to be told any.
const NOWHERE: &str = "none";

/// The origin that deployed servers are given: what the operator named, else the public address if they reach it. Nothing
/// where they do not; then they send what their own variables say.
pub(super) fn read(
    named: Option<&str>,
    public_url: &str,
    shares_loopback: bool,
) -> anyhow::Result<Option<String>> {
    match named {
        Some(NOWHERE) => Ok(None),
        Some(url) => origin(url).map(Some).context("MASTRA_ADMIN_TELEMETRY_URL"),
        None => match origin(public_url) {
            Ok(url) if shares_loopback || !is_loopback(&url) => Ok(Some(url)),
            Ok(url) => {
                tracing::warn!(
                    "containers do not reach {url}: deployed servers send no telemetry until \
                     MASTRA_ADMIN_TELEMETRY_URL says where they reach this server"
                );
                Ok(None)
            }
            Err(error) => {
                tracing::warn!("deployed servers send no telemetry to the public address: {error:#}");
                Ok(None)
            }
        },
    }
}

/// A server of Mastra ends while it loads when there is a path behind the address. User and password are not told to
/// whoever reads the error.
fn origin(said: &str) -> anyhow::Result<String> {
    let shown = said.rsplit_once('@').map_or_else(|| said.to_owned(), |(_, behind)| format!("…@{behind}"));
    let url = Url::parse(said).with_context(|| format!("{shown} is no address"))?;
    if !["http", "https"].contains(&url.scheme()) {
        bail!("{shown} is no http or https address");
    }
    if url.path() != "/"
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        bail!("{shown} has to be an origin, as https://admin.example.org: Mastra takes no path behind it");
    }
    Ok(url.origin().ascii_serialization())
}

fn is_loopback(origin: &str) -> bool {
    match Url::parse(origin).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(named: Option<&str>, public: &str, shares_loopback: bool) -> Option<String> {
        read(named, public, shares_loopback).unwrap()
    }

    #[test]
    fn servers_are_told_what_they_reach() {
        let public = "https://admin.example.org/";
        assert_eq!(url(None, public, false).as_deref(), Some("https://admin.example.org"));
        assert_eq!(url(None, "http://127.0.0.1:8080", true).as_deref(), Some("http://127.0.0.1:8080"));
        for own in ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "http://0.0.0.0:1"]
        {
            assert_eq!(url(None, own, false), None, "{own}");
            assert_eq!(
                url(Some("http://172.17.0.1:8080"), own, false).as_deref(),
                Some("http://172.17.0.1:8080")
            );
        }
        assert_eq!(url(None, "https://example.org/admin", true), None, "Mastra would end while it loads");
        assert_eq!(url(Some("none"), public, true), None);
        for bad in ["", "admin.example.org", "ftp://x", "https://x/y", "https://x?y", "https://me@x"] {
            assert!(read(Some(bad), public, true).is_err(), "{bad}");
        }
        for secret in [
            "https://me:hidden@x",
            "https://:hidden@x",
            "me:hidden@x",
            "https://me:hid@hidden@x/y",
            "ftp://hidden@x",
        ] {
            let error = format!("{:#}", read(Some(secret), public, true).unwrap_err());
            assert!(!error.contains("hid"), "{error}");
        }
    }
}
