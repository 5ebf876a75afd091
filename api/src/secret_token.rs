//! Secrets that we hand out: sessions, API tokens, invites, setup.
//!
//! `ma_`, 256 random bits and a checksum, in characters that one click selects. The checksum tells a mistyped
//! token from a wrong one without a look into the database, and lets scanners find leaked ones.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use commands::{IdempotencyKey, Vault, VaultError};
use domain::secret::Secret;
use sha2::{Digest, Sha256};

const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
/// How many characters are shown in lists.
const SHOWN: usize = 8;

/// What a token is for, told by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A session.
    Session,
    /// A personal or project token.
    Api,
    /// An invite.
    Invite,
    /// The first user.
    Setup,
    /// What a browser sends besides its cookie.
    Csrf,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Session => "mas_",
            Self::Api => "ma_",
            Self::Invite => "mai_",
            Self::Setup => "maf_",
            Self::Csrf => "mac_",
        }
    }
}

/// A token in plain: shown once, kept as its hash.
#[derive(Clone, Debug)]
pub(crate) struct SecretToken(Secret);

impl SecretToken {
    /// A new one.
    pub(crate) fn random(kind: Kind) -> Self {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).expect("the operating system has random bytes");
        Self::of(kind, &bytes)
    }

    /// A new one; with an idempotency key the same one again for the same key, which only the installation's
    /// own key can tell. So a repeated command answers the same token, although it is stored nowhere.
    pub(crate) async fn once(
        kind: Kind,
        key: Option<&IdempotencyKey>,
        vault: &Vault,
    ) -> Result<Self, VaultError> {
        let Some(key) = key else { return Ok(Self::random(kind)) };
        let what = format!("{}\0{}\0{}\0{}", kind.prefix(), key.scope, key.key, key.request_hash);
        let bytes = vault.fingerprint("secret token", &what).await?;
        Ok(Self::of(kind, &hex::decode(bytes).expect("a fingerprint is hex")))
    }

    /// A token that somebody sends; `None` when it is none of this kind.
    pub(crate) fn parse(kind: Kind, text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.strip_prefix(kind.prefix())?).ok()?;
        let (secret, sum) = bytes.split_at_checked(SECRET_BYTES)?;
        (sum == checksum(secret)).then(|| Self(Secret::new(text)))
    }

    fn of(kind: Kind, secret: &[u8]) -> Self {
        let body = BASE64.encode([secret, &checksum(secret)].concat());
        Self(Secret::new(format!("{}{body}", kind.prefix())))
    }

    /// The token itself, for its owner.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_str().expect("made of ASCII")
    }

    /// What is stored of it: SHA-256. With 256 random bits nothing slower is needed.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose()).into()
    }

    /// The same in hex.
    pub(crate) fn hash_hex(&self) -> String {
        hex::encode(self.hash())
    }

    /// What lists show of it.
    pub(crate) fn shown(&self) -> String {
        self.expose().chars().take(SHOWN).collect()
    }
}

fn checksum(secret: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash: [u8; 32] = Sha256::digest(secret).into();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_as_what_it_is_and_as_nothing_else() {
        let token = SecretToken::random(Kind::Api);
        let read = SecretToken::parse(Kind::Api, token.expose()).unwrap();
        assert_eq!(read.hash(), token.hash());
        for kind in [Kind::Session, Kind::Invite, Kind::Setup] {
            assert!(SecretToken::parse(kind, token.expose()).is_none(), "{kind:?}");
        }
        assert_eq!(token.shown().len(), 8);
        assert_ne!(SecretToken::random(Kind::Api).hash(), token.hash());
    }

    #[test]
    fn a_mistyped_token_is_none() {
        let token = SecretToken::random(Kind::Session);
        let text = token.expose();
        let last = if text.ends_with('A') { 'B' } else { 'A' };
        let typo = format!("{}{last}", &text[..text.len() - 1]);
        let mut bad = vec![typo, format!("{text}A"), text[..text.len() - 1].to_owned()];
        bad.extend(["", "mas_", "mas_é", "mas_====", "x"].map(str::to_owned));
        for bad in bad {
            assert!(SecretToken::parse(Kind::Session, &bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = SecretToken::random(Kind::Invite);
        assert!(!format!("{token:?}").contains(token.expose()));
    }
}
