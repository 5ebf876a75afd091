//! Makes checkpoints: hashes what the log has got since the last one, signs, stores.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};

use super::key::SigningKey;
use super::keyring::KeyRing;
use super::leaf::Scan;
use super::note::{Checkpoint, Signed};
use super::tree::{Hash, Node, Range};
use super::{LedgerError, store};
use crate::log;

/// Events that one checkpoint adds at most.
pub const BATCH: i64 = 1024;

/// Who writes a checkpoint, alone among all processes.
const LOCK: i64 = 0x6d61_7374_7261_0002;

/// Writes the next checkpoint, of at most [`BATCH`] more events; also when there are none. None when nothing was
/// to be written unless there are some.
pub async fn close(
    pool: &PgPool,
    keys: &KeyRing,
    also_empty: bool,
    now: DateTime<Utc>,
) -> Result<Option<Signed>, LedgerError> {
    let mut db = pool.acquire().await?;
    let mut tx = db.begin().await?;
    let Some(newest) = turn(&mut tx).await? else { return Err(LedgerError::Busy) };
    let key = keys.signer(newest.as_ref())?;
    if !also_empty && log::head(&mut *tx).await? <= newest.as_ref().map_or(0, |newest| newest.checkpoint.size)
    {
        return Ok(None);
    }
    let signed = write(&mut tx, newest.as_ref(), &key, None, now).await?;
    tx.commit().await?;
    Ok(Some(signed))
}

/// Hands over to a new key: the old one signs a checkpoint that names it. When the old one is lost, the new one
/// signs without being named, and only who is given its public key trusts it.
pub async fn rotate(
    pool: &PgPool,
    keys: &KeyRing,
    is_lost: bool,
    now: DateTime<Utc>,
) -> Result<Signed, LedgerError> {
    let mut db = pool.acquire().await?;
    let mut tx = db.begin().await?;
    let Some(newest) = turn(&mut tx).await? else { return Err(LedgerError::Busy) };
    let old = match (&newest, is_lost) {
        (Some(_), true) => None,
        _ => Some(keys.signer(newest.as_ref())?),
    };
    let origin = newest.as_ref().map(|newest| newest.checkpoint.origin.clone());
    let origin = origin.or_else(|| old.as_ref().map(|old| old.public().name.clone())).unwrap_or_default();
    let next = keys.make_next(&origin)?;
    let signed = match &old {
        Some(old) => write(&mut tx, newest.as_ref(), old, Some(&next), now).await?,
        None => write(&mut tx, newest.as_ref(), &next, None, now).await?,
    };
    tx.commit().await?;
    keys.take_over(&next)?;
    Ok(signed)
}

/// Waits for nobody: none when another process writes. Else the newest checkpoint, if there is one.
async fn turn(db: &mut PgConnection) -> Result<Option<Option<Signed>>, LedgerError> {
    let ours: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(LOCK).fetch_one(&mut *db).await?;
    if ours { store::newest(db).await.map(Some) } else { Ok(None) }
}

async fn write(
    db: &mut PgConnection,
    newest: Option<&Signed>,
    key: &SigningKey,
    next: Option<&SigningKey>,
    now: DateTime<Utc>,
) -> Result<Signed, LedgerError> {
    let size = newest.map_or(0, |newest| newest.checkpoint.size);
    let mut tree = store::subtree(db, (0, size)).await?;
    if newest.is_some_and(|newest| newest.checkpoint.root != tree.root()) {
        let number = newest.map_or(0, |newest| newest.checkpoint.number);
        return Err(LedgerError::Damaged(format!(
            "the hashes of the ledger do not lead to checkpoint {number}"
        )));
    }
    let head = log::head(&mut *db).await?;
    if head < size {
        return Err(LedgerError::Damaged(format!(
            "the log ends at position {head}, and the ledger covers {size} events"
        )));
    }
    let (leaves, formed) = hash(db, &mut tree, head.min(size + BATCH)).await?;
    let checkpoint = Checkpoint {
        origin: key.public().name.clone(),
        size: tree.size(),
        root: tree.root(),
        number: newest.map_or(1, |newest| newest.checkpoint.number + 1),
        at: now,
        previous: newest.map_or([0; 32], Signed::hash),
        next_key: next.map(|next| next.public().clone()),
    };
    let signed = checkpoint.sign(key);
    store::insert(db, &signed, &leaves, &formed).await?;
    Ok(signed)
}

/// Adds the events up to `to` to the tree.
async fn hash(
    db: &mut PgConnection,
    tree: &mut Range,
    to: i64,
) -> Result<(Vec<Hash>, Vec<Node>), LedgerError> {
    let (mut leaves, mut formed, mut hole) = (Vec::new(), Vec::new(), None);
    let mut scan = Scan::open(db, tree.size(), to).await?;
    while let Some(leaf) = scan.next().await? {
        if leaf.position != tree.size() + 1 {
            hole.get_or_insert(tree.size() + 1);
        }
        leaves.push(leaf.hash);
        tree.push(0, leaf.hash, |node| formed.push(node));
    }
    if hole.is_some() || tree.size() != to {
        let position = hole.unwrap_or(tree.size() + 1);
        return Err(LedgerError::Damaged(format!("the log has no event at position {position}")));
    }
    Ok((leaves, formed))
}
