//! The master keys: which ones the server holds, and how another takes the place of the present one.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chrono::Utc;
use commands::Vault;
use domain::envelope::Actor;
use domain::operation::OperationEvent;
use domain::ports::encryption::Encryption;
use projections::operations;
use providers::encryption::aes_256_gcm::Aes256Gcm;
use providers::encryption::master_key::MasterKey;
use providers::encryption::none::NoEncryption;
use serde::Deserialize;
use sqlx::PgPool;

use super::config::Config;
use super::database::Database;

/// What data keys are wrapped with.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) enum EncryptionKind {
    /// A master key.
    #[default]
    #[serde(rename = "aes-256-gcm")]
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// Nothing.
    #[serde(rename = "none")]
    None,
}

impl EncryptionKind {
    /// Its name in settings and in `/api/ready`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::None => "none",
        }
    }
}

/// What can be done with master keys.
#[derive(clap::Subcommand)]
pub(crate) enum Keys {
    /// Say which master key the database is under, and which ones are here
    Status(crate::Common),
    /// Put the next master key in the place of the present one, while servers run
    #[command(after_help = ROTATE)]
    Rotate {
        #[command(flatten)]
        common: crate::Common,
        /// Who does it, for the log [default: the user of the operating system]
        #[arg(long, value_name = "NAME", value_parser = operator)]
        actor: Option<Actor>,
    },
}

const ROTATE: &str = "\
The next master key is MASTRA_ADMIN_MASTER_KEY_NEXT in the environment, or master.key.next in the data directory \
(openssl rand -base64 32). Give it to every server beside the present one and start them again, one after the other; \
then rotate; then make it the present one everywhere and take the old one away.

It wraps data keys anew and touches no event. When it is interrupted, run it again: it goes on where it was.";

impl Keys {
    /// The settings it was called with.
    pub(crate) fn common(&self) -> &crate::Common {
        match self {
            Self::Status(common) | Self::Rotate { common, .. } => common,
        }
    }

    /// Does it.
    pub(crate) async fn run(self, config: Config) -> anyhow::Result<()> {
        // A key that is made now is not the one that anything is wrapped by.
        let file = config.data_dir.join("master.key");
        let needs_file =
            config.encryption == EncryptionKind::Aes256Gcm && config.secrets.master_key.is_none();
        if needs_file && !file.exists() {
            bail!("there is no master key: neither MASTRA_ADMIN_MASTER_KEY nor {}", file.display());
        }
        let database = Database::beside(&config).await?;
        let done = match self {
            Self::Status(_) => status(&config, &database.pool).await,
            Self::Rotate { actor, .. } => {
                rotate(&config, &database.pool, actor.unwrap_or_else(of_the_system)).await
            }
        };
        database.close().await;
        done
    }
}

/// Opens the key vault; without the master key that the database is under it is refused here.
pub(crate) async fn vault(config: &Config, pool: &PgPool) -> anyhow::Result<Vault> {
    if config.encryption == EncryptionKind::None {
        tracing::warn!("encryption is `none`: whoever reads the database reads every secret");
    }
    Vault::open(pool.clone(), masters(config)?, Utc::now()).await.context("the key vault does not open")
}

/// The master key of the settings, and behind it those that may open what they have wrapped: the next one first.
fn masters(config: &Config) -> anyhow::Result<Vec<Arc<dyn Encryption>>> {
    if config.encryption == EncryptionKind::None {
        if !config.dev {
            bail!("encryption `none` is for trying things out: it needs --dev, too");
        }
        return Ok(vec![Arc::new(NoEncryption)]);
    }
    let (file, next_file) = (config.data_dir.join("master.key"), config.data_dir.join("master.key.next"));
    let first = MasterKey::from_env_or_file(config.secrets.master_key.as_ref(), &file)?;
    let mut masters: Vec<Arc<dyn Encryption>> = vec![Arc::new(Aes256Gcm::new(&first))];
    let next = config.secrets.next_master_key.as_ref();
    if next.is_some() || next_file.exists() {
        let next = MasterKey::from_env_or_file(next, &next_file).context("the next master key")?;
        masters.push(Arc::new(Aes256Gcm::new(&next)));
    }
    if config.dev {
        masters.push(Arc::new(NoEncryption));
    }
    Ok(masters)
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
async fn status(config: &Config, pool: &PgPool) -> anyhow::Result<()> {
    let vault = vault(config, pool).await?;
    let present = vault.master().await?.context("the vault has no master key")?;
    let state =
        present.complete_at.map_or("data keys are still wrapped anew: run `keys rotate`", |_| "complete");
    println!("database: {} since {} ({state})", present.name, present.since.to_rfc3339());
    println!("here:     {}", vault.masters().join(", "));
    for (name, count) in vault.wrapped_by().await? {
        println!("{count:>9} data keys under {name}");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
async fn rotate(config: &Config, pool: &PgPool, actor: Actor) -> anyhow::Result<()> {
    let vault = vault(config, pool).await?;
    let names = vault.masters();
    let to = names.get(1).filter(|next| *next != EncryptionKind::None.name()).unwrap_or(&names[0]).clone();
    let mut tx = pool.begin().await?;
    let begun = vault.begin_rotation(&mut tx, &to, Utc::now()).await?;
    if let Some(from) = &begun {
        println!("{to} takes the place of {from}");
        let event = OperationEvent::MasterKeyRotationBegun { from: from.clone(), to: to.clone() };
        operations::record(&mut tx, &actor, &event).await?;
    }
    tx.commit().await?;
    let mut rewrapped = 0;
    loop {
        match vault.rewrap().await? {
            0 => break,
            some => rewrapped += some,
        }
    }
    let mut tx = pool.begin().await?;
    let ended = vault.end_rotation(&mut tx, Utc::now()).await?;
    if let Some(data_keys) = ended {
        operations::record(&mut tx, &actor, &OperationEvent::MasterKeyRotated { to: to.clone(), data_keys })
            .await?;
        println!("{rewrapped} data keys were wrapped anew; all {data_keys} are under {to}");
    }
    tx.commit().await?;
    if begun.is_none() && ended.is_none() && rewrapped > 0 {
        println!("{rewrapped} data keys were wrapped anew that somebody had wrapped otherwise since");
    } else if begun.is_none() && ended.is_none() {
        bail!(
            "everything is under {to} already, and there is no other next master key (see `keys rotate --help`)"
        );
    }
    Ok(())
}

/// A name as `--actor` gives it.
fn operator(name: &str) -> Result<Actor, String> {
    let name = name.strip_prefix("operator:").unwrap_or(name).trim();
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        return Err("must be a name of 1 to 100 characters".to_owned());
    }
    Ok(Actor::Operator(name.to_owned()))
}

/// The user of the operating system; behind `sudo`, the one who called it.
fn of_the_system() -> Actor {
    let uid = std::fs::metadata("/proc/self").map_or(0, |process| process.uid());
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_uid = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    let name = std::env::var("SUDO_USER").ok().filter(|_| uid == 0).or(of_uid);
    name.and_then(|name| operator(&name).ok()).unwrap_or_else(|| Actor::Operator(format!("uid-{uid}")))
}
