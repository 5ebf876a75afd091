//! Reads the whole log and everything the ledger says of it, and names what does not fit. In constant memory.
//!
//! The tree is built of the stored leaves: an event that was changed is named, and does not hide what follows.
//! Were the stored leaves changed as well, the root is not the one that was signed.

use std::collections::VecDeque;
use std::io::BufRead;

use serde::Serialize;
use sqlx::{PgConnection, PgPool, Row};
use thiserror::Error;

use super::LedgerError;
use super::anchored::Anchored;
use super::key::PublicKey;
use super::leaf::{Leaf, Scan};
use super::note::Signed;
use super::store::{self, hashes_of};
use super::tree::{Node, Range};

/// More findings than these are counted, not listed.
const LISTED: usize = 100;
/// Checkpoints read at once; each holds at most 32 KiB of leaves.
const PAGE: i64 = 64;

/// Something that is not as it was signed. Positions are those of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// The row is another than the one that was signed.
    #[error("position {position}: the event was changed")]
    Changed {
        /// Its position.
        position: i64,
    },
    /// Rows that were signed are not there.
    #[error("positions {from} to {to}: the events are missing")]
    Missing {
        /// The first.
        from: i64,
        /// The last.
        to: i64,
    },
    /// A row that does not belong there.
    #[error("position {position}: an event stands there that was not appended there")]
    Added {
        /// Its position.
        position: i64,
    },
    /// The events are not those that were signed, and the ledger's own hashes were changed too.
    #[error("positions {from} to {to}: checkpoint {number} was signed for other events")]
    Root {
        /// The checkpoint.
        number: i64,
        /// The first event that it adds.
        from: i64,
        /// The last.
        to: i64,
    },
    /// Nobody who is trusted has signed the checkpoint.
    #[error("positions {from} to {to}: checkpoint {number} {why}")]
    Checkpoint {
        /// The checkpoint.
        number: i64,
        /// The first event that it adds.
        from: i64,
        /// The last.
        to: i64,
        /// What is wrong with it.
        why: String,
    },
    /// A stored hash of a subtree is not the hash of its events.
    #[error("positions {from} to {to}: the stored hash of these events was changed")]
    Node {
        /// The first event.
        from: i64,
        /// The last.
        to: i64,
    },
    /// The log is shorter than an anchor has seen it.
    #[error("positions {from} to {to}: an anchor has seen these events at {at}; they are gone")]
    CutTail {
        /// The first that is gone.
        from: i64,
        /// The last that the anchor has seen.
        to: i64,
        /// When the anchored checkpoint was signed.
        at: String,
    },
    /// An anchor has seen another checkpoint of the same number.
    #[error("positions {from} to {to}: an anchor has seen another checkpoint {number}, signed at {at}")]
    Anchor {
        /// The checkpoint.
        number: i64,
        /// The first event after the last on which both agree.
        from: i64,
        /// The last that the anchor has seen.
        to: i64,
        /// When the anchored checkpoint was signed.
        at: String,
    },
}

/// What was read, and what was found.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Events in the log.
    pub events: i64,
    /// How many of them checkpoints cover.
    pub covered: i64,
    /// Checkpoints.
    pub checkpoints: i64,
    /// Anchored checkpoints that are the ledger's own.
    pub anchored: i64,
    /// What does not fit, the first hundred.
    pub findings: Vec<Finding>,
    /// How much does not fit.
    pub found: usize,
}

impl Report {
    fn add(&mut self, finding: Finding) {
        if let (Some(Finding::Missing { to, .. }), Finding::Missing { from, to: end }) =
            (self.findings.last_mut(), &finding)
            && *to + 1 == *from
        {
            *to = *end;
            return;
        }
        self.found += 1;
        if self.findings.len() < LISTED {
            self.findings.push(finding);
        }
    }
}

/// Verifies the log against its ledger, and the ledger against what an anchor has seen.
pub async fn verify(
    pool: &PgPool,
    trusted: &[PublicKey],
    anchor: Option<Box<dyn BufRead + Send>>,
) -> Result<Report, LedgerError> {
    let mut db = crate::pool::alone(pool).await?;
    sqlx::raw_sql("SET statement_timeout = 0").execute(&mut db).await?;
    let mut beside = crate::pool::alone(pool).await?;
    let newest = store::newest(&mut beside).await?;
    let mut walk = Walk {
        scan: Scan::open(&mut db, -i64::MAX, i64::MAX).await?,
        leaf: None,
        tree: Range::default(),
        previous: None,
        trusted: trusted.to_vec(),
        anchored: Anchored::new(anchor),
        report: Report::default(),
    };
    walk.advance().await?;
    let mut chain =
        Chain { rows: VecDeque::new(), after: 0, last: newest.map_or(0, |n| n.checkpoint.number) };
    let mut whole = true;
    while let Some(row) = chain.next(&mut beside).await? {
        whole = walk.checkpoint(&mut beside, row).await?;
        if !whole {
            break;
        }
    }
    walk.finish(whole).await
}

/// A stored checkpoint.
struct Stored {
    number: i64,
    size: i64,
    note: String,
    leaves: Vec<u8>,
}

/// The checkpoints in order, a few at a time.
struct Chain {
    rows: VecDeque<Stored>,
    after: i64,
    last: i64,
}

impl Chain {
    async fn next(&mut self, db: &mut PgConnection) -> sqlx::Result<Option<Stored>> {
        if self.rows.is_empty() {
            let rows = sqlx::query(
                "SELECT number, size, note, leaves FROM ledger_checkpoints
                  WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3",
            );
            for row in rows.bind(self.after).bind(self.last).bind(PAGE).fetch_all(db).await? {
                let (number, size) = (row.try_get("number")?, row.try_get("size")?);
                let (note, leaves) = (row.try_get("note")?, row.try_get("leaves")?);
                self.rows.push_back(Stored { number, size, note, leaves });
                self.after = number;
            }
        }
        Ok(self.rows.pop_front())
    }
}

/// Where we are in the log, the chain and the anchor.
struct Walk<'c> {
    scan: Scan<'c>,
    /// The next row of the log.
    leaf: Option<Leaf>,
    tree: Range,
    previous: Option<Signed>,
    trusted: Vec<PublicKey>,
    anchored: Anchored,
    report: Report,
}

impl Walk<'_> {
    async fn advance(&mut self) -> sqlx::Result<()> {
        self.leaf = self.scan.next().await?;
        self.report.events += i64::from(self.leaf.is_some());
        Ok(())
    }

    /// Takes a checkpoint in; false when nothing after it can be judged.
    async fn checkpoint(&mut self, db: &mut PgConnection, row: Stored) -> Result<bool, LedgerError> {
        let (number, from, to) = (row.number, self.tree.size() + 1, row.size);
        self.report.checkpoints += 1;
        let signed = match self.authentic(&row) {
            Ok(signed) => signed,
            Err(why) => {
                self.report.add(Finding::Checkpoint { number, from, to, why });
                return Ok(false);
            }
        };
        let mut formed = Vec::new();
        for stored in hashes_of(&row.leaves) {
            self.compare(stored).await?;
            self.tree.push(0, stored, |node| formed.push(node));
        }
        if self.tree.root() != signed.checkpoint.root {
            self.report.add(Finding::Root { number, from, to });
            return Ok(false);
        }
        if let Some(Node { height, index, .. }) = store::wrong_node(db, &formed).await? {
            let (from, to) = ((index << height) + 1, (index + 1) << height);
            self.report.add(Finding::Node { from, to });
        }
        if let Some(finding) = self.anchored.meets(&signed, &self.trusted)? {
            self.report.add(finding);
        }
        self.report.covered = to;
        self.trusted.extend(signed.checkpoint.next_key.clone());
        self.previous = Some(signed);
        Ok(true)
    }

    /// Whether a checkpoint is the next of the chain and signed by who may sign it.
    fn authentic(&self, row: &Stored) -> Result<Signed, String> {
        let signed = Signed::parse(&row.note).map_err(|error| error.to_string())?;
        let checkpoint = &signed.checkpoint;
        if !self.trusted.iter().any(|key| signed.is_signed_by(key)) {
            return Err("was not signed by a key that is trusted".to_owned());
        }
        let before = self.previous.as_ref();
        if before.map_or([0; 32], Signed::hash) != checkpoint.previous
            || before.map_or(1, |before| before.checkpoint.number + 1) != checkpoint.number
        {
            return Err("does not follow the one before it: some were removed or replaced".to_owned());
        }
        let adds = i64::try_from(row.leaves.len() / 32).unwrap_or(i64::MAX);
        if (row.number, row.size) != (checkpoint.number, checkpoint.size)
            || self.tree.size().checked_add(adds) != Some(row.size)
        {
            return Err("stands beside other numbers than it was signed with".to_owned());
        }
        Ok(signed)
    }

    /// Compares the next row of the log with the leaf that was stored for the next position.
    async fn compare(&mut self, stored: super::tree::Hash) -> Result<(), LedgerError> {
        let position = self.tree.size() + 1;
        while let Some(leaf) = self.leaf.filter(|leaf| leaf.position < position) {
            self.report.add(Finding::Added { position: leaf.position });
            self.advance().await?;
        }
        match self.leaf {
            Some(leaf) if leaf.position == position => {
                if leaf.hash != stored {
                    self.report.add(Finding::Changed { position });
                }
                self.advance().await?;
            }
            _ => self.report.add(Finding::Missing { from: position, to: position }),
        }
        Ok(())
    }

    /// What follows the last checkpoint: not covered yet, but it must follow.
    async fn finish(mut self, whole: bool) -> Result<Report, LedgerError> {
        let mut expected = self.tree.size() + 1;
        while let Some(leaf) = self.leaf {
            if whole && leaf.position > expected {
                self.report.add(Finding::Missing { from: expected, to: leaf.position - 1 });
            }
            if whole && leaf.position < expected {
                self.report.add(Finding::Added { position: leaf.position });
            }
            expected = expected.max(leaf.position + 1);
            self.advance().await?;
        }
        if whole && let Some(finding) = self.anchored.rest(expected - 1, &self.trusted)? {
            self.report.add(finding);
        }
        self.report.anchored = self.anchored.agreed;
        Ok(self.report)
    }
}
