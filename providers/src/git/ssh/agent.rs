//! An agent for one connection: it tells ssh our public keys and signs with the private ones, which nobody else sees.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use domain::ports::git::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::{blob, pair, text};

// Numbers of messages: draft-ietf-sshm-ssh-agent.
const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGNATURE: u8 = 14;
/// ssh sends nothing longer.
const MAX_MESSAGE: u32 = 256 * 1024;

/// Ends when it is dropped.
pub(super) struct Agent(JoinHandle<()>);

struct Key {
    blob: Vec<u8>,
    pair: Ed25519KeyPair,
}

impl Agent {
    /// Listens at a path in a directory that is ours alone.
    pub(super) fn start(path: &Path, keys: &[KeyPair]) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let keys: Arc<[Key]> = keys
            .iter()
            .filter_map(|key| pair(&key.secret))
            .map(|pair| Key { blob: blob(pair.public_key().as_ref()), pair })
            .collect();
        Ok(Self(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // One after the other: there is one ssh.
                let _ = serve(stream, &keys).await;
            }
        })))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers until the other side has gone.
async fn serve(mut stream: UnixStream, keys: &[Key]) -> io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        if !(1..=MAX_MESSAGE).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length as usize];
        stream.read_exact(&mut message).await?;
        stream.write_all(&text(&answer(&message, keys))).await?;
    }
}

fn answer(message: &[u8], keys: &[Key]) -> Vec<u8> {
    match message {
        [REQUEST_IDENTITIES] => {
            let count = u32::try_from(keys.len()).unwrap_or_default();
            let mut answer = [&[IDENTITIES][..], &count.to_be_bytes()].concat();
            for key in keys {
                answer.extend([text(&key.blob), text(b"")].concat());
            }
            answer
        }
        [SIGN_REQUEST, rest @ ..] => sign(rest, keys).unwrap_or_else(|| vec![FAILURE]),
        _ => vec![FAILURE],
    }
}

fn sign(rest: &[u8], keys: &[Key]) -> Option<Vec<u8>> {
    let (wanted, rest) = read_text(rest)?;
    let (data, _flags) = read_text(rest)?;
    let key = keys.iter().find(|key| key.blob == wanted)?;
    let signature = [text(b"ssh-ed25519"), text(key.pair.sign(data).as_ref())].concat();
    Some([vec![SIGNATURE], text(&signature)].concat())
}

fn read_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::super::new_key;
    use super::*;

    #[test]
    fn it_signs_with_the_key_that_is_asked_for_and_tells_no_private_half() {
        let made = new_key();
        let pair = pair(&made.secret).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let keys = [Key { blob: blob(&public), pair }];
        let told = answer(&[REQUEST_IDENTITIES], &keys);
        assert_eq!(told[..5], [IDENTITIES, 0, 0, 0, 1]);
        assert!(!told.windows(32).any(|window| window == made.secret.expose()));
        let ask = |key: &[u8]| [&[SIGN_REQUEST][..], &text(key), &text(b"data"), &[0; 4]].concat();
        let signed = answer(&ask(&keys[0].blob), &keys);
        assert_eq!(signed[0], SIGNATURE);
        let signature = &signed[signed.len() - 64..];
        let ed25519 = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, &public);
        ed25519.verify(b"data", signature).unwrap();
        for odd in [ask(b"other"), vec![], vec![27], vec![SIGN_REQUEST, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(answer(&odd, &keys), [FAILURE]);
        }
    }
}
