//! The tables of the ledger, and the hashes of any part of the tree out of them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, Row};

use super::LedgerError;
use super::note::Signed;
use super::tree::{Hash, Leaves, Node, Range};

/// Every node of a stored level covers 2^8 of the level below.
const LEVEL_BITS: u32 = 8;
/// The highest stored level: 2^56 events are enough.
const LEVELS: u32 = 7;

/// The newest checkpoint.
pub async fn newest(db: impl PgExecutor<'_>) -> Result<Option<Signed>, LedgerError> {
    let row = sqlx::query("SELECT number, note FROM ledger_checkpoints ORDER BY number DESC LIMIT 1");
    row.fetch_optional(db).await?.map(|row| signed(row.try_get("number")?, row.try_get("note")?)).transpose()
}

/// The checkpoints that name another key, in order.
pub(super) async fn rotations(db: impl PgExecutor<'_>) -> Result<Vec<String>, LedgerError> {
    let query = r"SELECT note FROM ledger_checkpoints WHERE note LIKE E'%\nnext-key %' ORDER BY number";
    Ok(sqlx::query_scalar(query).fetch_all(db).await?)
}

fn signed(number: i64, note: &str) -> Result<Signed, LedgerError> {
    Signed::parse(note).map_err(|source| LedgerError::Checkpoint { number, source })
}

/// Stores a checkpoint, the leaves that it adds and the subtrees that they complete.
pub(super) async fn insert(
    db: &mut PgConnection,
    signed: &Signed,
    leaves: &[Hash],
    formed: &[Node],
) -> Result<(), LedgerError> {
    let nodes: Vec<&Node> = formed.iter().filter(|node| is_stored(node)).collect();
    let levels: Vec<i16> = nodes.iter().map(|node| level(node)).collect();
    let indexes: Vec<i64> = nodes.iter().map(|node| node.index).collect();
    let hashes: Vec<&[u8]> = nodes.iter().map(|node| node.hash.as_slice()).collect();
    sqlx::query("SELECT append_checkpoint($1, $2, $3, $4, $5, $6, $7)")
        .bind(signed.checkpoint.number)
        .bind(signed.checkpoint.size)
        .bind(&signed.note)
        .bind(leaves.concat())
        .bind(levels)
        .bind(indexes)
        .bind(hashes)
        .execute(db)
        .await?;
    Ok(())
}

/// The first of these subtrees that is not stored as it is.
pub(super) async fn wrong_node(db: &mut PgConnection, formed: &[Node]) -> sqlx::Result<Option<Node>> {
    for node in formed.iter().filter(|node| is_stored(node)) {
        let stored: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT hash FROM ledger_nodes WHERE level = $1 AND index = $2")
                .bind(level(node))
                .bind(node.index)
                .fetch_optional(&mut *db)
                .await?;
        if stored.is_none_or(|stored| stored != node.hash) {
            return Ok(Some(*node));
        }
    }
    Ok(None)
}

fn is_stored(node: &Node) -> bool {
    node.height > 0 && node.height.is_multiple_of(LEVEL_BITS)
}

fn level(node: &Node) -> i16 {
    i16::try_from(node.height / LEVEL_BITS).expect("there are few levels")
}

/// The tree over some leaves that stand together in the whole tree, out of the stored hashes.
pub(super) async fn subtree(db: &mut PgConnection, (low, high): Leaves) -> Result<Range, LedgerError> {
    let (mut at, mut range) = (low, Range::default());
    while at < high {
        let fits = |level: &u32| {
            let unit = 1_i64 << (level * LEVEL_BITS);
            at % unit == 0 && at + unit <= high
        };
        let level = (0..=LEVELS).rev().find(fits).expect("one leaf always fits");
        let bits = level * LEVEL_BITS;
        // Up to where the next level begins, or there is no more.
        let above = ((at >> bits) | 0xff) + 1;
        let (from, to) = (at >> bits, above.min(high >> bits));
        let hashes = match level {
            0 => leaves(db, from, to).await?,
            _ => nodes(db, level, from, to).await?,
        };
        if i64::try_from(hashes.len()) != Ok(to - from) {
            let (from, to) = ((from << bits) + 1, to << bits);
            return Err(LedgerError::Damaged(format!("the ledger has lost hashes of events {from} to {to}")));
        }
        for hash in hashes {
            range.push(bits, hash, |_| {});
        }
        at = to << bits;
    }
    Ok(range)
}

async fn nodes(db: &mut PgConnection, level: u32, from: i64, to: i64) -> sqlx::Result<Vec<Hash>> {
    let query =
        "SELECT hash FROM ledger_nodes WHERE level = $1 AND index >= $2 AND index < $3 ORDER BY index";
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(query)
        .bind(i16::try_from(level).expect("there are few levels"))
        .bind(from)
        .bind(to)
        .fetch_all(db)
        .await?;
    Ok(rows.iter().flat_map(|row| hashes_of(row)).collect())
}

/// Leaves by their index, out of the checkpoints that added them.
async fn leaves(db: &mut PgConnection, from: i64, to: i64) -> sqlx::Result<Vec<Hash>> {
    let rows = sqlx::query(
        "SELECT size, leaves FROM ledger_checkpoints
          WHERE number BETWEEN (SELECT number FROM ledger_checkpoints WHERE size > $1 ORDER BY size, number LIMIT 1)
                           AND (SELECT number FROM ledger_checkpoints WHERE size >= $2 ORDER BY size, number LIMIT 1)
            AND leaves <> '' ORDER BY number",
    )
    .bind(from)
    .bind(to)
    .fetch_all(db)
    .await?;
    let mut all = Vec::new();
    for row in rows {
        let (size, leaves) = (row.try_get::<i64, _>("size")?, row.try_get::<&[u8], _>("leaves")?);
        let first = size - i64::try_from(leaves.len() / 32).expect("a batch is small");
        let wanted = |n: &i64| (from..to).contains(n);
        all.extend((first..).zip(hashes_of(leaves)).filter(|(n, _)| wanted(n)).map(|(_, hash)| hash));
    }
    Ok(all)
}

/// Hashes that stand one after the other.
pub(super) fn hashes_of(bytes: &[u8]) -> impl Iterator<Item = Hash> {
    bytes.chunks_exact(32).map(|hash| hash.try_into().expect("chunks of 32"))
}

/// How the ledger stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The last event of the log.
    pub head: i64,
    /// How many events are covered.
    pub size: i64,
    /// When the newest checkpoint was made; none when there is none.
    pub at: Option<DateTime<Utc>>,
    /// The anchors of this installation.
    pub anchors: Vec<AnchorStatus>,
}

/// How far an anchor was told.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnchorStatus {
    /// Its name.
    pub name: String,
    /// How many events the checkpoint covers that it was told last.
    pub size: i64,
    /// When that was; before the first time: when it was set up.
    pub at: DateTime<Utc>,
}

/// How the ledger stands.
pub async fn status(db: &mut PgConnection) -> Result<Status, LedgerError> {
    let newest = newest(&mut *db).await?.map(|signed| signed.checkpoint);
    let head = crate::log::head(&mut *db).await?;
    let anchors =
        sqlx::query("SELECT name, size, anchored_at FROM ledger_anchors ORDER BY name").fetch_all(db).await?;
    let anchors = anchors.iter().map(|row| {
        let (name, size) = (row.try_get("name")?, row.try_get("size")?);
        Ok(AnchorStatus { name, size, at: row.try_get("anchored_at")? })
    });
    Ok(Status {
        head,
        size: newest.as_ref().map_or(0, |newest| newest.size),
        at: newest.map(|newest| newest.at),
        anchors: anchors.collect::<sqlx::Result<_>>()?,
    })
}
