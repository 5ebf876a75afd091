//! The key vault: a data key per person, project and invite, wrapped by the master key.
//!
//! Another master key may take its place while servers run (`rotate`): each of them holds both meanwhile, and the
//! database says which wraps new data keys.
//!
//! Sealing is AES-256-GCM. What a value is for and its own id are bound into the ciphertext, so that it opens
//! nowhere else. Destroying a data key erases all that it sealed.

pub(crate) mod rotate;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use domain::ids::SecretId;
use domain::ports::encryption::{Encryption, EncryptionError};
use domain::sealed::{KeyOwner, Sealed};
use domain::secret::Secret;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sqlx::PgPool;
use thiserror::Error;

use crate::context::{Context, Mode};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
/// Data keys kept in memory; above it all are forgotten and fetched again.
const CACHED_KEYS: usize = 10_000;
/// How long a key in memory is believed to be there still: another process may have destroyed it.
const BELIEVED: Duration = Duration::from_secs(5);

/// Seals and opens values.
pub struct Vault {
    pool: PgPool,
    /// Every master key that this process holds, the one for a new installation first.
    masters: Vec<Arc<dyn Encryption>>,
    keys: RwLock<HashMap<KeyOwner, (Arc<DataKey>, Instant)>>,
}

struct DataKey {
    cipher: Aes256Gcm,
    /// Keys the marks; derived, so that a mark never uses the sealing key itself.
    mark: Secret,
}

/// Why a value could not be sealed or opened.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The data keys are wrapped by a master key that this process was not given.
    #[error(
        "this database is under another master key: it needs {needed}, and this server was given {given} \
         (docs/operating.md, \"The master key\")"
    )]
    OtherMasterKey {
        /// Name of the master key of the database, or what is known of it.
        needed: String,
        /// Names of those that are there.
        given: String,
    },
    /// The master key is another one than that which wrapped the keys, or it could not be reached.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The table of keys could not be read or written.
    #[error("the table of data keys failed")]
    Database(#[from] sqlx::Error),
    /// The key was destroyed: the value is erased.
    #[error("the value was erased")]
    Erased,
    /// The ciphertext was changed, or belongs to something else.
    #[error("the sealed value does not open")]
    Damaged,
}

impl Vault {
    /// Opens the vault and proves the master keys: without the one that the database is under it fails here, not later.
    /// The first of them is that of a new installation; the others open what they have wrapped.
    pub async fn open(
        pool: PgPool,
        masters: Vec<Arc<dyn Encryption>>,
        now: DateTime<Utc>,
    ) -> Result<Self, VaultError> {
        let vault = Self { pool, masters, keys: RwLock::default() };
        vault.settle_master(now).await?;
        vault.make(KeyOwner::System, now).await?;
        Ok(vault)
    }

    /// Seals a value for `purpose` under the key of `owner`, which is made when it is the first.
    pub async fn seal(
        &self,
        owner: KeyOwner,
        purpose: &str,
        id: SecretId,
        plain: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Sealed, VaultError> {
        Ok(self.make(owner, now).await?.seal(owner, purpose, id, plain))
    }

    /// Seals a value for a command. A dry run makes no key: what would be its first value is sealed under one that
    /// nobody keeps.
    pub async fn seal_for(
        &self,
        context: &Context,
        owner: KeyOwner,
        purpose: &str,
        id: SecretId,
        plain: &[u8],
    ) -> Result<Sealed, VaultError> {
        if context.mode == Mode::Append || self.is_made(owner).await? {
            return self.seal(owner, purpose, id, plain, context.at).await;
        }
        Ok(DataKey::new(&random::<32>())?.seal(owner, purpose, id, plain))
    }

    /// Opens a value that was sealed for `purpose`.
    pub async fn open_sealed(&self, sealed: &Sealed, purpose: &str) -> Result<Secret, VaultError> {
        let key = self.find(sealed.key).await?.ok_or(VaultError::Erased)?;
        key.decrypt(&aad(sealed.key, purpose, sealed.id), &sealed.data)
    }

    /// Opens a value that was sealed for `purpose`, as text. Erased values read as `[erased]`.
    pub async fn open_text(&self, sealed: &Sealed, purpose: &str) -> Result<String, VaultError> {
        match self.open_sealed(sealed, purpose).await {
            Ok(plain) => Ok(String::from_utf8_lossy(plain.expose()).into_owned()),
            Err(VaultError::Erased) => Ok("[erased]".to_owned()),
            Err(error) => Err(error),
        }
    }

    /// A keyed hash for look-up and uniqueness, stable for the life of the installation.
    pub async fn fingerprint(&self, purpose: &str, plain: &str) -> Result<String, VaultError> {
        let key = self.find(KeyOwner::System).await?.ok_or(VaultError::Erased)?;
        Ok(hex::encode(key.hmac(&[purpose.as_bytes(), b"\0", plain.as_bytes()])))
    }

    /// Seals a short text, bound to what it stands in: an event, a session. It has no mark and no id of its own.
    pub async fn seal_note(
        &self,
        owner: KeyOwner,
        aad: &str,
        plain: &str,
        now: DateTime<Utc>,
    ) -> Result<String, VaultError> {
        Ok(self.make(owner, now).await?.encrypt(aad, plain.as_bytes()))
    }

    /// Opens a text sealed into an envelope; `None` when its key was destroyed.
    pub async fn open_note(
        &self,
        owner: KeyOwner,
        aad: &str,
        data: &str,
    ) -> Result<Option<String>, VaultError> {
        let Some(key) = self.find(owner).await? else { return Ok(None) };
        let plain = key.decrypt(aad, data)?;
        Ok(Some(String::from_utf8_lossy(plain.expose()).into_owned()))
    }

    /// Forgets keys that were destroyed. Other processes find out within seconds.
    pub fn forget(&self, owners: &[KeyOwner]) {
        let mut keys = self.keys.write().expect("no holder panics");
        owners.iter().for_each(|owner| drop(keys.remove(owner)));
    }

    async fn find(&self, owner: KeyOwner) -> Result<Option<Arc<DataKey>>, VaultError> {
        if let Some((key, since)) = self.keys.read().expect("no holder panics").get(&owner)
            && since.elapsed() < BELIEVED
        {
            return Ok(Some(key.clone()));
        }
        let asked = Instant::now();
        let found: Option<(Option<Vec<u8>>, String)> =
            sqlx::query_as("SELECT wrapped, provider FROM data_keys WHERE owner = $1")
                .bind(owner.to_string())
                .fetch_optional(&self.pool)
                .await?;
        let Some((Some(wrapped), master)) = found else {
            self.forget(&[owner]);
            return Ok(None);
        };
        let (_, key) = self.unwrap(&wrapped, &master, &owner.to_string()).await?;
        let key = Arc::new(DataKey::new(&key)?);
        let mut keys = self.keys.write().expect("no holder panics");
        if keys.len() >= CACHED_KEYS {
            keys.clear();
        }
        keys.insert(owner, (key.clone(), asked));
        Ok(Some(key))
    }

    /// Whether there is, or was, a key of `owner`.
    async fn is_made(&self, owner: KeyOwner) -> Result<bool, VaultError> {
        let made = sqlx::query_scalar("SELECT EXISTS (SELECT FROM data_keys WHERE owner = $1)");
        Ok(made.bind(owner.to_string()).fetch_one(&self.pool).await?)
    }

    /// The key of `owner`; made when there was never one. Of two that make it at once, one wins. It is wrapped by the
    /// master key that the database is under when it is stored: should that change meanwhile, it is wrapped anew.
    async fn make(&self, owner: KeyOwner, now: DateTime<Utc>) -> Result<Arc<DataKey>, VaultError> {
        loop {
            if let Some(key) = self.find(owner).await? {
                return Ok(key);
            }
            let master = self.present().await?;
            let wrapped = master.wrap(&random::<32>(), &owner.to_string()).await?;
            sqlx::query(
                "INSERT INTO data_keys (owner, provider, wrapped, created_at)
                 SELECT $1, name, $3, $4 FROM (SELECT name FROM master_key WHERE name = $2 FOR SHARE) present
                 ON CONFLICT (owner) DO NOTHING",
            )
            .bind(owner.to_string())
            .bind(master.name())
            .bind(wrapped)
            .bind(now)
            .execute(&self.pool)
            .await?;
            if self.is_made(owner).await? {
                return self.find(owner).await?.ok_or(VaultError::Erased);
            }
        }
    }
}

impl DataKey {
    fn new(key: &Secret) -> Result<Self, VaultError> {
        let cipher = Aes256Gcm::new_from_slice(key.expose()).map_err(|_| VaultError::Damaged)?;
        let mut mac = mac(key.expose());
        mac.update(b"mastra-admin mark key");
        Ok(Self { cipher, mark: Secret::new(mac.finalize().into_bytes().to_vec()) })
    }

    fn seal(&self, owner: KeyOwner, purpose: &str, id: SecretId, plain: &[u8]) -> Sealed {
        let data = self.encrypt(&aad(owner, purpose, id), plain);
        Sealed { id, key: owner, data, mark: self.mark(plain) }
    }

    fn encrypt(&self, aad: &str, plain: &[u8]) -> String {
        let nonce = random::<NONCE_BYTES>();
        let payload = Payload { msg: plain, aad: aad.as_bytes() };
        let nonce_ref = Nonce::try_from(nonce.expose()).expect("twelve bytes");
        let sealed = self.cipher.encrypt(&nonce_ref, payload).expect("AES-GCM takes up to 64 GiB");
        let mut data = vec![VERSION];
        data.extend_from_slice(nonce.expose());
        data.extend_from_slice(&sealed);
        BASE64.encode(data)
    }

    fn decrypt(&self, aad: &str, data: &str) -> Result<Secret, VaultError> {
        let data = BASE64.decode(data).map_err(|_| VaultError::Damaged)?;
        let (&VERSION, rest) = data.split_first().ok_or(VaultError::Damaged)? else {
            return Err(VaultError::Damaged);
        };
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(VaultError::Damaged)?;
        let nonce = Nonce::try_from(nonce).expect("twelve bytes");
        let payload = Payload { msg: sealed, aad: aad.as_bytes() };
        self.cipher.decrypt(&nonce, payload).map(Secret::new).map_err(|_| VaultError::Damaged)
    }

    /// The first 16 bytes of the keyed hash, in hex.
    fn mark(&self, plain: &[u8]) -> String {
        hex::encode(&self.hmac(&[b"mark\0", plain])[..16])
    }

    fn hmac(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut mac = mac(self.mark.expose());
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }
}

fn aad(owner: KeyOwner, purpose: &str, id: SecretId) -> String {
    format!("{owner}|{purpose}|{id}")
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Random bytes of the operating system.
fn random<const N: usize>() -> Secret {
    let mut bytes = vec![0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    Secret::new(bytes)
}
