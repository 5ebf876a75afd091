//! What reading repositories over ssh and with names of users needs.

use super::{InvalidValue, RepoUrl, text};

/// Kinds of host keys, with what the base64 of each begins with: it names its kind itself.
const KINDS: [(&str, &str); 5] = [
    ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAI"),
    ("ecdsa-sha2-nistp256", "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAA"),
    ("ecdsa-sha2-nistp384", "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAA"),
    ("ecdsa-sha2-nistp521", "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAA"),
    ("ssh-rsa", "AAAAB3NzaC1yc2EAAAA"),
];

text! {
    /// The public key of an ssh server, as `ssh-ed25519 AAAA…`; a comment behind it is left out.
    HostKey, |text| {
        let refuse = || Err(InvalidValue::new("must be the public key of an ssh server, as `ssh-ed25519 AAAA…`"));
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let (Some(kind), Some(key)) = (words.next(), words.next()) else { return refuse() };
        let Some((_, begin)) = KINDS.iter().find(|(known, _)| *known == kind) else { return refuse() };
        let good = key.starts_with(begin)
            && (if kind == "ssh-ed25519" { key.len() == 68 } else { (100..=1400).contains(&key.len()) })
            && key.len().is_multiple_of(4)
            && key.trim_end_matches('=').bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b))
            && key.bytes().rev().take_while(|b| *b == b'=').count() <= 2
            && !text.chars().any(char::is_control);
        if !good {
            return refuse();
        }
        Ok(format!("{kind} {key}"))
    }
}

text! {
    /// The name that a git host asks for beside a token.
    GitUsername, |text| {
        if !(1..=255).contains(&text.len()) || text.chars().any(|c| c.is_control() || c == ':') {
            return Err(InvalidValue::new("must be a name of 1 to 255 bytes without `:`"));
        }
        Ok(text.to_owned())
    }
}

impl HostKey {
    /// Its kind: `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        self.as_str().split(' ').next().unwrap_or_default()
    }

    /// The key itself, in base64.
    pub fn base64(&self) -> &str {
        self.as_str().split(' ').nth(1).unwrap_or_default()
    }
}

/// Where a repository is that is read over ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAddress {
    /// Who signs in there.
    pub user: String,
    /// The name or the address of the server.
    pub host: String,
    /// Its port; 22 when absent.
    pub port: Option<u16>,
}

impl SshAddress {
    /// Reads `ssh://user@host[:port]/path` or `user@host:path`. Nothing in it may mean anything to a shell, to git or to
    /// ssh besides what it says.
    pub(super) fn of(text: &str) -> Option<Self> {
        let (place, path) = match text.strip_prefix("ssh://") {
            Some(rest) => rest.split_once('/')?,
            None if text.contains("://") => return None,
            None => text.split_once(':')?,
        };
        let (user, place) = place.split_once('@')?;
        let (host, port) = match place.rsplit_once(':').filter(|_| text.starts_with("ssh://")) {
            Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|port| *port > 0)?)),
            None => (place, None),
        };
        let good = is_user(user) && is_host(host) && is_path(path);
        good.then(|| Self { user: user.to_owned(), host: host.to_ascii_lowercase(), port })
    }
}

fn is_user(user: &str) -> bool {
    (1..=32).contains(&user.len())
        && !user.starts_with('-')
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// A name in the usual form, or an address of version 4 in four parts. No other way to write an address: `127.1` and
/// `2130706433` are names to the eye and addresses to the system.
fn is_host(host: &str) -> bool {
    let labels = || host.split('.');
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let last_is_word =
        labels().next_back().is_some_and(|last| !last.starts_with(|c: char| c.is_ascii_digit()));
    host.len() <= 253 && labels().all(good) && (last_is_word || host.parse::<std::net::Ipv4Addr>().is_ok())
}

fn is_path(path: &str) -> bool {
    (1..=1024).contains(&path.len())
        && !path.starts_with('-')
        && path.split('/').all(|part| part != ".." && !part.starts_with('-'))
        && path.chars().all(|c| c.is_alphanumeric() || "-_.~/+@".contains(c))
}

impl RepoUrl {
    /// Where it is, when it is read over ssh.
    pub fn ssh(&self) -> Option<SshAddress> {
        SshAddress::of(self.as_str())
    }

    /// The host that it is at, with its port when it is not the usual one: what credentials are bound to. None of a path
    /// on this machine.
    pub fn host(&self) -> Option<String> {
        if let Some(SshAddress { host, port, .. }) = self.ssh() {
            let port = port.filter(|port| *port != 22).map_or_else(String::new, |port| format!(":{port}"));
            return Some(format!("{host}{port}"));
        }
        let url = url::Url::parse(self.as_str()).ok().filter(|url| url.scheme() == "https")?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        Some(format!("{}{port}", url.host_str()?))
    }
}
