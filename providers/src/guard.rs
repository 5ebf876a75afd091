//! Keeps requests to addresses that others have given out of networks that are not theirs: a name is looked up once, every
//! address that it has is checked, and what was checked is connected to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use ipnet::IpNet;
use tower::Service;
use url::{Host, Url};

use crate::addresses::is_public;

/// Addresses of a name, on their way.
type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Which addresses may be talked to.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// Whether those of the internet may.
    public: bool,
    /// Beside them.
    ranges: Arc<[IpNet]>,
    lookup: fn(Name) -> Looking,
}

impl Guard {
    /// Addresses of the internet, and these.
    pub(crate) fn public_and(ranges: &[IpNet]) -> Self {
        Self { public: true, ranges: ranges.into(), lookup }
    }

    /// These alone.
    pub(crate) fn only(ranges: &[IpNet]) -> Self {
        Self { public: false, ranges: ranges.into(), lookup }
    }

    /// Every address.
    pub(crate) fn anywhere() -> Self {
        let all = ["0.0.0.0/0", "::/0"].map(|range| range.parse().expect("a range"));
        Self::public_and(&all)
    }

    #[cfg(test)]
    pub(crate) fn looking(self, lookup: fn(Name) -> Looking) -> Self {
        Self { lookup, ..self }
    }

    /// Whether this address may be talked to.
    pub(crate) fn allows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.public && is_public(ip) || self.ranges.iter().any(|range| range.contains(&ip))
    }

    /// Whether the host of an address may be talked to, as far as that can be told without asking for its name. A
    /// connection to a host that is an address itself asks nobody else.
    pub(crate) fn allows_host(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(ip)) => self.allows(ip.into()),
            Some(Host::Ipv6(ip)) => self.allows(ip.into()),
            Some(Host::Domain(name)) => !name.is_empty(),
            None => false,
        }
    }
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move {
            // The addresses that are checked here are those that are connected to.
            let found = (guard.lookup)(name).await?;
            if found.iter().any(|address| !guard.allows(address.ip())) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this address is not allowed"));
            }
            Ok(found.into_iter())
        })
    }
}

/// As the system knows it.
fn lookup(name: Name) -> Looking {
    Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
}
