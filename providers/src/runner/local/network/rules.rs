//! What a server may reach, told by addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

use crate::addresses::is_public;

/// Where clouds answer questions about the machine, beside link-local addresses.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
];

/// An address of nobody: a machine on which it can be taken takes any.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 231));

/// What servers may reach, as the operator says it, separated by commas: `*` (the world, networks of the operator's own
/// included), `public` (the internet alone), ranges, and addresses with a port. Loopback, link-local and metadata
/// addresses and the machine itself are reached by an address with its port alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Everything but what is nobody's business.
    World,
    /// Addresses of the internet.
    Public,
    Range(IpNet),
    /// Wherever it is.
    Exactly(SocketAddr),
}

/// What the operator wrote is no rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is none of: *, public, a range such as 10.0.0.0/8, an address with its port")]
pub struct NoServerRule(String);

impl Default for ServerRules {
    fn default() -> Self {
        Self(vec![Rule::World])
    }
}

impl FromStr for ServerRules {
    type Err = NoServerRule;

    fn from_str(text: &str) -> Result<Self, NoServerRule> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let rule = |word: &str| match word {
            "*" => Some(Rule::World),
            "public" => Some(Rule::Public),
            word => {
                let exactly = || word.parse().ok().map(Rule::Exactly);
                let range = || word.parse().ok().map(Rule::Range);
                let address = || word.parse::<IpAddr>().ok().map(|ip| Rule::Range(ip.into()));
                exactly().or_else(range).or_else(address)
            }
        };
        let rules: Result<_, _> =
            words.map(|word| rule(word).ok_or_else(|| NoServerRule(word.to_owned()))).collect();
        rules.map(Self)
    }
}

impl ServerRules {
    /// Why a connection is refused, if it is. The platform is at this port, at whatever address of the machine.
    pub(super) fn judge(&self, to: SocketAddr, platform: Option<u16>) -> Result<(), &'static str> {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        if self.0.contains(&Rule::Exactly(to)) {
            return Ok(());
        }
        if is_nobodys_business(to.ip()) {
            return Err("Servers may not reach this.");
        }
        if is_this_machine(to.ip()) {
            let why = "It is the machine of the platform, which servers may not reach.";
            return (platform == Some(to.port())).then_some(()).ok_or(why);
        }
        let allows = |rule: &Rule| match rule {
            Rule::World => true,
            Rule::Public => is_public(to.ip()),
            Rule::Range(range) => range.contains(&to.ip()),
            Rule::Exactly(_) => false,
        };
        self.0.iter().any(allows).then_some(()).ok_or("The rules for servers do not allow it.")
    }
}

/// Whether the machine can tell which addresses are its own.
pub(in crate::runner::local) fn knows_itself() -> bool {
    !is_this_machine(NOBODY)
}

/// Only addresses of the machine's own can be taken.
fn is_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Loopback, neighbours on the wire, metadata services, and what is no address of anybody.
fn is_nobodys_business(ip: IpAddr) -> bool {
    if METADATA.contains(&ip) {
        return true;
    }
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || first == 0 || first >= 240
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let inner = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
            match (a, b) {
                // Ways to addresses of version 4: what is inside counts, whoever translates it.
                (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => !is_public(inner(g, h).into()),
                (0x64, 0xff9b) | (0, _) | (0x2001, 0) => true,
                (0x2002, _) => !is_public(inner(b, c).into()),
                _ => ip.is_unicast_link_local() || ip.is_multicast() || a & 0xffc0 == 0xfec0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rules: &str, to: &str) -> bool {
        rules.parse::<ServerRules>().unwrap().judge(to.parse().unwrap(), Some(8443)).is_ok()
    }

    #[test]
    fn the_world_is_everything_but_this_machine_and_what_tells_about_it() {
        for far in
            ["203.0.114.9:443", "10.1.2.3:5432", "192.168.7.7:80", "[2a00:1450::1]:443", "[fd00:9::7]:1"]
        {
            assert!(allows("*", far), "{far}");
        }
        let never = [
            "127.0.0.1:8443",
            "127.9.9.9:1",
            "0.0.0.0:80",
            "169.254.169.254:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[::1]:1",
            "[::]:1",
            "[fe80::1]:1",
            "[::ffff:127.0.0.1]:1",
            "[::127.0.0.1]:1",
            "[fd00:ec2::254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[64:ff9b::7f00:1]:80",
            "[2002:7f00:1::]:1",
            "[ff02::1]:1",
        ];
        for near in never {
            assert!(!allows("*, 0.0.0.0/0, ::/0", near), "{near}");
        }
    }

    #[test]
    fn an_address_with_its_port_is_the_operators_word() {
        assert!(allows("127.0.0.1:6379", "127.0.0.1:6379"));
        assert!(allows("127.0.0.1:6379", "[::ffff:127.0.0.1]:6379"));
        assert!(!allows("127.0.0.1:6379", "127.0.0.1:6380"));
        assert!(!allows("127.0.0.1:6379", "203.0.114.9:443"));
    }

    #[test]
    fn less_than_the_world() {
        assert!(allows("public", "203.0.114.9:443") && !allows("public", "10.1.2.3:5432"));
        assert!(allows("public,10.1.0.0/16", "10.1.2.3:5432") && !allows("public,10.1.0.0/16", "10.2.2.3:1"));
        assert!(allows("10.1.2.3", "10.1.2.3:5432") && !allows("", "203.0.114.9:443"));
        for wrong in ["example.org", "10.0.0.0/33", "host", "* public"] {
            assert!(wrong.parse::<ServerRules>().is_err(), "{wrong}");
        }
    }
}
