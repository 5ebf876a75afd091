//! Proofs that leave the house: that an event stands in the log, and that a log is the continuation of another.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use thiserror::Error;

use super::key::PublicKey;
use super::leaf::{self, COLUMNS, Fields};
use super::note::{NotACheckpoint, Signed};
use super::tree::{Hash, Leaves, consistency, inclusion, leaf_hash, proves_inclusion};
use super::{LedgerError, store};

/// What the file says it is. A change of its meaning gets another number.
const FORMAT: &str = "mastra-admin/ledger-proof/1";

/// That an event stands in the log: to be checked with nothing but a public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    format: String,
    /// The columns of the event, in the order of the leaf: position, event_id, recorded_at in microseconds,
    /// team_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata.
    leaf: Fields,
    /// Hashes from the leaf to the root, in base64.
    path: Vec<String>,
    /// The signed checkpoint whose root they lead to.
    checkpoint: String,
    /// The signed checkpoints that name later keys, the oldest first.
    rotations: Vec<String>,
}

/// What a good proof proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proven {
    /// Position of the event.
    pub position: i64,
    /// Its id.
    pub event_id: String,
    /// What happened.
    pub event_type: String,
    /// How many events the checkpoint covers.
    pub size: i64,
    /// When the checkpoint was signed: the event is not younger.
    pub at: DateTime<Utc>,
    /// The ledger.
    pub ledger: String,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Disproof {
    /// It is something else.
    #[error("this is no proof of a ledger: {0}")]
    Malformed(String),
    /// Its checkpoint is none.
    #[error(transparent)]
    Checkpoint(#[from] NotACheckpoint),
    /// Nobody whom we trust has signed it.
    #[error("the checkpoint was not signed by the given key, nor by one that it has named")]
    Signature,
    /// The event is not the one that stands there.
    #[error(
        "the event does not stand at position {0} of the log that was signed: it or the proof was changed"
    )]
    Path(i64),
}

/// Proves that the event at a position stands in the log. None while no checkpoint covers it, or when there is no
/// such event.
pub async fn prove(db: &mut PgConnection, position: i64) -> Result<Option<Proof>, LedgerError> {
    let Some(newest) = store::newest(&mut *db).await? else { return Ok(None) };
    let size = newest.checkpoint.size;
    if position < 1 || position > size {
        return Ok(None);
    }
    let leaf = leaf::read(db, position).await?.ok_or_else(|| {
        LedgerError::Damaged(format!(
            "the log has no event at position {position}, which a checkpoint covers"
        ))
    })?;
    let path = hashes(db, &inclusion(position - 1, size)).await?;
    if !proves_inclusion(position - 1, size, leaf_hash(&leaf::bytes(&leaf)), &path, newest.checkpoint.root) {
        return Err(LedgerError::Damaged(format!("the event at position {position} is not what was signed")));
    }
    Ok(Some(Proof {
        format: FORMAT.to_owned(),
        leaf,
        path: path.iter().map(|hash| BASE64.encode(hash)).collect(),
        checkpoint: newest.note,
        rotations: store::rotations(db).await?,
    }))
}

impl Proof {
    /// Checks it with public keys that are trusted; those that they have named in it are as well.
    pub fn check(&self, trusted: &[PublicKey]) -> Result<Proven, Disproof> {
        if self.format != FORMAT {
            return Err(Disproof::Malformed(format!("its format is {:?}, not {FORMAT:?}", self.format)));
        }
        let mut trusted = trusted.to_vec();
        for rotation in &self.rotations {
            let signed = Signed::parse(rotation)?;
            if trusted.iter().any(|key| signed.is_signed_by(key)) {
                trusted.extend(signed.checkpoint.next_key);
            }
        }
        let signed = Signed::parse(&self.checkpoint)?;
        if !trusted.iter().any(|key| signed.is_signed_by(key)) {
            return Err(Disproof::Signature);
        }
        let bad = |why: &str| Disproof::Malformed(why.to_owned());
        let [Some(position), Some(event_id), _, _, _, _, _, Some(event_type), ..] = self.leaf.as_slice()
        else {
            return Err(bad("its leaf lacks columns"));
        };
        let position: i64 = position.parse().map_err(|_| bad("its position is no number"))?;
        if self.leaf.len() != COLUMNS || position < 1 {
            return Err(bad("its leaf is no event"));
        }
        let path: Option<Vec<Hash>> =
            self.path.iter().map(|hash| BASE64.decode(hash).ok()?.try_into().ok()).collect();
        let path = path.ok_or_else(|| bad("its path has no hashes"))?;
        let leaf = leaf_hash(&leaf::bytes(&self.leaf));
        let checkpoint = signed.checkpoint;
        if !proves_inclusion(position - 1, checkpoint.size, leaf, &path, checkpoint.root) {
            return Err(Disproof::Path(position));
        }
        Ok(Proven {
            position,
            event_id: event_id.clone(),
            event_type: event_type.clone(),
            size: checkpoint.size,
            at: checkpoint.at,
            ledger: checkpoint.origin,
        })
    }
}

/// That the newest checkpoint's log begins with an older one's.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// How many events the older one had.
    pub from: i64,
    /// Hashes as RFC 9162 has them (2.1.4), in base64.
    pub path: Vec<String>,
}

/// Proves that the log of `newest` begins with the log as it was with `from` events. None when it had not so many.
pub async fn extension(
    db: &mut PgConnection,
    newest: &Signed,
    from: i64,
) -> Result<Option<Extension>, LedgerError> {
    if !(1..=newest.checkpoint.size).contains(&from) {
        return Ok(None);
    }
    let path = hashes(db, &consistency(from, newest.checkpoint.size)).await?;
    Ok(Some(Extension { from, path: path.iter().map(|hash| BASE64.encode(hash)).collect() }))
}

async fn hashes(db: &mut PgConnection, parts: &[Leaves]) -> Result<Vec<Hash>, LedgerError> {
    let mut hashes = Vec::with_capacity(parts.len());
    for part in parts {
        hashes.push(store::subtree(db, *part).await?.root());
    }
    Ok(hashes)
}
