//! Secrets that prove who asks: session tokens, API tokens, invites, the setup token.
//!
//! 256 random bits each; only their SHA-256 is stored. An API token ends with a checksum, so that a mistyped or
//! made-up one is refused without a look into the database.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use commands::{IdempotencyKey, Vault, VaultError};
use sha2::{Digest, Sha256};

const SESSION: &str = "mas_";
const API: &str = "ma_";
const CHECKSUM_DIGITS: usize = 6;
/// Characters of an API token that lists show.
const SHOWN: usize = 10;
/// The same of its end: digits of the checksum, which tell nothing that could be guessed from.
const SHOWN_AT_THE_END: usize = 4;

/// A new secret with the hash that is stored.
pub struct NewToken {
    /// The secret; shown once.
    pub plain: String,
    /// Its SHA-256.
    pub hash: Vec<u8>,
}

impl NewToken {
    /// A session's token.
    pub fn session() -> Self {
        Self::of(format!("{SESSION}{}", random()))
    }

    /// A personal or project API token.
    ///
    /// With an idempotency key it is made of the key and of the installation's own: the same again for the same
    /// request of the same caller, and told by nobody else. So a repeated command answers the same token, although
    /// it is stored nowhere.
    pub async fn api(key: Option<&IdempotencyKey>, vault: &Vault) -> Result<Self, VaultError> {
        let body = once(key, vault).await?;
        let sum = checksum(&body);
        Ok(Self::of(format!("{API}{body}{sum}")))
    }

    /// The secret of an invite, with an idempotency key as that of an API token.
    pub async fn invite(key: Option<&IdempotencyKey>, vault: &Vault) -> Result<Self, VaultError> {
        Ok(Self::of(once(key, vault).await?))
    }

    /// The secret of the setup.
    pub fn setup() -> Self {
        Self::of(random())
    }

    /// The hash as the log keeps it.
    pub fn hex(&self) -> String {
        hex::encode(&self.hash)
    }

    /// The first characters, for lists.
    pub fn prefix(&self) -> String {
        self.plain.chars().take(SHOWN).collect()
    }

    /// The last characters, for lists.
    pub fn last_four(&self) -> String {
        self.plain[self.plain.len() - SHOWN_AT_THE_END..].to_owned()
    }

    fn of(plain: String) -> Self {
        let hash = sha256(&plain);
        Self { plain, hash }
    }
}

/// What messages to an endpoint are signed with, by Standard Webhooks; with an idempotency key as an API token.
pub(crate) async fn endpoint_secret(
    key: Option<&IdempotencyKey>,
    vault: &Vault,
) -> Result<String, VaultError> {
    let bytes = BASE64.decode(once(key, vault).await?).expect("it was encoded so");
    Ok(format!("whsec_{}", STANDARD.encode(bytes)))
}

/// SHA-256 of a secret.
pub fn sha256(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// The stored hash of what looks like a session token.
pub(crate) fn hash_of_session(secret: &str) -> Option<Vec<u8>> {
    secret.starts_with(SESSION).then(|| sha256(secret))
}

/// The stored hash of what is an API token by its form and checksum.
pub(crate) fn hash_of_api_token(secret: &str) -> Option<String> {
    let rest = secret.strip_prefix(API)?;
    let (body, sum) = rest.split_at_checked(rest.len().checked_sub(CHECKSUM_DIGITS)?)?;
    (checksum(body) == sum).then(|| hex::encode(sha256(secret)))
}

fn checksum(body: &str) -> String {
    hex::encode(&sha256(body)[..CHECKSUM_DIGITS / 2])
}

/// 256 bits as text: random, or those of the key.
async fn once(key: Option<&IdempotencyKey>, vault: &Vault) -> Result<String, VaultError> {
    let Some(IdempotencyKey { scope, key, request_hash }) = key else { return Ok(random()) };
    let of_key = vault.fingerprint("secret token", &format!("{scope}\0{key}\0{request_hash}")).await?;
    Ok(BASE64.encode(hex::decode(of_key).expect("a fingerprint is hex")))
}

/// 256 random bits as text.
pub(crate) fn random() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_token_proves_its_form_without_a_query() {
        let body = random();
        let token = NewToken::of(format!("{API}{body}{}", checksum(&body)));
        assert_eq!(hash_of_api_token(&token.plain), Some(token.hex()));
        let mut wrong = token.plain.clone();
        let last = if wrong.ends_with('0') { "1" } else { "0" };
        wrong.replace_range(wrong.len() - 1.., last);
        assert_eq!(hash_of_api_token(&wrong), None);
        for odd in ["", "ma_", "ma_x", "mas_abc", "Bearer", "ma_日本語日本語"] {
            assert_eq!(hash_of_api_token(odd), None, "{odd}");
        }
        assert_ne!(NewToken::session().plain, NewToken::session().plain);
    }
}
