//! Events that a consumer cannot take in. Each is parked, and behind it all later ones of its partition, in order;
//! everything else goes on.
//!
//! Invariant: an event is taken in, or parked, or skipped by an operator, in the transaction that moves the
//! checkpoint past it. What the database does to us (a lost connection, a deadlock, a full disk) parks nothing.

mod fault;
mod list;
mod lot;
mod resolve;

pub(crate) use fault::is_of_the_event;
pub(crate) use list::asked;
pub use list::{Parked, ParkedEvent, count, events, list};
pub(crate) use lot::Lot;
pub(crate) use resolve::try_again;
pub use resolve::{Retried, RetryError, ask, retry, skip};

/// The live tables, and where processes note what is parked.
pub(crate) const LIVE: &str = "read";

/// Which events wait behind one that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Those of its team: for read models that make rows of several streams. What they join is inside one team, so
    /// within it order must be kept: a grant that is taken in after its owner has left the team would be his again.
    Team,
    /// Those of its stream: for what looks at each stream for itself.
    Stream,
}
