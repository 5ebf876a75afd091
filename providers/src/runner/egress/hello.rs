//! The first words of TLS: for whom they are.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// More than any client says at first.
const MOST: usize = 64 << 10;

/// What is told a client whose words are for somebody else: a fatal alert, `unrecognized_name`.
pub(super) const UNRECOGNIZED: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: usize = 0;

/// What a client said at first.
pub(super) struct Hello {
    /// Every byte, to be passed on.
    pub(super) said: Vec<u8>,
    /// The host that it is for, in lower case, if it names one.
    pub(super) host: Option<String>,
}

/// Reads them. `None` when it is not TLS that is spoken, or not in time.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin), within: Duration) -> Option<Hello> {
    timeout(within, whole(from)).await.ok()?.ok()
}

/// Records until the greeting is whole: it may be spread over several.
async fn whole(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Hello> {
    let (mut said, mut message) = (vec![], vec![]);
    loop {
        let at = said.len();
        said.resize(at + 5, 0);
        from.read_exact(&mut said[at..]).await?;
        let length = number(&said[at + 3..]);
        if said[at] != HANDSHAKE || length == 0 || message.len() + length > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        said.resize(at + 5 + length, 0);
        from.read_exact(&mut said[at + 5..]).await?;
        message.extend_from_slice(&said[at + 5..]);
        if message[0] != CLIENT_HELLO {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(head) = message.get(1..4) else { continue };
        if let Some(body) = message[4..].get(..number(head)) {
            let host = server_name(body).ok_or(io::ErrorKind::InvalidData)?;
            return Ok(Hello { said, host });
        }
    }
}

/// Big-endian; of two bytes where there are more.
fn number(bytes: &[u8]) -> usize {
    let width = if bytes.len() == 3 { 3 } else { 2 };
    bytes[..width].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The host in a greeting; `None` when the greeting does not read.
fn server_name(body: &[u8]) -> Option<Option<String>> {
    let mut rest = body.get(2 + 32..)?;
    let _session = take(&mut rest, 1)?;
    let _ciphers = take(&mut rest, 2)?;
    let _compressions = take(&mut rest, 1)?;
    if rest.is_empty() {
        return Some(None);
    }
    let mut extensions = take(&mut rest, 2)?;
    let mut found = None;
    while !extensions.is_empty() {
        let kind = number(extensions.get(..2)?);
        extensions = &extensions[2..];
        let mut content = take(&mut extensions, 2)?;
        if kind == SERVER_NAME {
            let mut names = take(&mut content, 2)?;
            // One name, of a host; twice the same extension is no greeting.
            let is_host = *names.first()? == 0 && found.is_none();
            names = &names[1..];
            let name = std::str::from_utf8(take(&mut names, 2)?).ok()?;
            if !is_host || !names.is_empty() {
                return None;
            }
            found = Some(name.trim_end_matches('.').to_ascii_lowercase());
        }
    }
    Some(found)
}

/// What stands behind its length, which takes so many bytes.
fn take<'a>(rest: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let length = rest.get(..width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let taken = rest.get(width..width + length)?;
    *rest = &rest[width + length..];
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A greeting as small as it gets, in records of so many bytes.
    fn greeting(names: &[&str], record: usize) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let name = |name: &&str| {
            let entry = [&[0][..], &sized(name.as_bytes())].concat();
            [&[0, 0][..], &sized(&sized(&entry))].concat()
        };
        let other = [&[0, 43][..], &sized(&[2, 3, 4])].concat();
        let extensions = [other, names.iter().map(name).collect::<Vec<_>>().concat()].concat();
        let body = [&[3, 3][..], &[7; 32], &[0], &sized(&[19, 1]), &[1, 0], &sized(&extensions)].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[CLIENT_HELLO][..], &length[1..], &body].concat();
        let records = message.chunks(record).map(|part| [&[HANDSHAKE, 3, 1][..], &sized(part)].concat());
        records.collect::<Vec<_>>().concat()
    }

    async fn host(bytes: &[u8]) -> Option<Option<String>> {
        let hello = read(&mut &*bytes, Duration::from_secs(9)).await?;
        assert_eq!(hello.said, bytes);
        Some(hello.host)
    }

    #[tokio::test]
    async fn a_greeting_tells_for_whom_it_is() {
        let said = Some(Some("registry.npmjs.org".to_owned()));
        for record in [1, 3, 50, 9000] {
            assert_eq!(host(&greeting(&["Registry.npmjs.org."], record)).await, said, "{record}");
        }
        assert_eq!(host(&greeting(&[], 9000)).await, Some(None));
    }

    #[tokio::test]
    async fn what_is_no_greeting_is_none() {
        let good = greeting(&["a.test"], 9000);
        assert_eq!(host(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await, None);
        assert_eq!(host(&greeting(&["a.test", "b.test"], 9000)).await, None, "for two");
        for end in 0..good.len() {
            assert_eq!(host(&good[..end]).await, None, "{end}");
        }
        for place in 5..good.len() {
            let mut bent = good.clone();
            bent[place] ^= 0x5a;
            let _no_panic = host(&bent[..]).await;
        }
        let (mut silent, _open) = tokio::io::duplex(9);
        assert!(read(&mut silent, Duration::from_millis(20)).await.is_none());
    }
}
