//! What a server may reach, told by addresses.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

use crate::addresses::is_public;

/// Where clouds answer questions about the machine, beside link-local addresses.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// The same of version 6, with what clouds have beside it: the first 32 bits.
const METADATA_V6: [(u16, u16); 3] = [(0xfd00, 0x0ec2), (0xfd00, 0x0042), (0xfd20, 0x00ce)];

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
        if is_this_machine(to.ip()) || inner(to.ip()).is_some_and(is_this_machine) {
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

/// Whether the machine can tell which addresses are its own; why not.
pub(in crate::runner::local) fn knows_itself() -> io::Result<()> {
    match UdpSocket::bind((NOBODY, 0)) {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("net.ipv4.ip_nonlocal_bind hides which addresses are the machine's")),
    }
}

/// Only addresses of the machine's own can be taken.
fn is_this_machine(ip: IpAddr) -> bool {
    may_be_own(&UdpSocket::bind((ip, 0)))
}

/// What came of taking an address: only that word says that it is somebody else's. A machine that is out of
/// descriptors or memory does not know, so it may be its own.
fn may_be_own<T>(taken: &io::Result<T>) -> bool {
    !taken.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// The address of version 4 that one of version 6 leads to, whoever translates it.
fn inner(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into();
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// Loopback, neighbours on the wire, metadata services, and what is no address of anybody.
fn is_nobodys_business(ip: IpAddr) -> bool {
    if let Some(inner) = inner(ip) {
        return !is_public(inner) || is_nobodys_business(inner);
    }
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            let is_strange = ip.is_loopback() || ip.is_link_local() || ip.is_multicast();
            is_strange || first == 0 || first >= 240 || METADATA_V4.contains(&ip)
        }
        IpAddr::V6(ip) => {
            let [a, b, ..] = ip.segments();
            match (a, b) {
                // Other ways to addresses of version 4.
                (0x64, 0xff9b) | (0, _) | (0x2001, 0) => true,
                start if METADATA_V6.contains(&start) => true,
                _ => ip.is_unicast_link_local() || ip.is_multicast() || a & 0xffc0 == 0xfec0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

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
            "[fd00:ec2::23]:80",
            "[fd00:42::42]:80",
            "[fd20:ce::254]:80",
            "[64:ff9b::a83f:8110]:80",
            "[2002:a83f:8110::1]:80",
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
    fn only_the_word_that_an_address_is_not_there_makes_it_somebody_elses() {
        let failed = |number| Err::<(), _>(io::Error::from_raw_os_error(number));
        assert!(!may_be_own(&failed(Errno::ADDRNOTAVAIL.raw_os_error())));
        assert!(may_be_own(&Ok(())));
        let others =
            [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRINUSE, Errno::ACCESS];
        for other in others {
            assert!(may_be_own(&failed(other.raw_os_error())), "{other}");
        }
        assert!(is_this_machine(Ipv4Addr::LOCALHOST.into()) && !is_this_machine(NOBODY));
        knows_itself().unwrap();
    }

    #[test]
    fn an_address_of_version_6_is_what_it_leads_to() {
        let inner = |ip: &str| super::inner(ip.parse().unwrap()).map(|ip| ip.to_string());
        assert_eq!(inner("64:ff9b::c000:2e7").as_deref(), Some("192.0.2.231"));
        assert_eq!(inner("2002:c000:2e7::1").as_deref(), Some("192.0.2.231"));
        assert_eq!(
            (inner("64:ff9b:1::c000:2e7"), inner("2a00:1450::1"), inner("192.0.2.231")),
            (None, None, None)
        );
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
